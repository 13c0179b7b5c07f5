"""Hypothesis strategies for the inputs of gradient checks (GUIDE.md shows their use).

    @given(strategies.well_conditioned(strategies.shapes()))
    def test_softmax(x):
        check(softmax, x)

Arrays are generated from a seed, and their shapes shrink. Shrinking is faster with `check(..., explain=False)`. This is
the only module that needs hypothesis.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("gradcheck.strategies needs hypothesis: pip install hypothesis") from error

__all__ = ["Composition", "compositions", "shapes", "well_conditioned"]

Shape = tuple[int, ...] | st.SearchStrategy[tuple[int, ...]]
LOW, HIGH = 0.25, 2.0  # the range of absolute values


def shapes(
    min_dims: int = 1, max_dims: int = 3, min_side: int = 2, max_side: int = 6
) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw shapes whose sides all differ, such as (3, 2, 5).

    With `min_side=1` one of the sides may be 1. Raises ValueError if there are fewer than `max_dims` different sides.
    """
    most, sides = max_side - min_side + 1, st.integers(min_side, max_side)
    if max_dims > most:
        raise ValueError(f"max_dims must be at most {most}, the number of different sides, not {max_dims}")
    return st.lists(sides, min_size=min_dims, max_size=max_dims, unique=True).map(tuple)


@st.composite
def well_conditioned(draw: st.DrawFn, shape: Shape, positive: bool = False) -> NDArray[np.float64]:
    """Draw float64 arrays with absolute values between 0.25 and 2, and no two entries near each other.

    Any two of n entries are at least 2/(n + 1) apart (1/n if `positive`), which exceeds the step of a finite difference
    up to about n = 500. `shape` is a tuple or a strategy for tuples. Use `positive` for logarithms, roots and scales.
    """
    sides = draw(shape) if isinstance(shape, st.SearchStrategy) else tuple(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = int(np.prod(sides, dtype=int))
    if positive:
        return _spread(n, rng).reshape(sides)
    n_negative = n // 2 if n > 1 else int(rng.integers(n + 1))
    entries = np.concatenate([-_spread(n_negative, rng), _spread(n - n_negative, rng)])
    return rng.permutation(entries).reshape(sides)


def _spread(n, rng):
    """Return n numbers in random order, one in each of n equal parts of [LOW, HIGH]."""
    part = (HIGH - LOW) / max(n, 1)
    middles = LOW + part * (np.arange(n) + 0.5)
    return rng.permutation(middles + rng.uniform(-0.2, 0.2, n) * part)


class Composition:
    """A differentiable function that is composed of other functions, as a graph.

    Each step is a pair (function, indices of the arguments). Value 0 is x, and value k is the result of step k. All
    values have the same shape. The output y is the sum of all values that no step takes as an argument.
    """

    def __init__(self, steps: Sequence[tuple[Callable[..., Any], tuple[int, ...]]]):
        self.steps = tuple(steps)
        read = {at for _, arguments in self.steps for at in arguments}
        self.ends = [k for k in range(len(self.steps) + 1) if k not in read]

    def __repr__(self) -> str:
        names = ["x", *(f"h{k}" for k in range(1, len(self.steps) + 1))]
        lines = [
            f"{names[k]} = {getattr(function, '__name__', function)}({', '.join(names[at] for at in arguments)})"
            for k, (function, arguments) in enumerate(self.steps, 1)
        ]
        return "; ".join([*lines, f"y = {' + '.join(names[k] for k in self.ends)}"])

    def __call__(self, x: NDArray[np.float64]) -> tuple[Any, Callable[..., Any]]:
        values, backwards = [x], []
        for function, arguments in self.steps:
            value, backward = function(*(values[at] for at in arguments))
            values.append(value)
            backwards.append(backward)
        y = sum(values[k] for k in self.ends)

        def backward_through_all(dy):
            gradients = [dy if k in self.ends else np.zeros_like(dy) for k in range(len(values))]
            for k in reversed(range(1, len(values))):
                returned = backwards[k - 1](gradients[k])
                parts = returned if isinstance(returned, tuple) else (returned,)
                for at, part in zip(self.steps[k - 1][1], parts, strict=True):
                    gradients[at] = gradients[at] + part
            return gradients[0]

        return y, backward_through_all


@st.composite
def compositions(draw: st.DrawFn, functions: Sequence[Callable[..., Any]], max_steps: int = 6) -> Composition:
    """Draw compositions of functions.

    They may contain chains, sums, and values that are used several times. Each function takes one or more arrays of
    equal shape, one for each positional parameter without a default, and returns (y, backward), where y has the same
    shape. A failing composition shrinks to few steps, which its `repr` shows as assignments.
    """
    steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
    for k in range(draw(st.integers(1, max_steps))):
        function = draw(st.sampled_from(list(functions)))
        parameters = inspect.signature(function).parameters.values()
        arity = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
        steps.append((function, tuple(draw(st.integers(0, k)) for _ in range(arity))))
    return Composition(steps)
