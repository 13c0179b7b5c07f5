"""Multi-head attention."""

import numpy as np
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
