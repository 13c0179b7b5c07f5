"""Typical mistakes: each can be made, nothing right is named, and a name does not depend on the spelling."""

import ast
import inspect
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from gradcheck.contract import run_and_test
from gradcheck.lines.component import Trial, source_of, typical_mistakes
from gradcheck.mistakes import KINDS
from minitransformer.learn.exercises import named_exercise
from minitransformer.learn.grading_run import Attempt
from minitransformer.learn.vocabulary import (
    GLOSSARY,
    OF_ANY_LINE,
    OF_EXERCISES,
    component_of,
    glossary_of,
    with_result_of,
)


def drawn(name, k=0, seed=0):
    """Return the Run of the textbook's function on a case of an exercise."""
    exercise = named_exercise(name)
    call = Attempt(exercise, None, exercise.reference, 1, ()).call(exercise.cases()[k], seed)
    if not isinstance(exercise.reference, type):
        call.target = with_result_of(exercise, call.target)
    return run_and_test(call, None, np.random.default_rng([seed, 9]))


def found(name, runs):
    """Return (row, sentence with its place) of the typical mistakes with the gradients of some Runs."""
    scenes = [SimpleNamespace(run=run) for run in runs]
    for scene in scenes:
        scene.in_use = lambda scene=scene: scene
    return [(t.row, t.at + t.row.sentence) for t in typical_mistakes(component_of(named_exercise(name)), scenes)]


def said(name, wrong, k=0, seeds=(0, 1)):
    """Return the sentences on gradients {name: function of the inputs, dy and the right one} of a case."""
    runs = []
    for run in (drawn(name, k, seed) for seed in seeds):
        given = dict(zip(run.call.input_names(), run.call.inputs, strict=True)) | run.call.options | {"dy": run.dy}
        pairs = [(a.label, g) for a, g in zip(run.arguments, run.gradients, strict=True)]
        runs.append(run._replace(gradients=[wrong[n](**given, right=g) if n in wrong else g for n, g in pairs]))
    return [sentence for _, sentence in found(name, runs)]


def test_every_row_has_a_kind_and_a_short_sentence():
    rows = [row for some in OF_EXERCISES.values() for row in some] + OF_ANY_LINE
    assert len(rows) > 190 and all(row.kind in KINDS and 0 < len(row.sentence) < 100 for row in rows)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", OF_EXERCISES)
def test_every_mistake_of_an_exercise_can_be_made_and_is_found(name):
    component, made = component_of(named_exercise(name)), set()
    for k in range(len(named_exercise(name).cases())):
        try:
            run = drawn(name, k)
        except (TypeError, AttributeError):  # a module that contains one of the exercise's class
            continue
        scene = SimpleNamespace(run=run)
        scene.in_use = lambda scene=scene: scene
        for row in OF_EXERCISES[name]:
            made |= {row.sentence} if changes_a_gradient(row, component, scene) else set()
    assert {row.sentence for row in OF_EXERCISES[name]} <= made


def changes_a_gradient(row, component, scene):
    function = getattr(component.function, "forward", component.function)
    trial = Trial(component, function, scene)
    wrong = [trial.gradients(version) for _, version in source_of(function).mistakes((row,))]
    return any(not np.allclose(some[i], trial.truth[i], rtol=1e-9, atol=1e-12) for some in wrong if some for i in some)


@pytest.mark.parametrize("name", GLOSSARY)
def test_the_glossary_has_noun_phrases_for_code_of_the_textbook(name):
    reference = named_exercise(name).reference
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(reference, "forward", reference))))
    code = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.expr)}
    own_entries = set(glossary_of(name)) - {"dy", "dz", "dp", "dloss"}
    assert own_entries - {"beta", "mu", "eps", "positions", "shift"} <= code
    assert not any(" is " in phrase or " are " in phrase for phrase in glossary_of(name).values())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", GLOSSARY)
def test_right_gradients_and_numbers_of_no_mistake_are_given_no_name(name):
    run, rng = drawn(name), np.random.default_rng(1)
    assert found(name, [run]) == []
    noise = [rng.normal(size=gradient.shape) for gradient in run.gradients]
    assert found(name, [run._replace(gradients=noise)]) == []


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

    signs = [drawn("linear", 0, seed).dy[0, 0, 0] > 0 for seed in range(20)]
    seeds = signs.index(True), signs.index(False)
    assert said("linear", {"dweight": some}, seeds=seeds[:1]) == ["(3) dweight: only the first of the batch is counted"]
    assert said("linear", {"dweight": some}, seeds=seeds) == []


@pytest.mark.parametrize("wrong", [np.full((2, 5, 6), np.nan), np.ones((2, 5, 6))])
def test_nothing_is_said_of_arrays_that_are_no_gradient(wrong):
    assert found("softmax", [drawn("softmax")._replace(gradients=[wrong])]) == []
