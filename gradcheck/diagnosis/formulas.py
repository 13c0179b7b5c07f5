"""Mistakes of a formula of the right form: taken at the wrong place, or with wrong factors before its terms."""

import itertools

import numpy as np

from gradcheck.diagnosis.evidence import fits, profiles

# Derivatives as they are known by heart, of y = f(x): some in terms of x, others in terms of y.
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
    """given = dy · F(x) and truth = dy · F(y), or the reverse: the derivative at the input where the output belongs."""
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
    """Along an axis, both given and truth combine dy, a constant and an array in play, but not alike.

    So the derivation is right as far as its terms, and one of what stands before them is not: a 1/σ, a mean, a sum.
    None of the terms may be missing from either.
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
    """Yield dy, and dy times each array in play."""
    yield "dy", evidence.dy
    for name, array in [("y", evidence.y), *evidence.arrays()]:
        if name != evidence.name or array.shape == evidence.dy.shape:
            try:
                yield f"dy · {name}", evidence.dy * np.broadcast_to(array, evidence.dy.shape)
            except ValueError:
                continue
