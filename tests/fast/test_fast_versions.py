"""The engine gives the results of the textbook."""

import inspect
import math
import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes
from strategies import rngs

import gradcheck
from minitransformer import cross_entropy, fast, layers
from minitransformer.cases import FUNCTIONS
from minitransformer.example_calls import EXAMPLES
from minitransformer.fast import elementwise as elementwise_module
from minitransformer.fast.adamw import adamw_in_place
from minitransformer.fast.elementwise import elementwise
from minitransformer.fast.gelu import fast_normal, gelu, normal
from minitransformer.fast.muon import muon_in_place, orthogonalized
from minitransformer.fast.sampling import keep_top_p
from minitransformer.generation import keep_top_p as plain_keep_top_p
from minitransformer.layers.softmax import softmax
from minitransformer.module import TWINS, is_differentiable
from minitransformer.muon import muon, muon_in_place as plain_muon_in_place, orthogonalize
from minitransformer.optim import adamw, adamw_in_place as plain_adamw_in_place

adamw_module, muon_module = (import_module(f"minitransformer.fast.{name}") for name in ("adamw", "muon"))
rng_of_cases = np.random.default_rng(0)
WITH_TWIN = [case for case in FUNCTIONS if case.draw(rng_of_cases).target in TWINS]
PRECISION = {np.float32: 2e-5, np.float64: 1e-12}


@pytest.mark.parametrize("function", TWINS, ids=lambda function: function.__name__)
def test_a_twin_has_the_name_and_the_arguments_of_its_textbook_function(function):
    twin = TWINS[function]
    assert twin.__name__ == function.__name__
    names = {parameter.name for parameter in parameters(twin)}
    assert parameters(twin) == [parameter for parameter in parameters(function) if parameter.name in names]
    for option in parameters(function):  # a call with an option that the twin does not have runs the textbook
        assert option.name in names or option.kind is option.KEYWORD_ONLY
    assert getattr(fast, twin.__name__) is twin and twin.__name__ in fast.__all__


def parameters(function):
    """Return the parameters of a function, without types."""
    signature = inspect.signature(function)
    return [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]


def resized(call, rng, dtype):
    """Return the inputs and options of a call in another dtype, the inputs small, as they were, or large."""
    size = float(rng.choice([1e-2, 1.0, 3.0]))
    inputs = [(size * value).astype(dtype) if is_differentiable(value) else value for value in call.inputs]
    options = {name: value.astype(dtype) if is_differentiable(value) else value for name, value in call.options.items()}
    return inputs, options


def assert_same(one, other, dtype):
    """Assert that two arrays are of that dtype, and equal to its precision, measured by the largest entry."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype == dtype and one.shape == other.shape
    assert np.isfinite(one).all() == np.isfinite(other).all()
    largest = max(float(np.abs(other).max(initial=0)), 0.1)  # terms that cancel leave their rounding errors
    assert float(np.abs(one.astype(float) - other.astype(float)).max(initial=0)) <= PRECISION[dtype] * largest


def assert_same_passes(function, inputs, options, rng, dtype):
    """Assert that a function and its twin give the same outputs, and the same gradients for random dy."""
    (y, backward), (plain_y, plain_backward) = (f(*inputs, **options) for f in (TWINS[function], function))
    dys = [rng.normal(size=np.shape(output)).astype(dtype) for output in as_tuple(plain_y)]
    found, expected = (y, backward(*dys)), (plain_y, plain_backward(*dys))
    for arrays, plain_arrays in zip(map(as_tuple, found), map(as_tuple, expected), strict=True):
        for array, plain_array in zip(arrays, plain_arrays, strict=True):
            assert_same(array, plain_array, dtype)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", WITH_TWIN, ids=lambda case: case.name)
@given(rng=rngs)
@settings(max_examples=10)
def test_a_twin_gives_what_its_textbook_function_gives(case, dtype, rng):
    call = case.draw(rng)
    assert_same_passes(call.target, *resized(call, rng, dtype), rng, dtype)


def of_the_delta_rule(draw, rng, b, m, n):
    """Draw n keys of length about 1. Many gates are so small that their products are 0."""
    state, q, k, v = draw(*b, 3, m), draw(*b, n, m), draw(*b, n, m) / math.sqrt(m), draw(*b, n, 3)
    beta, gate = rng.random((*b, n)), rng.choice([0, 1e-30, 0.5, 0.98, 1], (*b, n))
    return (state, q, k, v, beta.astype(q.dtype), gate.astype(q.dtype)), {}


# (inputs, options) of each function for leading axes b and sizes m and n, by a function that draws floats.
OF_ANY_SIZE = {
    "linear": lambda draw, rng, b, m, n: ((draw(*b, m), draw(m, n), draw(n)), {}),
    "softmax": lambda draw, rng, b, m, n: ((draw(*b, m, n),), {"axis": int(rng.integers(-2, 0))}),
    "attention": lambda draw, rng, b, m, n: (
        (draw(*b, 4, m, n), draw(*b, 2, n, n), draw(*b, 2, n, m)),
        {"mask": rng.random((4, m, n)) < 0.6},
    ),
    "gelu": lambda draw, rng, b, m, n: ((draw(*b, n),), {"approximate": str(rng.choice(["none", "tanh"]))}),
    "swiglu": lambda draw, rng, b, m, n: ((draw(*b, n), draw(*b, n)), {}),
    "cross_entropy": lambda draw, rng, b, m, n: (
        (draw(*b, n), np.where(rng.random(b) < 0.2, -100, rng.integers(0, n, b))),
        {"label_smoothing": float(rng.choice([0, 0.1]))},
    ),
    "delta_scan": of_the_delta_rule,
    "unembedding": lambda draw, rng, b, m, n: ((draw(*b, m), draw(n, m)), {}),
}
OTHERS = ("causal_mask", "adamw_in_place", "muon_in_place", "through_blocks", "keep_top_p")
DIFFERENTIABLE = [function for function in TWINS if function.__name__ not in OTHERS]


@pytest.mark.parametrize("function", DIFFERENTIABLE, ids=lambda function: function.__name__)
@given(
    rng=rngs,
    b=st.lists(st.integers(0, 4), max_size=2).map(tuple),
    m=st.integers(1, 9),
    n=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_twin_gives_the_same_for_any_size(function, rng, b, m, n, dtype):
    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    inputs, options = OF_ANY_SIZE[function.__name__](draw, rng, b, m, n)
    assert_same_passes(function, inputs, options, rng, dtype)


LOGITS = np.array([[0.3, -0.2, 1.1, -0.5], [0.1, 0.9, -1.0, 0.4], [1.2, 0.0, -0.3, 0.6]])
W = np.array([0.5, 1.5, 0.7, 1.1])


@pytest.mark.parametrize(
    "place, value, targets, options",
    [
        ((1, slice(None)), np.nan, [0, -100, 2], {}),
        ((1, slice(None)), np.inf, [0, -100, 2], {"label_smoothing": 0.1}),
        ((1, 3), -np.inf, [0, 3, 2], {"weight": W * [1, 1, 1, 0]}),
        ((1, 3), -np.inf, [0, 1, 2], {"weight": W * [1, 1, 1, 0], "label_smoothing": 0.1}),
        ((1, 3), -np.inf, [0, 1, 2], {"weight": W}),
        ((1, 3), -np.inf, [0, 3, 2], {"label_smoothing": 1.0}),
        ((slice(None), slice(None)), -np.inf, [0, 3, 2], {}),
        ((0, 0), 0.0, [-100, -100, -100], {"label_smoothing": 0.1}),
    ],
)
def test_where_a_coefficient_is_zero_the_logit_counts_for_nothing_whatever_it_is(place, value, targets, options):
    logits, targets = LOGITS.copy(), np.array(targets)
    logits[place] = value
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        found, backward = fast.cross_entropy(logits, targets, reduction="sum", **options)
        expected, plain_backward = cross_entropy(logits, targets, reduction="sum", **options)
        gradient, plain_gradient = backward(2.0), plain_backward(2.0)
    assert not np.isnan(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-12, atol=1e-15)


@given(rngs, st.sampled_from([np.float16, np.float32, np.float64]), st.sampled_from([1.0, 12.0, 50.0, 80.0]))
def test_softmax_of_large_scores_is_finite_in_every_dtype(rng, dtype, size):
    x = (size * rng.uniform(-1, 1, (3, 40))).astype(dtype)
    x[0] = size  # the exponentials' sum overflows before any of them does
    x[1] = -np.inf if size == 12 else x[1] - 3 * size  # rows far apart
    for function in (fast.softmax, layers.softmax.softmax):
        y, backward = function(x)
        expected, _ = layers.softmax.softmax(x.astype(float))
        np.testing.assert_allclose(y.astype(float), expected, rtol=20 * float(np.finfo(dtype).eps), atol=1e-7)
        assert np.isfinite(backward(np.ones_like(x))).all() and y.dtype == dtype


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3.0, 100.0, 1e10, 1e30])
@pytest.mark.parametrize("size", [1, 70_000])
def test_the_fast_normal_distribution_is_the_exact_one_to_float32(rng, scale, size):
    x = (scale * rng.normal(size=size)).astype(np.float32)
    for quick, exact in zip(fast_normal(x), normal(x.astype(np.float64)), strict=True):
        assert quick.dtype == np.float32 and quick.shape == x.shape
        np.testing.assert_allclose(quick, exact, rtol=0, atol=2e-7)


@pytest.fixture(
    params=[(1, 0), (5, 0), (5, 1000), (16, 0), (1000, 0)], ids="blocks of {0[0]}, threads from {0[1]}".format
)
def in_small_blocks(monkeypatch, request):
    block, enough_for_threads = request.param
    monkeypatch.setattr(elementwise_module, "ENOUGH_FOR_BLOCKS", 0)
    monkeypatch.setattr(elementwise_module, "ENOUGH_FOR_THREADS", enough_for_threads)
    monkeypatch.setattr(elementwise_module, "BLOCK", block)


@given(rngs, array_shapes(min_dims=1, max_dims=3, max_side=6), st.sampled_from([np.float32, np.float64, np.complex128]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_entries_in_blocks_are_those_of_the_whole_to_the_bit(in_small_blocks, rng, shape, dtype):
    x, other = rng.normal(size=(2, *shape)).astype(dtype)
    other = np.asfortranarray(other)

    def several(x, other):
        return x * other, (x.real > 0)

    for found, expected in zip(elementwise(several, x, other), several(x, other), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("size", [1e3, 1e12, 1e19, 3e38])
def test_far_from_zero_the_slope_of_gelu_is_exactly_one_or_zero(approximate, size):
    _, backward = gelu(np.array([size, -size], np.float32), approximate=approximate)
    assert backward(np.ones(2, np.float32)).tolist() == [1, 0]


SETTINGS = {"t": 3, "lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.3}


def arrays_of_a_step(rng, shape, dtype):
    """Return θ, g, m and v of a parameter."""
    return tuple(np.asarray(rng.random(shape)).astype(dtype) for _ in range(4))


@pytest.mark.parametrize("step", [adamw_in_place, plain_adamw_in_place], ids=["engine", "textbook"])
@given(
    rng=rngs,
    shapes=st.lists(array_shapes(max_dims=3, max_side=9), min_size=1, max_size=3),
    dtype=st.sampled_from([np.float32, np.float64]),
    t=st.integers(1, 1000),
    scale=st.sampled_from([1.0, 0.3]),
    enough_for_threads=st.sampled_from([0, 10**6]),
)
def test_a_step_in_place_moves_each_array_to_where_adamw_says(step, rng, shapes, dtype, t, scale, enough_for_threads):
    options = SETTINGS | {"t": t}
    parameters = [arrays_of_a_step(rng, shape, dtype) for shape in shapes]
    expected = [adamw(theta.copy(), scale * g, m.copy(), v.copy(), **options) for theta, g, m, v in parameters]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adamw_module, "ENOUGH_FOR_THREADS", enough_for_threads)
        step([(*arrays, options) for arrays in parameters], scale)
    for (theta, _, m, v), moved in zip(parameters, expected, strict=True):
        for found, where in zip((theta, m, v), moved, strict=True):
            np.testing.assert_allclose(found, where, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-7)


MATRICES = st.tuples(st.lists(st.integers(0, 3), max_size=2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))


@pytest.mark.parametrize("step", [muon_in_place, plain_muon_in_place], ids=["engine", "textbook"])
@given(
    rng=rngs,
    matrices=st.lists(MATRICES, min_size=1, max_size=3),
    tall=st.booleans(),
    nesterov=st.booleans(),
    scale=st.sampled_from([1.0, 0.3, 0.0]),
    enough_for_threads=st.sampled_from([0, 10**6]),
)
def test_a_step_in_place_moves_each_matrix_to_where_muon_says(
    step, rng, matrices, tall, nesterov, scale, enough_for_threads
):
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.3}
    shapes = [(*batch, M * times, M) if tall else (*batch, M, M * times + N) for batch, M, N, times in matrices]
    parameters = [tuple(rng.normal(size=(3, *shape))) for shape in shapes]
    expected = [muon(theta.copy(), scale * g, m.copy(), **options) for theta, g, m in parameters]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon_module, "ENOUGH_FOR_THREADS", enough_for_threads)
        step([(*arrays, options) for arrays in parameters], scale)
    for (theta, _, m), (theta_new, m_new) in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(theta, theta_new, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(m, m_new, rtol=1e-13)


@given(rng=rngs, M=st.integers(2, 12), times=st.integers(1, 5), decades=st.floats(0, 12), tall=st.booleans())
def test_in_float32_small_singular_values_of_a_long_matrix_have_the_right_size(rng, M, times, decades, tall):
    U, V = np.linalg.qr(rng.normal(size=(M, M)))[0], np.linalg.qr(rng.normal(size=(M * times, M)))[0]
    G = (U * 10.0 ** -np.linspace(0, decades, M)) @ V.T
    G = (G.T if tall else G).astype(np.float32)
    found, expected = orthogonalized(G), orthogonalize(G.astype(np.float64))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["flat", "steep", "equal in groups", "a few", "even"])
@given(
    rng=rngs,
    rows=st.sampled_from([(), (3,), (2, 0), (2, 1)]),
    V=st.integers(1, 400),
    top_p=st.one_of(st.floats(1e-12, 1), st.sampled_from([0.5, 0.75, 1.0])),
)
@settings(max_examples=30)
def test_top_p_without_a_sort_of_the_vocabulary_keeps_the_same_to_the_bit(kind, rng, rows, V, top_p):
    z = rng.normal(size=(*rows, V)) * {"steep": 9.0}.get(kind, 1.0)
    if kind == "equal in groups":
        z = np.round(z)
    if kind == "a few":
        z[..., V // 20 + 1 :] = -np.inf
    if kind == "even":
        z = np.zeros((*rows, 8))  # whose sums are exact, and so may equal top_p
    p = softmax(z)[0] if z.size else z
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[keep_top_p.__module__], "LARGE", 0)
        found = keep_top_p(p, top_p)
    np.testing.assert_array_equal(found, plain_keep_top_p(p, top_p))


CASES_OF_TWINS = [(function, case) for function, twin in TWINS.items() for case in twin.cases if isinstance(case, str)]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("function", "case"), CASES_OF_TWINS, ids=lambda value: getattr(value, "__name__", None))
def test_a_twin_is_the_same_function_as_its_textbook_function(function, case):
    _, inputs, options = EXAMPLES[case](np.random.default_rng(0))
    inputs = [np.asarray(x, np.float64) if is_differentiable(x) else x for x in inputs]
    twin = TWINS[function].__wrapped__
    found = gradcheck.same_gradient(lambda *x: function(*x, **options), lambda *x: twin(*x, **options), *inputs, seed=1)
    if function.__name__ == "gelu":  # its constants are rounded once more
        assert found.verdict == "cannot tell" and "a constant is rounded" in found.reason
    else:
        assert found
