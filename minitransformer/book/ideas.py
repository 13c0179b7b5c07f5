"""Draw the idea of a chapter, computed from its functions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from minitransformer import optim
from minitransformer.book.pictures import Panel, svg
from minitransformer.layers.activations import gelu_exact, relu, silu
from minitransformer.layers.attention import scaled_dot_product
from minitransformer.layers.embedding import embedding
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.positions import cos_and_sin, sinusoidal_positions, turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy
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
        "weight to the largest score, and by a large one makes all weights equal."
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
        "so their product depends only on the difference of their positions: the first two dials have the same one."
    )
    return "Two dials", panels, 280, caption


def probabilities():
    logits, target = np.array([[2.0, 0.5, 1.0, -1.0, 0.0]]), np.array([1])
    loss, backward = cross_entropy(logits, target)
    letters = ["a", "b ← target", "c", "d", "e"]
    panels = row(3, 140, (0, 5), (0, 1))
    panels[0].ys, panels[2].ys = (-1, 2), (-1, 1)
    for panel, title, values, kind in zip(
        panels,
        (
            "logits x",
            f"probabilities p: the loss is −log {softmax(logits)[0][0, 1]:.2f} = {loss:.2f}",
            "gradient p − onehot",
        ),
        (logits[0], softmax(logits)[0][0], backward(1.0)[0]),
        ("blue", "blue", "orange"),
        strict=True,
    ):
        panel.title(title)
        panel.bars(values, letters, kind)
    caption = (
        "The gradient is negative only for the target, whose logit a step of training raises. All others are lowered "
        "in proportion to their probabilities, and the changes sum to zero."
    )
    return "Predicted minus true", panels, 230, caption


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
    q, k = np.array([[1.0, 0.2]]), np.array([[0.9, 1.2], [-1.4, 0.3], [0.8, -1.0]])
    v = np.array([[-1.2, 0.7], [1.2, 1.1], [0.9, -1.1]])
    (y, _), (weights, _) = scaled_dot_product(q, k, v), softmax(q @ k.T / np.sqrt(2))
    keys, values = row(2, 250, (-2.4, 2.4), (-1.5, 1.5))
    keys.title("a query q, and keys: a line is as wide as the key's weight")
    values.title("values, and their average y")
    for panel in (keys, values):
        panel.axes()
    values.curve(*v[[0, 1, 2, 0]].T, "grey")
    for j, weight in enumerate(weights[0]):
        for panel, center, point, name in ((keys, q[0], k[j], "k"), (values, y[0], v[j], "v")):
            panel.curve(*np.array([center, point]).T, "blue shade", 1 + 16 * weight)
            panel.dot(*point, "blue", 5)
            panel.text(*point, f"{name}{'₁₂₃'[j]}", "middle", dx=16, dy=-8)
        values.text(*(0.5 * (y[0] + v[j])), f"{weight:.0%}", "axes", dy=-8)
    keys.arrow(0, 0, *q[0], "blue")
    keys.text(*q[0], "q", "middle", dx=14, dy=5)
    values.dot(*y[0], "blue", 8)
    values.text(*y[0], "y", "middle", dx=16, dy=5)
    caption = (
        "A key in the direction of the query has a large product with it, and after the softmax much of the weight. "
        "The output lies within the triangle of the values, towards the value of that key."
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


def thumbnail(page: str, ladder) -> str:
    """Return a small drawing for the card of a page: a curve or bars, or the last arrays of its ladder."""
    panel = Panel(8, 8, 184, 64, (0, 1), (0, 1))
    xs = np.linspace(-3, 3, 61)
    y, backward = silu(xs)
    if page in ("activations", "first_steps", "module"):
        panel.xs, panel.ys = (-3, 3), (-0.4, 3)
        panel.curve(xs, y, "blue")
        panel.curve(xs, backward(np.ones_like(xs)), "orange")
    elif page in ("losses", "whys", "misconceptions", "generation"):
        p = np.linspace(0.03, 1, 60)
        panel.ys = (0, 3.5)
        panel.curve(p, -np.log(p), "grey" if page == "misconceptions" else "blue")
    elif page in ("softmax", "layer_norm", "rms_norm"):
        values = softmax(np.linspace(-1, 2, 8))[0] if page == "softmax" else rms_norm(X, np.ones(5))[0]
        panel.ys = (min(0, values.min()), values.max())
        panel.bars(values, numbers="")
    elif page == "positions":
        tiles(panel, sinusoidal_positions(8, 24), "blue", 0, 1)
    elif ladder is not None:
        values = [value for cell in ladder.forward for value in cell.arrays.values() if np.ndim(value)][-1:]
        gradients = [value for cell in ladder.backward for value in cell.arrays.values() if np.ndim(value)][-1:]
        for k, (value, kind) in enumerate([*((v, "blue") for v in values), *((v, "orange") for v in gradients)]):
            share = 1 / len(values + gradients)
            tiles(panel, np.reshape(value, (-1, np.shape(value)[-1])), kind, k * share, (k + 1) * share - 0.02)
    return f'<svg viewBox="0 0 200 80" aria-hidden="true">{panel}</svg>' if panel.parts else ""


def tiles(panel, values, kind, left, right):
    values = np.where(np.isfinite(values), values, 0)
    height, width = np.array([1, right - left]) / values.shape
    largest = np.abs(values).max() or 1
    for (i, j), entry in np.ndenumerate(values):
        (x0, y0), (x1, y1) = (
            panel.place(left + j * width, 1 - i * height),
            panel.place(left + (j + 1) * width, 1 - (i + 1) * height),
        )
        panel.parts.append(
            f'<rect class="{kind if entry >= 0 else "grey"}" stroke="none" fill-opacity="{abs(entry) / largest:.2f}" '
            f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0 - 1:.1f}" height="{y1 - y0 - 1:.1f}"/>'
        )


IDEAS: dict[str, Callable] = {
    "softmax": temperatures,
    "attention": averages,
    "activations": slopes,
    "layer_norm": partial(forgotten, partial(layer_norm, gamma=np.ones(5), beta=np.zeros(5)), True),
    "rms_norm": partial(forgotten, partial(rms_norm, gamma=np.ones(5)), False),
    "positions": dials,
    "losses": probabilities,
    "optim": bowl,
    "embedding": rows_of_a_table,
}
