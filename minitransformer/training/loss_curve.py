"""The picture of a run: the losses of its training batches and of the validation split at each step."""

from minitransformer.system.pictures import INK, label, new_figure, save, with_grid

LOSS_FILE = "loss.png"
SMOOTHING_SPAN = 50  # the running mean is over a fiftieth of the steps
LONGEST_TITLE = 90

TRAINING, VALIDATION = "#4c78a8", "#e45756"


def draw_loss_curve(records, path, title="") -> None:
    """Draw the losses in the records (see metrics.py) as a PNG at `path`, atomically.

    Raises MissingExtra without matplotlib, OSError if the file cannot be written.
    """
    figure = new_figure(8, 4.5, dpi=120)
    axes = figure.add_subplot()
    draw_training(axes, [(record["step"], record["loss"]) for record in records if "loss" in record])
    draw_validation(axes, [(record["step"], record["val_loss"]) for record in records if "val_loss" in record])
    shortened = title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"
    label(axes, shortened, "steps", "loss in nats per token", size=11)
    with_grid(axes)
    axes.margins(x=0.02)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, path)


def draw_training(axes, points) -> None:
    """Draw the loss of every step as a faint line, and its running mean."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    span = max(len(losses) // SMOOTHING_SPAN, 1)
    if span > 1:
        axes.plot(steps, losses, color=TRAINING, alpha=0.25, linewidth=0.8)
    axes.plot(steps[span - 1 :], running_mean(losses, span), color=TRAINING, linewidth=1.6, label="training")


def draw_validation(axes, points) -> None:
    """Draw the validation loss, and write the lowest value next to its point."""
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    axes.plot(steps, losses, color=VALIDATION, linewidth=1.6, marker="o", markersize=4, label="validation")
    best = losses.index(min(losses))
    axes.annotate(
        f"{losses[best]:.3f}",
        (steps[best], losses[best]),
        xytext=(0, 14),
        textcoords="offset points",
        ha="right" if best else "left",
        color=VALIDATION,
        fontweight="bold",
    )


def running_mean(values, span: int) -> list[float]:
    total = sum(values[:span])
    means = [total / span]
    for leaving, entering in zip(values, values[span:], strict=False):
        total += entering - leaving
        means.append(total / span)
    return means
