"""Pictures of attention weights. They need matplotlib, from the extra `app`."""

import numpy as np

from minitransformer.system.pictures import INK, colour_bar, headline, label, new_figure, save, without_frame

FUTURE, STRIPE = "#f0f0f0", "#e45756"
COLOURS = "Blues"
PANEL = 3.1  # inches


def draw_attention(weights, labels, path, *, title="", notes=None, marked=None) -> None:
    """Draw every head's attention as a PNG at `path`, one row of panels per block.

    weights   (L, H, T, T), as from `attention_weights`: rows are queries, columns are keys
    labels    the T tokens, as text
    notes     (L, H) nested lists of text to write above each panel; "" for none
    marked    boolean (T, T), the entries to outline

    Keys in a query's future are grey. The file is written atomically. Raises MissingExtra without matplotlib, OSError
    if the file cannot be written.
    """
    blocks, heads, T, _ = weights.shape
    figure = new_figure(PANEL * heads + 0.9, PANEL * blocks + 1.2, dpi=110)  # coarse, because pictures can be large
    panels = figure.subplots(blocks, heads, sharex=True, sharey=True, squeeze=False)
    for (block, head), axes in np.ndenumerate(panels):
        image = draw_head(axes, weights[block, head], marked)
        note = notes[block][head] if notes else ""
        label(axes, f"blocks.{block}, head {head}", size=9)
        axes.set_title(note, loc="right", color=STRIPE, fontsize=9, fontweight="bold")
    size = min(8, 150 / T)
    for axes in panels[:, 0]:
        axes.set_yticks(range(T), labels, fontsize=size, color=INK, parse_math=False)
    for axes in panels[-1]:
        axes.set_xticks(range(T), labels, fontsize=size, color=INK, rotation=90, parse_math=False)
    headline(figure, title, 12)
    figure.supxlabel("key: the token attended to", color=INK, fontsize=9)
    figure.supylabel("query: the token that attends", color=INK, fontsize=9)
    colour_bar(figure, image, panels, "weight", shrink=0.5, aspect=30, pad=0.01)
    save(figure, path)


def draw_head(axes, weights, marked):
    """Draw one head's weights (T, T) and outline the marked entries. Return the image."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    T = len(weights)
    colours = colormaps[COLOURS].with_extremes(bad=FUTURE)
    past = np.ma.masked_where(~np.tri(T, dtype=bool), weights)
    image = axes.imshow(past, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    if marked is not None:
        for query, key in np.argwhere(marked):
            axes.add_patch(Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor=STRIPE, linewidth=0.6))
    without_frame(axes)
    axes.tick_params(length=0)
    return image
