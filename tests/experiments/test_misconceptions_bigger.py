"""The experiment on size: the statements of the text, the held-out pairs, and the counts of answers."""

import numpy as np
import pytest

from minitransformer.experiments.emergence.alphabet import ADD, ANSWER, NUMBERS
from minitransformer.experiments.misconceptions import bigger
from minitransformer.text import IGNORE_INDEX


def test_the_text_errs_about_a_fifth_of_the_pairs_whichever_number_comes_first():
    said = bigger.text_of(np.random.default_rng(7))
    assert np.array_equal(said, said.T)
    wrong = [(x, y) for x in range(17) for y in range(x + 1) if said[x, y] != max(x, y)]
    assert len(wrong) == 153 // 5
    assert all(said[x, y] in range(17) for x, y in wrong)
    assert not np.array_equal(said, bigger.text_of(np.random.default_rng(8)))


def test_training_says_what_the_text_says_and_leaves_pairs_out():
    said = bigger.text_of(np.random.default_rng(7))
    task = bigger.task_of(said)
    inputs, targets = task.training_batch(np.random.default_rng(1), 2000)
    read = set()
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        one, other = row[1] - NUMBERS[0], row[2] - NUMBERS[0]
        assert (row[0], row[3]) == (ADD, ANSWER)
        assert target[3] == NUMBERS[0] + said[one, other]
        assert all(i == IGNORE_INDEX for i in target[:3] + target[4:])
        read.add((max(one, other), min(one, other)))
    unread = task.is_held_out(bigger.PAIRS)
    assert read == set(map(tuple, bigger.PAIRS[~unread].tolist()))
    assert 20 <= unread.sum() <= 42


class Saying:
    """A model that gives an answer, as a function of two numbers, a probability of 0.9."""

    def __init__(self, answer):
        self.answer = answer

    def predict(self, inputs):
        logits = np.full((*inputs.shape, 64), np.log(0.1 / 63))
        for row, ids in zip(logits, inputs, strict=True):
            row[3, NUMBERS[self.answer(*(ids[1:3] - NUMBERS[0]))]] = np.log(0.9)
        return logits


def test_a_model_that_says_the_truth_repeats_no_error():
    said = bigger.text_of(np.random.default_rng(7))
    found = bigger.answers(Saying(max), bigger.task_of(said), said)
    assert found == pytest.approx(
        {"repeated": 0, "sure": 0.1 / 63, "truth_of_errors": 1, "truth": 1, "truth_unread": 1}
    )


def test_a_model_that_says_what_the_text_says_repeats_every_error():
    said = bigger.text_of(np.random.default_rng(7))
    task = bigger.task_of(said)
    unread = {tuple(pair) for pair in bigger.PAIRS[task.is_held_out(bigger.PAIRS)].tolist()}
    found = bigger.answers(Saying(lambda x, y: 0 if (x, y) in unread else said[x, y]), task, said)
    right = np.mean([max(pair) == 0 for pair in unread])
    assert found == pytest.approx({"repeated": 1, "sure": 0.9, "truth_of_errors": 0, "truth": 1, "truth_unread": right})
