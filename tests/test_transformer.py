"""The whole model, in every configuration."""

import json
import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from strategies import LLAMA, configs, random_ids, random_model, rngs, taken_gradients

from minitransformer import AdamW, Config, TinyTransformer, Transformer, cross_entropy, sink_softmax, softcap, softmax
from minitransformer.layers.feed_forward import FEED_FORWARDS
from minitransformer.layers.positions import POSITIONS
from minitransformer.module import identity

GPT2 = {"feed_forward": "gelu_tanh", "dropout": 0.2}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES = {
    "GPT-2-like": GPT2,
    "Llama-like": LLAMA | {"n_kv_heads": 2},
    "sinusoidal": {"positions": "sinusoidal", "feed_forward": "relu"},
}
each_family = pytest.mark.parametrize("family", FAMILIES)


def family_config(family, **fields):
    """A small Config of the family, B = 2, T = 5 and every size different."""
    sizes = {"vocab_size": 11, "context": 7, "d_model": 8, "n_heads": 4, "n_layers": 2, "d_ff": 10, "d_head": 6}
    return Config(**sizes | FAMILIES[family] | fields)


# The forward pass


def by_pytorch(torch, config, values, ids):
    """Return the logits of a model with these tensors as parameters, computed by PyTorch."""
    functional = torch.nn.functional
    H, K, D = config.n_heads, config.kv_heads, config.head_width
    T = ids.shape[-1]

    def linear(x, name):
        return functional.linear(x, values[f"{name}.weight"].T, values.get(f"{name}.bias"))

    def norm(x, name):
        gamma = values[f"{name}.gamma"]
        if config.norm == "rms_norm":
            return rms(x, name)
        return functional.layer_norm(x, (config.d_model,), gamma, values[f"{name}.beta"], config.eps)

    def rms(x, name):
        return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + config.eps) * values[f"{name}.gamma"]

    def rms_of_heads(x, name):
        if config.qk_norm_over == "head":
            return rms(x, name)
        return rms(x.transpose(1, 2).flatten(-2), name).unflatten(-1, x.shape[1::2]).transpose(1, 2)

    def turn(x):
        if POSITIONS[config.positions].table is not None:
            return x
        if config.rotary_fraction:
            width = int(config.rotary_fraction * D)
            return torch.cat([turn_all(x[..., :width]), x[..., width:]], dim=-1)
        return turn_all(x)

    def turn_all(x):
        pairs = x.shape[-1] // 2
        omega = config.rope_base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        if config.rope_scaling:
            omega = omega / config.rope_scaling["factor"]
        angles = torch.arange(T)[:, None] * omega
        turned = torch.complex(x[..., :pairs], x[..., pairs:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag], dim=-1)

    def split(x, name, letter, heads):
        return linear(x, f"{name}.w_{letter}").unflatten(-1, (heads, D)).transpose(1, 2)

    def attention(x, name, window):
        q, k, v = (split(x, name, letter, heads) for letter, heads in [("q", H), ("k", K), ("v", K)])
        if config.qk_norm:
            q, k = rms_of_heads(q, f"{name}.q_norm"), rms_of_heads(k, f"{name}.k_norm")
        k, v = (each.repeat_interleave(H // K, dim=1) for each in (turn(k), v))
        scores = turn(q) @ k.mT / math.sqrt(D)
        if config.attention_cap:
            scores = config.attention_cap * torch.tanh(scores / config.attention_cap)
        distance = torch.arange(T)[:, None] - torch.arange(T)
        scores = scores.masked_fill((distance < 0) | (distance >= (window or T)), -math.inf)
        if config.sinks:
            sinks = values[f"{name}.sinks"][:, None, None].expand(*scores.shape[:-1], 1)
            weights = torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]
        else:
            weights = scores.softmax(dim=-1)
        return linear((weights @ v).transpose(1, 2).flatten(-2), f"{name}.w_o")

    def latent(x, name, window):
        q = split(x, name, "q", H)
        queries = linear(x, f"{name}.w_q_rotary").unflatten(-1, (H, -1)).transpose(1, 2)
        turn_own = turn_all if POSITIONS[config.positions].turns else torch.clone
        c = rms(linear(x, f"{name}.w_latent"), f"{name}.latent_norm")
        k, v = (torch.einsum("btl,hld->bhtd", c, values[f"{name}.w_{part}"]) for part in ("key", "value"))
        shared = turn_own(linear(x, f"{name}.w_k_rotary"))
        scores = q @ k.mT + torch.einsum("bhtr,bur->bhtu", turn_own(queries), shared)
        distance = torch.arange(T)[:, None] - torch.arange(T)
        scores = scores.masked_fill((distance < 0) | (distance >= (window or T)), -math.inf)
        weights = (scores / math.sqrt(D + shared.shape[-1])).softmax(dim=-1)
        return linear((weights @ v).transpose(1, 2).flatten(-2), f"{name}.w_o")

    def delta(x, name, window):
        q, k, v = (split(x, name, letter, H) for letter in "qkv")
        q, k = (each / torch.sqrt((each * each).sum(dim=-1, keepdim=True) + D * 1e-6) for each in (q, k))
        beta, gate = (torch.sigmoid(linear(x, f"{name}.w_{of}") + shift).mT for of, shift in (("beta", 0), ("gate", 4)))
        state, read = torch.zeros(*v.shape[:2], D, D, dtype=torch.float64), []
        for t in range(T):
            key, value, write = k[:, :, t, :, None], v[:, :, t, :, None], beta[:, :, t, None, None]
            forgotten = torch.eye(D, dtype=torch.float64) - write * key @ key.mT
            state = gate[:, :, t, None, None] * state @ forgotten + write * value @ key.mT
            read.append((state @ q[:, :, t, :, None])[..., 0])
        return linear(torch.stack(read, dim=-2).transpose(1, 2).flatten(-2), f"{name}.w_o")

    def feed_forward(x, name):
        if config.n_experts:
            gates = torch.zeros(*x.shape[:-1], config.n_experts, dtype=torch.float64)
            logits = x @ values[f"{name}.router"]
            best = (logits + values[f"{name}.balance"]).topk(config.active_experts, dim=-1).indices
            gates = gates.scatter(-1, best, logits.gather(-1, best).softmax(dim=-1))
            w_gate, w_up, w_down = (values[f"{name}.w_{part}"] for part in ("gate", "up", "down"))
            experts = [(functional.silu(x @ g) * (x @ u)) @ d for g, u, d in zip(w_gate, w_up, w_down, strict=True)]
            return (gates[..., None, :] * torch.stack(experts, dim=-1)).sum(dim=-1)
        choice = FEED_FORWARDS[config.feed_forward]
        hidden = [linear(x, f"{name}.{part}") for part in (["gate", "up"] if choice.gated else ["up"])]
        return linear(choice.torch(functional, *hidden), f"{name}.down")

    x = values["embedding.weight"][ids]
    if config.positions == "learned":
        x = x + values["positional_embedding.weight"][:T]
    elif config.positions == "sinusoidal":
        C = config.d_model
        angles = torch.arange(T)[:, None] / 10000 ** (torch.arange(0, C, 2, dtype=torch.float64) / C)
        x = x + torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    for i in range(config.n_layers):
        block = f"blocks.{i}"
        mixers = {"attention": attention, "latent": latent, "delta": delta}
        mixer = mixers[config.mixers[i % len(config.mixers)] if config.mixers else "attention"]
        window = config.windows[i % len(config.windows)] if config.windows else None
        layers = [partial(mixer, name=f"{block}.attention", window=window)]
        layers.append(partial(feed_forward, name=f"{block}.feed_forward"))
        for number, layer in enumerate(layers, start=1):
            place = f"{block}.norm{number}"
            x = x + (norm(layer(x), place) if config.block == "post_norm" else layer(norm(x, place)))
    head = values["embedding.weight" if config.tie_embeddings else "lm_head.weight"]
    logits = functional.linear(norm(x, "ln_final"), head)
    return config.logit_cap * torch.tanh(logits / config.logit_cap) if config.logit_cap else logits


@given(config=configs(), rng=rngs)
def test_logits_loss_and_every_gradient_equal_pytorch_in_every_configuration(torch, config, rng):
    model = random_model(config, rng)
    ids, targets = random_ids(config, rng, 2, 2, config.context)
    values = {name: torch.tensor(p.data, requires_grad=True) for name, p in model.named_parameters()}
    expected = by_pytorch(torch, config, values, torch.tensor(ids))
    expected_loss = torch.nn.functional.cross_entropy(expected.flatten(0, 1), torch.tensor(targets.ravel()))
    expected_loss.backward()
    loss, backward = model.loss(ids, targets)
    backward()
    assert np.allclose(model(ids)[0], expected.detach().numpy())
    assert loss == pytest.approx(expected_loss.item())
    for name, gradient in taken_gradients(model).items():
        if name.endswith("balance"):
            assert gradient is None
            continue
        assert np.allclose(gradient, values[name].grad.numpy(), rtol=1e-7, atol=1e-10), name


@given(configs(), rngs, st.data())
def test_future_tokens_do_not_change_past_logits_and_past_tokens_do_change_future_ones(config, rng, data):
    model = random_model(config, rng)
    ids = random_ids(config, rng, 2, config.context)
    at = data.draw(st.integers(0, config.context - 1))
    changed = ids.copy()
    changed[:, at] = (ids[:, at] + 1) % config.vocab_size
    logits, other = model(ids)[0], model(changed)[0]
    assert np.allclose(logits[:, :at], other[:, :at], rtol=1e-12, atol=1e-12)
    seen = config.context  # positions that see the change: by windows of w, those less than w away in each layer
    if config.windows and None not in config.layer_windows:
        seen = sum(w - 1 for w in config.layer_windows) + 1
    assert (logits[:, at : at + seen] != other[:, at : at + seen]).any(axis=(0, 2)).all()
    assert np.allclose(logits[:, at + seen :], other[:, at + seen :], rtol=1e-12, atol=1e-12)


@given(configs(), rngs)
def test_predict_equals_forward(config, rng):
    model = random_model(config, rng)
    ids = random_ids(config, rng, 2, config.context)
    logits = model(ids)[0]
    assert np.array_equal(model.predict(ids), logits)
    last = model.predict(ids, last_only=True)
    assert last.shape == (2, 1, config.vocab_size) and np.allclose(last, logits[:, -1:])


@each_family
def test_dropout_needs_a_generator_and_the_same_one_gives_the_same(family, rng):
    model = random_model(family_config(family, dropout=0.3), rng)
    ids = rng.integers(0, 11, size=(2, 5))
    off = model(ids)[0]
    first, again, other = (model(ids, rng=np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(off, model(ids)[0]) and np.array_equal(off, model.predict(ids))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, off)


# The backward pass


def test_the_backward_of_the_loss_runs_only_once_and_says_why(rng):
    model = random_model(family_config("GPT-2-like"), rng)
    ids = rng.integers(0, 11, size=(2, 5))
    _, backward = model.loss(ids, ids)
    backward()
    with pytest.raises(RuntimeError, match=r"backward of model.loss can be called only once"):
        backward()


def peak_of(run):
    """Return the peak memory of run(), in bytes."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_predict_peaks_at_a_layers_memory(rng):
    model = Transformer(Config(vocab_size=20, context=64, d_model=32, n_heads=4, n_layers=8))
    ids = rng.integers(0, 20, size=(2, 64))
    assert peak_of(lambda: model.predict(ids)) < 0.3 * peak_of(lambda: model(ids))


def test_the_training_pass_frees_activations_while_gradients_arrive(rng):
    model = Transformer(Config(vocab_size=20, context=16, d_model=96, n_heads=4, n_layers=6))
    ids, targets = rng.integers(0, 20, size=(2, 4, 16))

    def keep_everything():
        taken_gradients(model)
        logits, backward = model(ids)
        loss_backward = cross_entropy(logits, targets)[1]
        backward(loss_backward())

    def train():
        taken_gradients(model)
        model.loss(ids, targets)[1]()

    assert peak_of(train) < 0.75 * peak_of(keep_everything)


# Hooks


def shapes_of_activations(config, B, T):
    """Return {documented name: shape}."""
    C, H, K, D = config.d_model, config.n_heads, config.kv_heads, config.head_width
    shapes = {"embedding": (B, T, C), "ln_final": (B, T, C), "lm_head": (B, T, config.vocab_size)}
    if POSITIONS[config.positions].table is not None:
        shapes["positional_embedding"] = (T, C)
    for i in range(config.n_layers):
        heads = {"q": (B, H, T, D), "k": (B, K, T, D), "v": (B, K, T, D), "weights": (B, H, T, T)}
        if config.layer_mixers[i] == "latent":
            heads = {"q": (B, H, T, D), "q_rotary": (B, H, T, config.rotary_width), "weights": (B, H, T, T)}
            heads |= {"latent": (B, T, config.latent_width), "k_rotary": (B, T, config.rotary_width)}
        if config.layer_mixers[i] == "delta":
            heads = dict.fromkeys("qkv", (B, H, T, D)) | dict.fromkeys(("beta", "gate"), (B, T, H))
        shapes |= {f"blocks.{i}.attention.{name}": shape for name, shape in heads.items()}
        shapes |= {
            f"blocks.{i}.attention.heads": (B, H, T, D),
            f"blocks.{i}.attention": (B, T, C),
            f"blocks.{i}.residual_mid": (B, T, C),
            f"blocks.{i}.feed_forward": (B, T, C),
            f"blocks.{i}": (B, T, C),
        }
    return shapes


def record_all(model, names, run):
    """Return the result of run(), the activations, and a dictionary that backward fills with their gradients."""
    values, dvalues = {}, {}

    def recording(name):
        def hook(y, backward):
            assert name not in values, f"{name} was computed twice"
            values[name] = y

            def recording_backward(dy):
                dvalues[name] = dy
                return backward(dy)

            return y, recording_backward

        return hook

    with model.hooked({name: recording(name) for name in names}):
        result = run()
    return result, values, dvalues


@given(configs(), rngs)
def test_every_documented_activation_has_its_name_its_shape_and_a_gradient_of_that_shape(config, rng):
    model, T = random_model(config, rng), config.context
    ids = random_ids(config, rng, 3, T)
    shapes = shapes_of_activations(config, 3, T)
    (logits, backward), values, dvalues = record_all(model, shapes, lambda: model(ids))
    plain, _ = model(ids)
    backward(rng.normal(size=logits.shape))
    assert np.allclose(logits, plain)
    assert {name: y.shape for name, y in values.items()} == shapes
    assert {name: dy.shape for name, dy in dvalues.items()} == shapes


@given(configs(), rngs)
def test_recorded_activations_are_related_as_the_equations_say(config, rng):
    model, T = random_model(config, rng), config.context
    ids = random_ids(config, rng, 2, T)
    (logits, _), y, _ = record_all(model, shapes_of_activations(config, 2, T), lambda: model(ids))
    assert np.array_equal(y["embedding"], model.embedding.weight.data[ids])
    x = y["embedding"] + y.get("positional_embedding", 0)
    group = config.n_heads // config.kv_heads
    for i in range(config.n_layers):
        block, attention = f"blocks.{i}", f"blocks.{i}.attention"
        norms = (model.blocks[i].norm1, model.blocks[i].norm2)
        normed = norms if config.block == "post_norm" else (identity, identity)
        assert np.allclose(y[f"{block}.residual_mid"], x + normed[0](y[attention])[0])
        x = y[block]
        assert np.allclose(x, y[f"{block}.residual_mid"] + normed[1](y[f"{block}.feed_forward"])[0])
        if config.layer_mixers[i] == "delta":
            assert np.allclose((y[f"{attention}.k"] ** 2).sum(axis=-1), 1, atol=1e-2)
        if config.layer_mixers[i] != "attention":
            continue
        keys, values = (y[f"{attention}.{name}"].repeat(group, axis=1) for name in "kv")
        scores = np.einsum("bhqd,bhkd->bhqk", y[f"{attention}.q"], keys) / math.sqrt(config.head_width)
        if config.attention_cap:
            scores = softcap(scores, cap=config.attention_cap)[0]
        distance = np.arange(T)[:, None] - np.arange(T)
        scores[..., (distance < 0) | (distance >= (config.layer_windows[i] or T))] = -np.inf
        sinks = model.blocks[i].attention.sinks.data if config.sinks else None
        weights = softmax(scores)[0] if sinks is None else sink_softmax(scores, sinks)[0]
        assert np.allclose(y[f"{attention}.weights"], weights)
        assert np.allclose(y[f"{attention}.heads"], np.einsum("bhqk,bhkd->bhqd", y[f"{attention}.weights"], values))
    assert np.allclose(y["ln_final"], model.ln_final(x)[0])
    assert np.array_equal(y["lm_head"], logits)


@settings(max_examples=20)
@given(configs(n_experts=None).filter(lambda config: config.feed_forward != "relu"), rngs)  # no kinks, no jumps
def test_a_change_of_an_activation_changes_the_logits_as_its_gradient_says(config, rng):
    model, h = random_model(config, rng), 1e-5
    ids = random_ids(config, rng, 2, config.context)
    names = shapes_of_activations(config, 2, config.context)
    (logits, backward), values, dvalues = record_all(model, names, lambda: model(ids))
    dlogits = rng.normal(size=logits.shape)
    backward(dlogits)
    for name, value in values.items():
        direction = rng.normal(size=value.shape)

        def steered(step, name=name, direction=direction):
            with model.hooked({name: lambda y, backward: (y + step * direction, backward)}):
                return model.predict(ids)

        wide, narrow = ((dlogits * (steered(s) - steered(-s))).sum() / (2 * s) for s in (h, h / 2))
        slope = (4 * narrow - wide) / 3  # without the term in h², which is large if a norm divides by little
        assert slope == pytest.approx((dvalues[name] * direction).sum(), rel=1e-5, abs=1e-5), name


# Sizes and initial values


def count_by_hand(config):
    """Return the number of parameters, from the sizes alone."""
    V, C, F, H, D = config.vocab_size, config.d_model, config.hidden_width, config.n_heads, config.head_width
    norm = 2 * C if config.norm == "layer_norm" else C
    total = V * C * (1 if config.tie_embeddings else 2) + (config.context * C if config.positions == "learned" else 0)
    for mixer in config.layer_mixers:
        L, R = config.latent_width, config.rotary_width
        outputs = {"delta": [H * D] * 3 + [H] * 2, "latent": [H * D, H * R, L, R]}.get(mixer)
        outputs = outputs or [H * D, config.kv_heads * D, config.kv_heads * D]
        inner = [F] * sum(part.gated + 1 for part in [FEED_FORWARDS[config.feed_forward]])
        weights, biases = C * sum(outputs) + H * D * C, sum(outputs) + C
        if mixer == "attention":
            gains = 2 * D if config.qk_norm_over == "head" else (H + config.kv_heads) * D
            weights += (gains if config.qk_norm else 0) + (H if config.sinks else 0)
        if mixer == "latent":
            weights += L + 2 * H * L * D
        if config.n_experts:
            weights += config.n_experts * (C + 3 * C * F + 1)
        else:
            weights, biases = weights + C * (sum(inner) + F), biases + sum(inner) + C
        total += weights + (biases if config.bias else 0) + 2 * norm
    return total + norm


@given(configs())
def test_the_number_of_parameters_follows_from_the_sizes(config):
    model = Transformer(config)
    assert model.n_parameters() == count_by_hand(config) == sum(p.data.size for p in model.parameters())


@given(configs(), st.sampled_from([None, 1, 3]))
def test_the_flops_per_token_are_those_of_its_products(config, T):
    C, F, H, D = config.d_model, config.hidden_width, config.n_heads, config.head_width
    length = config.context if T is None else T
    matrices = 3 if FEED_FORWARDS[config.feed_forward].gated else 2
    multiplications = C * config.vocab_size
    for mixer in config.layer_mixers:
        if mixer == "attention":
            multiplications += C * (2 * H + 2 * config.kv_heads) * D + 2 * length * H * D
        elif mixer == "latent":
            L, R = config.latent_width, config.rotary_width
            multiplications += C * (2 * H * D + H * R + L + R) + 2 * H * L * D + length * H * (2 * D + R)
        else:
            multiplications += C * (4 * H * D + 2 * H) + 3 * H * D * D
        if config.n_experts:
            multiplications += C * config.n_experts + config.active_experts * 3 * C * F
        else:
            multiplications += matrices * C * F
    forward = 2 * multiplications
    assert Transformer(config).flops_per_token(T) == forward + 2 * forward


@each_family
def test_initial_weights_are_those_of_gpt2(family):
    config = family_config(family, vocab_size=300, context=200, d_model=96, d_ff=200, d_head=24, n_layers=3)
    for name, p in Transformer(config).named_parameters():
        if name.endswith("gamma"):
            assert (p.data == 1).all(), name
        elif name.endswith(("beta", "bias")):
            assert (p.data == 0).all(), name
        else:
            is_residual = name.endswith(("w_o.weight", "down.weight"))
            assert p.data.std() == pytest.approx(0.02 / math.sqrt(6) if is_residual else 0.02, rel=0.05), name
            assert p.data.mean() == pytest.approx(0, abs=0.001), name


@each_family
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(family):
    single, again, other = (Transformer(family_config(family), seed) for seed in (5, 5, 6))
    double = Transformer(family_config(family, dtype="float64"), 5)
    for a, b, c, d in zip(*(model.parameters() for model in (single, again, other, double)), strict=True):
        assert np.array_equal(a.data, b.data)
        assert a.data.dtype == np.float32 and np.array_equal(a.data, d.data.astype(np.float32))
        if a.data.std() > 0:
            assert not np.allclose(a.data, c.data)
    values = [p.data.ravel()[:6] for p in single.parameters() if p.data.std() > 0]
    assert len(np.unique(np.concatenate(values))) == sum(map(len, values)), "no two matrices begin alike"


# Training


@pytest.mark.one_in(3)
@each_family
def test_one_small_batch_is_learned_by_heart(family, rng):
    model = Transformer(family_config(family, d_model=16, dropout=0.0), seed=1)
    order = rng.permutation(11)
    # No sequence begins like another, or with a repeated token, which rotary positions cannot tell from a single one.
    ids = np.stack([np.roll(order, i)[:6] for i in range(4)])
    targets = rng.integers(0, 11, size=(4, 6))
    optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        loss, backward = model.loss(ids, targets)
        backward()
        optimizer.step()
    assert loss < 0.02
    assert np.array_equal(model.predict(ids).argmax(axis=-1), targets)


@each_family
def test_large_weights_give_large_logits_and_no_overflow_in_float32(family, rng):
    model = Transformer(family_config(family))
    for p in model.parameters():
        p.data = (100 * rng.normal(size=p.data.shape)).astype(np.float32)
    ids = rng.integers(0, 11, size=(2, 5))
    loss, backward = model.loss(ids, ids)
    backward()
    assert np.isfinite(loss) and abs(model.predict(ids)).max() > 1e3
    assert all(np.isfinite(gradient).all() for gradient in taken_gradients(model).values())


# Bad input


@pytest.mark.parametrize(
    "ids, error, words",
    [
        ([[0, 1]], TypeError, "ids .* not list"),
        (np.zeros((1, 2)), TypeError, "ids .* not dtype float64"),
        (np.array([[0, 11]]), ValueError, r"from 0 to 10, the vocabulary, not 11 \(at position \(0, 1\)\)"),
        (np.array([[0], [-1]]), ValueError, r"not -1 \(at position \(1, 0\)\)"),
        (np.zeros((2, 8), int), ValueError, "at most 7 tokens, the context, not 8"),
        (np.zeros((2, 0), int), ValueError, r"not \(2, 0\)"),
        (np.zeros((0, 3), int), ValueError, r"at least one of each, not \(0, 3\)"),
        (np.array(3), ValueError, r"ids .* not \(\)"),
    ],
)
@pytest.mark.parametrize("method", ["__call__", "predict", "loss"])
def test_bad_ids_are_named(method, ids, error, words):
    model = Transformer(family_config("GPT-2-like"))
    with pytest.raises(error, match=words):
        getattr(model, method)(*((ids, ids) if method == "loss" else (ids,)))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_seed_in_place_of_a_generator_is_refused_whether_or_not_there_is_dropout(dropout):
    with pytest.raises(TypeError, match=r"rng must be a numpy Generator, .* not 7"):
        TinyTransformer(d_model=8, context=4, dropout=dropout)(np.zeros((1, 2), int), rng=7)


SIZES = ("vocab_size", "context", "d_model", "n_heads", "n_layers", "d_ff", "n_kv_heads", "d_head")


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value, error", [(0, ValueError), (-4, ValueError), (8.0, TypeError), (True, TypeError)])
def test_a_size_that_is_not_a_positive_integer_is_named(name, value, error):
    with pytest.raises(error, match=f"Config: {name} must be .* {value}$"):
        Config(**{"vocab_size": 11, "context": 7, "d_model": 8, "n_heads": 4} | {name: value})


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"context": 10**30}, "context must be at most 9,223,372,036,854,775,807, not 1000"),
        ({"dropout": None}, "dropout must be a number, not None"),
        ({"eps": "a"}, "eps must be a number, not 'a'"),
        ({"bias": "no"}, "bias must be True or False, not 'no'"),
        ({"tie_embeddings": 1}, "tie_embeddings must be True or False, not 1"),
        ({"eps": math.inf}, "eps must be positive and finite, not inf"),
        ({"n_heads": 3}, "n_heads must divide d_model 8 unless d_head is given, not be 3"),
        ({"n_kv_heads": 3}, "n_kv_heads must divide n_heads 4, not be 3"),
        ({"n_kv_heads": 8}, "n_kv_heads must divide n_heads 4, not be 8"),
        ({"norm": "batch_norm"}, "norm 'batch_norm'.* layer_norm, rms_norm"),
        ({"feed_forward": "silu"}, "feed_forward 'silu'.* " + ", ".join(FEED_FORWARDS)),
        ({"positions": "alibi"}, "positions 'alibi'.* learned, sinusoidal, rotary"),
        ({"dtype": "float16"}, "dtype 'float16'.* float32, float64"),
        ({"positions": "rotary", "d_head": 3}, "even .*, not 3"),
        ({"positions": "sinusoidal", "d_model": 9, "n_heads": 3}, "even d_model, not 9"),
        ({"dropout": 1.0}, "dropout .* not 1.0"),
        ({"dropout": -0.1}, "dropout .* not -0.1"),
        ({"eps": 0.0}, "eps .* not 0.0"),
        ({"rope_base": -1.0}, "rope_base .* not -1.0"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "'dynamic'.* linear, llama3, yarn"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "'yarn' must have the key 'original_max_position_emb"),
        ({"positions": "rotary", "rotary_fraction": 0.75, "d_head": 4}, "even d_head times rotary_fraction, not 3"),
        ({"positions": "rotary", "rotary_fraction": 0.1}, "even d_head times rotary_fraction, not 0"),
        ({"rotary_fraction": 1.5}, "rotary_fraction must be positive and at most 1, not 1.5"),
        ({"qk_norm": 1}, "qk_norm must be True or False, not 1"),
        ({"sinks": None}, "sinks must be True or False, not None"),
        ({"windows": 4}, "windows must be a list of values, one for each layer, to be repeated, not 4"),
        ({"windows": ()}, r"windows must be a list of values, .* not \(\)"),
        ({"windows": (4, 0)}, "windows must be at least 1, not 0"),
        ({"windows": (4,), "mixers": ("delta",)}, "windows requires attention, but mixers has 'delta' in layer 0"),
        ({"mixers": ("mamba",)}, "unknown mixers 'mamba'; choose from attention, latent, delta"),
        ({"attention_cap": 0}, "attention_cap must be positive and finite, not 0"),
        ({"logit_cap": -1.0}, "logit_cap must be positive and finite, not -1.0"),
        ({"n_experts": 4}, "n_experts requires feed_forward 'swiglu', not 'gelu'"),
        ({"n_experts": 2, "n_active": 3, "feed_forward": "swiglu"}, "n_active must be at most n_experts 2, not 3"),
        ({"n_active": 2}, "n_active requires n_experts, not n_active 2 alone"),
        ({"rope_scaling": {"rope_type": "linear"}}, "'linear' must have the key 'factor'"),
        ({"rope_scaling": "linear"}, "rope_scaling must be a dictionary, not 'linear'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor must be positive and finite, not 0"),
        ({"rope_scaling": LLAMA3}, "'llama3' must have the key 'original_max_position_embeddings'"),
        (
            {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0, "original_max_position_embeddings": 8}},
            "low_freq_factor must be less than high_freq_factor",
        ),
    ],
)
def test_an_invalid_configuration_is_named(fields, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Config(**{"vocab_size": 11, "context": 7, "d_model": 8, "n_heads": 4} | fields)


@given(configs())
def test_a_configuration_survives_json(config):
    assert Config(**json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.slow
def test_every_field_of_a_configuration_is_drawn_with_several_values():
    drawn = []

    @settings(max_examples=400, database=None)
    @given(configs())
    def collect(config):
        drawn.append(config.to_dict())

    collect()
    for name in set(drawn[0]) - {"dtype"}:
        assert len({str(fields[name]) for fields in drawn}) > 1, name


@pytest.mark.parametrize("d_model, d_ff", [(64, 176), (768, 2048), (100, 272)])
def test_the_default_hidden_width_is_four_times_the_width_or_eight_thirds_of_it_for_swiglu(d_model, d_ff):
    assert Config(5, 5, d_model, feed_forward="swiglu").hidden_width == d_ff
    assert Config(5, 5, d_model).hidden_width == 4 * d_model
    assert Config(5, 5, d_model, d_ff=7).hidden_width == 7


def test_the_tiny_transformer_has_the_documented_sizes_and_any_other_that_is_asked_for():
    config = TinyTransformer(seed=0).config
    assert (config.d_model, config.n_heads, config.n_layers, config.vocab_size) == (64, 4, 2, 1000)
    assert TinyTransformer(vocab_size=12, positions="rotary").config == Config(12, config.context, positions="rotary")
