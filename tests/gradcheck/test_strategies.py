"""The strategies: the promises that every draw keeps, and checks of gradients on the draws."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given
from verdicts import check, verdict

from gradcheck import strategies
from minitransformer import gelu, layer_norm, relu, silu, softmax


@given(strategies.shapes())
def test_shapes_have_one_to_three_sides_that_all_differ(shape):
    assert 1 <= len(shape) <= 3
    assert len(set(shape)) == len(shape) and all(2 <= side <= 6 for side in shape)


@given(strategies.shapes(min_dims=2, max_dims=2, min_side=1, max_side=2))
def test_shapes_keep_to_the_bounds_that_are_given(shape):
    assert sorted(shape) == [1, 2]
    with pytest.raises(ValueError, match="max_dims must be at most 3"):
        strategies.shapes(max_dims=4, max_side=4)


@given(strategies.well_conditioned(strategies.shapes()), strategies.well_conditioned((3, 5), positive=True))
def test_well_conditioned_arrays_are_of_order_one_and_no_two_entries_are_near(x, positive):
    for array, least in ((x, 2 / (x.size + 1)), (positive, 1 / positive.size)):
        assert array.dtype == np.float64
        assert np.all((np.abs(array) >= 0.25) & (np.abs(array) <= 2))
        assert np.diff(np.sort(array, axis=None)).min() >= least
    assert x.min() < 0 < x.max() and positive.min() > 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3)])
def test_arrays_without_entries_or_dimensions_can_be_drawn(shape):
    found = find(strategies.well_conditioned(shape), lambda x: True)
    assert found.shape == shape
    for sign in (1, -1):  # a single entry has either sign
        find(strategies.well_conditioned(()), lambda x, sign=sign: x * sign > 0)


@given(strategies.well_conditioned(strategies.shapes()))
def test_no_kink_lies_within_reach(x):
    def row_maximum(x):
        best = x.argmax(axis=-1)[..., None]

        def backward(dy):
            dx = np.zeros_like(x)
            np.put_along_axis(dx, best, dy[..., None], axis=-1)
            return dx

        return np.max(x, axis=-1), backward

    assert verdict(relu, x) == verdict(row_maximum, x) == "right"


def test_a_failing_shape_shrinks_to_the_smallest():
    found = find(strategies.well_conditioned(strategies.shapes()), lambda x: x.ndim >= 2)
    assert sorted(found.shape) == [2, 3]


def test_the_core_does_not_import_hypothesis_and_its_absence_is_named_in_one_line():
    code = "import sys; sys.modules['hypothesis'] = None; import gradcheck.checking, gradcheck.strategies"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.endswith("ImportError: gradcheck.strategies needs hypothesis: pip install hypothesis\n")


def product(a, b):
    return a * b, lambda dy: (dy * b, dy * a)


def norm(x):
    y, backward = layer_norm(x, np.linspace(1, 2, x.shape[-1]), np.zeros(x.shape[-1]))
    return y, lambda dy: backward(dy)[0]


PARTS = [softmax, silu, gelu, norm, product]


@given(strategies.compositions(PARTS), strategies.well_conditioned((3, 4)))
def test_random_graphs_of_the_functions_of_the_textbook_have_right_gradients(composition, x):
    check(composition, x)


def test_a_function_that_is_wrong_in_a_graph_is_found_and_shrinks_to_one_step():
    def forgets(x):
        return x * x, lambda dy: dy * x

    def is_wrong(composition):
        return verdict(composition, np.array([[0.5, -1.2, 2.0]])) != "right"

    wrong = find(strategies.compositions([silu, product, forgets]), is_wrong)
    assert repr(wrong) == "h1 = forgets(x); y = h1"


def test_a_value_that_two_steps_read_has_the_sum_of_their_gradients():
    composition = strategies.Composition([(silu, (0,)), (product, (1, 1)), (silu, (1,))])
    assert repr(composition) == "h1 = silu(x); h2 = product(h1, h1); h3 = silu(h1); y = h2 + h3"
    x, dy = np.array([0.3, -1.0]), np.array([1.5, 0.5])
    h, h_backward = silu(x)
    s, s_backward = silu(h)
    y, backward = composition(x)
    np.testing.assert_allclose(y, h * h + s, rtol=1e-14)
    np.testing.assert_allclose(backward(dy), h_backward(2 * h * dy + s_backward(dy)), rtol=1e-13)
