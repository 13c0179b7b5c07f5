"""Draw the small pictures on the cards of the front page."""

import numpy as np

from minitransformer.book.ideas import X
from minitransformer.book.pictures import Panel, tiles
from minitransformer.layers.activations import silu
from minitransformer.layers.positions import sinusoidal_positions
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import softmax


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
