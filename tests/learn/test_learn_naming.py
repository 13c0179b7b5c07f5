"""Naming by numbers: every mistake can be made, no two are alike, nothing right is named, and no answer is shown."""

import ast
import functools
import itertools

import numpy as np
import pytest

from gradcheck.mistakes import Student
from minitransformer.cases import FUNCTIONS as FUNCTION_CASES, MODULES
from minitransformer.learn.naming import named
from minitransformer.learn.naming.glossary import GLOSSARY, glossary_of
from minitransformer.learn.naming.own import OWN
from minitransformer.learn.naming.search import Search, own
from minitransformer.learn.naming.textbook import FUNCTIONS, Textbook, statements, tree_of

COMPOSITIONS = {
    "MultiHeadAttention": "multi_head_attention",
    "FeedForward": "feed_forward",
    "GatedFeedForward": "gated_feed_forward",
    "TransformerBlock": "block",
}
# Each of the learners' own mistakes can be made in one of these.
RUNS = (
    *("linear", "linear, square", "embedding", "unembedding", "rotary, half", "rotary, scaled", "rotary, interleaved"),
    *("layer_norm, ε = 0.5", "rms_norm, ε = 0.5", "softmax", "softmax, axis 1", "log_softmax", "log_softmax, axis 1"),
    *("attention, square", "attention, causal", "attention, grouped", "attention, dropout", "relu", "silu", "swiglu"),
    *("gelu", "gelu, tanh", "dropout", "cross_entropy", "cross_entropy, sum", "cross_entropy, none"),
    *("cross_entropy, weighted, smoothed", "FeedForward", "GatedFeedForward", "TransformerBlock, GPT-2-like"),
    *("MultiHeadAttention, causal, dropout", "MultiHeadAttention, grouped, rotary"),
)
CASES = {case.name: case for case in [*FUNCTION_CASES, *MODULES]}
NOBODY = Student("", {})


def drawn(name, seed=0):
    """Return (component, arguments, dy) on inputs drawn for a run."""
    rng = np.random.default_rng(seed)
    call = CASES[name].call(rng)
    dy = np.asarray(rng.normal(size=np.shape(call.evaluate()[0])))
    kind = name.split(",")[0]
    arguments = dict(zip(call.input_names(), call.inputs, strict=True)) | call.options
    if kind in COMPOSITIONS:
        return COMPOSITIONS[kind], {"self": call.target, **arguments}, dy
    return kind, arguments, dy


def said(name, wrong, seeds=(0, 1), *, planted=False, student=NOBODY):
    """Return the sentences on gradients {name: function of the inputs, dy and the right one} of a run."""
    draws = []
    for seed in seeds:
        component, arguments, dy = drawn(name, seed)
        truth = Textbook(component, arguments, dy).truth
        given = {n: f(**{**arguments, "dy": dy, "right": truth[n]}) for n, f in wrong.items()}
        draws.append((arguments, truth | given, dy))
    return named(component, draws, student, planted=planted)


@functools.cache
def changes(name):
    """Return (component, {sentence: numbers}) of the learners' own mistakes that can be made on a run."""
    component, arguments, dy = drawn(name)
    search = Search(Textbook(component, arguments, dy), {})
    found = {}
    for guess in own(search.textbook.function, search.textbook.component):
        changed = search.explained(guess)
        if changed:
            numbers = search.textbook.run(guess.code)
            sums = tuple(
                (n, f"{np.nansum(numbers[n] * np.cos(np.arange(numbers[n].size)).reshape(numbers[n].shape)):.7g}")
                for n in sorted(changed)
            )
            found.setdefault(guess.place + guess.sentence(NOBODY), sums)
    return search.textbook.component, found


@pytest.mark.parametrize("component", OWN)
def test_every_own_mistake_can_be_made_and_no_two_give_the_same_numbers(component):
    runs = [found for of, found in map(changes, RUNS) if of == component]
    made = set().union(*runs)
    listed = {sentence for rules in OWN[component].values() for sentence in rules.values()}
    assert {sentence for sentence in listed if not any(m.endswith(sentence) for m in made)} == set()
    own_ones = [m for m in made if any(m.endswith(sentence) for sentence in listed)]
    for one, other in itertools.combinations(own_ones, 2):
        assert any(found.get(one) != found.get(other) for found in runs), (one, other)


@pytest.mark.parametrize("component", OWN)
def test_own_mistakes_are_at_statements_of_the_textbook_and_their_sentences_are_short(component):
    assert set(OWN[component]) <= set(statements(FUNCTIONS[component]))
    assert all(0 < len(sentence) < 100 for rules in OWN[component].values() for sentence in rules.values())


@pytest.mark.parametrize("component", GLOSSARY)
def test_the_glossary_has_noun_phrases_for_code_of_the_textbook(component):
    code = {ast.unparse(node) for node in ast.walk(tree_of(FUNCTIONS[component])) if isinstance(node, ast.expr)}
    own_entries = set(glossary_of(component)) - {"dy", "dz", "dp", "dloss"}
    assert own_entries - {"beta", "mu", "eps", "positions", "shift"} <= code
    assert not any(" is " in phrase or " are " in phrase for phrase in glossary_of(component).values())


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize("name", RUNS)
def test_right_gradients_and_numbers_of_no_mistake_are_given_no_name(name, planted):
    assert said(name, {}, planted=planted) == []
    component, arguments, dy = drawn(name)
    truth = Textbook(component, arguments, dy).truth
    rng = np.random.default_rng(1)
    noise = {n: rng.normal(size=value.shape) for n, value in truth.items()}
    assert named(component, [(arguments, noise, dy)], NOBODY, planted=planted) == []


# The same mistake in two ways that have little in common: (run, gradient, one way, another way, sentence).
TWICE = [
    (
        *("linear", "dweight", lambda x, dy, **_: np.einsum("bti,bto->io", x, dy) / 10),
        lambda x, dy, **_: np.mean([a.T @ d for a, d in zip(x, dy, strict=True)], 0) / 5,
        "(3) dweight: it is divided by the number of positions: a mean in place of the sum",
    ),
    (
        *("linear", "dweight", lambda x, dy, **_: x[-1].T @ dy[-1], lambda x, dy, **_: np.outer(x[1, 0], dy[1, 0])),
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
        *("layer_norm, ε = 0.5", "dx", lambda x, gamma, dy, **_: dy * gamma / np.sqrt(x.var(-1, keepdims=True) + 0.5)),
        lambda x, gamma, dy, **_: (dy.T * gamma[:, None, None] / np.sqrt(x.var(-1) + 0.5).T).T,
        "(7) dx: mean and variance are taken for constants: both of their paths are missing",
    ),
    (
        *("silu", "dx", lambda x, dy, **_: dy / (1 + np.exp(-x)), lambda x, dy, **_: dy * 0.5 * (1 + np.tanh(x / 2))),
        "(5) dx: the path through σ is missing",
    ),
]
TWICE[1] = (
    *("linear", "dweight", lambda x, dy, **_: x[-1].T @ dy[-1], lambda x, dy, **_: np.einsum("ti,to->io", x[1], dy[1])),
    "(3) dweight: only the last of the batch is counted",
)


@pytest.mark.parametrize("name, gradient, one, other, sentence", TWICE)
def test_a_mistake_has_one_name_however_it_is_spelled(name, gradient, one, other, sentence):
    assert [said(name, {gradient: way})[0] for way in (one, other)] == [sentence, sentence]


def test_a_mistake_that_another_case_contradicts_is_not_named():
    def half_or_third(dy, right, **_):
        return right / 2 if dy[0, 0, 0] > 0 else right / 3

    signs = [drawn("relu", seed)[2][0, 0, 0] > 0 for seed in range(20)]
    seeds = signs.index(True), signs.index(False)
    either = "(2) dx: it is divided by the size of the batch, or it counts half"  # the batch has two
    assert said("relu", {"dx": half_or_third}, seeds[:1]) == [either]
    assert said("relu", {"dx": half_or_third}, seeds) == []


def test_numbers_in_float32_are_compared_to_five_digits():
    component, arguments, dy = drawn("silu")
    half = {name: value.astype(np.float32) for name, value in arguments.items()}
    wrong = {"dx": (dy / (1 + np.exp(-arguments["x"]))).astype(np.float32)}
    assert named(component, [(half, wrong, dy.astype(np.float32))], NOBODY, planted=False) == [
        "(5) dx: the path through σ is missing"
    ]


def test_a_mistake_planted_in_the_textbook_is_named_by_a_noun_phrase_and_not_by_its_code():
    student = Student("dx_hat = dy", glossary_of("layer_norm"))

    def without_gain(x, dy, **_):
        x_hat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.5)
        centred = dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True)
        return centred / np.sqrt(x.var(-1, keepdims=True) + 0.5)

    sentences = said("layer_norm, ε = 0.5", {"dx": without_gain}, planted=True, student=student)
    assert sentences[0] == "(6) dx_hat: the gain γ is missing"


@pytest.mark.parametrize(
    "wrong", [{}, {"dx": np.zeros(3)}, {"dx": np.full((2, 5, 6), np.nan)}, {"dx": np.ones((2, 5, 6), int)}]
)
def test_nothing_is_said_of_arrays_that_are_no_gradient(wrong):
    component, arguments, dy = drawn("softmax")
    assert named(component, [(arguments, wrong, dy)], NOBODY, planted=False) == []


def test_nothing_is_said_of_a_component_that_is_not_known_or_arguments_that_do_not_fit():
    _, arguments, dy = drawn("softmax")
    assert named("convolution", [(arguments, {"dx": dy}, dy)], NOBODY, planted=False) == []
    assert named("softmax", [({}, {"dx": dy}, dy)], NOBODY, planted=False) == []
