"""The catalogue of known wrong answers: every line is a real mistake, no two are alike, and nothing false is said."""

import numpy as np
import pytest

from minitransformer.cases import FUNCTIONS as CASES
from minitransformer.learn.catalogue import named
from minitransformer.learn.catalogue.naming import MISTAKES, in_the_catalogue, same
from minitransformer.learn.catalogue.textbook import FUNCTIONS, Textbook


def component_of(case):
    return case.name.split(",")[0]


def run_of(case, seed):
    """Return (component, arguments, dy, gradients) of a case's function on inputs drawn with a seed."""
    rng = np.random.default_rng(seed)
    call = case.call(rng)
    arguments = dict(zip(call.input_names(), call.inputs, strict=True)) | call.options
    y, backward = call.target(*call.inputs, **call.options)
    dy = np.array(rng.normal(size=np.shape(y)))
    gradients = backward(dy)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    names = [f"d{name}" for name, value in arguments.items() if name in call.input_names() and value.dtype.kind == "f"]
    return component_of(case), arguments, dy, dict(zip(names, gradients, strict=True))


KNOWN = [case for case in CASES if component_of(case) in {*FUNCTIONS, "rotary", "gelu"}]


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_right_gradients_are_given_no_name(case):
    for seed in range(5):
        component, arguments, dy, gradients = run_of(case, seed)
        assert named(component, arguments, gradients, dy) is None


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_numbers_that_come_of_no_mistake_are_given_no_name(case):
    component, arguments, dy, gradients = run_of(case, 0)
    rng = np.random.default_rng(1)
    wrong = {name: rng.normal(size=gradient.shape) for name, gradient in gradients.items()}
    assert named(component, arguments, wrong, dy) is None


@pytest.mark.parametrize("component", MISTAKES)
def test_every_line_is_a_mistake_unlike_every_other(component):
    seen = {}
    for case in KNOWN:
        if component_of(case) == component.split("_exact")[0].split("_tanh")[0].replace("turned", "rotary"):
            _, arguments, dy, _ = run_of(case, 0)
            textbook = Textbook(component_of(case), arguments, dy)
            if textbook.component != component:
                continue
            guesses = list(in_the_catalogue(textbook))
            for guess in guesses:
                alike = seen.setdefault(guess.sentence, None)
                twins = {
                    other.sentence
                    for other in guesses
                    if other is not guess
                    and other.changed.keys() == guess.changed.keys()
                    and all(same(other.changed[name], guess.changed[name]) for name in guess.changed)
                }
                seen[guess.sentence] = twins if alike is None else alike & twins
    lines = [f": {words}" for rules in MISTAKES[component].values() for words in rules]
    assert sorted(line for line in lines if not any(sentence.endswith(line) for sentence in seen)) == []
    assert {sentence: twins for sentence, twins in seen.items() if twins} == {}
    assert all(len(sentence) < 160 and "\n" not in sentence for sentence in seen)
