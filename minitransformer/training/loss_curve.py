"""Draw the training and validation losses of a run."""

import numpy as np

from minitransformer.system.pictures import INK, label, new_figure, save, with_grid

LOSS_FILE = "loss.png"
SMOOTHING_SPAN = 50  # the running mean is over a fiftieth of the steps
LONGEST_TITLE = 90

TRAINING, VALIDATION = "#4c78a8", "#e45756"


def draw_loss_curve(records, path, title="") -> None:
    """Draw the losses in the records (see metrics.py) as a PNG at `path`, atomically.

    The loss of every step is drawn as a faint line behind its running mean. The lowest validation loss is annotated.
    Raises MissingExtra if matplotlib is not installed, and OSError if the file cannot be written.
    """
    figure = new_figure(8, 4.5, dpi=120)
    axes = figure.add_subplot()
    steps, losses = columns(records, "loss")
    if steps:
        span = max(len(losses) // SMOOTHING_SPAN, 1)
        means = np.convolve(losses, np.full(span, 1 / span), "valid")
        if span > 1:
            axes.plot(steps, losses, color=TRAINING, alpha=0.25, linewidth=0.8)
        axes.plot(steps[span - 1 :], means, color=TRAINING, linewidth=1.6, label="training")
    steps, losses = columns(records, "val_loss")
    if steps:
        axes.plot(steps, losses, color=VALIDATION, linewidth=1.6, marker="o", markersize=4, label="validation")
        best = losses.index(min(losses))
        place = {"xytext": (0, 14), "textcoords": "offset points", "ha": "right" if best else "left"}
        axes.annotate(f"{losses[best]:.3f}", (steps[best], losses[best]), color=VALIDATION, fontweight="bold", **place)
    shortened = title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"
    label(axes, shortened, "steps", "loss in nats per token", size=11)
    with_grid(axes)
    axes.margins(x=0.02)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path)


def columns(records, key: str) -> tuple[list, list]:
    having = [record for record in records if key in record]
    return [record["step"] for record in having], [record[key] for record in having]
