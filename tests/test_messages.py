"""The error messages of the library: one line with the argument, the value found and the values allowed."""

import json
import re
from functools import partial

import numpy as np
import pytest

import gradcheck
from minitransformer import (
    Config,
    apply,
    attention,
    cross_entropy,
    layer_norm,
    relu,
    rms_norm,
)
from minitransformer.cases import FUNCTIONS, MODULES
from minitransformer.layers.positions import SinusoidalPositions
from minitransformer.module import faster, is_differentiable

# Objectives of fine-tuning, which leave it to cross_entropy to refuse their logits.
OBJECTIVES = (
    "sequence_log_likelihood",
    "sequence_unlikelihood",
    "unbounded_difference",
    "unlikelihood",
    "direct_preference",
)
SMALL = {"vocab_size": 5, "context": 4}


@pytest.mark.parametrize("engine", [False, True], ids=["textbook", "engine"])
@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda case: case.name)
def test_integers_where_real_numbers_belong_are_refused_by_the_names_of_function_and_argument(case, engine):
    call = case.draw(np.random.default_rng(0))
    function = faster(call.target) if engine else call.target
    for i, (name, value) in enumerate(zip(call.input_names(), call.inputs, strict=True)):
        if is_differentiable(value):
            inputs = list(call.inputs)
            inputs[i] = value.astype(int)
            with pytest.raises(TypeError) as failure:
                function(*inputs, **call.options)
            who = "cross_entropy: logits" if case.name in OBJECTIVES else f"{case.name.partition(',')[0]}: {name}"
            assert str(failure.value) == f"{who} must be floating-point, not int64"


# A hook on the last step of a block gets dy before the block does.
HOOKED_AT_THE_END = "TransformerBlock, partly replaced"


@pytest.mark.parametrize(
    "case", [case for case in [*FUNCTIONS, *MODULES] if case.name != HOOKED_AT_THE_END], ids=lambda case: case.name
)
def test_a_dy_of_another_shape_than_y_is_refused_although_it_broadcasts(case):
    call = case.call(np.random.default_rng(0))
    target = call.target if case in MODULES else partial(apply, call.target)
    y, backward = target(*call.inputs, **call.options)
    shape = np.shape(y)
    for wrong in {(), shape[1:], (1, *shape), (1,) * len(shape)} - {shape}:
        with pytest.raises(ValueError) as failure:
            backward(np.ones(wrong))
        assert re.fullmatch(
            rf"the backward of \w+: dy must have y's shape {re.escape(str(shape))}, not {re.escape(str(wrong))}",
            str(failure.value),
        )


def test_positions_that_are_not_learned_refuse_a_dy_of_another_shape_as_well():
    _, backward = SinusoidalPositions(4)(np.arange(3))
    assert backward(np.ones((3, 4))) is None
    with pytest.raises(ValueError, match=r"^the backward of fixed_rows: dy must have y's shape \(3, 4\), not \(4,\)$"):
        backward(np.ones(4))


@pytest.mark.parametrize("check", [gradcheck.check, gradcheck.adjoint])
def test_a_check_refuses_a_dy_of_another_shape_than_y(check):
    with pytest.raises(ValueError, match=r"^relu: dy has shape \(4,\), but y has \(3, 4\)$"):
        check(relu, np.ones((3, 4)), dy=np.arange(4.0))


@pytest.mark.parametrize("engine", [False, True], ids=["textbook", "engine"])
def test_a_norm_of_no_features_is_refused(engine):
    nothing, x = np.ones(0), np.ones((2, 0))
    with pytest.raises(ValueError, match=r"^layer_norm: x must have at least one feature, not shape \(2, 0\)$"):
        (faster(layer_norm) if engine else layer_norm)(x, nothing, nothing)
    with pytest.raises(ValueError, match=r"^rms_norm: x must have at least one feature, not shape \(2, 0\)$"):
        (faster(rms_norm) if engine else rms_norm)(x, nothing)


def test_numpy_numbers_in_a_configuration_become_plain_ones_so_that_float32_stays():
    scaling = {"rope_type": "linear", "factor": np.float32(2)}
    assert json.dumps(Config(**SMALL, rope_scaling=scaling).to_dict()["rope_scaling"])
    config = Config(vocab_size=np.int64(5), context=4, eps=np.float64(1e-5), dropout=np.float64(0.1), norm="rms_norm")
    assert [type(value) for value in (config.vocab_size, config.eps, config.dropout)] == [int, float, float]


@pytest.mark.parametrize("scalar", [np.float64(0.3), np.float32(0.3)])
def test_numpy_numbers_as_options_leave_float32_as_it_is(rng, scalar):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    assert attention(x, x, x, scale=scalar)[0].dtype == np.float32
    assert rms_norm(x, x[0, 0], eps=scalar)[0].dtype == np.float32
    assert layer_norm(x, x[0, 0], x[0, 0], eps=scalar)[0].dtype == np.float32
    assert cross_entropy(x, np.zeros((2, 3), int), label_smoothing=scalar)[1]().dtype == np.float32
