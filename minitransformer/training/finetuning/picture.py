"""Draw the measurements during fine-tuning: of pairs with a general text, and of a reward."""

import math

from minitransformer.system import pictures as p

FINE_TUNING_FILE = "finetuning.png"
DRAWN = ("safe", "unsafe", "margin", "general_loss")


def draw_fine_tuning(records, path, title="", *, limit: float) -> None:
    """Draw the evaluations in the metrics' records as a PNG at `path`, atomically.

    `limit` is the growth of the perplexity beyond which a run counts as diverged. Raises MissingExtra if matplotlib is
    not installed, and OSError if the file cannot be written.
    """
    measured = [record for record in records if all(record.get(key) is not None for key in DRAWN)]
    steps = [record["step"] for record in measured]
    perplexities = [math.exp(min(record["general_loss"], 700)) for record in measured]
    figure = p.new_figure(11, 3.8)
    responses, margin, general = figure.subplots(1, 3)
    curves = {key: [record[key] for record in measured] for key in DRAWN} | {"perplexity": perplexities}
    for axes, key, colour, marker in (
        (responses, "safe", p.BLUE, "o"),
        (responses, "unsafe", p.VERMILION, "s"),
        (margin, "margin", p.GREEN, "o"),
        (general, "perplexity", p.INK, "o"),
    ):
        p.with_grid(axes)
        axes.plot(steps, curves[key], color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=key)
    p.label(responses, "held-out responses", "steps", "log-likelihood of a response, nats")
    p.legend(responses, 10)
    p.label(margin, "margin: safe − unsafe", "steps", "nats")
    margin.axhline(0, color=p.INK, linewidth=0.8)
    general.set_yscale("log")
    general.yaxis.set_major_formatter("{x:g}")
    general.yaxis.set_minor_formatter("{x:g}")
    if perplexities and math.isfinite(limit):
        height = limit * perplexities[0]
        general.axhline(height, color=p.VERMILION, linewidth=1.2, linestyle="--")
        general.annotate(f"limit: {limit:g} times the first", (steps[0], height), color=p.VERMILION, fontsize=8)
    p.label(general, "forgetting", "steps", "perplexity on general text (log scale)")
    p.headline(figure, title)
    p.save(figure, path)


def draw_rewards(records, path, title="") -> None:
    """Draw the evaluations of a reward in the metrics' records as a PNG at `path`. Exceptions as above."""
    measured = [record for record in records if "reward" in record]
    figure = p.new_figure(11, 3.8)
    panels = (
        ("reward", "mean reward of held-out prompts", "", p.GREEN),
        ("divergence", "divergence from the starting model", "nats per token", p.VERMILION),
        ("length", "length of a response", "tokens", p.BLUE),
    )
    for axes, (key, name, unit, colour) in zip(figure.subplots(1, 3), panels, strict=True):
        p.with_grid(axes)
        steps, values = [record["step"] for record in measured], [record[key] for record in measured]
        axes.plot(steps, values, color=colour, marker="o", markersize=3.5, linewidth=1.6)
        axes.set_ylim(bottom=0)
        p.label(axes, name, "steps", unit)
    p.headline(figure, title)
    p.save(figure, path)
