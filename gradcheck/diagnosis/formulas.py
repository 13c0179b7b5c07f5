"""Mistakes in a formula of the right form: evaluated at the wrong place, or with wrong factors before its terms."""

import itertools

import numpy as np

from gradcheck.diagnosis.evidence import fits, profiles

# Common derivatives of y = f(x): some are written in terms of x, others in terms of y.
DERIVATIVES = (
    ("{0} (1 − {0})", lambda t: t * (1 - t)),
    ("(1 − {0}²)", lambda t: 1 - t * t),
    ("{0}", lambda t: t),
    ("2 {0}", lambda t: 2 * t),
    ("1 / {0}", lambda t: 1 / t),
    ("1 / 2{0}", lambda t: 0.5 / t),
    ("exp({0})", np.exp),
    ("cos({0})", np.cos),
    ("(1 − tanh² {0})", lambda t: 1 - np.tanh(t) ** 2),
    ("σ({0}) (1 − σ({0}))", lambda t: 0.25 / np.cosh(t / 2) ** 2),
)


def derivative_at_the_wrong_place(evidence):
    """Detect a derivative that is evaluated at the wrong array.

    given = dy · F(x) and truth = dy · F(y), or the reverse: the input is used where the output belongs. Other arrays of
    the call may also take the place of x or y.
    """
    dy, shape = evidence.dy, evidence.given.shape
    if dy.shape != shape or evidence.known.sum() < 3:
        return None
    named_arrays = [(name, array) for name, array in [*evidence.arrays(), ("y", evidence.y)] if array.shape == shape]
    for (name, array), (right_name, right_array) in itertools.permutations(named_arrays, 2):
        for text, derivative in DERIVATIVES:
            if evidence.same(evidence.given, dy * derivative(array)) and evidence.same(
                evidence.truth, dy * derivative(right_array)
            ):
                given, true = text.format(name), text.format(right_name)
                where = ": the derivative is taken at the wrong place" if "y" in (name, right_name) else ""
                return f"{evidence.label} equals dy · {given}, and the truth dy · {true}{where}"
    return None


def factors_wrong(evidence):
    """Detect a wrong factor before the right terms of a gradient, such as 1/σ, a mean or a sum.

    Along an axis, given and truth are linear combinations of the same terms with different factors. The terms are dy
    (or dy times an array), an array of the call, and possibly a constant. So the derivation has the right terms, and
    one of the factors before them is wrong. Every term must be present in both.
    """
    if not evidence.is_complete or evidence.dy.shape != evidence.given.shape:
        return None
    for axis in reversed(range(evidence.given.ndim)):
        for text, d in _weighted(evidence):
            for name, p in profiles(evidence, axis):
                for columns, also in (([d, p], " and "), ([d, np.ones_like(p), p], ", a constant and ")):
                    enough = evidence.given.shape[axis] >= len(columns) + 2
                    both = evidence.truth, evidence.given
                    if enough and all(fits(evidence, a, columns, axis, all_needed=True) for a in both):
                        return (
                            f"{evidence.label} has the right terms along axis {axis}, {text}{also}a multiple of "
                            f"{name}, but not the right factors before them, such as 1/σ, a mean or a sum"
                        )
    return None


def _weighted(evidence):
    """Yield (text, array) for dy, dy · y, and dy times each array of the call."""
    yield "dy", evidence.dy
    for name, array in [("y", evidence.y), *evidence.arrays()]:
        if name != evidence.name or array.shape == evidence.dy.shape:
            try:
                yield f"dy · {name}", evidence.dy * np.broadcast_to(array, evidence.dy.shape)
            except ValueError:
                continue
