"""The catalogue of known wrong answers: every line is a real mistake, no two are alike, and nothing false is said."""

import functools

import numpy as np
import pytest

from minitransformer.cases import FUNCTIONS, MODULES
from minitransformer.learn.catalogue import named
from minitransformer.learn.catalogue.naming import MISTAKES, Search
from minitransformer.learn.catalogue.numbers import equal
from minitransformer.learn.catalogue.textbook import Textbook

COMPOSITIONS = {
    "MultiHeadAttention": "multi_head_attention",
    "FeedForward": "feed_forward",
    "GatedFeedForward": "gated_feed_forward",
    "TransformerBlock": "block",
}


def of_case(case, rng):
    """Draw (component, arguments, dy) of a case."""
    call = case.call(rng)
    y, _ = call.evaluate()
    dy = np.asarray(rng.normal(size=np.shape(y)))
    name = case.name.split(",")[0]
    if name in COMPOSITIONS:
        return COMPOSITIONS[name], {"self": call.target, "x": call.inputs[0], **call.options}, dy
    return name, dict(zip(call.input_names(), call.inputs, strict=True)) | call.options, dy


def of_adamw(rng):
    """Draw (component, arguments, dy) of an update, with an ε and a decay that matter."""
    theta, g, m = rng.normal(size=(3, 4, 5))
    settings = {"t": 3, "lr": 0.2, "betas": (0.7, 0.9), "eps": 0.1, "weight_decay": 0.4}
    return "adamw", {"theta": theta, "g": g, "m": m, "v": rng.random((4, 5)), **settings}, np.zeros(())


RUNS = {
    case.name: functools.partial(of_case, case)
    for case in [*FUNCTIONS, *MODULES]
    if case.name.split(",")[0] in {*MISTAKES, *COMPOSITIONS, "rotary", "gelu"}
    and not any(word in case.name for word in ("hooked", "recorded", "replaced", "hidden", "cached"))
} | {"adamw": of_adamw}


def run(name, seed=0):
    """Return (component, arguments, dy, Textbook) on inputs drawn for a run."""
    component, arguments, dy = RUNS[name](np.random.default_rng(seed))
    return component, arguments, dy, Textbook(component, arguments, dy)


def alike(guess, other):
    """Whether two mistakes give the same numbers."""
    return guess.changed.keys() == other.changed.keys() and all(
        equal(guess.changed[name], other.changed[name], 1e-9) for name in guess.changed
    )


@functools.cache
def twins(name):
    """Return {sentence: sentences of other mistakes that give the same numbers} on the inputs of a run."""
    *_, textbook = run(name)
    guesses = list(Search(textbook, {}).catalogued())
    return textbook.component, {
        guess.sentence: {other.sentence for other in guesses if other is not guess and alike(guess, other)}
        for guess in guesses
    }


def twins_on_all_runs(component):
    """Return {sentence: those that give the same numbers wherever the mistake can be made}."""
    found = {}
    for name in RUNS:
        of_component, sentences = twins(name)
        for sentence, others in sentences.items() if of_component == component else ():
            found[sentence] = found.get(sentence, others) & others
    return found


@pytest.mark.parametrize("name", RUNS)
def test_right_gradients_are_given_no_name(name):
    for seed in range(2):
        component, arguments, dy, textbook = run(name, seed)
        assert named(component, arguments, textbook.truth, dy) is None


@pytest.mark.parametrize("name", RUNS)
def test_numbers_that_come_of_no_mistake_are_given_no_name(name):
    component, arguments, dy, textbook = run(name)
    rng = np.random.default_rng(1)
    wrong = {gradient: rng.normal(size=value.shape) for gradient, value in textbook.truth.items()}
    assert named(component, arguments, wrong, dy) is None


@pytest.mark.parametrize("component", MISTAKES)
def test_every_line_is_a_mistake_and_unlike_every_other(component):
    found = twins_on_all_runs(component)
    lines = [words for rules in MISTAKES[component].values() for words in rules]
    assert [words for words in lines if not any(sentence.endswith(words) for sentence in found)] == []
    assert {sentence: others for sentence, others in found.items() if others} == {}
    assert len(found) == len(lines)


@pytest.mark.parametrize("component", MISTAKES)
def test_every_sentence_is_one_short_line(component):
    for sentence in twins_on_all_runs(component):
        assert len(sentence) < 160 and "\n" not in sentence
