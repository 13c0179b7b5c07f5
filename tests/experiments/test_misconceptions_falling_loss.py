"""The experiment on mistakes that a falling loss does not show."""

from collections import Counter

import numpy as np
import pytest
from scipy.special import softmax

from minitransformer.experiments.emergence import prose
from minitransformer.experiments.misconceptions import falling_loss as f
from minitransformer.layers.activations import gelu
from minitransformer.layers.attention import attention
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.module import TWINS, faster, load_engine, plain


def gradients(name, wrong):
    inputs, options = f.calls(np.random.default_rng(3))[name]
    function = f.mistaken(*f.MISTAKES[name]) if wrong else f.MISTAKES[name][0]
    y, backward = function(*inputs, **options)
    dy = np.random.default_rng(4).normal(size=y.shape)
    return inputs, dy, y, backward(dy)


@pytest.mark.parametrize("name", f.MISTAKES)
def test_a_mistake_changes_no_output_and_one_gradient_alone(name):
    _, _, y, right = gradients(name, False)
    _, _, same, wrong = gradients(name, True)
    np.testing.assert_array_equal(same, y)
    differ = [not np.array_equal(a, b) for a, b in zip(right, wrong, strict=True)]
    assert differ == {"transpose": [False, True, False], "gamma": [True, False, False], "tied": [False, True]}[name]


def test_the_wrong_dk_is_the_sum_over_the_keys():
    (q, k, v), dy, _, (_, dk, _) = gradients("transpose", True)
    scores = np.where(np.tri(4, dtype=bool), np.einsum("bhid,bhjd->bhij", q, k) / 3**0.5, -np.inf)
    weights = softmax(scores, axis=-1)
    dweights = np.einsum("bhid,bhjd->bhij", dy, v)
    dscores = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))
    np.testing.assert_allclose(dk, np.einsum("bhij,bhjd->bhid", dscores, q) / 3**0.5, rtol=1e-12, atol=1e-14)


def test_the_wrong_dx_of_a_layer_norm_is_right_where_gamma_is_the_same_everywhere():
    x, dy = np.random.default_rng(0).normal(size=(2, 3, 5))
    wrong = f.mistaken(*f.MISTAKES["gamma"])
    for gamma, is_right in ((np.full(5, 1.7), True), (np.arange(1.0, 6.0), False)):
        pair = [function(x, gamma, np.zeros(5))[1](dy)[0] for function in (wrong, layer_norm)]
        assert np.allclose(*pair, rtol=1e-12, atol=1e-13) == is_right


def test_a_line_that_the_textbook_no_longer_has_is_refused():
    with pytest.raises(ValueError, match="layer_norm must hold 'dx = dy' once, not 0 times"):
        f.mistaken(layer_norm, "dx = dy", "dx = 0")


@pytest.mark.parametrize("is_plain", [False, True])
def test_layers_use_the_other_function_within_the_block_alone(is_plain):
    load_engine()
    before = dict(TWINS)
    with plain(is_plain):
        found = faster(attention)
        with pytest.raises(RuntimeError), f.in_place_of(attention, max):
            assert faster(attention) is max
            assert (faster(gelu) is gelu) == is_plain
            raise RuntimeError
        assert faster(attention) is found
    assert before == TWINS


def test_each_mistake_is_caught_and_what_is_right_is_not():
    for name, call in f.calls(np.random.default_rng(0)).items():
        assert f.is_caught(f.mistaken(*f.MISTAKES[name]), *call)
        assert not f.is_caught(f.MISTAKES[name][0], *call)


def test_the_loss_of_letter_frequencies_is_a_cross_entropy():
    training, test = (Counter(part.tolist()) for part in prose.text_ids())
    expected = -sum(n * np.log(training[i] / training.total()) for i, n in test.items()) / test.total()
    np.testing.assert_allclose(f.frequencies_loss(), expected, rtol=1e-12)
