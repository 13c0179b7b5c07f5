"""Naming by numbers: every mistake can be made, nothing right is named, and a name does not depend on the spelling."""

import ast

import numpy as np
import pytest

from minitransformer.learn.attempt import Attempt
from minitransformer.learn.exercises import named_exercise
from minitransformer.learn.naming import Draw, guesses, named, source_of
from minitransformer.learn.vocabulary import GLOSSARY, OWN, glossary_of


def source(name):
    reference = named_exercise(name).reference
    return source_of(getattr(reference, "forward", reference))


def drawn(name, k=0, seed=0):
    """Return (exercise, Call of the textbook, dy, right gradients) of a case of an exercise."""
    exercise = named_exercise(name)
    call = Attempt(exercise, None, exercise.reference, 1, (), None).call(exercise.cases()[k], seed)
    dy = np.asarray(np.random.default_rng([seed, 9]).normal(size=np.shape(call.evaluate()[0])))
    return exercise, call, dy, Draw(exercise.reference, call, {}, dy).truth


def said(name, wrong, k=0, seeds=(0, 1)):
    """Return the sentences on gradients {name: function of the inputs, dy and the right one} of a case."""
    draws, exercise = [], named_exercise(name)
    for _, call, dy, truth in (drawn(name, k, seed) for seed in seeds):
        arguments = dict(zip(call.input_names(), call.inputs, strict=True)) | call.options
        given = {n: f(**{**arguments, "dy": dy, "right": truth[n]}) for n, f in wrong.items()}
        draws.append(Draw(exercise.reference, call, truth | given, dy))
    return named(exercise, draws)


@pytest.mark.parametrize("name", OWN)
def test_every_own_mistake_can_be_made(name):
    listed, made = {sentence for rules in OWN[name].values() for sentence in rules.values()}, set()
    assert all(0 < len(sentence) < 100 for sentence in listed) and set(OWN[name]) <= set(source(name).values)
    for k in range(len(named_exercise(name).cases())):
        try:
            exercise, call, dy, _ = drawn(name, k)
        except (TypeError, AttributeError):  # a module that contains one of the exercise's class
            continue
        draw = Draw(exercise.reference, call, {}, dy)
        for guess in filter(draw.explained, guesses(draw.source, name)):
            made |= {sentence for sentence in listed if guess.sentence.endswith(sentence)}
    assert listed <= made


@pytest.mark.parametrize("name", GLOSSARY)
def test_the_glossary_has_noun_phrases_for_code_of_the_textbook(name):
    code = {ast.unparse(node) for node in ast.walk(source(name).tree) if isinstance(node, ast.expr)}
    own_entries = set(glossary_of(name)) - {"dy", "dz", "dp", "dloss"}
    assert own_entries - {"beta", "mu", "eps", "positions", "shift"} <= code
    assert not any(" is " in phrase or " are " in phrase for phrase in glossary_of(name).values())


@pytest.mark.parametrize("name", GLOSSARY)
def test_right_gradients_and_numbers_of_no_mistake_are_given_no_name(name):
    assert said(name, {}) == []
    exercise, call, dy, truth = drawn(name)
    rng = np.random.default_rng(1)
    noise = {n: rng.normal(size=value.shape) for n, value in truth.items()}
    assert named(exercise, [Draw(exercise.reference, call, noise, dy)]) == []


# The same mistake in two ways that have little in common: (exercise, gradient, one way, another way, sentence).
TWICE = [
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
    def some(x, dy, **_):
        k = slice(None, 1) if dy[0, 0, 0] > 0 else slice(-1, None)
        return np.einsum("bti,bto->io", x[k], dy[k])

    signs = [drawn("linear", 0, seed)[2][0, 0, 0] > 0 for seed in range(20)]
    seeds = signs.index(True), signs.index(False)
    assert said("linear", {"dweight": some}, seeds=seeds[:1]) == ["(3) dweight: only the first of the batch is counted"]
    assert said("linear", {"dweight": some}, seeds=seeds) == []


@pytest.mark.parametrize(
    "wrong", [{}, {"dx": np.zeros(3)}, {"dx": np.full((2, 5, 6), np.nan)}, {"dx": np.ones((2, 5, 6), int)}]
)
def test_nothing_is_said_of_arrays_that_are_no_gradient_or_arguments_that_do_not_fit(wrong):
    exercise, call, dy, _ = drawn("softmax")
    assert named(exercise, [Draw(exercise.reference, call, wrong, dy)]) == []
