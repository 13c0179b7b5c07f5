"""Problems with short exact results: calls of the textbook's functions on numbers that suit calculation by hand.

The inputs of a softmax are logarithms of integers, so that exp returns the integers. The deviations in a row of layer
normalization have an integer root mean square. Rotary positions rotate by right angles. A problem with another kind of
result is drawn again, and so is one in which a classic mistake of its topic would not change an answer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from minitransformer import optim
from minitransformer.book import notation as n
from minitransformer.book.specimens import REDUCTIONS, on
from minitransformer.layers.activations import relu
from minitransformer.layers.attention import attention
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
    """A number has no short exact form, or a mistake does not change it."""


GRADIENTS = "Gradients are those of a loss L: dy is ∂L/∂y, and dx is ∂L/∂x and has the shape of x."


@dataclass(frozen=True)
class Mistake:
    """A wrong equation in place of one with the same number, and a sentence that describes the mistake."""

    equation: n.Equation
    number: int
    sentence: str


@dataclass(frozen=True)
class Topic:
    """The topic of a worksheet.

    `draw(rng, rows, level)` returns (Specimen, {name: given array}). `names` explains the names of the forward pass,
    and `gradients` those of the backward pass. `mistakes` are the classic ones.
    """

    title: str
    file: str
    draw: Callable
    names: str
    gradients: str
    mistakes: tuple


def exactly(number) -> str:
    """Return the exact form of a number: a fraction, a multiple of ln 2, the logarithm of an integer, or −∞.

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
    specimen = on(cross_entropy, (x, t), names=names, dy=1.0, **settings)
    return specimen, {"x": x, "t": t, "w": w, "ε": np.array(0.0), "V": np.array(4.0), "dL": np.array(1.0)}


def draw_attention(rng, rows, level):
    width, keys = 2 if level == WITHOUT_EQUATIONS else 1, 4 - rows
    q, k = rng.integers(0, 5, (1, rows, width)).astype(float), LN2 * rng.integers(-2, 3, (1, keys, width))
    v, dy = whole(rng, 1, keys, 2), whole(rng, 1, rows, 2)
    mask = np.tri(2, dtype=bool) if rows == 2 else rng.permutation([[True, True, False]], axis=1)
    options, names = {"mask": mask, "scale": 0.5}, "softmax = value_of(softmax)"
    specimen = on(attention, (q, k, v), "", names, {"mask": mask}, options=options, dy=dy)
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


# name | title | file, then the names of the forward pass, those of the backward pass unless they are GRADIENTS, and the
# classic mistakes: a wrong equation, the number of the right one, and a sentence
TABLE = """
linear | A linear map | layers/linear.py
    Each row of x is a position. The output y is x multiplied by the matrix W, plus b in each row.
  * y = x W (1) The bias is forgotten.
  * dx = dy W (2) W is not transposed.
  * dW = x dy (3) x is not transposed.
  * dW = dyᵀ x (3) The factors are exchanged.
  * db = Σ_p dy / 2 (4) The mean over the positions stands for their sum.
softmax | A softmax | layers/softmax.py
    Each row of x is converted to weights y that sum to 1. m is the largest entry of the row, e the exponential of
    x − m, and Σ the sum over the row.
  * y = e / Σ_p e (2) The sum runs over the column.
  * dx = y · dy (3) The sum is not subtracted.
  * dx = y · (1 − y) · dy (3) Only the diagonal of the Jacobian is used.
  * dx = y · (dy − Σ dy) (3) The sum is not weighted by y.
cross_entropy | Cross-entropy | losses.py
    Each row of x contains the logits of a position, and t its target, counted from 0. No target is ignored. w is the
    weight of each of the V classes. There is no label smoothing (ε = 0), so a is the weight of the target at the target
    and 0 elsewhere. z is the logarithm of the softmax of a row, p the softmax, ℓ the loss of a position, and L the mean
    of the losses.
  Gradients are those of L: dL = 1, dℓ is ∂L/∂ℓ, and dx is ∂L/∂x and has the shape of x. A is the sum of a row of a.
  * a_c = (1 − ε) [c = t] + ε / V (1) The class weights are forgotten.
  * ℓ = 0 where t = ignored, else Σ_c a_c · z_c (3) The sign is wrong.
  * L = Σ_n ℓ_n / N (4) The mean divides by the number of positions, not by the sum of the targets' weights.
  * dℓ = dL / N (6) The gradient of a mean over the number of positions.
  * dx_j = (p_j − a_j) · dℓ (7) p is not multiplied by A.
  * dx_j = (A p_j − a_j) · dL (7) The factor of the mean is forgotten.
attention | Attention | layers/attention.py
    Each row of q is a query, each row of k a key, and the same row of v its value. The scores are multiplied by s. The
    rows of the mask are queries and its columns keys: where it says no, the masked score is −∞. The weights are the
    softmax of each row. There is no dropout: used = weights. Each row of y is the output of a query.
  {GRADIENTS} Also dweights = dused.
  * scores = q kᵀ (1) The scale is forgotten.
  * masked = scores (2) The mask is ignored.
  * weights = softmax(maskedᵀ)ᵀ (3) The softmax runs over the queries.
  * dv = used dy (5) The weights are not transposed.
  * dused = dy v (5) v is not transposed.
  * dscores = weights · dweights (6) The sum of the softmax's gradient is not subtracted.
  * dq = dscores k (7) The scale is forgotten.
  * dk = s · dscores q (7) The gradient of the scores is not transposed.
  * dk = dscoresᵀ q (7) The scale is forgotten.
layer_norm | Layer normalization | layers/layer_norm.py
    Each row of x is a position. x̂ is the row minus its mean μ, divided by its standard deviation σ (r = 1/σ, since
    ε = 0). y is x̂ multiplied by γ, plus β, elementwise. A mean is that of a row, and Σ sums over all positions.
  * σ² = Σ (x − μ)² / 3 (2) The variance divides by C − 1.
  * y = x̂ + β (5) γ is forgotten.
  * dγ = Σ_p dy (6) γ gets the gradient of β.
  * dx = r · (dx̂ − mean(dx̂)) (7) The path through the variance is missing.
  * dx = r · (dx̂ − x̂ · mean(dx̂ · x̂)) (7) The path through the mean is missing.
  * dx = γ · r · (dy − mean(dy) − x̂ · mean(dy · x̂)) (7) γ is outside of the means.
rms_norm | Root-mean-square normalization | layers/rms_norm.py
    Each row of x is a position. x̂ is the row divided by its root mean square (r is the reciprocal, since ε = 0). y is
    x̂ multiplied by γ, elementwise. A mean is that of a row, and Σ sums over all positions.
  * r = 1 / √(Σ x² + ε) (1) The sum stands for the mean.
  * dγ = Σ_p dy (4) x̂ is forgotten.
  * dx = r · dx̂ (5) The path through r is missing.
  * dx = r · (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) (5) The gradient of layer normalization.
  * dx = γ · r · (dy − x̂ · mean(dy · x̂)) (5) γ is outside of the mean.
relu | A ReLU | layers/activations.py
    y is x where x is positive, and 0 elsewhere.
  * y = −x where x ≤ 0, else x (1) The absolute value.
  * dx = dy (2) The slope is 1 everywhere.
  * dx = 0 where dy ≤ 0, else dy (2) The sign of dy is tested instead of that of x.
rotary | Rotary positions, by right angles | layers/positions.py
    Each row is a position. Each pair of channels (a, b) is rotated to (a′, b′) by an angle, whose cos and sin are
    given.
  Gradients are those of a loss L: da′ is ∂L/∂a′, and da is ∂L/∂a.
  * a′ = a · cos + b · sin (7) Each pair is rotated in the opposite direction.
  * b′ = b · cos − a · sin (8) Each pair is rotated in the opposite direction.
  * da = da′ · cos − db′ · sin (9) The gradient is rotated as in the forward pass.
  * db = db′ · cos + da′ · sin (10) The gradient is rotated as in the forward pass.
adamw | AdamW's first step | optim.py
    The weight θ has the gradient g. m and v are the moving averages of g and g² with the rates β₁ and β₂. They are 0
    before step t = 1. lr is the learning rate. The weight decay λ is applied first and gives the decayed weight. θ′,
    m′ and v′ are the new values. m̂ and v̂ are corrected for the initial 0 by 1 − β₁ᵗ and 1 − β₂ᵗ. ε is added to the
    root.
  none
  * decayed = θ − λ · θ (1) The decay is not multiplied by lr.
  * m′ = β₁ m + g (2) The gradient is not multiplied by 1 − β₁.
  * v′ = β₂ v + (1 − β₂) g (3) The gradient is not squared.
  * m̂ = m′ (4) The average is not corrected.
  * v̂ = v′ (5) The average is not corrected.
  * θ′ = θ − lr · m̂ / (√v̂ + ε) (6) The decay is forgotten.
  * θ′ = decayed − lr · m̂ / (v̂ + ε) (6) The root is forgotten.
"""


def read(entry: str) -> tuple[str, Topic]:
    head, *lines = entry.split("\n")
    name, title, file = head.split(" | ")
    names = " ".join(line.strip() for line in lines if line.startswith("    "))
    gradients = next((line.strip() for line in lines if re.match("  [^ *]", line)), "{GRADIENTS}")
    gradients = gradients.replace("{GRADIENTS}", GRADIENTS).replace("none", "")
    wrong = (re.fullmatch(r"  \* (.*) \((\d+)\) (.*)", line) for line in lines)
    mistakes = tuple(Mistake(n.parse(match[1]), int(match[2]), match[3]) for match in wrong if match)
    return name, Topic(title, file, globals()[f"draw_{name}"], names, gradients, mistakes)


TOPICS = dict(map(read, re.split(r"\n(?! )", TABLE.strip())))
