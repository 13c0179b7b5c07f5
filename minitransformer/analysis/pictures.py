"""Pictures of attention, information flow, patching and context influence. They need matplotlib (extra `app`)."""

import numpy as np

from minitransformer.analysis.contributions import MEASURES, TITLES, strengths
from minitransformer.analysis.tokens import shown
from minitransformer.system import pictures as p

FUTURE, STRIPE = "#f0f0f0", "#e45756"
PANEL = 3.1  # inches of a head's panel
ESTIMATE, TRUTH, NEGATIVE = "#4c78a8", "#e66101", "#5e3c99"
SHADES = {"attention": "#2166ac", "lost": TRUTH, "gained": NEGATIVE}  # safe for colour-blind readers
COMPONENTS, MOST_TOKENS = 14, 60  # limits of a picture
FEWEST_COLUMNS, WIDEST = 9, 28  # smallest number of columns of a patching map; largest width of all maps, in inches
COLUMNS = 90  # characters in a line of shaded text
CENTRED = {"ha": "center", "va": "center", "parse_math": False}


def draw_attention(weights, labels, path, *, title="", notes=None, marked=None) -> None:
    """Draw every head's attention as a PNG at `path`, one row of panels per block.

    weights   (L, H, T, T), as from `attention_weights`: rows are queries, columns are keys
    labels    the T tokens, as text
    notes     (L, H) nested lists of texts to write above the panels
    marked    boolean (T, T), the entries to outline

    Keys in a query's future are grey. The file is written atomically. Raises MissingExtra without matplotlib, and
    OSError if the file cannot be written.
    """
    blocks, heads, T, _ = weights.shape
    figure = p.new_figure(PANEL * heads + 0.9, PANEL * blocks + 1.2, dpi=110)  # coarse, because pictures can be large
    panels = figure.subplots(blocks, heads, sharex=True, sharey=True, squeeze=False)
    for (block, head), axes in np.ndenumerate(panels):
        image = draw_head(axes, weights[block, head], marked)
        note = notes[block][head] if notes else ""
        p.label(axes, f"blocks.{block}, head {head}", size=9)
        axes.set_title(note, loc="right", color=STRIPE, fontsize=9, fontweight="bold")
    size = min(8, 150 / T)
    for axes in panels[:, 0]:
        axes.set_yticks(range(T), labels, fontsize=size, color=p.INK, parse_math=False)
    for axes in panels[-1]:
        axes.set_xticks(range(T), labels, fontsize=size, color=p.INK, rotation=90, parse_math=False)
    p.headline(figure, title, 12)
    figure.supxlabel("key: the token attended to", color=p.INK, fontsize=9)
    figure.supylabel("query: the token that attends", color=p.INK, fontsize=9)
    p.colour_bar(figure, image, panels, "weight", shrink=0.5, aspect=30, pad=0.01)
    p.save(figure, path)


def draw_head(axes, weights, marked):
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    T = len(weights)
    colours = colormaps["Blues"].with_extremes(bad=FUTURE)
    past = np.ma.masked_where(~np.tri(T, dtype=bool), weights)
    image = axes.imshow(past, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    if marked is not None:
        for query, key in np.argwhere(marked):
            axes.add_patch(Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=STRIPE, linewidth=0.6))
    p.without_frame(axes)
    return image


def draw_flow(flow, path) -> None:
    """Draw an InformationFlow as a PNG at `path`, with the last MOST_TOKENS positions."""
    heights = [
        1.5 + max(0.22 * min(len(flow.tokens), MOST_TOKENS), 2.0),
        1.1 + max(0.22 * COMPONENTS, 0.25 * len(flow.lens.layers)),
    ]
    figure = p.new_figure(12, sum(heights) + 0.4)
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    draw_contributions(top, flow)
    left, right = bottom.subfigures(1, 2, width_ratios=[2, 3])
    draw_components(left, flow.direct)
    draw_lens(right, flow)
    where = f"token {flow.target_position} of the text" if flow.in_text else "the model's most likely next token"
    title = f"How {shown(flow.target)!r} is predicted ({where}, probability {flow.probability:.1%})"
    p.headline(figure, title, 13)
    p.save(figure, path)


def draw_contributions(figure, flow) -> None:
    contributions = flow.contributions
    tokens = [f"{t}  {shown(token)}" for t, token in enumerate(flow.tokens)][-MOST_TOKENS:]
    columns = figure.subplots(1, len(TITLES), sharey=True)
    for axes, (name, title) in zip(columns, TITLES.items(), strict=True):
        draw_bars(axes, tokens, getattr(contributions, name)[-len(tokens) :], TRUTH if name == "ablation" else ESTIMATE)
        agree = "correlation with ablation\nPearson {pearson:.2f}, Spearman {spearman:.2f}"
        note = agree.format(**contributions.correlations[name]) if name in MEASURES else "the intervention"
        p.label(axes, title, note)
        axes.locator_params(axis="x", nbins=3)
        axes.margins(y=0.01)
    columns[0].invert_yaxis()
    columns[0].set_ylabel("position and token", color=p.INK, fontsize=9)
    p.headline(figure, "Contribution of each position to the prediction: four estimates, compared with ablation")


def draw_bars(axes, names, values, colour) -> None:
    axes.barh(range(len(names)), values, color=np.where(np.array(values) >= 0, colour, NEGATIVE))
    axes.axvline(0, color=p.INK, linewidth=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    p.without_frame(axes)


def draw_components(figure, direct) -> None:
    axes = figure.subplots()
    names, values = zip(*direct.largest(COMPONENTS), strict=True)
    draw_bars(axes, names, values, ESTIMATE)
    axes.invert_yaxis()
    p.label(axes, f"sum {direct.total:+.2f}", "direct contribution to the logit, not through later layers")
    p.headline(figure, f"Contributions to {direct.explained}")


def draw_lens(figure, flow) -> None:
    lens = flow.lens
    probabilities = lens.top_probabilities[:, -1]
    axes = figure.subplots()
    axes.imshow(probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    for (row, column), probability in np.ndenumerate(probabilities):
        text = f"{shown(flow.lens_tokens[row][-1][column])}  {probability:.0%}"
        weight = "bold" if lens.top_ids[row, -1, column] == flow.target_id else "normal"
        colour = "white" if probability > 0.6 else p.INK
        axes.text(column, row, text, color=colour, weight=weight, size=8, **CENTRED)
    ranks = zip(lens.layers, lens.answer_ranks[:, -1], strict=True)
    axes.set_yticks(range(len(lens.layers)), [f"{layer}: rank {rank}" for layer, rank in ranks], fontsize=8)
    axes.set_xticks(range(probabilities.shape[1]), range(1, probabilities.shape[1] + 1), fontsize=8)
    p.label(axes, x="most likely tokens, the target in bold")
    p.without_frame(axes)
    p.headline(figure, f"Prediction after each layer (logit lens), and the rank of {shown(flow.target)!r} in it")


def draw_patching(maps, path) -> None:
    """Draw PatchingMaps as a PNG: the effects above, the estimates below."""
    columns = [max(effects.shape[1], FEWEST_COLUMNS) for effects in maps.effects.values()]
    width = min(3.2 + 0.24 * sum(columns), WIDEST)
    figure = p.new_figure(width, 2 * max(0.28 * len(maps.stages), 1.6) + 3)
    panels = figure.subplots(2, len(columns), squeeze=False, width_ratios=columns)
    for (above, below), name in zip(panels.T, maps.effects, strict=True):
        words = name.replace("_", "-")
        draw_map(above, maps, name, maps.effects[name], f"{words}: patching")
        agreement = f"{words}: attribution ({maps.agreement[name]:.2f})"
        image = draw_map(below, maps, name, maps.attributions[name], agreement)
        where = "head" if name == "heads" else "position (clean / corrupted token)"
        below.set_xlabel(where, color=p.INK, fontsize=9)
    restored = "fraction of the difference restored"
    p.colour_bar(figure, image, panels, restored, shrink=0.6, aspect=30, pad=0.01, extend="both")
    answers = ((maps.answer, maps.clean_metric), (maps.other, maps.corrupted_metric))
    title = " and ".join(f"{shown(token)!r} ({metric:+.2f})" for token, metric in answers)
    notes = "in brackets, the correlation of attribution with patching. Not shown: information in both prompts"
    p.headline(figure, f"Activations that carry the difference between {title}; {notes}")
    p.save(figure, path)


def draw_map(axes, maps, name, values, title):
    """Draw one map with the first layer at the bottom. Return the matplotlib image."""
    image = axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", origin="lower")
    columns = range(values.shape[1])
    labels, turned = (columns, 0) if name == "heads" else ([maps.tokens_at(t) for t in columns], 90)
    p.label(axes, title, size=9)
    axes.set_yticks(range(len(values)), maps.layers(name), fontsize=8)
    axes.set_xticks(columns, labels, fontsize=min(8, 170 / len(columns)), rotation=turned, parse_math=False)
    p.without_frame(axes)
    return image


def draw_context(influence, path) -> None:
    lines = wrapped([shown(token) for token in influence.tokens])
    figure = p.new_figure(COLUMNS / 10, 0.6 * len(lines) + 1.8)
    upper, lower = figure.subplots(2, 1)
    attention = f"attention, averaged over heads and layers: at most {influence.attention.max():.3f}"
    draw_shaded(upper, lines, influence.attention, attention, ("attention", "attention"))
    ablation = f"ablation, nats lost (orange) or gained (violet): at most {np.abs(influence.ablation).max():.3f}"
    draw_shaded(lower, lines, influence.ablation, ablation, ("lost", "gained"))
    end = f"after token {influence.position}: {shown(influence.target)!r}, probability {influence.probability:.1%}"
    p.headline(figure, f"Attention and ablation {end}")
    agree = f"Attention is not influence: here its correlation with ablation is {influence.pearson:.2f} (Pearson), "
    figure.supxlabel(f"{agree}{influence.spearman:.2f} (Spearman)", x=0.01, ha="left", color=p.INK, fontsize=9)
    p.save(figure, path)


def wrapped(tokens):
    """Divide tokens into lines of at most COLUMNS characters, each a list of (index, column, token)."""
    lines, column = [[]], 0
    for i, token in enumerate(tokens):
        if column and column + len(token) > COLUMNS:
            lines.append([])
            column = 0
        lines[-1].append((i, column, token))
        column = COLUMNS if token.endswith("\\n") else column + len(token)
    return lines


def draw_shaded(axes, lines, values, title, shades) -> None:
    from matplotlib.patches import Rectangle

    strength = strengths(values)
    for row, line in enumerate(lines):
        for i, column, token in line:
            shade, alpha = SHADES[shades[int(strength[i] < 0)]], float(abs(strength[i]))
            place = (column, row), len(token), 0.85
            axes.add_patch(Rectangle(*place, facecolor=(shade, alpha), edgecolor=p.GRID, linewidth=0.4))
            letters = "white" if alpha > 0.6 else p.INK
            centre = column + len(token) / 2, row + 0.45
            axes.text(*centre, token, color=letters, fontsize=9, family="monospace", **CENTRED)
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(lines), 0)
    axes.set_axis_off()
    p.label(axes, title)
