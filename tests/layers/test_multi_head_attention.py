"""Multi-head attention."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import randomized, rngs

from minitransformer import MultiHeadAttention, causal_mask, rotary, softmax
from minitransformer.layers.positions import Rotary

C, T = 6, 5


def module_and_x(rng, n_heads=2, n_kv_heads=None, d_head=None, **options):
    module = randomized(MultiHeadAttention(C, n_heads, n_kv_heads, d_head, **options), rng)
    return module, rng.normal(size=(3, T, C))


def by_einsum(module, x, n_heads, n_kv_heads, mask=True, turn=lambda heads: heads):
    """q, k, v, weights, heads and y of the module, each projection as one einsum over (C, heads, D)."""

    def project(linear, heads):
        weight = linear.weight.data.reshape(C, heads, -1)
        bias = 0 if linear.bias is None else linear.bias.data.reshape(heads, 1, -1)
        return np.einsum("btc,chd->bhtd", x, weight) + bias

    q = turn(project(module.w_q, n_heads))
    k, v = turn(project(module.w_k, n_kv_heads)), project(module.w_v, n_kv_heads)
    group = n_heads // n_kv_heads
    scores = np.einsum("bhqd,bhkd->bhqk", q, k.repeat(group, axis=1)) / np.sqrt(q.shape[-1])
    weights = softmax(np.where(mask, scores, -np.inf))[0]
    heads = np.einsum("bhqk,bhkd->bhqd", weights, v.repeat(group, axis=1))
    w_o = module.w_o.weight.data.reshape(n_heads, -1, C)
    y = np.einsum("bhtd,hdc->btc", heads, w_o) + (0 if module.w_o.bias is None else module.w_o.bias.data)
    return {"q": q, "k": k, "v": v, "weights": weights, "heads": heads, "": y}


def recording(seen, name):
    def hook(y, backward):
        seen[name] = y
        return y, backward

    return hook


@given(
    rngs,
    st.sampled_from([(2, 2, 3), (4, 2, 4), (3, 1, 2), (1, 1, 8), (6, 2, 5)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_it_and_its_named_activations_equal_einsum(rng, sizes, bias, causal, is_rotary):
    n_heads, n_kv_heads, d_head = sizes
    is_rotary = is_rotary and d_head % 2 == 0
    positions = rng.permutation(20)[:T]
    module, x = module_and_x(rng, *sizes, bias=bias, rotary=Rotary(100.0) if is_rotary else None)
    mask = causal_mask(T, T) if causal else None

    def turn(heads):
        return rotary(heads, positions=positions, base=100.0)[0] if is_rotary else heads

    expected = by_einsum(module, x, n_heads, n_kv_heads, True if mask is None else mask, turn)
    seen = {}
    with module.hooked({name: recording(seen, name) for name in expected if name}):
        seen[""], _ = module(x, mask=mask, positions=positions)
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        assert seen[name].shape == value.shape and np.allclose(seen[name], value), name
    assert np.allclose(module(x, mask=mask, positions=positions)[0], expected[""])


@pytest.mark.parametrize("causal", [True, False])
def test_it_equals_pytorch(rng, torch, causal):
    module, x = module_and_x(rng)
    reference = torch.nn.MultiheadAttention(C, 2, batch_first=True, dtype=torch.float64)
    projections = [module.w_q, module.w_k, module.w_v]
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.tensor(np.concatenate([p.weight.data.T for p in projections])))
        reference.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in projections])))
        reference.out_proj.weight.copy_(torch.tensor(module.w_o.weight.data.T))
        reference.out_proj.bias.copy_(torch.tensor(module.w_o.bias.data))
    mask = causal_mask(T, T) if causal else None
    x_torch = torch.tensor(x, requires_grad=True)
    expected = reference(x_torch, x_torch, x_torch, attn_mask=None if mask is None else torch.tensor(~mask))[0]
    y, backward = module(x, mask=mask)
    dy = rng.normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    assert np.allclose(y, expected.detach().numpy())
    assert np.allclose(backward(dy), x_torch.grad.numpy())
    assert np.allclose(np.concatenate([p.weight.grad.T for p in projections]), reference.in_proj_weight.grad)
    assert np.allclose(np.concatenate([p.bias.grad for p in projections]), reference.in_proj_bias.grad)
    assert np.allclose(module.w_o.weight.grad.T, reference.out_proj.weight.grad)
    assert np.allclose(module.w_o.bias.grad, reference.out_proj.bias.grad)


def test_without_a_mask_it_permutes_with_its_input_unless_positions_are_rotary(rng):
    order = rng.permutation(T)
    for turned in (False, True):
        module, x = module_and_x(rng, d_head=4, rotary=Rotary(100.0) if turned else None)
        assert np.allclose(module(x[:, order])[0], module(x)[0][:, order]) != turned


def test_a_key_bias_has_gradient_zero_unless_rotary_positions_turn_it(rng):
    for turned in (False, True):
        module, x = module_and_x(rng, 2, 1, 4, rotary=Rotary(100.0) if turned else None)
        y, backward = module(x)
        backward(rng.normal(size=y.shape))
        assert (abs(module.w_k.bias.grad).max() > 1e-3) == turned
        assert abs(module.w_q.bias.grad).max() > 1e-3 and abs(module.w_v.bias.grad).max() > 1e-3
        if not turned:
            assert abs(module.w_k.bias.grad).max() < 1e-12


def test_rotary_attention_depends_on_relative_positions_only(rng):
    module, x = module_and_x(rng, 2, 1, 4, rotary=Rotary(100.0))
    default = module(x)[0]
    assert np.allclose(module(x, positions=np.arange(T))[0], default)
    assert np.allclose(module(x, positions=np.arange(70, 70 + T))[0], default)
    assert not np.allclose(module(x, positions=2 * np.arange(T))[0], default, atol=1e-3)


def test_replaced_weights_change_output_and_gradient_as_einsum_says(rng):
    module, x = module_and_x(rng, 4, 2, 3)
    replacement = rng.random((3, 4, T, T))

    def replace(weights, backward):
        def replaced_backward(dweights):
            return backward(np.zeros_like(dweights))

        return replacement, replaced_backward

    with module.hooked({"weights": replace}):
        y, backward = module(x)
        dy = rng.normal(size=y.shape)
        dx = backward(dy)
    v = by_einsum(module, x, 4, 2)["v"].repeat(2, axis=1)
    w_o, w_v = module.w_o.weight.data.reshape(4, 3, C), module.w_v.weight.data.reshape(C, 2, 3).repeat(2, axis=1)
    assert np.allclose(y, np.einsum("bhqk,bhkd,hdc->bqc", replacement, v, w_o) + module.w_o.bias.data)
    assert np.allclose(dx, np.einsum("bqc,hdc,bhqk,ihd->bki", dy, w_o, replacement, w_v))
    assert not module.w_q.weight.grad.any() and not module.w_k.weight.grad.any()


def test_a_hook_on_the_weights_sees_them_before_dropout_and_dropout_applies_to_what_it_returns(rng):
    module, x = module_and_x(rng, dropout=0.5)
    plain = by_einsum(module, x, 2, 2)
    seen, dseen = {}, {}

    def replacing(name, value):
        def hook(y, backward):
            def recording_backward(dy):
                dseen[name] = dy
                return backward(dy)

            seen[name] = y
            return y if value is None else np.full_like(y, value), recording_backward

        return hook

    with module.hooked({"weights": replacing("before", 1.0), "dropout": replacing("after", None)}):
        y, backward = module(x, rng=np.random.default_rng(1))
    backward(rng.normal(size=y.shape))
    assert np.allclose(seen["before"], plain["weights"])
    assert set(np.unique(seen["after"])) == {0.0, 2.0}
    assert np.array_equal(dseen["before"], dseen["after"] * seen["after"])


def test_dropout_needs_a_generator_and_the_same_one_gives_the_same(rng):
    module, x = module_and_x(rng, dropout=0.5)
    off = module(x)[0]
    first, again, other = (module(x, rng=np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, off)
    assert np.allclose(off, by_einsum(module, x, 2, 2)[""])


def test_the_output_projection_has_a_deviation_of_its_own(rng):
    module = MultiHeadAttention(100, 5, std=0.5, residual_std=0.1, rng=rng)
    assert [getattr(module, name).weight.data.std().round(2) for name in ("w_q", "w_k", "w_v", "w_o")] == pytest.approx(
        [0.5, 0.5, 0.5, 0.1], abs=0.02
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((6, 4), "n_heads must divide the width of 6 unless d_head is given, not be 4"),
        ((6, 3, 2), "n_kv_heads must divide the 3 query heads, not be 2"),
        ((6, 2, 4), "n_kv_heads must divide the 2 query heads, not be 4"),
    ],
)
def test_heads_that_cannot_be_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiHeadAttention(*arguments)
