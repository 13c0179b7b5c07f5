"""The QK and OV circuits equal the model's computation with frozen attention and norms."""

import numpy as np
import pytest
from hypothesis import given
from strategies import CLASSIC, configs, random_model, rngs

from minitransformer import Config
from minitransformer.analysis.circuits import Circuit, ov_circuit, pointer_circuit, qk_circuit
from minitransformer.analysis.hooks import record, replaced_by

BIG = {"context": 6, "n_layers": 2, "dropout": 0.0}


def frozen(norm, x):
    """Apply a norm to x without its bias and its division by the deviation."""
    centred = x - x.mean(axis=-1, keepdims=True) if hasattr(norm, "beta") else x
    return centred * norm.gamma.data


def head_writes(model, block, head, x):
    """Return a head's contribution to the stream x (T, C) if each position attends only to itself."""

    def attention_output(normalized):
        seen = {}
        hooks = {
            f"blocks.{block}.norm1": replaced_by(normalized),
            f"blocks.{block}.attention.weights": replaced_by(np.eye(len(x))),
            f"blocks.{block}.attention.heads": only(head),
            f"blocks.{block}.attention": lambda y, backward: (seen.setdefault("y", y), backward),
        }
        with model.hooked(hooks):
            model.predict(np.zeros(len(x), int))
        return seen["y"]

    return attention_output(frozen(model.blocks[block].norm1, x)) - attention_output(0)  # without the biases


def only(head):
    """Return a hook that silences every other head."""

    def silence(y, backward):
        chosen = np.zeros_like(y)
        chosen[..., head, :, :] = y[..., head, :, :]
        return chosen, backward

    return silence


@given(configs(**BIG, **CLASSIC), rngs)
def test_ov_is_what_a_head_does_to_the_logits_of_the_model_when_it_attends_to_one_token(config, rng):
    model = random_model(config, rng)
    block, head = int(rng.integers(config.n_layers)), int(rng.integers(config.n_heads))
    tokens = rng.choice(config.vocab_size, min(config.vocab_size, config.context), replace=False)
    written = head_writes(model, block, head, model.embedding.weight.data[tokens])
    with model.hooked({"ln_final": replaced_by(frozen(model.ln_final, written))}):
        logits = model.predict(np.zeros(len(tokens), int))
    assert np.allclose(ov_circuit(model, block, head, tokens).matrix, logits[:, tokens], atol=1e-10)


@given(configs(**BIG, **CLASSIC), rngs)
def test_qk_is_the_score_of_the_model_for_a_key_that_an_earlier_head_wrote(config, rng):
    model = random_model(config, rng)
    head, previous = (1, int(rng.integers(config.n_heads))), (0, int(rng.integers(config.n_heads)))
    tokens = rng.choice(config.vocab_size, 2, replace=False)
    distances = rng.integers(1, config.context, 2).tolist()
    x, norm = model.embedding.weight.data[tokens], model.blocks[1].norm1
    written, kv_head = head_writes(model, *previous, x), head[1] // (config.n_heads // config.kv_heads)
    matrix = qk_circuit(model, head, previous, tokens, distances).matrix
    for a, b in np.ndindex(2, 2):
        scores = []
        for distance in distances:
            pair = np.zeros((distance + 1, config.d_model))
            pair[distance], pair[0] = frozen(norm, x[a]), frozen(norm, written[b])
            q, k = (with_normalized(model, pair, name) - with_normalized(model, 0 * pair, name) for name in "qk")
            scores.append(q[head[1], distance] @ k[kv_head, 0] / np.sqrt(config.head_width))
        assert np.isclose(matrix[a, b], np.mean(scores), atol=1e-10)


def with_normalized(model, normalized, name):
    """Return the queries or keys of the second block where its first norm puts out `normalized` (T, C)."""
    name = f"blocks.1.attention.{name}"
    with model.hooked({"blocks.1.norm1": replaced_by(normalized)}):
        return record(model, np.zeros(len(normalized), int), [name])[name]


@given(configs(**BIG, **CLASSIC, positions="learned"), rngs)
def test_a_pointer_is_the_score_of_the_model_for_a_query_that_an_earlier_head_wrote(config, rng):
    model = random_model(config, rng)
    head, duplicate = (1, int(rng.integers(config.n_heads))), (0, int(rng.integers(config.n_heads)))
    P, norm = model.positional_embedding.weight.data, model.blocks[1].norm1
    written, n = frozen(norm, head_writes(model, *duplicate, P)), config.context
    q = with_normalized(model, written, "q") - with_normalized(model, 0 * written, "q")
    k = with_normalized(model, frozen(norm, P), "k") - with_normalized(model, 0 * P, "k")
    scores = q[head[1]] @ k[head[1] // (config.n_heads // config.kv_heads)].T / np.sqrt(config.head_width)
    matrix = pointer_circuit(model, head, duplicate, n).matrix
    assert matrix.shape == (n - 1, n - 1)
    for s in range(n - 1):
        for position in range(1, n):
            assert np.isclose(matrix[s, position - 1], scores[s, position], atol=1e-10)


def test_heads_without_a_circuit_are_refused(rng):
    model = random_model(Config(vocab_size=5, context=4, d_model=8, n_heads=2, positions="rotary"), rng)
    with pytest.raises(ValueError, match="learned or sinusoidal positions"):
        pointer_circuit(model, (1, 0), (0, 0), 4)
    with pytest.raises(ValueError, match="earlier block"):
        qk_circuit(model, (1, 0), (1, 1), np.arange(5))


def test_the_scores_of_matrices_whose_scores_are_known(rng):
    circuit = Circuit
    identity, n = np.eye(50), 50
    assert (circuit(3 * identity).on_diagonal, circuit(3 * identity).eigenvalue_score) == (1, 1)
    assert circuit(-identity).eigenvalue_score == -1
    shifted = circuit(np.roll(identity, 1, axis=1))  # eigenvalues: all roots of one, which sum to zero
    assert shifted.on_diagonal == 0 and abs(shifted.eigenvalue_score) < 1e-12
    assert circuit(np.zeros((n, n))).eigenvalue_score == 0
    random = [circuit(rng.normal(size=(n, n))) for _ in range(20)]
    assert abs(np.mean([c.eigenvalue_score for c in random])) < 0.05
    assert np.mean([c.on_diagonal for c in random]) < 3 / n
    half = np.diag([2.0] * 10 + [-1.0] * 10)
    assert np.isclose(circuit(half).eigenvalue_score, (20 - 10) / (20 + 10))
    assert np.isclose(circuit(np.array([[3.0, 1.0], [0.0, 5.0]])).contrast, 4 - 0.5)
