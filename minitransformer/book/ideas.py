"""Draw the idea of a chapter, computed from its functions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from minitransformer import optim
from minitransformer.book.pictures import Panel, svg, tiles
from minitransformer.layers.activations import gelu_exact, relu, silu
from minitransformer.layers.attention import scaled_dot_product
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.lora import low_rank
from minitransformer.layers.multi_head_attention import through
from minitransformer.layers.positions import cos_and_sin, turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import softmax
from minitransformer.module import plain

WIDE = 1100  # of a drawing, in pixels
SETTINGS = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}  # of AdamW
X, DY = np.array([1.4, -0.6, 0.9, 2.0, -1.2]), np.array([1.5, 0.3, 1.0, 0.4, -0.6])


def idea(page: str) -> str:
    """Return the picture of a chapter with its caption, or "" if it has none."""
    if page not in IDEAS:
        return ""
    with plain():
        title, panels, height, caption = IDEAS[page]()
    drawn = svg(WIDE, height, "".join(map(str, panels)), title)
    return (
        f'<section class="idea" data-idea="{page}"><h2>{title}</h2><figure><div class="card" tabindex="0">{drawn}</div>'
        f"<figcaption>{caption}</figcaption></figure></section>"
    )


def row(count, height, xs, ys, top=36, gap=60):
    """Return panels of one size beside each other."""
    width = (WIDE - (count - 1) * gap) / count
    return [Panel(k * (width + gap), top, width, height, xs, ys) for k in range(count)]


def temperatures():
    x, panels = np.array([2.0, 1.0, 0.5, 0.0, -1.0]), row(4, 130, (0, 5), (0, 1))
    panels[0].ys = (-1, 2)
    panels[0].title("x")
    panels[0].bars(x)
    for panel, temperature in zip(panels[1:], (2.0, 1.0, 0.25), strict=True):
        panel.title(f"softmax(x / {temperature:g})")
        panel.bars(softmax(x / temperature)[0])
    caption = (
        "The weights are never negative, and sum to 1. A division of the scores by a small temperature moves the "
        "weight to the largest score, and by a large one makes the weights more equal."
    )
    return "Scores become shares", panels, 190, caption


def slopes():
    xs, panels = np.linspace(-4, 4, 161), row(3, 200, (-4, 4), (-0.5, 4))
    for panel, function in zip(panels, (relu, silu, gelu_exact), strict=True):
        y, backward = function(xs)
        panel.title(function.__name__.removesuffix("_exact"))
        panel.axes(across="x")
        panel.curve(xs, y, "blue")
        panel.curve(xs, backward(np.ones_like(xs)), "orange dashed")
        for x in (-2, 2):
            panel.text(x, -0.5, f"{x}".replace("-", "−"), dy=16)
        for at in (1, 2, 3, 4):
            panel.text(0, at, str(at), anchor="end", dx=-6, dy=4)
        panel.text(3.0, 3.4, "y", "blue", "end")
        panel.text(-3.9, 0.9, "slope ∂y/∂x", "orange", "start")
    caption = "The slope is the factor of a gradient. ReLU passes all of it or nothing; the others bend smoothly."
    return "A curve and its slope", panels, 280, caption


def forgotten(normalize, has_mean):
    ones = np.ones(5)
    y, backward = normalize(X)
    given = backward(DY)
    dx = given[0] if isinstance(given, tuple) else given
    above, below = row(3, 110, (0, 5), (-2, 2.2)), row(5 if has_mean else 4, 110, (0, 5), (-1.2, 1.6), top=230, gap=46)
    shifted = X - X.mean() if has_mean else X / np.sqrt((X**2).mean())
    for panel, title, values in zip(
        above, ("x", "x − μ", "x̂ = (x − μ) · r") if has_mean else ("x", "x̂ = x · r", ""), (X, shifted, y), strict=True
    ):
        if title:
            panel.title(title)
            panel.bars(values)
    mean = DY.mean() * ones * has_mean
    along = y * (DY @ y) / (y @ y)
    parts = [
        ("dx̂", DY),
        ("= its mean", mean),
        ("+ a multiple of x̂", along),
        ("+ the rest", DY - mean - along),
        ("dx = r · the rest", dx),
    ]
    if not has_mean:
        parts = [("dx̂", DY), ("= a multiple of x̂", along), ("+ the rest", DY - along), ("dx = r · the rest", dx)]
    for panel, (title, values) in zip(below, parts, strict=True):
        panel.title(title)
        panel.bars(values, kind="orange")
    removed = "Two parts of it are removed: its mean" if has_mean else "One part of it is removed: that"
    caption = (
        f"Above: five features, normalized. Below: dx̂ as a sum of parts at right angles to each other. {removed}"
        f"{', because a shift of x does not change x̂, and its part' * has_mean} along x̂, because a longer x gives "
        "the same x̂."
    )
    return "What the gradient must forget", [*above, *below], 390, caption


def dials():
    panels, pair = row(3, 230, (-1.6, 1.6), (-1.15, 1.15)), np.array([[1.0, 0.0]])
    for panel, (query, key) in zip(panels, ((2, 1), (5, 4), (5, 2)), strict=True):
        circle = np.linspace(0, 2 * np.pi, 73)
        panel.curve(np.cos(circle), np.sin(circle), "grey")
        found = []
        for at, name, kind in ((query, "q", "blue"), (key, "k", "blue dashed")):
            cos, sin = cos_and_sin([at], 2, 10000.0, None, float)
            ((x, y),) = turned(pair, cos=cos, sin=sin, layout="half")[0]
            panel.arrow(0, 0, x, y, kind)
            panel.text(1.18 * x, 1.12 * y, name, "middle", dy=4)
            found.append((x, y))
        panel.title(f"query at {query}, key at {key}: q · k = {np.dot(*found):.2f}".replace("-", "−"))
    caption = (
        "The first pair of channels turns by one radian from each position to the next. Query and key turn together, "
        "so their product depends only on the difference of their positions: the first two dials show the same product."
    )
    return "Two dials", panels, 280, caption


def bowl():
    panels, curvature, steps = row(2, 260, (-3.3, 3.3), (-1.3, 1.3)), np.array([1.0, 25.0]), 60
    circle = np.linspace(0, 2 * np.pi, 121)
    for panel, name in zip(panels, ("gradient descent", "AdamW"), strict=True):
        for level in (0.3, 1.2, 2.7, 4.8):
            radii = np.sqrt(2 * level / curvature)
            inside = np.column_stack((radii[0] * np.cos(circle), radii[1] * np.sin(circle)))
            panel.curve(*inside.T, "grey")
        theta, m, v, path = np.array([-3.0, 1.0]), np.zeros(2), np.zeros(2), []
        for t in range(1, steps + 1):
            path.append(theta)
            gradient = curvature * theta
            if name == "AdamW":
                theta, m, v = optim.adamw(theta, gradient, m, v, t=t, **SETTINGS)
            else:
                theta = theta - 0.07 * gradient
        panel.curve(*np.array(path).T, "blue" if name == "AdamW" else "orange")
        for point in path[::3]:
            panel.dot(*point, "blue" if name == "AdamW" else "orange", 2.5)
        panel.dot(0, 0, "grey", 5)
        panel.title(f"{name}, {steps} steps")
        panel.axes(across="first weight", up="")
    caption = (
        "A loss with curvature 1 along one weight and 25 along the other. Gradient descent needs steps that are short "
        "enough for the steep direction, and jumps from side to side there. AdamW divides each step by the size of "
        "the gradients."
    )
    return "A narrow bowl", panels, 330, caption


def averages():
    """Draw three keys and one query, and the average of the three values that the query reads."""
    q, k = np.array([[1.4, 0.3]]), np.array([[1.9, 0.6], [-1.4, 0.3], [0.8, -1.0]])
    v = np.array([[-1.2, 0.7], [1.2, 1.1], [0.9, -1.1]])
    (y, _), (weights, _) = scaled_dot_product(q, k, v), softmax(q @ k.T / np.sqrt(2))
    keys, values = row(2, 250, (-2.4, 2.4), (-1.5, 1.5))
    keys.title("a query q, and keys: the more weight, the wider the line")
    values.title("values, and their average y")
    for panel in (keys, values):
        panel.axes()
    values.curve(*v[[0, 1, 2, 0]].T, "grey")
    for j, weight in enumerate(weights[0]):
        product = f": q · k = {q[0] @ k[j]:.2f}".replace("-", "−")
        for panel, center, point, name in ((keys, 0 * q[0], k[j], "k"), (values, y[0], v[j], "v")):
            panel.curve(*np.array([center, point]).T, "blue shade", 1 + 16 * weight)
            panel.dot(*point, "blue", 5)
            label = f"{name}{'₁₂₃'[j]}{product * (panel is keys)}"
            panel.text(*point, label, "middle", dx=16, dy=-12 if point[1] > 0 else 22)
        values.text(*(0.5 * (y[0] + v[j])), f"{weight:.0%}", "axes", dy=-8)
    keys.arrow(0, 0, *q[0], "blue")
    keys.text(*q[0], "q", "middle", dx=14, dy=5)
    values.dot(*y[0], "blue", 8)
    values.text(*y[0], "y", "middle", dx=16, dy=5)
    caption = (
        "A long key in the direction of the query has a large product with it, and after the softmax much of the "
        "weight. The output lies within the triangle of the values, towards the value of that key."
    )
    return "A query reads three values", [keys, values], 300, caption


def rows_of_a_table():
    ids, weight = np.array([3, 1, 3]), np.round(np.random.default_rng(2).normal(size=(6, 4)), 1)
    y, backward = embedding(ids, weight)
    dweight = backward(np.ones_like(y))
    panel = Panel(0, 36, WIDE, 210, (0, 22), (6, 0))
    for left, values, kind, name in (
        (2, weight, "blue", "W"),
        (10, y, "blue", "y = W[ids]"),
        (17, dweight, "orange", "dW for dy = 1"),
    ):
        panel.text(left, 0, name, "middle", "start", dy=-12)
        for i, entries in enumerate(values):
            for j, entry in enumerate(entries):
                x, top = panel.place(left + j, i)
                shade = min(1.0, abs(entry) / 2)
                fill = (kind if entry >= 0 else "grey") if entry else "none"
                panel.parts.append(
                    f'<rect class="tile {fill}" fill-opacity="{shade:.2f}" x="{x:.0f}" y="{top:.0f}" width="46" '
                    'height="31"/>'
                )
                panel.text(left + j + 0.46, i, f"{entry:.1f}".replace("-", "−"), "middle", dy=20)
    for position, token in enumerate(ids):
        panel.arrow(6.1, token + 0.45, 9.8, position + 0.45, "blue")
        panel.text(14.1, position, f"id {token}", anchor="start", dy=20)
    for token in range(6):
        panel.text(1.8, token, str(token), anchor="end", dy=20)
    caption = "An id selects a row. Each position adds its gradient to the row that it read, so the row of 3 gets two."
    return "Rows of a table", [panel], 260, caption


def corrections():
    """Draw a frozen matrix, two adapters and their product."""
    rng = np.random.default_rng(3)
    w, a, b = (rng.normal(size=shape) for shape in ((12, 18), (12, 2), (2, 18)))
    h, _ = linear(np.eye(12), a, np.zeros(2))
    product, _ = low_rank(np.eye(12), a, b, scale=0.5)
    panels, side = [], 15
    for left, values, kind, title in (
        (0, w, "blue", "W, frozen: 12 · 18 = 216 numbers"),
        (330, h, "blue", "A, learned"),
        (440, b, "blue", "B, learned: 24 + 36 numbers"),
        (770, product, "blue", "s A B, of rank 2"),
    ):
        height, width = np.array(values.shape) * side
        panel = Panel(left, 36, width, height, (0, 1), (0, 1))
        panel.title(title)
        tiles(panel, values, kind, 0, 1)
        panels.append(panel)
    for at, sign in ((300, "+"), (400, "·"), (735, "=")):
        panels.append(Panel(at, 36, 10, 180, (0, 1), (0, 1)))
        panels[-1].text(0.5, 0.5, sign, "title")
    caption = (
        "The correction is as large as W, but every row of it is a sum of multiples of the two rows of B. Only A and B "
        "are learned: 60 numbers here, and 12,288 instead of 589,824 for a matrix of GPT-2 with a rank of 8."
    )
    return "A correction from two thin matrices", panels, 240, caption


def averages_of_draws():
    """Draw dropout of one array, with one mask and on average over many."""
    rng, p, x = np.random.default_rng(1), 0.4, np.array([1.0, -0.5, 0.8, 0.3, -0.9])
    kept = rng.random((2000, 5)) >= p
    y, backward = dropout(x, keep=kept[0], p=p)
    mean = np.mean([dropout(x, keep=keep, p=p)[0] for keep in kept], axis=0)
    panels = row(4, 130, (0, 5), (-1.8, 1.8))
    shown = ("x", x), ("y, for one mask", y), ("dx, for dy = 1", backward(np.ones(5))), ("mean of y, 2,000 masks", mean)
    for panel, (title, values) in zip(panels, shown, strict=True):
        panel.title(title)
        panel.bars(values, kind="orange" if title.startswith("dx") else "blue")
    caption = (
        "With p = 0.4, an entry is dropped or divided by 0.6, and its gradient is multiplied by the same factor, 0 or "
        "1 / 0.6. The mean over the masks approaches x, which is why nothing is done when dropout is off."
    )
    return "Some entries, larger", panels, 190, caption


def paths():
    """Draw the stream through a block, with the root mean square of the values and the gradients on each path."""
    rng = np.random.default_rng(0)
    block = TransformerBlock(16, 2, 64, std=0.2, rng=rng, dtype=np.float64)
    x, dy, panel = rng.normal(size=(6, 16)), rng.normal(size=(6, 16)), Panel(0, 10, WIDE, 250, (0, 10), (-1.6, 1.6))
    added, added_backward = through(x, [block.norm1, block.attention])
    r = x + added
    more, more_backward = through(r, [block.norm2, block.feed_forward])
    through_feed_forward = more_backward(dy)
    dr = dy + through_feed_forward
    through_attention = added_backward(dr)
    stream, grads = (x, r, r + more), (dr + through_attention, dr, dy)
    for k, (left, values, gradient) in enumerate(zip((0.4, 4.8, 9.2), stream, grads, strict=True)):
        for name, value, kind, up in (("xry"[k], values, "blue", 0.12), ("xry"[k], gradient, "orange", -0.4)):
            panel.text(left, up, f"{'d' * (kind == 'orange')}{name} {size(value)}", kind, "middle")
    for left, title, value, gradient in (
        (0.9, "attention of norm1", added, through_attention),
        (5.3, "feed-forward of norm2", more, through_feed_forward),
    ):
        panel.arrow(left + 0.1, 0.15, left + 3.3, 0.15, "blue")
        panel.arrow(left + 3.3, -0.35, left + 0.1, -0.35, "orange dashed")
        panel.curve([left, left + 0.5, left + 0.9], [0.3, 1, 1], "blue")
        panel.text(left + 1.7, 1.0, title, "middle")
        panel.curve([left + 2.5, left + 2.9], [1, 1], "blue")
        panel.arrow(left + 2.9, 1, left + 3.4, 0.3, "blue")
        panel.text(left + 1.7, 0.72, f"adds {size(value)}", "blue", "middle")
        panel.text(left + 1.7, 0.24, "unchanged", "blue", "middle")
        panel.text(left + 1.7, -0.6, "unchanged", "orange", "middle")
        panel.curve([left + 3.4, left + 2.9, left + 0.5], [-0.5, -1.2, -1.2], "orange dashed")
        panel.arrow(left + 0.5, -1.2, left, -0.5, "orange dashed")
        panel.text(left + 1.7, -1.08, f"adds {size(gradient)}", "orange", "middle")
    caption = (
        "A block of random weights: the root mean square of the values, from left to right, and of the gradients, from "
        "right to left. On the straight paths both pass unchanged, and at each of the two layers a second path adds to "
        "them."
    )
    return "Two ways past each layer", [panel], 270, caption


def size(values):
    return f"{np.sqrt(np.mean(values**2)):.2f}"


def errors_of_differences():
    """Draw the error of a central difference over its step."""
    x, steps = np.array(0.7), np.logspace(-13, -0.5, 126)
    y, backward = silu(x)
    slope = backward(np.ones_like(x))
    found = np.array([(silu(x + h)[0] - silu(x - h)[0]) / (2 * h) for h in steps])
    errors = np.maximum(np.abs(found - slope), 1e-16)
    panel = Panel(60, 36, WIDE - 120, 220, (0, 12.5), (0, 13))  # decades above 1e-13
    panel.axes(across="step h", up="error of the slope of silu at x = 0.7")
    small, large = steps[steps < 1e-4], steps[steps > 1e-5]
    rounding, curvature = 1e-16 * abs(y) / small, errors[-1] * (large / large[-1]) ** 2
    for xs, ys, kind in ((small, rounding, "grey dashed"), (large, curvature, "grey dashed"), (steps, errors, "blue")):
        panel.curve(np.log10(xs) + 13, np.log10(ys) + 13, kind)
    panel.text(2, 10.4, "rounding, in proportion to 1 / h", "axes", "start")
    panel.text(9.8, 10.4, "curvature, in proportion to h²", "axes", "end")
    for power in range(1, 12, 2):
        panel.text(power, 0, f"1e−{13 - power}", dy=16)
        panel.text(0, power, f"1e−{13 - power}", anchor="end", dx=-6, dy=4)
    caption = (
        "A central difference is (f(x + h) − f(x − h)) / 2h. A large step is wrong because f is curved, and a small "
        "one because the difference of two nearly equal numbers is rounded. Between them it agrees with backward to "
        "ten digits."
    )
    return "How a gradient is checked", [panel], 310, caption


IDEAS: dict[str, Callable] = {
    "softmax": temperatures,
    "attention": averages,
    "activations": slopes,
    "layer_norm": partial(forgotten, partial(layer_norm, gamma=np.ones(5), beta=np.zeros(5)), True),
    "rms_norm": partial(forgotten, partial(rms_norm, gamma=np.ones(5)), False),
    "positions": dials,
    "optim": bowl,
    "lora": corrections,
    "dropout": averages_of_draws,
    "block": paths,
    "module": errors_of_differences,
    "embedding": rows_of_a_table,
}
