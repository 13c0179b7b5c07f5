"""What a mistake in calling the library is told: each in one line that says what was wrong and what would be right."""

import numpy as np
import pytest

from minitransformer import (
    AdamW,
    Config,
    MultiHeadAttention,
    Parameter,
    TinyTransformer,
    attention,
    cross_entropy,
    generate,
    layer_norm,
    log_softmax,
    rms_norm,
    rotary,
    softmax,
)

INTEGERS = np.arange(12).reshape(3, 4)
SMALL = {"vocab_size": 5, "context": 4}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    "name, call",
    [
        ("layer_norm", lambda: layer_norm(INTEGERS, np.ones(4), np.ones(4))),
        ("rms_norm", lambda: rms_norm(INTEGERS, np.ones(4))),
        ("softmax", lambda: softmax(INTEGERS)),
        ("log_softmax", lambda: log_softmax(INTEGERS)),
        ("rotary", lambda: rotary(INTEGERS, positions=np.arange(3))),
    ],
)
def test_integers_where_real_numbers_belong_are_refused_by_the_name_of_the_function(name, call):
    with pytest.raises(TypeError, match=f"^{name}: x must be floating-point, not int64$"):
        call()


def test_integer_logits_are_refused():
    with pytest.raises(TypeError, match="cross_entropy: logits must be floating-point, not int64"):
        cross_entropy(INTEGERS, np.zeros(3, int))


@pytest.mark.parametrize(
    "error, words, fields",
    [
        (TypeError, "dropout must be a number, not None", {"dropout": None}),
        (TypeError, "eps must be a number, not 'a'", {"eps": "a"}),
        (ValueError, "eps must be positive and finite, not inf", {"eps": float("inf")}),
        (ValueError, "rope_base must be positive and finite, not 0", {"rope_base": 0}),
        (TypeError, "bias must be True or False, not 'no'", {"bias": "no"}),
        (TypeError, "tie_embeddings must be True or False, not 1", {"tie_embeddings": 1}),
        (ValueError, "Config: dropout must be at least 0 and less than 1, not 1", {"dropout": 1}),
        (TypeError, "rope_scaling must be a dictionary, not 'linear'", {"rope_scaling": "linear"}),
        (ValueError, "known are linear, llama3", {"rope_scaling": {"rope_type": "yarn"}}),
        (ValueError, "factor must be a positive number, not 0", {"rope_scaling": {"rope_type": "linear", "factor": 0}}),
        (ValueError, "'llama3' lacks 'original_max_position_embeddings'", {"rope_scaling": LLAMA3}),
        (
            ValueError,
            "low_freq_factor must be less than high_freq_factor",
            {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0, "original_max_position_embeddings": 8}},
        ),
    ],
)
def test_a_configuration_that_cannot_be_names_its_field(error, words, fields):
    with pytest.raises(error, match=words):
        Config(**SMALL, **fields)


def test_numpy_numbers_in_a_configuration_become_plain_ones_so_that_float32_stays():
    config = Config(vocab_size=np.int64(5), context=4, eps=np.float64(1e-5), dropout=np.float64(0.1), norm="rms_norm")
    assert [type(value) for value in (config.vocab_size, config.eps, config.dropout)] == [int, float, float]


@pytest.mark.parametrize("scalar", [np.float64(0.3), np.float32(0.3)])
def test_numpy_numbers_as_options_leave_float32_as_it_is(rng, scalar):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    assert attention(x, x, x, scale=scalar)[0].dtype == np.float32
    assert rms_norm(x, x[0, 0], eps=scalar)[0].dtype == np.float32
    assert layer_norm(x, x[0, 0], x[0, 0], eps=scalar)[0].dtype == np.float32
    assert cross_entropy(x, np.zeros((2, 3), int), label_smoothing=scalar)[1]().dtype == np.float32


def test_ids_that_are_no_array_or_hold_no_sequence_are_refused():
    model = TinyTransformer(d_model=8, context=4)
    with pytest.raises(TypeError, match="ids must be an array of integers, not list"):
        model([[1, 2], [3]])
    with pytest.raises(ValueError, match=r"at least one of each, not \(0, 3\)"):
        model(np.zeros((0, 3), int))


def test_a_seed_in_place_of_a_generator_is_refused_whether_or_not_there_is_dropout():
    for p in (0.0, 0.5):
        with pytest.raises(
            TypeError, match=r"rng must be a numpy Generator, such as np.random.default_rng\(0\), not 7"
        ):
            TinyTransformer(d_model=8, context=4, dropout=p)(np.zeros((1, 2), int), rng=7)


@pytest.mark.parametrize(
    "words, call",
    [
        ("give a list of Parameters, such as model.parameters()", lambda p: AdamW(p)),
        ("give a list of Parameters, such as model.parameters()", lambda p: AdamW(TinyTransformer(d_model=8))),
        ("must be a dictionary with 'params'", lambda p: AdamW([{"lr": 1.0}])),
        ("betas must be two numbers", lambda p: AdamW([p], betas=(0.9,))),
        ("betas must be two numbers", lambda p: AdamW([p], betas=0.9)),
        ("lr must be a number, not 'a'", lambda p: AdamW([p], lr="a")),
    ],
)
def test_the_optimiser_says_what_it_wants(words, call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(Parameter(np.ones(3)))
    assert words in str(caught.value)


def test_attention_names_a_mask_that_is_no_array_and_keys_that_are_not_there(rng):
    x = rng.normal(size=(2, 3, 4))
    with pytest.raises(TypeError, match=r"the mask must be boolean .* not list"):
        attention(x, x, x, mask=[[True]])
    with pytest.raises(ValueError, match=r"there are no keys to attend to, k is \(2, 0, 4\)"):
        attention(x, x[:, :0], x[:, :0])
    with pytest.raises(ValueError, match="there must be at least 1 head, not 0"):
        MultiHeadAttention(6, 0)


def test_a_top_k_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match=r"generate: top_k must be an integer, and is 2\.5"):
        generate(TinyTransformer(d_model=8, context=4), np.array([1]), top_k=2.5)


def test_rotary_wants_positions_and_channels(rng):
    with pytest.raises(ValueError, match=r"rotary: x \(4,\) must be \(..., positions, channels\)"):
        rotary(rng.normal(size=4), positions=np.arange(4))
