"""Generation: the cache against the full forward pass, and sampling against distributions worked out by hand."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import LLAMA, configs, random_ids, random_model, rngs

from minitransformer import Config, KeyValueCache, generate
from minitransformer.generation import sample, stream
from minitransformer.layers.key_value_cache import LayerCache

FAMILIES = {
    "gpt2": Config(vocab_size=11, context=8, d_model=12, n_heads=3, feed_forward="gelu_tanh", dtype="float64"),
    "llama": Config(11, context=8, d_model=12, n_heads=4, n_kv_heads=2, d_head=4, dtype="float64", **LLAMA),
    "sinusoidal": Config(vocab_size=11, context=7, d_model=8, n_heads=2, positions="sinusoidal", dtype="float64"),
}


@pytest.fixture(params=FAMILIES)
def model(request, rng):
    """A model of each family with random parameters of order 1, in float64."""
    return random_model(FAMILIES[request.param], rng)


class Fixed:
    """Stands in for a model: whatever the ids, its logits are the same row (V,)."""

    def __init__(self, logits):
        self.logits = np.asarray(logits, float)
        self.config = Config(vocab_size=len(logits), context=4)

    def predict(self, ids, *, cache=None, last_only=False):
        if cache is not None:
            cache.layers[0].length += ids.shape[-1]
        return np.broadcast_to(self.logits, (*ids.shape, len(self.logits)))


class Recorded:
    """A model that remembers the logits of each call's last position."""

    def __init__(self, model):
        self.model, self.config, self.seen = model, model.config, []

    def predict(self, ids, **options):
        logits = self.model.predict(ids, **options)
        self.seen.append(logits[..., -1, :])
        return logits


def windows(length, context):
    """Where the window over `length` tokens starts, by the rule as it is told: a full context drops its oldest half."""
    start = 0
    for seen in range(1, length + 1):
        if seen - start > context:
            start += max(context // 2, 1)
    return start


# The key-value cache


@given(configs(), rngs, st.data())
def test_cached_logits_equal_the_full_forward_pass_at_every_position(config, rng, data):
    model, T = random_model(config, rng), config.context
    ids = random_ids(config, rng, 2, T)
    cuts = sorted(data.draw(st.sets(st.integers(1, T - 1), max_size=T - 1)))
    cache, pieces = KeyValueCache(config), []
    for start, stop in itertools.pairwise([0, *cuts, T]):
        assert cache.length == start
        pieces.append(model.predict(ids[:, start:stop], cache=cache))
    full = model(ids)[0]
    assert np.allclose(np.concatenate(pieces, axis=1), full, rtol=1e-9, atol=1e-9 * abs(full).max())


@given(configs(), rngs, st.integers(1, 12), st.integers(1, 12))
def test_every_step_sees_the_logits_of_a_full_forward_pass_over_its_window(config, rng, prompt, new):
    model = Recorded(random_model(config, rng))
    ids = random_ids(config, rng, 2, prompt)
    row = generate(model, ids, new, rng=rng)
    assert row.shape == (2, prompt + new) and np.array_equal(row[:, :prompt], ids)
    for step, logits in enumerate(model.seen):
        length = prompt + step
        window = row[:, windows(length, config.context) : length]
        expected = model.model(window)[0][:, -1]
        assert np.allclose(logits, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())


@given(configs(), rngs, st.integers(1, 12), st.integers(0, 12), st.sampled_from([0, 0.5, 1, 3.0]), st.booleans())
def test_the_cache_changes_no_token(config, rng, prompt, new, temperature, batched):
    model = random_model(config, rng)
    ids = random_ids(config, rng, *([2] if batched else []), prompt)
    cached, uncached = (
        generate(model, ids, new, temperature, rng=np.random.default_rng(7), use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert np.array_equal(cached, uncached)


def test_the_cache_spares_the_work_of_earlier_positions(model):
    widths = []

    class Counted(Recorded):
        def predict(self, ids, **options):
            widths.append(ids.shape[-1])
            return super().predict(ids, **options)

    context = model.config.context
    generate(Counted(model), np.arange(3), context)
    kept = context - context // 2 + 1  # the rest, with the token that no longer fitted
    assert widths == [3, *[1] * (context - 3), kept, 1]


def test_a_cache_grows_with_what_it_holds_and_keeps_it(rng):
    k, v = rng.normal(size=(2, 1, 2, 700, 4))
    cache = LayerCache(context=10**12)
    for start, stop in ((0, 3), (3, 256), (256, 257), (257, 600), (600, 700)):
        keys, values = cache.append(k[:, :, start:stop], v[:, :, start:stop])
        assert np.array_equal(keys, k[:, :, :stop]) and np.array_equal(values, v[:, :, :stop])
    assert cache.keys.shape[-2] == 1200
    full = LayerCache(context=700)
    full.append(k, v)
    assert full.keys.shape[-2] == 700


# Choosing a token


def expected_distribution(logits, temperature, top_k, top_p):
    """The probabilities of tokens with different logits in plain Python: sort, keep k, then the first that reach p."""
    ranked = sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k]
    powers = {i: math.exp((logits[i] - logits[ranked[0]]) / temperature) for i in ranked}
    p = {i: power / sum(powers.values()) for i, power in powers.items()}
    kept, reached = [], 0.0
    for i in ranked:
        kept.append(i)
        reached += p[i]
        if top_p is not None and reached >= top_p:
            break
    return {i: p[i] / sum(p[j] for j in kept) for i in kept}


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324])
def test_a_tiny_temperature_chooses_the_likeliest_token(temperature, rng):
    logits = np.array([[-2.0, 3.0, 2.5], [-7.0, -9.0, -8.0]])
    chosen = sample(logits, temperature=temperature, top_k=None, top_p=None, rng=rng)
    assert chosen.tolist() == [1, 0]


@given(rngs, st.integers(1, 12), st.floats(0.05, 20), st.integers(1, 14) | st.none(), st.floats(0.01, 1) | st.none())
def test_each_token_owns_its_share_of_the_uniform_numbers(rng, V, temperature, top_k, top_p):
    """With u on a fine grid instead of random, each token comes as often as its probability says."""
    logits = rng.permutation(np.arange(V) * rng.uniform(0.1, 2)) + rng.normal()
    expected = expected_distribution(logits.tolist(), temperature, top_k, top_p)
    grid = 4000

    class Grid:
        def random(self, shape):
            return (np.arange(grid) + 0.5) / grid

    rows = np.tile(logits, (grid, 1))
    counts = Counter(sample(rows, temperature=temperature, top_k=top_k, top_p=top_p, rng=Grid()).tolist())
    for i in range(V):
        assert counts[i] == pytest.approx(grid * expected.get(i, 0), abs=1.01)


def test_equal_logits_at_the_border_of_top_k_are_all_kept():
    rows = np.tile([1.0, 3.0, 2.0, 2.0, 0.0], (500, 1))
    tokens = sample(rows, temperature=1, top_k=2, top_p=None, rng=np.random.default_rng(0))
    assert set(tokens.tolist()) == {1, 2, 3}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_not_finite_are_an_error_and_not_a_token(bad, temperature):
    with pytest.raises(ValueError, match="the logits are not finite"):
        generate(Fixed([0.0, bad, 1.0]), np.array([0]), 1, temperature)


# Seeds and batches


@given(configs(), rngs, st.integers(1, 8), st.integers(0, 8))
def test_a_batch_equals_a_loop_when_greedy(config, rng, prompt, new):
    model = random_model(config, rng)
    ids = random_ids(config, rng, 3, prompt)
    batch = generate(model, ids, new, temperature=0)
    assert np.array_equal(batch, [generate(model, row, new, temperature=0) for row in ids])


def test_the_stream_yields_the_tokens_of_generate_one_by_one(model, rng):
    ids = random_ids(model.config, rng, 2, 3)
    tokens = list(stream(model, ids, 10, rng=np.random.default_rng(4)))
    assert [token.shape for token in tokens] == [(2,)] * 10
    whole = generate(model, ids, 10, rng=np.random.default_rng(4))
    assert np.array_equal(np.stack(tokens, axis=1), whole[:, 3:])
    assert not np.array_equal(whole, generate(model, ids, 10, rng=np.random.default_rng(5)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_ids_of_any_integer_dtype_come_back_as_int64_and_none_wraps_around(dtype, rng):
    """A corpus keeps its ids in the smallest dtype; its own vocabulary fits, the model's may not."""
    model = random_model(Config(vocab_size=700, context=6, d_model=8, n_heads=2, n_layers=1, dtype="float64"), rng)
    ids = np.array([1, 2, 3], dtype)
    result = generate(model, ids, 20)
    assert ids.tolist() == [1, 2, 3] and result.dtype == np.int64
    assert np.array_equal(result, generate(model, [1, 2, 3], 20)) and result.max() > 255


# Invalid arguments


@pytest.mark.parametrize(
    "name, value",
    [
        *(("temperature", value) for value in (-0.1, math.nan, math.inf)),
        *(("top_k", value) for value in (0, -3, 2.5)),
        *(("top_p", value) for value in (0, 1.01, math.nan)),
        ("max_new_tokens", -1),
    ],
)
@pytest.mark.parametrize("begin", [generate, stream])
def test_settings_out_of_range_are_named_before_the_first_token(begin, name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .*, not {value}"):
        begin(Fixed([0.0, 1.0]), np.array([0]), **{name: value})


@pytest.mark.parametrize(
    "ids, error, words",
    [
        (np.array([0, 2]), ValueError, r"from 0 to 1, the vocabulary, not 2 \(at position \(1,\)\)"),
        (np.array([[0, 1], [-1, 1]]), ValueError, r"not -1 \(at position \(1, 0\)\)"),
        (np.array([0.0, 1.0]), TypeError, "ids .* not dtype float64"),
        (np.array([], int), ValueError, r"with at least one token, not \(0,\)"),
        (np.zeros((2, 0), int), ValueError, r"with at least one token, not \(2, 0\)"),
        (np.zeros((1, 1, 1), int), ValueError, r"with at least one token, not \(1, 1, 1\)"),
        (np.array(1), ValueError, r"with at least one token, not \(\)"),
    ],
)
@pytest.mark.parametrize("begin", [generate, stream])
def test_invalid_ids_are_named_before_the_first_token(begin, ids, error, words):
    with pytest.raises(error, match=words):
        begin(Fixed([0.0, 1.0]), ids)


# Where it stops


@given(configs(), rngs, st.integers(1, 12), st.integers(0, 12), st.booleans(), st.booleans(), st.data())
def test_after_a_stop_nothing_follows_and_nothing_before_it_changes(config, rng, prompt, new, batched, use_cache, data):
    model = random_model(config, rng)
    ids = random_ids(config, rng, *([3] if batched else []), prompt)
    stop = data.draw(st.sets(st.integers(0, config.vocab_size - 1), max_size=3))
    endless = generate(model, ids, new, 1.0, rng=np.random.default_rng(7), use_cache=use_cache)
    stopped = generate(model, ids, new, 1.0, rng=np.random.default_rng(7), use_cache=use_cache, stop=stop)
    if not batched:
        hits = [i for i, token in enumerate(endless[prompt:].tolist()) if token in stop]
        assert np.array_equal(stopped, endless[: prompt + hits[0] + 1] if hits else endless)
        return
    lengths = []
    for row, whole in zip(stopped[:, prompt:].tolist(), endless[:, prompt:].tolist(), strict=True):
        hits = [i for i, token in enumerate(row) if token in stop]
        length = hits[0] + 1 if hits else len(row)
        # Its tokens up to the stop, and then the stop again.
        assert row[length:] == row[length - 1 : length] * (len(row) - length)
        assert row[:length] == whole[:length]
        lengths.append(length if hits else new)
    assert stopped.shape[1] - prompt == max(lengths, default=0)


def test_a_prompt_that_ends_with_a_stop_is_continued_and_no_stop_means_none():
    model = Fixed([0.0, 3.0, 1.0])
    assert generate(model, np.array([0, 1]), 3, temperature=0, stop=[1]).tolist() == [0, 1, 1]
    assert generate(model, np.array([0, 1]), 3, temperature=0, stop=[0, 2]).tolist() == [0, 1, 1, 1, 1]


# Continued use of a cache


@given(configs(), rngs, st.data())
def test_a_cache_of_the_first_positions_changes_no_token(config, rng, data):
    model = random_model(config, rng)
    ids = random_ids(config, rng, config.context)
    held = data.draw(st.integers(0, config.context - 2))
    prompt = data.draw(st.integers(held + 1, config.context - 1))
    cache = KeyValueCache(config)
    model.predict(ids[:-1], cache=cache)
    cache.truncate(held)
    has_state = "delta" in config.layer_mixers and held < config.context - 1
    assert cache.length == (0 if has_state else held)  # a state does not return to an earlier one
    new = config.context - prompt + 3  # three tokens past the context
    expected = generate(model, ids[:prompt], new, 1.0, rng=np.random.default_rng(3))
    seen = [int(i) for i in stream(model, ids[:prompt], new, 1.0, rng=np.random.default_rng(3), cache=cache)]
    assert seen == expected[prompt:].tolist()
