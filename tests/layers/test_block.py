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


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_it_equals_pytorchs_encoder_layer_with_the_norm_first(rng, torch, activation):
    block, x = block_and_x(rng, feed_forward=activation)
    reference = torch.nn.TransformerEncoderLayer(
        C, H, F, 0.0, activation, batch_first=True, norm_first=True, dtype=torch.float64
    )
    attention, feed_forward = block.attention, block.feed_forward
    projections = [attention.w_q, attention.w_k, attention.w_v]
    values = {
        "self_attn.in_proj_weight": np.concatenate([p.weight.data.T for p in projections]),
        "self_attn.in_proj_bias": np.concatenate([p.bias.data for p in projections]),
    }
    pairs = {
        "self_attn.out_proj": attention.w_o,
        "linear1": feed_forward.up,
        "linear2": feed_forward.down,
    }
    for name, linear in pairs.items():
        values |= {f"{name}.weight": linear.weight.data.T, f"{name}.bias": linear.bias.data}
    for name, norm in {"norm1": block.norm1, "norm2": block.norm2}.items():
        values |= {f"{name}.weight": norm.gamma.data, f"{name}.bias": norm.beta.data}
    reference.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    mask = causal_mask(T, T)
    x_torch = torch.tensor(x, requires_grad=True)
    expected = reference(x_torch, src_mask=torch.tensor(~mask))
    y, backward = block(x, mask=mask)
    dy = rng.normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    assert np.allclose(y, expected.detach().numpy())
    assert np.allclose(backward(dy), x_torch.grad.numpy())
    assert np.allclose(block.norm1.gamma.grad, reference.norm1.weight.grad)
    assert np.allclose(block.norm2.beta.grad, reference.norm2.bias.grad)
    assert np.allclose(feed_forward.up.weight.grad.T, reference.linear1.weight.grad)


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


@pytest.mark.parametrize(
    "options, words",
    [
        ({"norm": "batch_norm"}, "unknown norm 'batch_norm'; choose from layer_norm, rms_norm"),
        ({"feed_forward": "tanh"}, "unknown feed_forward 'tanh'; choose from gelu, gelu_tanh, relu, swiglu"),
        ({"n_kv_heads": 4}, "n_kv_heads must divide the 2 query heads, not be 4"),
    ],
)
def test_choices_that_cannot_be_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        TransformerBlock(C, H, F, **options)
