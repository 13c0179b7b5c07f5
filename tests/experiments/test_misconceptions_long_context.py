"""The misconception of long contexts: truncated, shuffled and replaced contexts, on models with a known use of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import small_corpus, small_lm

from minitransformer.experiments.misconceptions import long_context
from minitransformer.experiments.misconceptions.long_context import (
    EXPERIMENT,
    by_context,
    can_be_copied,
    losses_at_the_end,
    nearest,
)

V, CONTEXT = 50, 16
WRONG, RIGHT = np.log(V), np.log(1 + (V - 1) * np.exp(-9.0))  # the losses of a guess, and of 9 more for the right logit


def knowing(place, least=1):
    """A model that answers one more than the token at a place, if it sees so many; else it does not know."""

    def predict(seen, *, last_only):
        assert last_only
        logits = np.zeros((len(seen), 1, V))
        if seen.shape[1] >= least:
            logits[np.arange(len(seen)), 0, (seen[:, place] + 1) % V] = 9.0
        return logits

    return SimpleNamespace(config=SimpleNamespace(context=CONTEXT), predict=predict)


def test_what_is_seen_doubles_to_the_whole_context():
    assert nearest(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert nearest(48) == [1, 2, 4, 6, 8, 16, 24, 32, 48]


def test_a_model_that_uses_near_tokens_alone_gets_all_from_them():
    ids = np.arange(300) // 2 % V  # the next token is one more than the second nearest
    found = by_context(knowing(-2, least=2), ids, 1000, np.random.default_rng(0))
    assert found["lengths"] == [1, 2, 4, 8, 16]
    assert found["losses"] == pytest.approx([WRONG, *4 * [RIGHT]])
    assert found["share"] == 1
    assert found["left_out"] == found["shuffled"] == found["replaced"] == found["copied"] == 0


def test_a_model_that_uses_the_farthest_token_gets_nothing_from_near_ones():
    ids = np.arange(3000) // CONTEXT % V  # the next token is one more than the token a context before
    found = by_context(knowing(0, least=CONTEXT), ids, 1000, np.random.default_rng(0))
    assert found["losses"] == pytest.approx([*4 * [WRONG], RIGHT])
    assert found["share"] == 0
    assert found["left_out"] == pytest.approx(WRONG - RIGHT)
    in_its_place = np.mean([min(CONTEXT - start, 14) / 14 for start in range(CONTEXT)])  # of 14, those like the first
    assert found["shuffled"] == pytest.approx(9 * (1 - in_its_place), abs=0.5)
    assert found["replaced"] == pytest.approx(9, abs=0.5)  # one of fifty is right by chance


def test_the_loss_is_that_of_the_target_after_all_that_is_seen(rng):
    model = small_lm().model
    V = model.config.vocab_size
    seen, target = rng.integers(0, V, (205, 5)), rng.integers(0, V, 205)
    logits = model.predict(seen)[:, -1].astype(np.float64)
    expected = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(205), target]
    np.testing.assert_allclose(losses_at_the_end(model, seen, target), expected, rtol=1e-5)


def test_what_stands_in_the_farther_half_alone_can_be_copied_from_there():
    seen = np.array([[7, 1, 2, 3], [7, 1, 7, 3], [1, 2, 3, 7], [1, 2, 3, 4], [1, 7, 3, 4]])
    assert can_be_copied(seen, np.full(5, 7)).tolist() == [True, False, False, False, True]
    assert can_be_copied(np.array([[1, 2, 7, 4, 5]]), np.array([7])).tolist() == [
        True
    ]  # the nearer half is the smaller


@pytest.fixture
def few_passages(monkeypatch):
    monkeypatch.setattr(long_context, "PASSAGES", 20)
    monkeypatch.setattr(long_context, "PASSAGES_OF_A_PART", 20)


def test_a_finished_run_is_asked_on_each_part_of_its_text(monkeypatch, few_passages):
    lm, ids = small_lm(context=CONTEXT), small_corpus().val_ids
    parts = np.array_split(ids, 3)
    monkeypatch.setattr(long_context, "finished_run", lambda folder: (lm, parts))
    found = EXPERIMENT.read("runs/words")
    assert found == [by_context(lm.model, part, 20, np.random.default_rng(i)) for i, part in enumerate(parts)]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "context, length, message",
    [
        (8, 100, "runs/words: its model has a context of 8 tokens; this takes 16 or more"),
        (16, 16, "runs/words: a part of the text held out has 16 tokens, too few for 16"),
    ],
)
def test_a_run_too_small_to_be_asked_is_refused(monkeypatch, context, length, message):
    lm = small_lm(context=context)
    monkeypatch.setattr(long_context, "finished_run", lambda folder: (lm, [np.zeros(length, np.uint8)]))
    with pytest.raises(ValueError, match=f"^{message}$"):
        EXPERIMENT.read("runs/words")
