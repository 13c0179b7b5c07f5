"""The picture of fine-tuning on pairs: what became likelier, whether the margin grew, and what that cost."""

import math

from minitransformer.archive import write_atomically
from minitransformer.extras import require

FINE_TUNING_FILE = "finetuning.png"

# Okabe and Ito's colours, which people who confuse red and green tell apart.
INK, GRID = "#333333", "#dddddd"
SAFE, UNSAFE, MARGIN, GENERAL = "#0072b2", "#d55e00", "#009e73", "#333333"


def draw_fine_tuning(records, path, title="", *, limit: float) -> None:
    """Draw the evaluations among the metrics' records as a PNG at `path`, written atomically.

    `limit` is the factor of the perplexity beyond which a run counts as diverged. Raises MissingExtra without
    matplotlib, OSError where the file cannot be written.
    """
    require("matplotlib", otherwise="go without the picture: --no-plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = [record for record in records if None not in (record.get("margin"), record.get("general_loss"))]
    steps = [record["step"] for record in measured]
    figure = Figure(figsize=(11, 3.8), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    responses, margin, general = figure.subplots(1, 3)
    for key, colour, marker in (("safe", SAFE, "o"), ("unsafe", UNSAFE, "s")):
        draw_line(responses, steps, [record[key] for record in measured], colour, marker, key)
    label(responses, "held-out responses", "log-likelihood of a response, nats")
    responses.legend(frameon=False, labelcolor=INK)

    margin.axhline(0, color=INK, linewidth=0.8)
    draw_line(margin, steps, [record["margin"] for record in measured], MARGIN, "o", "margin")
    label(margin, "margin: safe − unsafe", "nats")

    perplexities = [math.exp(min(record["general_loss"], 700)) for record in measured]
    draw_line(general, steps, perplexities, GENERAL, "o", "perplexity")
    general.set_yscale("log")
    general.yaxis.set_major_formatter("{x:g}")
    general.yaxis.set_minor_formatter("{x:g}")
    if perplexities and math.isfinite(limit):
        general.axhline(limit * perplexities[0], color=UNSAFE, linewidth=1.2, linestyle="--")
        general.annotate(
            f"limit: {limit:g} times the first",
            (steps[0], limit * perplexities[0]),
            xytext=(2, -11),
            textcoords="offset points",
            color=UNSAFE,
            fontsize=8,
        )
    label(general, "what was forgotten", "perplexity on general text (log scale)")
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    write_atomically(path, canvas.print_png)


def draw_line(axes, steps, values, colour, marker, name):
    """Draw one quantity over the steps."""
    axes.plot(steps, values, color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=name)


def label(axes, title, y):
    """Say what a panel shows."""
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel("steps", color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=GRID, linewidth=0.7, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    axes.tick_params(colors=INK, labelsize=7, which="minor")
