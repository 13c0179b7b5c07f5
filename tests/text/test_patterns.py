"""Each pattern's answers, checked by a rule that looks at the row alone, and never by drawing it again."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitransformer.text import IGNORE_INDEX, PATTERNS, accuracy, patterns as p, right_rows, spell

seeds = st.integers(0, 2**32 - 1)


def parts(inputs, targets):
    """Return (prompt, answer) of one row that has an ANSWER sign, as lists of ids, insisting on its form."""
    sign = inputs.index(p.ANSWER)
    assert all(t == IGNORE_INDEX for t in targets[:sign])
    answer = targets[sign:]
    assert inputs[sign + 1 :] == answer[:-1] and answer[-1] == p.END
    return inputs[1:sign], answer[:-1]


def check_copy(inputs, targets):
    prompt, answer = parts(inputs, targets)
    assert prompt == answer and set(prompt) <= set(p.SYMBOLS)


def check_reverse(inputs, targets):
    prompt, answer = parts(inputs, targets)
    assert answer[::-1] == prompt and set(prompt) <= set(p.SYMBOLS)


def check_add(inputs, targets):
    prompt, answer = parts(inputs, targets)
    assert len(answer) == 1
    assert all(0 <= i - 100 < 97 for i in [*prompt, *answer])
    assert (sum(i - 100 for i in prompt) - (answer[0] - 100)) % 97 == 0


def check_count(inputs, targets):
    assert targets[:1] == [IGNORE_INDEX] and set(inputs[1:]) <= set(p.NUMBERS)
    assert all(t == x + 1 for x, t in zip(inputs[1:], targets[1:], strict=True))


def check_what_followed_last_time(inputs, targets):
    """A target counts exactly if the input has occurred before, and it is the token that followed it then."""
    assert set(inputs[1:]) <= set(p.SYMBOLS)
    for t, (token, target) in enumerate(zip(inputs, targets, strict=True)):
        if token in inputs[:t]:
            last = max(i for i in range(t) if inputs[i] == token)
            assert target == inputs[last + 1]
        else:
            assert target == IGNORE_INDEX


RULES = {
    "copy": (p.COPY, check_copy),
    "repeat": (p.REPEAT, check_what_followed_last_time),
    "reverse": (p.REVERSE, check_reverse),
    "count": (p.COUNT, check_count),
    "induction": (p.INDUCTION, check_what_followed_last_time),
    "add": (p.ADD, check_add),
}


@pytest.mark.parametrize("name", RULES)
@given(data=st.data(), seed=seeds, batch_size=st.integers(1, 5))
def test_the_answers_of_a_pattern_follow_its_rule(name, data, seed, batch_size):
    pattern, (task, check) = PATTERNS[name], RULES[name]
    length = data.draw(st.integers(pattern.shortest, min(pattern.longest or 30, 30)))
    inputs, targets = pattern.sample(np.random.default_rng(seed), batch_size, length)
    assert inputs.shape == targets.shape == (batch_size, pattern.width(length))
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.min() >= 0 and inputs.max() < p.VOCAB_SIZE
    for x, t in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert x[0] == task
        assert any(i != IGNORE_INDEX for i in t)
        check(x, t)
        # A target that counts is the next input, so a model that reads further has read the answer.
        assert all(t[i] in (x[i + 1], IGNORE_INDEX) for i in range(len(x) - 1))


def test_repeated_units_have_every_length_from_one_to_four():
    inputs, _ = PATTERNS["repeat"].sample(np.random.default_rng(0), 200, 12)
    assert {len(set(row[1:])) for row in inputs.tolist()} == {1, 2, 3, 4}


def test_addition_and_counting_reach_every_number():
    rng = np.random.default_rng(0)
    sums = PATTERNS["add"].sample(rng, 3000, 2)[1][:, -2]
    assert set(sums) == set(range(100, 197))
    assert set(PATTERNS["count"].sample(rng, 3000, 2)[0][:, 1]) == set(range(100, 199))
    assert PATTERNS["count"].sample(rng, 1, 100)[1][0, -1] == 199


def test_the_longest_task_within_a_context_fits_and_the_next_does_not():
    for pattern in PATTERNS.values():
        for context in range(pattern.width(pattern.shortest), 80):
            length = pattern.longest_within(context)
            assert pattern.width(length) <= context
            assert length == pattern.longest or pattern.width(length + 1) > context


def test_lengths_and_contexts_that_cannot_be_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="repeat: length must be at least 6, not 5"):
        PATTERNS["repeat"].sample(rng, 2, 5)
    with pytest.raises(ValueError, match="count: length must be at least 2 and at most 100, not 101"):
        PATTERNS["count"].sample(rng, 2, 101)
    with pytest.raises(ValueError, match="repeat: the context must be at least 6, not 5"):
        PATTERNS["repeat"].longest_within(5)


def test_accuracy_counts_answers_only():
    _ = IGNORE_INDEX
    targets = np.array([[_, _, 5, 6], [_, 7, 8, _]])
    predicted = np.array([[1, 2, 5, 6], [3, 7, 9, _]])
    assert accuracy(predicted, targets) == 3 / 4
    assert right_rows(predicted, targets).tolist() == [True, False]
    assert accuracy(targets, targets) == 1
    assert accuracy(np.zeros_like(targets), targets) == 0
    with pytest.raises(ValueError, match="at least one answer"):
        accuracy(predicted, np.full_like(targets, IGNORE_INDEX))


def test_rows_are_spelled_for_people():
    row = [p.REVERSE, 200, 206, 299, p.ANSWER, 299, 206, 200, p.END, p.PAD, p.PAD]
    assert spell(row) == "REVERSE ba ce zu = zu ce ba END"
    assert spell([p.ADD, 196, 101, p.ANSWER, 100, 999]) == "ADD 96 1 = 0 ?999"
    spelled = {spell([i]) for i in [*range(9), *p.NUMBERS, *p.SYMBOLS]}
    assert len(spelled) == 9 + 100 + 100
