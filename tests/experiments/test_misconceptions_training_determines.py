"""The experiment on the behaviour of two models where their examples are silent."""

import numpy as np
import pytest

from minitransformer.experiments.misconceptions import training_determines as t
from minitransformer.text import IGNORE_INDEX


def read(row):
    """The letters of a question, and the answer by each rule, from its tokens alone."""
    body = row[1:-1].tolist()
    place = body.index(t.MARK)
    letters = [token for token in body if token != t.MARK]
    answers = {"first": letters[0], "last": letters[-1], "largest": max(letters), "marked": body[place + 1]}
    return letters, answers


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("sort", t.SORTS, ids="-".join)
def test_the_rules_of_a_sort_part_where_they_are_to_and_nowhere_else(sort, part):
    tokens, *given = t.questions(np.random.default_rng(0), sort, 50, part=part)
    assert tokens.shape == (50, t.LENGTH + 3)
    assert set(tokens[:, 0]) == {2 + t.SORTS.index(sort)} and set(tokens[:, -1]) == {t.ANSWER}
    for row, first, second in zip(tokens, *given, strict=True):
        letters, answers = read(row)
        assert len(letters) == t.LENGTH and set(letters) <= set(t.SEEN)
        assert (first, second) == (answers[sort[0]], answers[sort[1]])
        assert (first != second) == part


def test_new_letters_are_in_no_training_question():
    tokens, *_ = t.questions(np.random.default_rng(0), ("first", "largest"), 50, part=False, symbols=t.UNSEEN)
    letters = {letter for row in tokens for letter in read(row)[0]}
    assert letters == set(t.UNSEEN) and not letters & set(t.SEEN)


def test_only_the_answer_is_asked_for():
    targets = t.as_targets(np.zeros((2, 4), int), np.array([5, 6]))
    assert targets.tolist() == [[IGNORE_INDEX] * 3 + [5], [IGNORE_INDEX] * 3 + [6]]


class Says:
    """A model that gives each row an answer, with probability 0.8, and any other of 5 with 0.05."""

    def __init__(self, *answers):
        self.answers = np.array(answers)

    def predict(self, inputs):
        p = np.where(np.eye(5)[self.answers], 0.8, 0.05)
        return np.broadcast_to(np.log(p)[:, None], (len(inputs), 3, 5))


def test_every_two_models_are_compared():
    inputs, answers = np.zeros((4, 3), int), np.array([1, 2, 3, 4])
    found = t.asked([Says(1, 2, 3, 4), Says(1, 2, 3, 0), Says(1, 0, 0, 0)], inputs, answers, answers)
    assert found["disagree"] == pytest.approx((1 / 4 + 3 / 4 + 2 / 4) / 3)


def test_what_models_answer_is_compared_with_each_other_and_with_the_first_rule():
    inputs, first, second = np.zeros((4, 3), int), np.array([1, 2, 3, 4]), np.zeros(4, int)
    found = t.asked([Says(1, 2, 3, 0), Says(1, 2, 3, 4)], inputs, first, second)
    assert found["disagree"] == 0.25 and found["follow"] == [0.75, 1.0]
    assert found["losses"] == pytest.approx([-(3 * np.log(0.8) + np.log(0.05)) / 4, -np.log(0.8)])
    assert found["sure"] == pytest.approx(0.8)


def test_models_differ_by_their_initial_weights_alone(monkeypatch):
    monkeypatch.setattr(t, "STEPS", 3)
    one, again, other = (t.trained(5, number) for number in (0, 0, 1))
    pairs = [(a.data, b.data, c.data) for a, b, c in zip(*(m.parameters() for m in (one, again, other)), strict=True)]
    assert all(np.array_equal(a, b) for a, b, _ in pairs) and not any(np.array_equal(a, c) for a, _, c in pairs)


def test_all_models_learn_from_the_same_examples(monkeypatch):
    seen = []
    monkeypatch.setattr(t, "train", lambda model, draw_batch, **_: seen.append([draw_batch() for _ in range(3)]))
    for number in range(2):
        t.trained(5, number)
    np.testing.assert_array_equal(*seen)
