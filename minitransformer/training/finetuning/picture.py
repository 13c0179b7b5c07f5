"""Draw the likelihoods, the margin and the perplexity on general text during fine-tuning on pairs."""

import math

from minitransformer.system.pictures import BLUE, GREEN, INK, VERMILION, headline, label, new_figure, save, with_grid

FINE_TUNING_FILE = "finetuning.png"
DRAWN = ("safe", "unsafe", "margin", "general_loss")


def draw_fine_tuning(records, path, title="", *, limit: float) -> None:
    """Draw the evaluations in the metrics' records as a PNG at `path`, atomically.

    `limit` is the growth of the perplexity beyond which a run counts as diverged. Raises MissingExtra if matplotlib is
    not installed, and OSError if the file cannot be written.
    """
    measured = [record for record in records if all(record.get(key) is not None for key in DRAWN)]
    steps = [record["step"] for record in measured]
    figure = new_figure(11, 3.8)
    responses, margin, general = panels = figure.subplots(1, 3)

    def draw(axes, values, colour, marker="o", name=None):
        axes.plot(steps, values, color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=name)

    for axes in panels:
        with_grid(axes)
    draw(responses, [record["safe"] for record in measured], BLUE, "o", "safe")
    draw(responses, [record["unsafe"] for record in measured], VERMILION, "s", "unsafe")
    label(responses, "held-out responses", "steps", "log-likelihood of a response, nats")
    responses.legend(frameon=False, labelcolor=INK)

    margin.axhline(0, color=INK, linewidth=0.8)
    draw(margin, [record["margin"] for record in measured], GREEN)
    label(margin, "margin: safe − unsafe", "steps", "nats")

    perplexities = [math.exp(min(record["general_loss"], 700)) for record in measured]
    draw(general, perplexities, INK)
    general.set_yscale("log")
    general.yaxis.set_major_formatter("{x:g}")
    general.yaxis.set_minor_formatter("{x:g}")
    if perplexities and math.isfinite(limit):
        height = limit * perplexities[0]
        general.axhline(height, color=VERMILION, linewidth=1.2, linestyle="--")
        general.annotate(f"limit: {limit:g} times the first", (steps[0], height), color=VERMILION, fontsize=8)
    label(general, "forgetting", "steps", "perplexity on general text (log scale)")
    headline(figure, title)
    save(figure, path)
