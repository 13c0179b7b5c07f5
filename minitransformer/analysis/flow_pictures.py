"""Pictures of information flow, patching and context influence. They need matplotlib, from the extra `app`."""

import numpy as np

from minitransformer.analysis.contributions import MEASURES
from minitransformer.analysis.shading import SHADES, mixed, readable_on, strengths
from minitransformer.analysis.tokens import shown
from minitransformer.system.pictures import GRID, INK, colour_bar, headline, label, new_figure, save, without_frame

PAPER = "#ffffff"
ESTIMATE, TRUTH, NEGATIVE = "#4c78a8", "#e66101", "#5e3c99"
SEQUENTIAL, DIVERGING = "Blues", "PuOr_r"
TITLES = {
    "attention": "attention",
    "rollout": "attention rollout",
    "value_weighted": "value-weighted\nattention",
    "gradient_times_input": "gradient × input,\nnats",
    "ablation": "ablation,\nnats lost",
}
COMPONENTS, MOST_TOKENS = 14, 60  # limits of a picture
FEWEST_COLUMNS, WIDEST = 9, 28  # smallest number of columns of a patching map; largest width of all maps, in inches
COLUMNS = 90  # characters in a line of shaded text
CENTRED = {"ha": "center", "va": "center", "parse_math": False}


def draw_flow(flow, path) -> None:
    """Draw an InformationFlow as a PNG at `path`, which is written atomically.

    Only the last MOST_TOKENS positions are drawn. Raises MissingExtra without matplotlib, and OSError if the file
    cannot be written. The other functions that take a path raise the same exceptions.
    """
    heights = [
        1.5 + max(0.22 * min(len(flow.tokens), MOST_TOKENS), 2.0),
        1.1 + max(0.22 * COMPONENTS, 0.25 * len(flow.lens.layers)),
    ]
    figure = new_figure(12, sum(heights) + 0.4)
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    draw_contributions(top, flow)
    left, right = bottom.subfigures(1, 2, width_ratios=[2, 3])
    draw_components(left, flow.direct)
    draw_lens(right, flow)
    where = f"token {flow.target_position} of the text" if flow.in_text else "the model's most likely next token"
    title = f"How {shown(flow.target)!r} is predicted ({where}, probability {flow.probability:.1%})"
    headline(figure, title, 13)
    save(figure, path)


def draw_contributions(figure, flow) -> None:
    """Draw a panel for each measure, with one bar for each of the last positions."""
    contributions = flow.contributions
    tokens = [f"{t}  {shown(token)}" for t, token in enumerate(flow.tokens)][-MOST_TOKENS:]
    columns = figure.subplots(1, len(TITLES), sharey=True)
    for axes, (name, title) in zip(columns, TITLES.items(), strict=True):
        values = getattr(contributions, name)[-len(tokens) :]
        colour = TRUTH if name == "ablation" else ESTIMATE
        axes.barh(range(len(tokens)), values, color=np.where(values >= 0, colour, NEGATIVE))
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_title(title, loc="left", color=INK, fontsize=10)
        agree = "correlation with ablation\nPearson {pearson:.2f}, Spearman {spearman:.2f}"
        note = agree.format(**contributions.correlations[name]) if name in MEASURES else "the intervention"
        axes.set_xlabel(note, color=INK, fontsize=8)
        axes.locator_params(axis="x", nbins=3)
        axes.ticklabel_format(axis="x", style="plain")
        axes.margins(y=0.01)
        without_frame(axes)
        axes.tick_params(axis="y", length=0)
    columns[0].set_yticks(range(len(tokens)), tokens, fontsize=8, parse_math=False)
    columns[0].invert_yaxis()
    columns[0].set_ylabel("position and token", color=INK, fontsize=9)
    headline(figure, "Contribution of each position to the prediction: four estimates, compared with ablation")


def draw_components(figure, direct) -> None:
    """Draw bars for the largest components, and one for the sum of the others."""
    names, values = zip(*direct.largest(COMPONENTS), strict=True)
    axes = figure.subplots()
    axes.barh(range(len(names)), values, color=np.where(np.array(values) >= 0, ESTIMATE, NEGATIVE))
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("direct contribution to the logit, not through later layers", color=INK, fontsize=9)
    axes.set_title(f"sum {direct.total:+.2f}", loc="right", color=INK, fontsize=9)
    without_frame(axes)
    axes.tick_params(axis="y", length=0)
    headline(figure, f"Contributions to {direct.explained}")


def draw_lens(figure, flow) -> None:
    """Draw the most likely tokens of each layer, shaded by probability."""
    lens = flow.lens
    probabilities = lens.top_probabilities[:, -1]
    axes = figure.subplots()
    axes.imshow(probabilities, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto", origin="lower")
    for (row, column), probability in np.ndenumerate(probabilities):
        token = flow.lens_tokens[row][-1][column]
        is_target = lens.top_ids[row, -1, column] == flow.target_id
        weight, colour = "bold" if is_target else "normal", PAPER if probability > 0.6 else INK
        axes.text(column, row, f"{shown(token)}  {probability:.0%}", color=colour, weight=weight, size=8, **CENTRED)
    ranks = zip(lens.layers, lens.answer_ranks[:, -1], strict=True)
    axes.set_yticks(range(len(lens.layers)), [f"{layer}: rank {rank}" for layer, rank in ranks], fontsize=8)
    axes.set_xticks(range(probabilities.shape[1]), range(1, probabilities.shape[1] + 1), fontsize=8)
    axes.set_xlabel("most likely tokens, the target in bold", color=INK, fontsize=9)
    without_frame(axes)
    axes.tick_params(length=0)
    headline(figure, f"Prediction after each layer (logit lens), and the rank of {shown(flow.target)!r} in it")


def draw_patching(maps, path) -> None:
    """Draw PatchingMaps as a PNG: the effects in the upper row, the estimates by attribution in the lower row."""
    columns = [max(effects.shape[1], FEWEST_COLUMNS) for effects in maps.effects.values()]
    width = min(3.2 + 0.24 * sum(columns), WIDEST)
    figure = new_figure(width, 2 * max(0.28 * len(maps.stages), 1.6) + 3)
    panels = figure.subplots(2, len(columns), squeeze=False, width_ratios=columns)
    for (above, below), name in zip(panels.T, maps.effects, strict=True):
        words = name.replace("_", "-")
        draw_map(above, maps, name, maps.effects[name], f"{words}: patching")
        agreement = f"{words}: attribution ({maps.agreement[name]:.2f})"
        image = draw_map(below, maps, name, maps.attributions[name], agreement)
        where = "head" if name == "heads" else "position (clean / corrupted token)"
        below.set_xlabel(where, color=INK, fontsize=9)
    restored = "fraction of the difference restored"
    colour_bar(figure, image, panels, restored, shrink=0.6, aspect=30, pad=0.01, extend="both")
    answers = ((maps.answer, maps.clean_metric), (maps.other, maps.corrupted_metric))
    title = " and ".join(f"{shown(token)!r} ({metric:+.2f})" for token, metric in answers)
    notes = "in brackets, the correlation of attribution with patching. Not shown: information in both prompts"
    headline(figure, f"Activations that carry the difference between {title}; {notes}")
    save(figure, path)


def draw_map(axes, maps, name, values, title):
    """Draw one map with the first layer at the bottom. Return its image."""
    image = axes.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto", origin="lower")
    stages = maps.layers(name)
    labels = range(values.shape[1]) if name == "heads" else [maps.tokens_at(t) for t in range(values.shape[1])]
    size = min(8, 170 / len(labels))
    label(axes, title, size=9)
    axes.set_yticks(range(len(stages)), stages, fontsize=8)
    axes.set_xticks(range(len(labels)), labels, fontsize=size, rotation=0 if name == "heads" else 90, parse_math=False)
    without_frame(axes)
    axes.tick_params(length=0)
    return image


def draw_context(influence, path) -> None:
    """Draw a ContextInfluence as a PNG: the text twice, shaded by attention and by ablation."""
    lines = wrapped([shown(token) for token in influence.tokens])
    figure = new_figure(COLUMNS / 10, 0.6 * len(lines) + 1.8)
    upper, lower = figure.subplots(2, 1)
    attention = f"attention, averaged over heads and layers: at most {influence.attention.max():.3f}"
    draw_shaded(upper, lines, strengths(influence.attention), attention, ("attention", "attention"))
    ablation = f"ablation, nats lost (orange) or gained (violet): at most {np.abs(influence.ablation).max():.3f}"
    draw_shaded(lower, lines, strengths(influence.ablation), ablation, ("lost", "gained"))
    end = f"after token {influence.position}: {shown(influence.target)!r}, probability {influence.probability:.1%}"
    headline(figure, f"Attention and ablation {end}")
    agree = f"Attention is not influence: here its correlation with ablation is {influence.pearson:.2f} (Pearson), "
    figure.supxlabel(f"{agree}{influence.spearman:.2f} (Spearman)", x=0.01, ha="left", color=INK, fontsize=9)
    save(figure, path)


def wrapped(tokens):
    """Break tokens into lines of at most COLUMNS characters.

    Return a list of (index, column, token) for each line. A line also ends at a line break of the text.
    """
    lines, column = [[]], 0
    for i, token in enumerate(tokens):
        if column and column + len(token) > COLUMNS:
            lines.append([])
            column = 0
        lines[-1].append((i, column, token))
        column = COLUMNS if token.endswith("\\n") else column + len(token)
    return lines


def draw_shaded(axes, lines, strength, title, shades) -> None:
    """Draw lines of tokens, shaded by their strength: one colour for positive values, another for negative."""
    from matplotlib.patches import Rectangle

    for row, line in enumerate(lines):
        for i, column, token in line:
            background = mixed(SHADES[shades[0] if strength[i] >= 0 else shades[1]], abs(strength[i]))
            colour, letters = (np.array(c) / 255 for c in (background, readable_on(background)))
            axes.add_patch(Rectangle((column, row), len(token), 0.85, facecolor=colour, edgecolor=GRID, linewidth=0.4))
            centre = column + len(token) / 2, row + 0.45
            axes.text(*centre, token, color=letters, fontsize=9, family="monospace", **CENTRED)
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(lines), 0)
    axes.set_axis_off()
    label(axes, title)
