"""Naming by numbers: every mistake can be made, no two are alike, nothing right is named, and no answer is shown."""

import ast
import functools
import itertools

import numpy as np
import pytest

from minitransformer.learn.attempt import Attempt
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.naming import DoesNotFitError, Search, Source, Textbook, guesses, named
from minitransformer.learn.vocabulary import GLOSSARY, OWN, glossary_of

# Each of the learners' own mistakes can be made in one of these cases.
RUNS = [(exercise.name, k) for exercise in EXERCISES if not exercise.is_value for k in range(len(exercise.cases()))]


def source_of(name):
    reference = named_exercise(name).reference
    return Source(getattr(reference, "forward", reference))


@functools.cache
def drawn(name, k=0, seed=0):
    """Return (exercise, arguments, dy, right gradients) of a case of an exercise."""
    exercise = named_exercise(name)
    call, arguments = Attempt(exercise, None, exercise.reference, 1, (), None).call(exercise.cases()[k], seed)
    dy = np.asarray(np.random.default_rng([seed, 9]).normal(size=np.shape(call.evaluate()[0])))
    return exercise, arguments, dy, Textbook(exercise, arguments, dy).truth


def said(name, wrong, k=0, seeds=(0, 1)):
    """Return the sentences on gradients {name: function of the inputs, dy and the right one} of a case."""
    draws, exercise = [], named_exercise(name)
    for _, arguments, dy, truth in (drawn(name, k, seed) for seed in seeds):
        given = {n: f(**{**arguments, "dy": dy, "right": truth[n]}) for n, f in wrong.items()}
        draws.append((arguments, truth | given, dy))
    return named(exercise, draws)


@functools.cache
def changes(name, k):
    """Return {sentence: numbers} of the learners' own mistakes that can be made on a case."""
    try:
        exercise, arguments, dy, _ = drawn(name, k)
    except (TypeError, DoesNotFitError):  # a module that contains one of the exercise's class
        return {}
    search, found = Search(Textbook(exercise, arguments, dy), {}), {}
    for guess in guesses(search.textbook.source, name):
        if changed := search.explained(guess):
            numbers = search.textbook.run(guess.code)
            weighed = [
                numbers[n] * np.cos(np.arange(numbers[n].size)).reshape(numbers[n].shape) for n in sorted(changed)
            ]
            found.setdefault(guess.place + guess.sentence, tuple(f"{np.nansum(w):.7g}" for w in weighed))
    return found


@pytest.mark.parametrize("name", OWN)
def test_every_own_mistake_can_be_made_and_no_two_give_the_same_numbers(name):
    runs = [changes(*run) for run in RUNS if run[0] == name]
    made = set().union(*runs)
    listed = {sentence for rules in OWN[name].values() for sentence in rules.values()}
    assert {sentence for sentence in listed if not any(m.endswith(sentence) for m in made)} == set()
    assert all(0 < len(sentence) < 100 for sentence in listed) and set(OWN[name]) <= set(source_of(name).statements)
    own_ones = [m for m in made if any(m.endswith(sentence) for sentence in listed)]
    for one, other in itertools.combinations(own_ones, 2):
        assert any(found.get(one) != found.get(other) for found in runs), (one, other)


@pytest.mark.parametrize("name", GLOSSARY)
def test_the_glossary_has_noun_phrases_for_code_of_the_textbook(name):
    code = {ast.unparse(node) for node in ast.walk(source_of(name).tree) if isinstance(node, ast.expr)}
    own_entries = set(glossary_of(name)) - {"dy", "dz", "dp", "dloss"}
    assert own_entries - {"beta", "mu", "eps", "positions", "shift"} <= code
    assert not any(" is " in phrase or " are " in phrase for phrase in glossary_of(name).values())


@pytest.mark.parametrize("name", GLOSSARY)
def test_right_gradients_and_numbers_of_no_mistake_are_given_no_name(name):
    assert said(name, {}) == []
    exercise, arguments, dy, truth = drawn(name)
    rng = np.random.default_rng(1)
    noise = {n: rng.normal(size=value.shape) for n, value in truth.items()}
    assert named(exercise, [(arguments, noise, dy)]) == []


# The same mistake in two ways that have little in common: (exercise, gradient, one way, another way, sentence).
TWICE = [
    (
        *("linear", "dweight", lambda x, dy, **_: np.einsum("bti,bto->io", x, dy) / 10),
        lambda x, dy, **_: np.mean([a.T @ d for a, d in zip(x, dy, strict=True)], 0) / 5,
        "(3) dweight: it is divided by the number of positions: a mean in place of the sum",
    ),
    (
        *("linear", "dweight", lambda x, dy, **_: x[-1].T @ dy[-1]),
        lambda x, dy, **_: np.einsum("ti,to->io", x[1], dy[1]),
        "(3) dweight: only the last of the batch is counted",
    ),
    (
        *("softmax", "dx", lambda x, dy, **_: np.exp(x) / np.exp(x).sum(-1, keepdims=True) * dy),
        lambda right, x, dy, **_: (
            right + (p := np.exp(x) / np.exp(x).sum(-1, keepdims=True)) * (p * dy).sum(-1, keepdims=True)
        ),
        "(3) dx: the sum over y · dy is not subtracted",
    ),
    (
        *("silu", "dx", lambda x, dy, **_: dy / (1 + np.exp(-x)), lambda x, dy, **_: dy * 0.5 * (1 + np.tanh(x / 2))),
        "(5) dx: the path through σ is missing",
    ),
]


@pytest.mark.parametrize("name, gradient, one, other, sentence", TWICE)
def test_a_mistake_has_one_name_however_it_is_spelled(name, gradient, one, other, sentence):
    assert [said(name, {gradient: way})[0] for way in (one, other)] == [sentence, sentence]


def test_a_mistake_that_another_case_contradicts_is_not_named():
    def half_or_third(dy, right, **_):
        return right / 2 if dy[0, 0, 0] > 0 else right / 3

    signs = [drawn("relu", 0, seed)[2][0, 0, 0] > 0 for seed in range(20)]
    seeds = signs.index(True), signs.index(False)
    either = "(2) dx: it is divided by the size of the batch, or it counts half"  # the batch has two
    assert said("relu", {"dx": half_or_third}, seeds=seeds[:1]) == [either]
    assert said("relu", {"dx": half_or_third}, seeds=seeds) == []


@pytest.mark.parametrize(
    "wrong", [{}, {"dx": np.zeros(3)}, {"dx": np.full((2, 5, 6), np.nan)}, {"dx": np.ones((2, 5, 6), int)}]
)
def test_nothing_is_said_of_arrays_that_are_no_gradient_or_arguments_that_do_not_fit(wrong):
    exercise, arguments, dy, _ = drawn("softmax")
    assert named(exercise, [(arguments, wrong, dy)]) == []
    assert named(exercise, [({}, wrong, dy)]) == []
