"""Problems that come out even: calls of the textbook's functions on numbers that one can work with by hand.

Softmaxes get logarithms of whole numbers, so that exp gives these back; layer normalization gets a row whose deviations
have a whole root mean square; rotary positions turn by right angles. What does not come out even is drawn again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from minitransformer import optim
from minitransformer.book.specimens import REDUCTIONS, Specimen, constant, value_of
from minitransformer.layers.activations import relu
from minitransformer.layers.attention import attention
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.positions import turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy

LN2 = np.log(2)
LARGEST_DENOMINATOR, LARGEST_NUMERATOR = 36, 100
LEVELS = {1: "forward", 2: "forward and backward", 3: "forward and backward, without the equations"}
FORWARD_ALONE, WITHOUT_EQUATIONS = 1, 3


class OddError(ValueError):
    """A number that does not come out even."""


GRADIENTS = "A gradient is that of a loss L: dy is ∂L/∂y, and dx, of x's shape, is ∂L/∂x."


@dataclass(frozen=True)
class Topic:
    """What a worksheet is about: the file of its equations, and draw(rng, level) → (Specimen, {name: given array}).

    `names` says what the names of a sheet stand for, and `gradients` those of its backward pass; `skipped` are the
    numbers of equations that are not asked for.
    """

    title: str
    file: str
    draw: Callable
    names: str
    gradients: str = GRADIENTS
    skipped: tuple = ()


def exactly(number) -> str:
    """Return a number as one writes it: 3, 3/8, ln 2, 3/8 ln 2 or ln 3. Raises OddError for any other."""
    if number == -np.inf:
        return "−∞"
    if not abs(number) <= LARGEST_NUMERATOR:
        raise OddError(f"{number} does not come out even")
    for unit, name in ((1.0, ""), (LN2, "ln 2")):
        fraction = Fraction(float(number / unit)).limit_denominator(LARGEST_DENOMINATOR)
        if abs(float(fraction) * unit - number) < 1e-9 and abs(fraction.numerator) <= LARGEST_NUMERATOR:
            return with_unit(fraction, name)
    whole = np.exp(min(abs(number), 9))
    if abs(whole - round(whole)) < 1e-9 and whole < LARGEST_DENOMINATOR:
        return f"{'−' if number < 0 else ''}ln {round(whole)}"
    raise OddError(f"{number} does not come out even")


def with_unit(fraction, unit):
    """A fraction of a unit, as one writes it."""
    sign, size = "−" if fraction < 0 else "", abs(fraction)
    if not unit or not fraction:
        return f"{sign}{size}"
    return f"{sign}{unit}" if size == 1 else f"{sign}{size} {unit}"


def whole(rng, *shape, least=-3, most=3):
    """Whole numbers, none of them zero."""
    drawn = rng.integers(least, most, shape)
    return np.where(drawn >= 0, drawn + 1, drawn).astype(float)


def logarithms(rng, rows, columns, total):
    """Rows of logarithms of powers of two that add up to `total`."""
    powers = [p for p in combinations_with_replacement((1, 2, 4, 8), columns) if sum(p) in total]
    return np.log([rng.permutation(powers[rng.integers(len(powers))]) for _ in range(rows)]).astype(float)


def rows_for(level):
    """How many positions a sheet of this level has."""
    return 1 if level == FORWARD_ALONE else 2


def draw_linear(rng, level):
    rows = rows_for(level)
    x, weight, bias, dy = whole(rng, rows, 3), whole(rng, 3, 2), whole(rng, 2), whole(rng, rows, 2)
    names = {"W": "weight", "b": "bias"}
    return Specimen("linear", linear, (x, weight, bias), names=names, dy=dy), {"x": x, "W": weight, "b": bias, "dy": dy}


def draw_relu(rng, level):
    x, dy = whole(rng, rows_for(level), 4), whole(rng, rows_for(level), 4)
    return Specimen("relu", relu, (x,), dy=dy), {"x": x, "dy": dy}


def draw_softmax(rng, level):
    x = logarithms(rng, 2, 4, {8, 16})
    dy = whole(rng, *x.shape)
    m = x.max(-1, keepdims=True)
    return Specimen("softmax", softmax, (x,), names={"m": constant(m)}, dy=dy), {"x": x, "m": m, "dy": dy}


def draw_cross_entropy(rng, level):
    x = logarithms(rng, rows_for(level), 4, {8, 16})
    t = rng.integers(4, size=len(x))
    names = {"x": "logits", "t": "targets", "ε": "smooth", "ignored": "ignore_index", "dL": "dloss"}
    names["log_softmax"] = constant(value_of(log_softmax))
    kind = {"variant": "mean", "variants": REDUCTIONS}
    specimen = Specimen("cross_entropy", cross_entropy, (x, t), names=names, dy=1.0, **kind)
    return specimen, {"x": x, "t": t, "a": np.eye(4)[t], "w": np.ones(4), "dL": np.array(1.0)}


def draw_attention(rng, level):
    queries, width = (1, 1) if level == FORWARD_ALONE else (2, 1 if level == 2 else 2)
    q = rng.integers(0, 2, (1, queries, width)).astype(float)
    k = LN2 * rng.integers(-1, 2, (1, 2, width))
    v, dy = whole(rng, 1, 2, 2), whole(rng, 1, queries, 2)
    mask = np.tri(queries, 2, 2 - queries, dtype=bool)
    if len({tuple(row) for row in k[0]}) == 1 or not q.any(axis=-1).all():
        raise OddError("all keys are alike to a query")
    names = {"softmax": constant(value_of(softmax)), "mask": constant(mask)}
    specimen = Specimen("attention", attention, (q, k, v), {"mask": mask, "scale": 1.0}, names=names, dy=dy)
    return specimen, {"q": q[0], "k": k[0], "v": v[0], "s": np.array(1.0), "mask": mask, "dy": dy[0]}


def draw_layer_norm(rng, level):
    deviations = [
        d for d in combinations_with_replacement(range(-5, 6), 4) if sum(d) == 0 and sum(np.square(d)) in (16, 36)
    ]
    chosen = [rng.permutation(deviations[rng.integers(len(deviations))]) for _ in range(rows_for(level))]
    x = np.array(chosen) + rng.integers(-3, 4, (len(chosen), 1)).astype(float)
    gamma, beta, dy = whole(rng, 4), whole(rng, 4), whole(rng, *x.shape)
    specimen = Specimen("layer_norm", layer_norm, (x, gamma, beta), {"eps": 0.0}, dy=dy)
    return specimen, {"x": x, "γ": gamma, "β": beta, "ε": np.array(0.0), "dy": dy}


def draw_rms_norm(rng, level):
    rows = [d for d in combinations_with_replacement(range(1, 8), 4) if sum(np.square(d)) in (16, 36, 64, 100)]
    chosen = [rng.permutation(rows[rng.integers(len(rows))]) for _ in range(rows_for(level))]
    x = np.array(chosen) * rng.choice([-1.0, 1.0], (len(chosen), 4))
    gamma, dy = whole(rng, 4), whole(rng, *x.shape)
    specimen = Specimen("rms_norm", rms_norm, (x, gamma), {"eps": 0.0}, dy=dy)
    return specimen, {"x": x, "γ": gamma, "ε": np.array(0.0), "dy": dy}


def draw_rotary(rng, level):
    pairs = 1 if level == FORWARD_ALONE else 2
    quarters = rng.integers(0, 4, (3, pairs))
    cos, sin = np.array([1.0, 0, -1, 0])[quarters], np.array([0.0, 1, 0, -1])[quarters]
    x, dy = whole(rng, 3, 2 * pairs), whole(rng, 3, 2 * pairs)
    names = {"da′": "da_turned", "db′": "db_turned"}
    options = {"cos": cos, "sin": sin, "layout": "half"}
    specimen = Specimen("turned", turned, (x,), options, names=names, dy=dy)
    return specimen, {
        "a": x[:, :pairs],
        "b": x[:, pairs:],
        "cos": cos,
        "sin": sin,
        "da′": dy[:, :pairs],
        "db′": dy[:, pairs:],
    }


def draw_adamw(rng, level):
    size = 1 if level == FORWARD_ALONE else 2
    theta, g = whole(rng, size, least=-6, most=6), whole(rng, size, least=-4, most=4)
    settings = {"t": 1, "lr": 0.5, "betas": (0.5, 0.75), "eps": 1.0, "weight_decay": 0.25}
    zero = np.zeros(size)
    specimen = Specimen(
        "adamw", optim.adamw, (theta, g, zero, zero), settings, names={"λ": "weight_decay"}, explains=False
    )
    given = {"θ": theta, "g": g, "m": zero, "v": zero, "t": np.array(1), "lr": np.array(0.5)}
    return specimen, given | {"λ": np.array(0.25), "ε": np.array(1.0), "β₁": np.array(0.5), "β₂": np.array(0.75)}


ROWS = "A row of x is a position."

TOPICS = {
    "linear": Topic(
        "A linear map",
        "layers/linear.py",
        draw_linear,
        f"{ROWS} It is multiplied by the matrix W, and b is added to each row: y.",
    ),
    "softmax": Topic(
        "A softmax",
        "layers/softmax.py",
        draw_softmax,
        "Each row of x is turned into weights y that add up to 1: m is its largest entry, e what exp makes of its "
        "distances from m, and Σ adds up a row.",
    ),
    "cross_entropy": Topic(
        "Cross-entropy",
        "losses.py",
        draw_cross_entropy,
        "A row of x are the logits of a position, t counts from 0 and is its target, no target is ignored, a is 1 at "
        "the target and 0 elsewhere, and w weighs all classes alike. z is the logarithm of the softmax of a row, p the "
        "softmax, ℓ the loss of a position, and L their mean.",
        "A gradient is that of L: dL = 1, dℓ is ∂L/∂ℓ, and dx, of x's shape, is ∂L/∂x; A is the sum of a row of a.",
        skipped=(1,),
    ),
    "attention": Topic(
        "Attention",
        "layers/attention.py",
        draw_attention,
        "A row of q is a query, a row of k a key and that of v its value; s scales their scores. A query, a row of the "
        "mask, sees the keys, its columns, where it says yes; elsewhere its score is masked by −∞. The weights are the "
        "softmax of a row, and used as they are: used = weights. A row of y is a query's result.",
        f"{GRADIENTS} Also dweights = dused.",
    ),
    "layer_norm": Topic(
        "Layer normalization",
        "layers/layer_norm.py",
        draw_layer_norm,
        f"{ROWS} From it its mean μ is taken, and what is left is divided by its root mean square σ, that is, "
        "multiplied by r, where ε is nothing: x̂; γ and β scale and shift that, entry by entry: y. A mean is that of a "
        "row, and Σ adds up all positions.",
    ),
    "rms_norm": Topic(
        "Root-mean-square normalization",
        "layers/rms_norm.py",
        draw_rms_norm,
        f"{ROWS} It is divided by its root mean square, that is, multiplied by r, where ε is nothing: x̂; γ scales "
        "that, entry by entry: y. A mean is that of a row, and Σ adds up all positions.",
    ),
    "relu": Topic("A ReLU", "layers/activations.py", draw_relu, "Each entry of x is kept where it is positive: y."),
    "rotary": Topic(
        "Rotary positions, by right angles",
        "layers/positions.py",
        draw_rotary,
        "A row is a position, and (a, b) the pairs of its channels: each pair is turned by an angle, of which cos and "
        "sin are given, to (a′, b′).",
        "A gradient is that of a loss L: da′ is ∂L/∂a′, and da is ∂L/∂a.",
    ),
    "adamw": Topic(
        "AdamW's first step",
        "optim.py",
        draw_adamw,
        "A weight θ has the gradient g; m and v are the averages of g and of g², with rates β₁ and β₂, and 0 before "
        "step t = 1; lr is the learning rate, and λ the decay: θ decayed comes first. θ′, m′ and v′ are new, m̂ and v̂ "
        "corrected for the start at 0, by 1 − β₁ᵗ and 1 − β₂ᵗ, and ε is added to a root.",
        gradients="",
    ),
}
