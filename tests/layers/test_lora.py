"""Low-rank adapters: against explicit products and PyTorch; merging does not change the results."""

import copy

import numpy as np
import pytest
from hypothesis import given, strategies as st
from small_runs import assert_same_weights, small_lm, weights

from minitransformer import LanguageModel, Linear
from minitransformer.layers.lora import (
    LowRankLinear,
    add_adapters,
    low_rank,
    merge_adapters,
    merged,
    unmerged_parameters,
)
from minitransformer.module import Module

QUERIES_AND_VALUES = ("*.attention.w_q", "*.attention.w_v")
EVERY_MAP = ("*.attention.w_?", "*.feed_forward.*")


def drawn(rng, d_in=5, rank=3, d_out=4):
    """Draw x (2, 7, d_in), a and b."""
    return rng.normal(size=(2, 7, d_in)), rng.normal(size=(d_in, rank)), rng.normal(size=(rank, d_out))


def adapted_lm(rng, patterns=QUERIES_AND_VALUES, rank=2, **fields):
    """Return a small float64 model with adapters that do something."""
    lm = small_lm(dtype="float64", dropout=0.0, n_layers=2, **fields)
    add_adapters(lm.model, patterns, rank, 3.0, rng=rng)
    for name, parameter in lm.model.named_parameters():
        if name.endswith(".b"):
            parameter.data = rng.normal(size=parameter.data.shape)
    return lm


def some_ids(rng, lm):
    """Draw ids (3, context)."""
    return rng.integers(0, lm.model.config.vocab_size, (3, lm.model.config.context))


def test_the_correction_and_its_gradients_are_the_sums_written_out(rng):
    x, a, b = drawn(rng)
    y, backward = low_rank(x, a, b, scale=0.7)
    np.testing.assert_allclose(y, 0.7 * np.einsum("bti,ir,ro->bto", x, a, b), rtol=1e-12)
    dy = rng.normal(size=y.shape)
    dx, da, db = backward(dy)
    np.testing.assert_allclose(dx, 0.7 * np.einsum("bto,ro,ir->bti", dy, b, a), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(da, 0.7 * np.einsum("bti,bto,ro->ir", x, dy, b), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(db, 0.7 * np.einsum("bti,ir,bto->ro", x, a, dy), rtol=1e-10, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 4))
def test_only_the_product_of_the_adapters_counts_and_it_ties_their_gradients(seed, rank):
    rng = np.random.default_rng(seed)
    x, a, b = drawn(rng, rank=rank)
    m = rng.normal(size=(rank, rank)) + 3 * np.eye(rank)
    y, backward = low_rank(x, a, b)
    np.testing.assert_allclose(low_rank(x, a @ m, np.linalg.inv(m) @ b)[0], y, rtol=1e-6, atol=1e-8)
    _, da, db = backward(rng.normal(size=y.shape))
    np.testing.assert_allclose(a.T @ da, db @ b.T, rtol=1e-8, atol=1e-9)


def test_new_adapters_change_nothing(rng):
    lm = small_lm(n_layers=2)
    ids = some_ids(rng, lm)
    before = lm.model.predict(ids)
    add_adapters(lm.model, EVERY_MAP, 2, 8.0, rng=rng)
    assert lm.model.predict(ids).tobytes() == before.tobytes()


def test_at_the_start_only_b_has_a_gradient(rng):
    layer = LowRankLinear(Linear(5, 4, rng=rng, dtype=np.float64), 2, 2.0, rng=rng)
    y, backward = layer(rng.normal(size=(3, 5)))
    backward(rng.normal(size=y.shape))
    assert not layer.a.grad.any()
    assert np.abs(layer.b.grad).min() > 0


def test_a_frozen_weight_collects_no_gradient_and_lets_it_through(rng):
    layer = LowRankLinear(Linear(5, 4, std=1.0, rng=rng, dtype=np.float64), 2, 2.0, rng=rng)
    layer.weight.requires_grad = layer.bias.requires_grad = False
    y, backward = layer(rng.normal(size=(3, 5)))
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(backward(dy), dy @ layer.weight.data.T, rtol=1e-12)
    assert layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("patterns", [QUERIES_AND_VALUES, EVERY_MAP], ids=["queries and values", "every map"])
@pytest.mark.parametrize(
    "fields", [{}, {"feed_forward": "swiglu", "bias": False, "n_kv_heads": 1}], ids=["GPT", "Llama"]
)
def test_a_merged_model_gives_the_same_logits(rng, patterns, fields):
    lm = adapted_lm(rng, patterns, **fields)
    ids = some_ids(rng, lm)
    adapted = lm.model.predict(ids)
    assert not np.allclose(adapted, small_lm(dtype="float64", n_layers=2, **fields).model.predict(ids))
    names = [name for name, _ in small_lm(n_layers=2, **fields).model.named_parameters()]
    merge_adapters(lm.model)
    np.testing.assert_allclose(lm.model.predict(ids), adapted, rtol=1e-10, atol=1e-12)
    assert [name for name, _ in lm.model.named_parameters()] == names


def test_a_merged_weight_is_the_old_one_and_a_matrix_of_low_rank(rng):
    lm = adapted_lm(rng, rank=2)
    layer, other = lm.model.blocks[1].attention.w_q, lm.model.blocks[1].attention.w_k
    before, untouched = layer.weight.data.copy(), other.weight.data.copy()
    merge_adapters(lm.model)
    after = lm.model.blocks[1].attention.w_q.weight
    assert after is layer.weight  # the same Parameter: who holds it keeps it
    np.testing.assert_allclose(after.data - before, 1.5 * layer.a.data @ layer.b.data, rtol=1e-9, atol=1e-12)
    assert np.linalg.matrix_rank(after.data - before, tol=1e-9) == 2
    assert lm.model.blocks[1].attention.w_k.weight.data.tobytes() == untouched.tobytes()


def test_within_merged_the_model_can_be_saved_and_afterwards_it_is_as_before(rng, tmp_path):
    lm = adapted_lm(rng)
    before, ids = copy.deepcopy(weights(lm)), some_ids(rng, lm)
    with merged(lm.model):
        lm.save(tmp_path / "model.npz")
    assert_same_weights(lm, before)
    loaded = LanguageModel.load(tmp_path / "model.npz")
    np.testing.assert_allclose(loaded.model.predict(ids), lm.model.predict(ids), rtol=1e-10, atol=1e-12)
    with pytest.raises(ZeroDivisionError), merged(lm.model):
        raise ZeroDivisionError
    assert_same_weights(lm, before)


def test_what_merging_would_change_is_named(rng):
    lm = adapted_lm(rng)
    adapted = [f"blocks.{i}.attention.{w}.{part}" for i in (0, 1) for w in ("w_q", "w_v") for part in (*"ab", "weight")]
    unmerged = unmerged_parameters(lm.model)
    assert sorted(name for name in unmerged if not name.endswith(".bias")) == sorted(adapted)
    merge_adapters(lm.model)
    assert unmerged_parameters(lm.model) == {}


def test_float32_stays_float32(rng):
    lm = small_lm(dropout=0.0)
    add_adapters(lm.model, EVERY_MAP, 2, 8.0)
    logits, backward = lm.model(some_ids(rng, lm))
    backward(rng.normal(size=logits.shape).astype(np.float32))
    merge_adapters(lm.model)
    assert lm.model.predict(some_ids(rng, lm)).dtype == np.float32
    assert {parameter.data.dtype for parameter in lm.model.parameters()} == {np.dtype(np.float32)}
    assert {parameter.grad.dtype for parameter in lm.model.parameters()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "patterns, rank, words",
    [
        (("*.attention.w_q", "*.w_x"), 2, r"no linear layer matches '\*.w_x'; did you mean 'blocks"),
        (("blocks.0.attention",), 2, "did you mean 'blocks.0.attention.w_"),
        (QUERIES_AND_VALUES, 9, "the rank must be from 1 to 8 for a 8 × 8 layer, not 9"),
        (QUERIES_AND_VALUES, 0, "the rank must be from 1 to 8 for a 8 × 8 layer, not 0"),
    ],
)
def test_adapters_that_do_not_fit_are_refused_and_the_model_is_unchanged(patterns, rank, words):
    lm = small_lm()
    names = [name for name, _ in lm.model.named_parameters()]
    with pytest.raises(ValueError, match=words):
        add_adapters(lm.model, patterns, rank, 8.0)
    assert [name for name, _ in lm.model.named_parameters()] == names


class Stack(Module):
    """Linear maps one after another, in a list."""

    def __init__(self, rng):
        self.maps = [Linear(5, 5, std=0.5, rng=rng), Linear(5, 3, std=0.5, rng=rng)]

    def forward(self, x):
        h, first_backward = self.maps[0](x)
        y, second_backward = self.maps[1](h)

        def backward(dy):
            return first_backward(second_backward(dy))

        return y, backward


def test_a_linear_map_in_a_list_is_adapted_and_merged_in_its_place(rng):
    stack, x = Stack(rng), rng.normal(size=(2, 5)).astype(np.float32)
    before, _ = stack(x)
    assert add_adapters(stack, ["maps.1"], 2, 4.0, rng=rng) == ["maps.1"]
    assert [type(layer) for layer in stack.maps] == [Linear, LowRankLinear]
    stack.maps[1].b.data += 1
    adapted, _ = stack(x)
    with merged(stack):
        assert type(stack.maps[1]) is Linear
    assert type(stack.maps[1]) is LowRankLinear
    merge_adapters(stack)
    assert [type(layer) for layer in stack.maps] == [Linear, Linear]
    np.testing.assert_allclose(stack(x)[0], adapted, rtol=1e-5, atol=1e-5)
    assert np.abs(adapted - before).max() > 0.1
