"""Gradients far smaller than others of the same array: judged as strictly, or reported as not measurable."""

import functools
import re

import numpy as np
import pytest
from verdicts import check_call, verdict, verdicts

from gradcheck import Call, GradientError
from minitransformer import attention, gelu, layer_norm, linear, softmax

B, T, C, F = 2, 3, 4, 5
PLANTED = 2e-6  # of the norm


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


COMPONENTS = {
    "softmax": (softmax, (normal(B, T, C),)),
    "layer_norm": (layer_norm, (normal(B, T, C), normal(C), normal(C, seed=1))),
    "gelu": (gelu, (normal(B, T, C),)),
    "linear": (linear, (normal(B, T, C), normal(C, F), normal(F))),
    "attention": (attention, (normal(B, T, C), normal(B, T, C, seed=1), normal(B, T, F))),
}


def moved(gradient, size, seed=0):
    """The gradient with an error of `size` of its norm."""
    noise = np.random.default_rng(seed).standard_normal(gradient.shape)
    return gradient + size * np.linalg.norm(gradient) / np.linalg.norm(noise) * noise


def beside_a_constant(function, scale, *, error=0.0, position=0, safe=True):
    """Return y = 1000 + scale · function(...), with an error planted in one of its gradients.

    Where not `safe`, by way of the absolute value, which is not analytic.
    """

    def small(*inputs):
        y, function_backward = function(*inputs)
        value = scale * y if safe else scale * np.where(y.real > 0, np.abs(y), -np.abs(y))

        def backward(dy):
            gradients = function_backward(scale * dy)
            gradients = list(gradients) if isinstance(gradients, tuple) else [gradients]
            gradients[position] = moved(gradients[position], error)
            return tuple(gradients)

        return 1000.0 + value, backward

    return small


@pytest.mark.one_in(3)
@pytest.mark.parametrize("scale", [1.0, pytest.param(1e-9, marks=pytest.mark.slow), 1e-11])
@pytest.mark.parametrize("name", COMPONENTS)
def test_a_small_gradient_is_right_if_it_is_and_wrong_by_two_millionths_if_it_is_not(name, scale):
    function, inputs = COMPONENTS[name]
    assert set(verdicts(beside_a_constant(function, scale), *inputs).values()) == {"right"}
    for position in range(len(inputs)):
        wrong = beside_a_constant(function, scale, error=PLANTED, position=position)
        expected = ["WRONG" if i == position else "right" for i in range(len(inputs))]
        assert [*verdicts(wrong, *inputs).values()] == expected


@pytest.mark.one_in(3)
@pytest.mark.parametrize("scale", [1.0, pytest.param(1e-4, marks=pytest.mark.slow), 1e-9])
@pytest.mark.parametrize("name", COMPONENTS)
def test_where_only_central_differences_apply_a_gradient_they_do_not_resolve_is_never_called_right(name, scale):
    function, inputs = COMPONENTS[name]
    right = {*verdicts(beside_a_constant(function, scale, safe=False), *inputs).values()}
    assert right == {1.0: {"right"}, 1e-4: right - {"WRONG"}, 1e-9: {"CANNOT TELL"}}[scale]
    for position in range(len(inputs)):
        wrong = beside_a_constant(function, scale, error=PLANTED, position=position, safe=False)
        assert [*verdicts(wrong, *inputs).values()][position] in ("WRONG", "CANNOT TELL")


def test_what_cannot_be_told_says_why_and_what_to_do():
    function, inputs = COMPONENTS["gelu"]
    small = beside_a_constant(function, 1e-9, safe=False)
    with pytest.raises(
        GradientError,
        match=r"dinputs\[0\]: cannot tell: the norm of the gradient is \S+e-09, and central differences, the only "
        r"oracle that applies, determine it only to ±\S+; .* Pass an atol to accept errors below",
    ):
        check_call(Call(small, *inputs))
    assert verdict(small, *inputs, atol=1e-8) == "right"


def test_an_argument_that_nothing_depends_on_needs_no_resolution():
    def ignoring(x, unused):
        return np.abs(x), lambda dy: (dy * np.sign(x), np.zeros_like(unused))

    assert verdicts(ignoring, normal(T), normal(F)) == {"x": "right", "unused": "right"}


@pytest.mark.slow
@pytest.mark.parametrize("entries", [2000, 5])
def test_a_large_argument_that_is_sampled_is_judged_as_sharply(entries):
    x = normal(20, 30)
    for scale in (1.0, 1e-9):
        assert verdict(beside_a_constant(gelu, scale), x, max_entries=entries) == "right"
        assert verdict(beside_a_constant(gelu, scale, error=PLANTED), x, max_entries=entries) == "WRONG"
        unsafe = beside_a_constant(gelu, scale, error=PLANTED, safe=False)
        assert verdict(unsafe, x, max_entries=entries) in ("WRONG", "CANNOT TELL")


@pytest.mark.parametrize("safe", [True, False])
def test_an_error_of_one_entry_that_no_sample_meets_is_not_taken_for_a_smaller_one_by_chance(safe):
    x = normal(20, 30)
    for seed in range(10):  # one random direction alone would pass four of them

        def spoilt(x, seed=seed):
            y, gelu_backward = gelu(x)

            def backward(dy):
                dx = gelu_backward(dy)
                dx.flat[17 * seed] += PLANTED * np.linalg.norm(dx)
                return dx

            return y if safe else np.where(y.real > 0, np.abs(y), -np.abs(y)), backward

        assert verdict(spoilt, x, seed=seed, max_entries=3) in ("WRONG", "CANNOT TELL")


def shift_of_a_softmax(x, shift):
    """A gradient that is exactly zero and one that is not: the softmax ignores a shift of its row."""
    y, softmax_backward = softmax(x + shift)

    def backward(dy):
        dx = softmax_backward(dy)
        return dx, dx.sum(axis=-1, keepdims=True)

    return y, backward


@pytest.mark.parametrize("seed", range(10))
def test_what_rounding_leaves_of_a_zero_is_not_taken_for_a_small_gradient(seed):
    x, shift = 10 * normal(T, C, seed=seed), normal(T, 1, seed=seed)
    assert verdicts(shift_of_a_softmax, x, shift, seed=seed) == {"x": "right", "shift": "right"}


def biased_attention(x, weight, bias, *, error=0.0, meant=0.0):
    """Self-attention with a key bias, which the softmax ignores; a forward pass that is not complex-safe."""
    k = x @ weight + bias
    y, right = attention(x, k, x)
    value = np.where(y.real > 0, np.abs(y), -np.abs(y)) + meant * np.sin(bias).sum()

    def backward(dy):
        dq, dk, dv = right(dy)
        dbias = dk.sum(axis=(0, 1)) + error * np.cos(bias)
        return dq + dk @ weight.T + dv, np.einsum("bti,btj->ij", x, dk), dbias

    return value, backward


@pytest.mark.parametrize("oracles", [None, "central"])
@pytest.mark.parametrize("entries", [2000, 2])
def test_the_gradient_of_a_keys_bias_is_right_and_said_to_be_zero_to_how_much(oracles, entries):
    for seed in range(2):
        inputs = normal(B, T, C, seed=seed), normal(C, C, seed=seed), normal(C, seed=seed)
        found = verdicts(biased_attention, *inputs, seed=seed, oracles=oracles, max_entries=entries)
        assert re.fullmatch(r"right \(zero to ±\de-1[345]\)", found["bias"])


@pytest.mark.parametrize("size", [1e-13, 1e-12, 1e-11, 1e-9])
@pytest.mark.parametrize("planted", ["error", "meant"])
def test_a_tiny_gradient_that_is_wrong_or_meant_is_not_taken_for_that_zero(planted, size):
    for seed in range(2):
        inputs = normal(B, T, C, seed=seed), normal(C, C, seed=seed), normal(C, seed=seed)
        found = verdicts(functools.partial(biased_attention, **{planted: size}), *inputs, seed=seed)
        assert found["bias"] in ("CANNOT TELL", "WRONG")


# Rounding errors of the function itself


@pytest.mark.parametrize("size", [30.0, 50.0, 107.0, 400.0])
def test_a_saturated_softmax_is_called_neither_wrong_nor_unsafe(size):
    # The true gradient of the larger entry is at most 1e-22, and backward computes it from 1 - 1.
    for x in (np.array([[0.0, size]]), np.array([[0.0, size, -3.0]])):
        report = check_call(Call(softmax, x), raises=False)
        assert report["x"].verdict in ("right", "CANNOT TELL") and not report.notes
    with pytest.raises(GradientError, match="all of the gradient is less than a thousandth of the last"):
        check_call(Call(softmax, np.array([[0.0, 107.0]])))


@pytest.mark.parametrize("large", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("oracles", [None, "central"])
def test_a_forward_pass_that_loses_its_digits_within_has_no_right_gradient_called_wrong(large, oracles):
    def cancelling(w, *, factor=1.0):
        return (large * w + w) ** 2 - (large * w) ** 2 - 2 * large * w * w, lambda dy: factor * 2 * w * dy

    for seed in range(2):
        assert verdict(cancelling, normal(5, seed=seed), oracles=oracles) != "WRONG"
        wrong = verdict(cancelling, normal(5, seed=seed), oracles=oracles, factor=1.5)
        assert wrong == "WRONG" or (wrong == "CANNOT TELL" and (large >= 1e6 or oracles == "central"))


@pytest.mark.parametrize("scale", [1e-100, 1e-160, 1e-200])
def test_a_gradient_whose_squares_underflow_is_judged_as_any_other(scale):
    def tiny(x, *, factor=1.0):
        return scale * np.sin(x), lambda dy: factor * scale * np.cos(x) * dy

    for oracles in (None, "central"):
        assert verdict(tiny, normal(5), oracles=oracles) == "right"
        assert verdict(tiny, normal(5), oracles=oracles, factor=2.0) == ("CANNOT TELL" if oracles else "WRONG")
