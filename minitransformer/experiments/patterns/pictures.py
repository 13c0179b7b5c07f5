"""Pictures of the learning of simple patterns. They need matplotlib, from the extra `app`."""

import numpy as np

from minitransformer.analysis.circuits import head_name
from minitransformer.experiments.patterns.learned import NOTABLE, InductionCircuit, LearnedPatterns, moment_of_induction
from minitransformer.system.pictures import (
    GRID,
    INK,
    colour_bar,
    headline,
    label,
    new_figure,
    save,
    with_grid,
    without_frame,
)
from minitransformer.text import spell
from minitransformer.text.patterns import SYMBOLS

LINES = [("#1f5a94", "-"), ("#d1730e", "--")]  # colour and stroke


def draw_moment(runs: dict, path) -> None:
    """Draw the highest induction score, the accuracy on "induction" and the loss of one or two runs by step.

    `runs` is {name: records of train_on_simple_patterns}. A vertical line marks the moment of induction, if a run has
    one. Raises MissingExtra without matplotlib, and OSError if the file cannot be written.
    """
    figure = new_figure(8, 7.5)
    panels = figure.subplots(3, 1, sharex=True)
    words = "highest induction score", 'tokens right of "induction"', "loss in nats per token"
    for axes, title in zip(panels, words, strict=True):
        label(axes, y=title)
        with_grid(axes)
    for (name, records), (colour, stroke) in zip(runs.items(), LINES, strict=False):
        evaluated = [record for record in records if "heads" in record]
        steps = [record["step"] for record in evaluated]
        style = {"color": colour, "linestyle": stroke, "linewidth": 1.8}
        panels[0].plot(steps, [np.max(record["heads"]["induction"]) for record in evaluated], label=name, **style)
        panels[1].plot(steps, [record["accuracy"]["induction"] for record in evaluated], **style)
        panels[2].plot(steps, [record["val_loss"] for record in evaluated], **style)
        moment = moment_of_induction(records)
        if moment is not None:
            for axes in panels:
                axes.axvline(moment, color=colour, linewidth=1, linestyle=":")
            note = f" step {moment}: induction appears"
            panels[0].annotate(note, (moment, 0.02), color=colour, fontsize=9)
    panels[0].axhline(NOTABLE, color=GRID, linewidth=1.5, zorder=0)
    for axes in panels[:2]:
        axes.set_ylim(-0.03, 1.03)
    panels[0].legend(frameon=False, labelcolor=INK, fontsize=9, loc="upper left")
    panels[-1].set_xlabel("steps", color=INK, fontsize=9)
    headline(figure, "The moment when a model learns induction", 12)
    save(figure, path)


def draw_heads(learned: LearnedPatterns, path) -> None:
    """Draw a table of every head's scores, and a table of the accuracy on each pattern without each head."""
    scores = {"previous": learned.scores.previous_token, "duplicate": learned.scores.duplicate_token}
    scores["induction"] = learned.scores.induction
    heads = [head_name(head) for head in np.ndindex(scores["induction"].shape)]
    left = {name: np.append(without, learned.whole[name]) for name, without in learned.ablations.items()}
    figure = new_figure(3.4 + 0.85 * (3 + len(left)), 1.6 + 0.42 * (len(heads) + 1))
    widths = [len(scores), len(left)]
    first, second = figure.subplots(1, 2, width_ratios=widths)
    draw_table(first, {name: score.ravel() for name, score in scores.items()}, heads, "{:.2f}", "Blues")
    draw_table(second, left, [*(f"without {head}" for head in heads), "with every head"], "{:.0%}", "Greys_r")
    label(first, "attention to …")
    label(second, "tokens right of …")
    headline(figure, "The attention of each head, and the accuracy without it", 12)
    save(figure, path)


def draw_table(axes, columns: dict, rows, form: str, colours: str) -> None:
    """Draw columns of numbers from 0 to 1, each as a shade and as text in the format `form`."""
    table = np.stack(list(columns.values()), axis=1)
    image = axes.imshow(table, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), list(columns), fontsize=9, color=INK)
    axes.set_yticks(range(len(rows)), rows, fontsize=9, color=INK)
    without_frame(axes)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(table):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
        colour = "white" if dark else INK
        axes.text(column, row, form.format(value), ha="center", va="center", fontsize=8, color=colour)


def draw_circuits(induction: InductionCircuit, path) -> None:
    symbols = [spell([symbol]) for symbol in SYMBOLS]
    positions = range(0 if induction.pointer is None else len(induction.pointer.matrix))
    drawn = [
        ("OV: effect of attending to a token", induction.ov, ("attended token", symbols), ("logit of", symbols)),
        ("QK by the previous token", induction.qk, ("attending token", symbols), ("at the position after", symbols)),
        ("QK by a pointer", induction.pointer, ("token was at", positions), ("attends to", [k + 1 for k in positions])),
    ]
    drawn = [entry for entry in drawn if entry[1] is not None]
    figure = new_figure(5.2 * len(drawn), 5.6)
    for axes, (title, circuit, rows, columns) in zip(np.ravel(figure.subplots(1, len(drawn))), drawn, strict=True):
        limit = float(np.abs(circuit.matrix).max()) or 1.0
        image = axes.imshow(circuit.matrix, cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest")
        note = f"{circuit.on_diagonal:.0%} largest on the diagonal, contrast {circuit.contrast:.2g}"
        label(axes, f"{title}\n{note}", columns[0], rows[0], size=9)
        ticks = range(0, len(circuit.matrix), 10 if len(circuit.matrix) > 30 else 2)  # the labels that fit
        axes.set_yticks(ticks, [rows[1][i] for i in ticks])
        axes.set_xticks(ticks, [columns[1][i] for i in ticks])
        axes.tick_params(length=2, colors=INK, labelsize=8)
        colour_bar(figure, image, axes, shrink=0.75)
    through = "" if induction.feeder is None else f", through head {head_name(induction.feeder)}"
    headline(figure, f"The weights of head {head_name(induction.head)}{through}", 12)
    save(figure, path)
