"""Pictures of a model that learns simple patterns. They need matplotlib (extra `app`)."""

import numpy as np

from minitransformer.analysis import draw_attention, induction_score, induction_targets
from minitransformer.analysis.circuits import head_name
from minitransformer.experiments.patterns.learned import NOTABLE, InductionCircuit, LearnedPatterns, moment_of_induction
from minitransformer.system import pictures as p
from minitransformer.text import spell
from minitransformer.text.patterns import SYMBOLS

LINES = [("#1f5a94", "-"), ("#d1730e", "--")]  # colours and line styles


def draw_moment(runs: dict, path) -> None:
    """Plot the highest induction score, the accuracy and the loss against the steps.

    `runs` contains the metrics of each run by name.
    """
    figure = p.new_figure(8, 7.5)
    panels = figure.subplots(3, 1, sharex=True)
    curves = {
        "highest induction score": lambda record: np.max(record["heads"]["induction"]),
        'tokens right of "induction"': lambda record: record["accuracy"]["induction"],
        "loss in nats per token": lambda record: record["val_loss"],
    }
    for axes, (title, value) in zip(panels, curves.items(), strict=True):
        p.with_grid(axes)
        for (name, records), (colour, stroke) in zip(runs.items(), LINES, strict=False):
            evaluated = [record for record in records if "heads" in record]
            steps, moment = [record["step"] for record in evaluated], moment_of_induction(records)
            appears = "" if moment is None else f", induction appears at step {moment}"
            axes.plot(steps, list(map(value, evaluated)), stroke, color=colour, linewidth=1.8, label=name + appears)
            if moment is not None:
                axes.axvline(moment, color=colour, linewidth=1, linestyle=":")
        p.label(axes, x="steps" if axes is panels[-1] else "", y=title)
    panels[0].axhline(NOTABLE, color=p.GRID, linewidth=1.5, zorder=0)
    p.legend(panels[0], 9, loc="upper left")
    p.headline(figure, "The moment when a model learns induction", 12)
    p.save(figure, path)


def draw_heads(learned: LearnedPatterns, path) -> None:
    """Draw tables of each head's scores, and of the accuracies without each head."""
    kinds = ("previous_token", "duplicate_token", "induction")
    scores = {kind.partition("_")[0]: getattr(learned.scores, kind) for kind in kinds}
    heads = [head_name(head) for head in np.ndindex(scores["induction"].shape)]
    left = {name: np.append(without, learned.whole[name]) for name, without in learned.ablations.items()}
    figure = p.new_figure(3.4 + 0.85 * (3 + len(left)), 1.6 + 0.42 * (len(heads) + 1))
    first, second = figure.subplots(1, 2, width_ratios=[len(scores), len(left)])
    draw_table(first, {name: score.ravel() for name, score in scores.items()}, heads, "{:.2f}")
    draw_table(second, left, [*(f"without {head}" for head in heads), "with every head"], "{:.0%}")
    p.label(first, "attention to …")
    p.label(second, "tokens right of …")
    p.headline(figure, "The attention of each head, and the accuracy without it", 12)
    p.save(figure, path)


def draw_induction(weights, ids, path) -> None:
    """Draw the attention weights (L, H, T, T) of every head. `ids` (T,) are a sequence and its repetition."""
    scores = induction_score(weights, ids)
    notes = [[f"induction {score:.2f}" if score >= NOTABLE else "" for score in row] for row in scores]
    title = "A random sequence, twice. Outlined: the successor of the same symbol, where an induction head attends"
    draw_attention(
        weights, list(map(spell, ids[:, None])), path, title=title, notes=notes, marked=induction_targets(ids)
    )


def draw_table(axes, columns: dict, rows, form: str) -> None:
    table = np.stack(list(columns.values()), axis=1)
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), list(columns), fontsize=9, color=p.INK)
    axes.set_yticks(range(len(rows)), rows, fontsize=9, color=p.INK)
    p.without_frame(axes)
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value > 0.6 else p.INK
        axes.text(column, row, form.format(value), ha="center", va="center", fontsize=8, color=colour)


def draw_circuits(induction: InductionCircuit, path) -> None:
    symbols = [spell([symbol]) for symbol in SYMBOLS]
    places = [str(k) for k in range(len(symbols))]
    drawn = [
        ("OV: effect of attending to a token", induction.ov, ("logit of", symbols), ("attended token", symbols)),
        ("QK by the previous token", induction.qk, ("at the position after", symbols), ("attending token", symbols)),
        ("QK by a pointer", induction.pointer, ("attends to", places[1:]), ("token was at", places)),
    ]
    drawn = [entry for entry in drawn if entry[1] is not None]
    figure = p.new_figure(5.2 * len(drawn), 5.6)
    for axes, (title, circuit, columns, rows) in zip(np.ravel(figure.subplots(1, len(drawn))), drawn, strict=True):
        limit = float(np.abs(circuit.matrix).max()) or 1.0
        image = axes.imshow(circuit.matrix, cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest")
        note = f"{circuit.on_diagonal:.0%} largest on the diagonal, contrast {circuit.contrast:.2g}"
        p.label(axes, f"{title}\n{note}", columns[0], rows[0], size=9)
        ticks = range(0, len(circuit.matrix), 10 if len(circuit.matrix) > 30 else 2)  # the labels that fit
        axes.set_xticks(ticks, [columns[1][i] for i in ticks])
        axes.set_yticks(ticks, [rows[1][i] for i in ticks])
        axes.tick_params(length=2, colors=p.INK, labelsize=8)
        p.colour_bar(figure, image, axes, shrink=0.75)
    through = "" if induction.feeder is None else f", through head {head_name(induction.feeder)}"
    p.headline(figure, f"The weights of head {head_name(induction.head)}{through}", 12)
    p.save(figure, path)
