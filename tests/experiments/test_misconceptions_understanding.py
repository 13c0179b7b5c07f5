"""The misconception of understanding: the compared texts, and the losses."""

import numpy as np
import pytest

from minitransformer.config import Config
from minitransformer.experiments.misconceptions import understanding
from minitransformer.experiments.misconceptions.understanding import (
    exchanged,
    in_random_order,
    losses,
    parts,
    share,
    surprise,
    vocabulary,
    words,
)
from minitransformer.transformer import Transformer


def small_model(rng):
    config = Config(understanding.WORDS, understanding.CONTEXT, 8, 2, 1, positions="rotary", tie_embeddings=False)
    model = Transformer(config, rng=rng)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.data.shape)
    return model


def test_the_text_is_numbered_word_by_word_and_rare_words_are_number_0(rng):
    training, test = parts()
    ids = np.concatenate([training, test])
    names = {i: word for word, i in vocabulary().items()}
    text = words()
    assert len(names) == understanding.WORDS - 1
    for place in rng.integers(0, len(ids), 200):
        assert names.get(int(ids[place]), text[place]) == text[place]
    assert max(text.count(names[i]) for i in (1, 2, 300)) == text.count(names[1])


def test_random_order_keeps_the_words_of_each_passage(rng):
    ids = rng.integers(0, 50, 5 * understanding.CONTEXT + 3)
    passages = in_random_order(ids, rng).reshape(5, -1)
    assert (passages.ravel() != ids[:-3]).any()
    for before, after in zip(ids[:-3].reshape(5, -1), passages, strict=True):
        assert sorted(before) == sorted(after)


def test_two_words_are_exchanged_and_no_others():
    assert exchanged(np.array([3, 1, 2, 1, 0]), 1, 2).tolist() == [3, 2, 1, 2, 0]


def test_the_share_is_0_for_english_and_1_for_random_order():
    assert share(4.0, 4.0, 5.0) == 0
    assert share(4.0, 5.0, 5.0) == 1
    assert share(4.0, 4.25, 5.0) == pytest.approx(0.25)


def test_losses_are_of_every_word_but_the_first_given_those_before_it_in_its_window(rng):
    model = small_model(rng)
    ids = rng.integers(0, understanding.WORDS, 2 * understanding.CONTEXT + 1)
    found, targets = losses(model, ids)
    np.testing.assert_array_equal(targets.ravel(), ids[1:])
    for row, start in enumerate((0, understanding.CONTEXT)):
        logits = model.predict(ids[None, start : start + understanding.CONTEXT])[0]
        for t, z in enumerate(logits):
            expected = np.log(np.exp(z).sum()) - z[ids[start + t + 1]]
            assert found[row, t] == pytest.approx(expected, rel=1e-6)


def test_numbering_the_words_otherwise_changes_no_loss_if_the_table_s_rows_go_with_them(rng):
    """The theorem: the two models are as likely as each other before training, and a step treats them alike."""
    model, other = small_model(np.random.default_rng(1)), small_model(np.random.default_rng(1))
    renumbered = rng.permutation(understanding.WORDS)
    for name in ("embedding", "lm_head"):
        weight, moved = (getattr(m, name).weight for m in (model, other))
        moved.data[renumbered] = weight.data
    ids = rng.integers(0, understanding.WORDS, (3, understanding.CONTEXT))
    targets = rng.integers(0, understanding.WORDS, ids.shape)
    loss, backward = model.loss(ids, targets)
    other_loss, other_backward = other.loss(renumbered[ids], renumbered[targets])
    backward()
    other_backward()
    assert other_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(other.lm_head.weight.grad[renumbered], model.lm_head.weight.grad, rtol=1e-9, atol=1e-12)


def test_surprise_is_what_the_exchanged_words_cost_more(rng):
    model = small_model(rng)
    one, other = vocabulary()["and"], vocabulary()["or"]
    ids = rng.integers(0, understanding.WORDS, 2 * understanding.CONTEXT + 1)
    ids[[5, 9]] = one, other
    swapped = ids.copy()
    swapped[ids == one], swapped[ids == other] = other, one
    differences = (losses(model, swapped)[0] - losses(model, ids)[0]).ravel()
    places = [t for t in range(1, len(ids)) if ids[t] in (one, other)]
    assert surprise(model, ids, "and", "or") == pytest.approx(np.mean([differences[t - 1] for t in places]))
