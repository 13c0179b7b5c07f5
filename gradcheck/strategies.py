"""Hypothesis strategies for what a gradient is checked on: shapes, arrays, masks and cotangents.

    from hypothesis import given
    from gradcheck import check, strategies

    @given(strategies.well_conditioned(strategies.shapes()))
    def test_softmax(x):
        check(softmax, x)

    @given(st.data())
    def test_attention(data):
        scores = data.draw(strategies.well_conditioned((3, 5)))
        mask = data.draw(strategies.masks((3, 5), empty_rows=True))
        check(masked_softmax, scores, mask=mask)

Inputs drawn entry by entry, as Hypothesis does by itself, are what a gradient should not be checked on. They like to be
0, 1 or huge: ties, where a maximum has a kink; zeros, where a ReLU has one and a quotient has a pole; and 1e300, where
nothing is left of the truth to compare with. What is wanted of the inputs of a gradient check is

- entries of order 1, so that the terms of a formula are of one size and a forgotten one shows;
- no entry near 0, and no two near each other, as seen from the step of a finite difference (1e-3), so that no kink or
  pole lies within its reach;
- no special values, no symmetry, no constant;
- sizes of the axes that differ from each other, so that an axis mistaken for another one shows.

A kink has its own test, at the kink. These strategies are for all the others. Arrays are made from a random seed, which
shrinks; their shapes shrink to the smallest that fails. Every failing example is explained: `explain=False` makes
shrinking faster.

Needs the package hypothesis, which `import gradcheck` does not.
"""

import numpy as np
from numpy.typing import NDArray

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("gradcheck.strategies needs hypothesis: pip install hypothesis") from error

__all__ = ["cotangents", "masks", "rngs", "shapes", "well_conditioned"]

Shape = tuple[int, ...] | st.SearchStrategy[tuple[int, ...]]
LOW, HIGH = 0.25, 2.0  # the range of absolute values


def rngs() -> st.SearchStrategy[np.random.Generator]:
    """NumPy random generators."""
    return st.builds(np.random.default_rng, st.integers(0, 2**32 - 1))


def shapes(
    min_dims: int = 1, max_dims: int = 3, min_side: int = 2, max_side: int = 6
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes whose sides all differ, such as (3, 2, 5). With `min_side=1` one of them may be 1.

    Raises ValueError if there are not that many different sides.
    """
    if max_dims > max_side - min_side + 1:
        raise ValueError(
            f"{max_dims} sides that all differ do not fit between {min_side} and {max_side}: "
            f"at most {max_side - min_side + 1} do"
        )
    sides = st.integers(min_side, max_side)
    return st.lists(sides, min_size=min_dims, max_size=max_dims, unique=True).map(tuple)


@st.composite
def well_conditioned(draw: st.DrawFn, shape: Shape, positive: bool = False) -> NDArray[np.float64]:
    """float64 arrays of order 1: absolute values between 0.25 and 2, no two entries near each other.

    Of n entries any two are at least 2/(n + 1) apart (1/n if `positive`), which exceeds the step of a finite difference
    up to n = 500 or so. `shape` is a tuple or a strategy for one. `positive` is for logarithms, roots and scales.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else tuple(shape)
    rng = draw(rngs())
    n = int(np.prod(shape, dtype=int))
    if positive:
        return _spread(n, rng).reshape(shape)
    n_negative = n // 2 if n > 1 else int(rng.integers(n + 1))
    entries = np.concatenate([-_spread(n_negative, rng), _spread(n - n_negative, rng)])
    return rng.permutation(entries).reshape(shape)


def _spread(n, rng):
    """Return n numbers between LOW and HIGH in random order: one in the middle of each of n equal parts, about."""
    part = (HIGH - LOW) / max(n, 1)
    middles = LOW + part * (np.arange(n) + 0.5)
    return rng.permutation(middles + rng.uniform(-0.2, 0.2, n) * part)


@st.composite
def cotangents(draw: st.DrawFn, shape: Shape) -> NDArray[np.float64]:
    """Values of dy, ∂L/∂y, for an output of that shape: of order 1, never 0 or 1; of several
    entries never constant, and of both signs.

    Under dy = ones the gradients of softmax and layer norm are zero, and one that is proportional to dy looks right
    even if dy is ignored.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else tuple(shape)
    dy = draw(well_conditioned(shape))
    if dy.size == 1 and abs(dy.item() - 1) < 0.05:
        return dy + 0.1
    return dy


@st.composite
def masks(draw: st.DrawFn, shape: Shape, empty_rows: bool = False) -> NDArray[np.bool_]:
    """Boolean masks, True where something counts. Rows run along the last axis.

    Every row has a True, unless `empty_rows`: then rows without any are drawn as well. If a row has more than one
    entry, some entry of the mask is False: a mask that masks nothing tests nothing.
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else tuple(shape)
    rng = draw(rngs())
    mask = rng.random(shape) < draw(st.sampled_from([0.25, 0.5, 0.75]))
    if not mask.size:
        return mask
    rows = mask.reshape(-1, shape[-1])
    kept = rng.integers(shape[-1], size=len(rows))
    rows[np.arange(len(rows)), kept] = True
    if shape[-1] > 1 and rows.all():
        row = rng.integers(len(rows))
        rows[row, kept[row] - 1] = False
    if empty_rows:
        rows[rng.random(len(rows)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = False
    return mask
