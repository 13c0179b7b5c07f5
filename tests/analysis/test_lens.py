"""The logit lens: at the last layer the model, and before it a model of fewer layers."""

import json

import numpy as np
import pytest
from hypothesis import given
from strategies import configs, random_ids, random_model, rngs

from minitransformer import Config
from minitransformer.analysis import logit_lens
from minitransformer.layers.softmax import softmax
from minitransformer.module import apply


@given(configs(), rngs)
def test_the_lens_at_the_last_layer_is_the_model_exactly_and_before_it_a_model_of_fewer_layers(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    k = int(rng.integers(1, config.vocab_size + 3))
    found = logit_lens(model, ids, k=k)
    assert found.layers == ("embedding", *(f"blocks.{i}" for i in range(config.n_layers)))
    blocks = model.blocks
    for depth in range(config.n_layers + 1):
        model.blocks = blocks[:depth]
        logits = model.predict(ids)
        probabilities = apply(softmax, logits)[0]
        if depth == config.n_layers:
            np.testing.assert_array_equal(found.answers, logits.argmax(axis=-1))
        for t in range(config.context):
            order = sorted(range(config.vocab_size), key=lambda i: -logits[t, i])
            assert found.top_ids[depth, t].tolist() == order[:k]
            answer = found.answers[t]
            assert found.answer_ranks[depth, t] == 1 + order.index(answer)
            assert found.answer_probabilities[depth, t] == probabilities[t, answer]
            assert found.top_probabilities[depth, t].tolist() == probabilities[t, order[:k]].tolist()


def test_the_lens_follows_answers_that_are_asked_for_and_refuses_to_show_none(rng):
    model = random_model(Config(vocab_size=9, context=6, d_model=8, n_heads=2, dtype="float64"), rng)
    ids = np.array([1, 2, 3])
    found = logit_lens(model, ids, answers=[4, 5, 6])
    probabilities = apply(softmax, model.predict(ids))[0]
    assert found.answer_probabilities[-1].tolist() == probabilities[[0, 1, 2], [4, 5, 6]].tolist()
    assert json.loads(json.dumps(found.to_dict()))["answers"] == [4, 5, 6]
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        logit_lens(model, ids, k=0)
