"""Draw inputs of the textbook's functions that suit calculation by hand.

The inputs of a softmax are logarithms of integers, so that exp returns the integers. The deviations in a row of layer
normalization have an integer root mean square. Rotary positions rotate by right angles. A problem is drawn again if a
result has no short exact form, or if a classic mistake of the topic would not change an answer.
"""

import re
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from minitransformer import optim
from minitransformer.book import notation as n
from minitransformer.book.specimens import REDUCTIONS, WITH_A_MASK, on
from minitransformer.layers.activations import relu
from minitransformer.layers.attention import masked_softmax, scaled_dot_product
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.positions import turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy

LN2 = np.log(2)
LARGEST_DENOMINATOR, LARGEST_NUMERATOR = 36, 100
LEVELS = {1: "forward", 2: "forward and backward", 3: "forward and backward, without the equations"}
FORWARD_ALONE, WITHOUT_EQUATIONS = 1, 3


class OddError(ValueError):
    """Raised if a problem is not suitable: a result has no short exact form, or a mistake does not change an answer."""


GRADIENTS = "Gradients are those of a loss L: dy is ∂L/∂y, and dx is ∂L/∂x and has the shape of x."


Mistake = namedtuple("Mistake", "equation number sentence")  # a wrong equation, and the number of the right one


@dataclass(frozen=True)
class Topic:
    title: str  # title of the worksheet
    file: str  # file with the equations, relative to the package
    draw: Callable  # draw(rng, rows, level) returns (Specimen, {name: given array})
    names: str  # explanation of the names of the forward pass
    gradients: str  # explanation of the names of the backward pass
    mistakes: tuple  # tuple of classic Mistakes


def exactly(number) -> str:
    """Format a number as a fraction, a multiple of ln 2, the logarithm of an integer, or −∞.

    Raises OddError for any other number.
    """
    if number == -np.inf:
        return "−∞"
    if not abs(number) <= LARGEST_NUMERATOR:
        raise OddError(f"{number} must be at most {LARGEST_NUMERATOR} in absolute value")
    for unit, name in ((1.0, ""), (LN2, "ln 2")):
        fraction = Fraction(float(number / unit)).limit_denominator(LARGEST_DENOMINATOR)
        if abs(float(fraction) * unit - number) < 1e-9 and abs(fraction.numerator) <= LARGEST_NUMERATOR:
            text = f"{fraction} {name}".strip() if fraction else "0"
            return re.sub("^(−?)1 (?=ln)", r"\1", text.replace("-", "−"))
    whole = np.exp(min(abs(number), 9))
    if abs(whole - round(whole)) < 1e-9 and whole < LARGEST_DENOMINATOR:
        return f"{'−' if number < 0 else ''}ln {round(whole)}"
    raise OddError(f"{number} has no short exact form")


def whole(rng, *shape, least=-3, most=3):
    drawn = rng.integers(least, most, shape)
    return np.where(drawn >= 0, drawn + 1, drawn).astype(float)


def logarithms(rng, rows, columns, total):
    powers = [p for p in combinations_with_replacement((1, 2, 4, 8), columns) if sum(p) in total and len({*p}) > 1]
    return np.log([rng.permutation(powers[rng.integers(len(powers))]) for _ in range(rows)]).astype(float)


def draw_linear(rng, rows, level):
    x, weight, bias, dy = whole(rng, rows, 2), whole(rng, 2, 2), whole(rng, 2), whole(rng, rows, 2)
    specimen = on(linear, (x, weight, bias), names="W = weight; b = bias", dy=dy)
    return specimen, {"x": x, "W": weight, "b": bias, "dy": dy}


def draw_relu(rng, rows, level):
    x, dy = whole(rng, rows, 4), whole(rng, rows, 4)
    return on(relu, (x,), dy=dy), {"x": x, "dy": dy}


def draw_softmax(rng, rows, level):
    x = logarithms(rng, 2, 4, {6, 8, 9, 10, 12, 16})
    dy = whole(rng, *x.shape)
    m = x.max(-1, keepdims=True)
    return on(softmax, (x,), known={"m": m}, dy=dy), {"x": x, "m": m, "dy": dy}


def draw_cross_entropy(rng, rows, level):
    x, t, w = logarithms(rng, rows, 4, {8, 16}), rng.integers(4, size=rows), rng.integers(1, 4, 4).astype(float)
    names = "x = logits; t = targets; ε = smooth; ignored = ignore_index; dL = dloss; N = targets.size; "
    names += "log_softmax = value_of(log_softmax)"
    settings = {"options": {"weight": w}, "variant": "mean", "variants": REDUCTIONS}
    settings |= {"also": ("coefficients", "share_of_a_position")}
    specimen = on(cross_entropy, (x, t), names=names, dy=1.0, **settings)
    return specimen, {"x": x, "t": t, "w": w, "ε": np.array(0.0), "V": np.array(4.0), "dL": np.array(1.0)}


def draw_attention(rng, rows, level):
    width, keys = 2 if level == WITHOUT_EQUATIONS else 1, 4 - rows
    q, k = 2.0 * rng.integers(0, 3, (1, rows, width)), LN2 * rng.integers(-2, 3, (1, keys, width))
    v, dy = whole(rng, 1, keys, 2), whole(rng, 1, rows, 2)
    mask = np.tri(2, dtype=bool) if rows == 2 else rng.permutation([[True, True, False]], axis=1)
    if np.abs(q @ k.swapaxes(-1, -2)).max() > 6 * LN2:
        raise OddError("an attention weight would be a fraction with a large denominator")
    options = {"scale": 0.5, "weigh": partial(masked_softmax, mask=mask, on_weights=None)}
    names = "softmax = value_of(softmax)"
    specimen = on(scaled_dot_product, (q, k, v), "", names, {"mask": mask}, options=options, dy=dy, **WITH_A_MASK)
    return specimen, {"q": q[0], "k": k[0], "v": v[0], "s": np.array(0.5), "mask": mask, "dy": dy[0]}


def choices(rng, rows, entries, squares, total=None):
    found = [d for d in combinations_with_replacement(entries, 4) if sum(np.square(d)) in squares]
    found = [d for d in found if total is None or sum(d) == total]
    return np.array([rng.permutation(found[rng.integers(len(found))]) for _ in range(rows)])


def draw_layer_norm(rng, rows, level):
    x = choices(rng, rows, range(-5, 6), (16, 36), total=0) + rng.integers(-3, 4, (rows, 1)).astype(float)
    gamma, beta, dy = whole(rng, 4), whole(rng, 4), whole(rng, *x.shape)
    specimen = on(layer_norm, (x, gamma, beta), options={"eps": 0.0}, dy=dy)
    return specimen, {"x": x, "γ": gamma, "β": beta, "ε": np.array(0.0), "dy": dy}


def draw_rms_norm(rng, rows, level):
    x = choices(rng, rows, range(1, 8), (16, 36, 64, 100)) * rng.choice([-1.0, 1.0], (rows, 4))
    gamma, dy = whole(rng, 4), whole(rng, *x.shape)
    given = {"x": x, "γ": gamma, "ε": np.array(0.0), "dy": dy}
    return on(rms_norm, (x, gamma), options={"eps": 0.0}, dy=dy), given


def draw_rotary(rng, rows, level):
    quarters = rng.integers(0, 4, (3, rows))
    cos, sin = np.array([1.0, 0, -1, 0])[quarters], np.array([0.0, 1, 0, -1])[quarters]
    x, dy = whole(rng, 3, 2 * rows), whole(rng, 3, 2 * rows)
    options = {"cos": cos, "sin": sin, "layout": "half"}
    specimen = on(turned, (x,), names="da′ = da_turned; db′ = db_turned", options=options, dy=dy)
    parts = [x[:, :rows], x[:, rows:], cos, sin, dy[:, :rows], dy[:, rows:]]
    return specimen, dict(zip(("a", "b", "cos", "sin", "da′", "db′"), parts, strict=True))


def draw_adamw(rng, rows, level):
    theta, g, zero = whole(rng, rows, least=-6, most=6), whole(rng, rows, least=-4, most=4), np.zeros(rows)
    settings = {"t": 1, "lr": 0.5, "betas": (0.5, 0.75), "eps": 1.0, "weight_decay": 0.25}
    state = theta, g, zero, zero
    specimen = on(optim.adamw, state, names="λ = weight_decay", options=settings, explains=False)
    numbers = {"t": 1, "lr": 0.5, "λ": 0.25, "ε": 1.0, "β₁": 0.5, "β₂": 0.75}
    given = {"θ": theta, "g": g, "m": zero, "v": zero}
    return specimen, given | {name: np.array(number) for name, number in numbers.items()}


def read(entry: str) -> tuple[str, Topic]:
    head, names, *others = entry.strip().split("\n\n")
    (name, title, file), (wrong, *gradients) = head.split(" | "), reversed(others)
    given = " ".join("".join(gradients).split())
    said = {"": GRADIENTS, "none": ""}.get(given, given.replace("{GRADIENTS}", GRADIENTS))
    mistakes = re.findall(r"^- (.*) \((\d+)\) (.*)$", wrong, flags=re.MULTILINE)
    classic = tuple(Mistake(n.parse(equation), int(number), sentence) for equation, number, sentence in mistakes)
    return name, Topic(title, file, globals()[f"draw_{name}"], " ".join(names.split()), said, classic)


TOPICS_FILE = Path(__file__).with_name("topics.md")
TOPICS = dict(map(read, re.split("^## ", TOPICS_FILE.read_text("utf-8"), flags=re.MULTILINE)[1:]))
