"""Pictures of attention and of the influence of a context. They need matplotlib (extra `app`)."""

import numpy as np

from minitransformer.analysis.contributions import strengths
from minitransformer.analysis.tokens import shown
from minitransformer.system import pictures as p

FUTURE, STRIPE = "#f0f0f0", "#e45756"
PANEL = 3.1  # inches of a head's panel
SHADES = {"attention": "#2166ac", "lost": "#e66101", "gained": "#5e3c99"}  # safe for colour-blind readers
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
