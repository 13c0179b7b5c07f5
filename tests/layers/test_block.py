"""The pre-norm block."""

import numpy as np
import pytest
from strategies import randomized

from minitransformer import TransformerBlock, causal_mask
from minitransformer.layers.positions import Rotary

C, H, F, T = 6, 2, 9, 5
KINDS = {
    "GPT-2-like": {},
    "Llama-like": {"norm": "rms_norm", "feed_forward": "swiglu", "bias": False, "rotary": Rotary(100.0), "d_head": 4},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def block_and_x(rng, kind="GPT-2-like", **options):
    return randomized(TransformerBlock(C, H, F, **KINDS[kind] | options), rng), rng.normal(size=(3, T, C))


@each_kind
def test_it_is_two_residual_steps_and_names_what_is_between(rng, kind):
    block, x = block_and_x(rng, kind)
    seen = {}

    def recording(name):
        def hook(y, backward):
            seen[name] = y
            return y, backward

        return hook

    mask = causal_mask(T, T)
    with block.hooked({name: recording(name) for name in ("attention", "residual_mid", "feed_forward")}):
        y, _ = block(x, mask=mask)
    attended = block.attention(block.norm1(x)[0], mask=mask)[0]
    assert np.allclose(seen["attention"], attended)
    assert np.allclose(seen["residual_mid"], x + attended)
    assert np.allclose(seen["feed_forward"], block.feed_forward(block.norm2(x + attended)[0])[0])
    assert np.allclose(y, seen["residual_mid"] + seen["feed_forward"])


@each_kind
def test_layers_that_add_nothing_leave_the_stream_and_its_gradient_unchanged(rng, kind):
    block, x = block_and_x(rng, kind)
    for linear in (block.attention.w_o, block.feed_forward.down):
        for parameter in linear.parameters():
            parameter.data[:] = 0
    y, backward = block(x)
    assert np.array_equal(y, x)
    assert np.array_equal(backward(x), x)


def test_dropout_applies_to_what_each_layer_adds_and_to_the_weights(rng):
    block, x = block_and_x(rng, dropout=0.5)
    block.attention.dropout.p = 0.0
    y, _ = block(x)
    dropped_y, _ = block(x, rng=np.random.default_rng(1))
    assert not np.allclose(y, dropped_y)
    assert np.array_equal(dropped_y, block(x, rng=np.random.default_rng(1))[0])
    seen = []

    def record(y, backward):
        seen.append(y)
        return y, backward

    with block.hooked({"dropout": record, "attention": record, "feed_forward": record}):
        dropped_y, _ = block(x, rng=np.random.default_rng(1))
    attended, kept_attended, fed, kept_fed = seen
    for before, after in [(attended, kept_attended), (fed, kept_fed)]:
        assert np.allclose(after[after != 0], 2 * before[after != 0])
        assert 0.2 < (after == 0).mean() < 0.8
    assert np.allclose(dropped_y, x + kept_attended + kept_fed)
    block.dropout.p, block.attention.dropout.p = 0.0, 0.5
    assert not np.allclose(y, block(x, rng=np.random.default_rng(1))[0]), "dropout of the weights alone"
