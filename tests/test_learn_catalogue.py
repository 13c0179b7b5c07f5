"""The catalogue of known wrong answers: every line is a real mistake, no two are alike, and nothing false is said."""

import functools
import inspect
import itertools
import math
from math import pi, sqrt

import numpy as np
import pytest

from minitransformer.cases import FUNCTIONS, MODULES
from minitransformer.layers.softmax import softmax
from minitransformer.learn.catalogue import named, other_ways
from minitransformer.learn.catalogue.mutants import compiled_mutants
from minitransformer.learn.catalogue.naming import MISTAKES, Search
from minitransformer.learn.catalogue.textbook import Textbook, source_of, watched_text

COMPOSITIONS = {
    "MultiHeadAttention": "multi_head_attention",
    "FeedForward": "feed_forward",
    "GatedFeedForward": "gated_feed_forward",
    "TransformerBlock": "block",
}
# Each line of the catalogue can be made in one of these, and no two lines come out alike in all of them.
RUNS = (
    "linear",
    "linear, square",
    "embedding",
    "unembedding",
    "rotary, half",
    "rotary, scaled",
    "layer_norm, ε = 0.5",
    "rms_norm, ε = 0.5",
    "softmax",
    "softmax, axis 1",
    "log_softmax",
    "log_softmax, axis 1",
    "attention, square",
    "attention, causal",
    "attention, grouped",
    "attention, dropout",
    "relu",
    "silu",
    "swiglu",
    "gelu",
    "gelu, tanh",
    "dropout",
    "cross_entropy",
    "cross_entropy, sum",
    "cross_entropy, none",
    "cross_entropy, weighted, smoothed",
    "FeedForward",
    "GatedFeedForward",
    "MultiHeadAttention, causal, dropout",
    "MultiHeadAttention, grouped, rotary",
    "TransformerBlock, GPT-2-like",
)
CASES = {case.name: case for case in [*FUNCTIONS, *MODULES]}


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


def run(name, seed=0):
    """Return (component, arguments, dy, Textbook) on inputs drawn for a run."""
    component, arguments, dy = drawn(name, seed)
    return component, arguments, dy, Textbook(component, arguments, dy)


def gradients_of_the_package(name, seed):
    """Return {gradient: value} as the package's own function or module gives them."""
    call = CASES[name].call(np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    CASES[name].call(rng)
    y, backward = call.evaluate()
    given = backward(np.asarray(rng.normal(size=np.shape(y))))
    given = given if isinstance(given, tuple) else (given,)
    floating = [n for n, x in zip(call.input_names(), call.inputs, strict=True) if x.dtype.kind == "f"]
    of_parameters = {n: p.grad for n, p in call.target.named_parameters()} if name[0].isupper() else {}
    return dict(zip([f"d{n}" for n in floating], given, strict=True)) | of_parameters


@functools.cache
def alike(name):
    """Return (component, {sentence: sentences whose numbers are the same}) of the catalogue on the inputs of a run."""
    *_, textbook = run(name)
    groups = {}
    for guess in Search(textbook, {}).catalogued():
        # Rounded, equal arrays give equal sums: each entry counts by a weight of its own.
        sums = ((n, np.nansum(g * np.cos(np.arange(g.size)).reshape(g.shape))) for n, g in guess.changed.items())
        groups.setdefault(tuple((n, f"{total:.7g}") for n, total in sums), set()).add(guess.sentence)
    return textbook.component, {sentence: group - {sentence} for group in groups.values() for sentence in group}


def lines_of(component):
    """Return {sentence: those that are the same in every run in which the mistake can be made}."""
    found = {}
    for of_component, sentences in map(alike, RUNS):
        for sentence, others in sentences.items() if of_component == component else ():
            found[sentence] = found.get(sentence, others) & others
    return found


@pytest.mark.parametrize("component", MISTAKES)
def test_every_line_is_a_mistake_and_unlike_every_other(component):
    found = lines_of(component)
    lines = [words for rules in MISTAKES[component].values() for words in rules]
    assert [words for words in lines if not any(sentence.endswith(words) for sentence in found)] == []
    assert {sentence: others for sentence, others in found.items() if others} == {}
    assert len(found) == len(lines)


@pytest.mark.parametrize("component", MISTAKES)
def test_every_sentence_is_one_short_line(component):
    for sentence in lines_of(component):
        assert len(sentence) < 160 and "\n" not in sentence


def test_right_gradients_are_given_no_name():
    for seed, name in enumerate(itertools.islice(itertools.cycle(RUNS), 50)):
        component, arguments, dy = drawn(name, seed)
        assert named(component, arguments, gradients_of_the_package(name, seed), dy) is None


CHEAP = ("linear", "embedding", "softmax", "log_softmax", "relu", "silu", "gelu", "dropout", "swiglu", "FeedForward")


@pytest.mark.parametrize("name", [n if n in CHEAP else pytest.param(n, marks=pytest.mark.slow) for n in RUNS])
def test_numbers_that_come_of_no_mistake_are_given_no_name(name):
    component, arguments, dy, textbook = run(name)
    rng = np.random.default_rng(1)
    wrong = {gradient: rng.normal(size=value.shape) for gradient, value in textbook.truth.items()}
    assert named(component, arguments, wrong, dy) is None


def x_hat_by_hand(x, eps):
    return np.stack([[(row - row.mean()) / sqrt(row.var() + eps) for row in rows] for rows in x])


def softmax_jacobian_product(y, dy, change):
    """dx of a softmax over the last axis, by the Jacobian that `change` makes of each row's."""
    rows = [
        change(np.diag(p), np.outer(p, p)).T @ d
        for p, d in zip(y.reshape(-1, y.shape[-1]), dy.reshape(-1, y.shape[-1]), strict=True)
    ]
    return np.reshape(rows, y.shape)


def scattered(ids, dy, rows, overwrite):
    table = np.zeros((rows, dy.shape[-1]))
    for i, d in zip(ids.ravel(), dy.reshape(-1, dy.shape[-1]), strict=True):
        table[i] = d if overwrite else table[i] + d
    return table


# The same mistake in two ways that have little in common: (run, gradient, one way, another way).
TWICE = [
    (
        "linear",
        "dweight",
        lambda x, dy: np.einsum("bti,bto->io", x, dy) / 10,
        lambda x, dy: np.mean([a.T @ d for a, d in zip(x, dy, strict=True)], 0) / 5,
    ),
    ("linear", "dweight", lambda x, dy: x[-1].T @ dy[-1], lambda x, dy: np.einsum("ti,to->io", x[1], dy[1])),
    ("linear", "dbias", lambda dy: dy.mean(axis=(0, 1)), lambda dy: np.ones(10) @ dy.reshape(10, -1) / 10),
    ("linear", "dbias", lambda dy: dy[:, -1].sum(0), lambda dy: np.einsum("bo->o", dy[:, 4])),
    ("linear, square", "dx", lambda dy, weight: dy @ weight, lambda dy, weight: np.einsum("bto,oi->bti", dy, weight)),
    (
        "embedding",
        "dweight",
        lambda ids, dy: scattered(ids, dy, 11, True),
        lambda ids, dy: np.stack(
            [
                ([d for i, d in zip(ids.ravel(), dy.reshape(10, -1), strict=True) if i == v] or [np.zeros(6)])[-1]
                for v in range(11)
            ]
        ),
    ),
    (
        "embedding",
        "dweight",
        lambda ids, dy: scattered(ids, dy, 11, False) / 2,
        lambda ids, dy: np.einsum("btv,btc->vc", np.eye(11)[ids], dy / 2),
    ),
    (
        "layer_norm, ε = 0.5",
        "dx",
        lambda r, dx_hat: dx_hat * r,
        lambda x, dy, gamma: dy * gamma / np.sqrt(x.var(-1, keepdims=True) + 0.5),
    ),
    (
        "layer_norm, ε = 0.5",
        "dx",
        lambda r, dx_hat, shift: r * (dx_hat - shift),
        lambda r, dx_hat: (dx_hat @ (np.eye(6) - 1 / 6)) * r,
    ),
    (
        "layer_norm, ε = 0.5",
        "dx",
        lambda r, dx_hat, x_hat, scale: r * dx_hat - r * x_hat * scale,
        lambda r, dx_hat, x_hat: r * (dx_hat - x_hat * np.einsum("btc,btc->bt", dx_hat, x_hat)[..., None] / 6),
    ),
    ("layer_norm, ε = 0.5", "dgamma", lambda dy, x: (dy * x).sum((0, 1)), lambda dy, x: np.einsum("btc,btc->c", dy, x)),
    (
        "layer_norm, ε = 0.5",
        "dgamma",
        lambda dy, x_hat: (dy * x_hat).mean(0).sum(0),
        lambda dy, x: np.einsum("btc,btc->c", dy, x_hat_by_hand(x, 0.5)) / 2,
    ),
    (
        "rms_norm, ε = 0.5",
        "dx",
        lambda r, dx_hat: r * dx_hat,
        lambda x, dy, gamma: dy * gamma / np.sqrt((x * x).mean(-1, keepdims=True) + 0.5),
    ),
    (
        "rms_norm, ε = 0.5",
        "dx",
        lambda dx, r, x_hat, scale: dx + 2 * r * x_hat * scale,
        lambda x, r, dx_hat: r * dx_hat + r**3 * x * (dx_hat * x).sum(-1, keepdims=True) / 6,
    ),
    (
        "softmax",
        "dx",
        lambda y, dy: y * dy,
        lambda y, dy: softmax_jacobian_product(y, dy, lambda diagonal, outer: diagonal),
    ),
    (
        "softmax",
        "dx",
        lambda y, dy: y * (1 - y) * dy,
        lambda y, dy: softmax_jacobian_product(y, dy, lambda diagonal, outer: np.diag(np.diag(diagonal - outer))),
    ),
    (
        "softmax",
        "dx",
        lambda y, dy: y * (dy + (y * dy).sum(-1, keepdims=True)),
        lambda y, dy: softmax_jacobian_product(y, dy, lambda diagonal, outer: diagonal + outer),
    ),
    ("log_softmax", "dx", lambda z, dy: dy - np.exp(z), lambda x, dy: dy - softmax(x)[0]),
    ("log_softmax", "dx", lambda z, dy: (1 - np.exp(z)) * dy, lambda x, dy: dy - softmax(x)[0] * dy),
    ("silu", "dx", lambda dy, sigma: dy * sigma * (1 - sigma), lambda dy, x: dy / (2 + np.exp(x) + np.exp(-x))),
    ("silu", "dx", lambda dy, sigma: dy * sigma, lambda dy, x: dy / (1 + np.exp(-x))),
    ("gelu", "dx", lambda dy, Phi: dy * Phi, lambda dy, y, x: dy * y / x),
    (
        "gelu",
        "dx",
        lambda dy, Phi, phi, x: dy * (Phi - x * phi),
        lambda dy, y, x: dy * (y / x - x * np.exp(-(x**2) / 2) / sqrt(2 * pi)),
    ),
    ("dropout", "dx", lambda dy, keep: dy * keep, lambda dy, keep: np.where(keep, dy, 0.0)),
    ("dropout", "dx", lambda dy: 1.0 * dy, lambda dy, p, scale: dy * scale - dy * scale * p),
    (
        "cross_entropy",
        "dlogits",
        lambda p, a, dlosses: (p + a) * dlosses[..., None],
        lambda logits, a, dlosses: (softmax(logits)[0] + a) * dlosses[..., None],
    ),
    (
        "cross_entropy",
        "dlogits",
        lambda dlogits: dlogits * 9 / 10,
        lambda p, a, dy, kept: np.where(kept[..., None], p - a, 0) * dy / 10,
    ),
    ("attention, causal", "dk", lambda dk, s: dk / s, lambda dscores, q: np.einsum("bhij,bhid->bhjd", dscores, q)),
    (
        "attention, grouped",
        "dv",
        lambda used, dy: (np.swapaxes(used, -1, -2) @ dy).reshape(2, 2, 2, 5, 4).mean(2),
        lambda used, dy: np.einsum("bkgij,bkgid->bkjd", used.reshape(2, 2, 2, 3, 5), dy.reshape(2, 2, 2, 3, 4)) / 2,
    ),
]


@pytest.mark.parametrize("name, gradient, one, other", TWICE)
def test_a_mistake_has_one_name_however_it_is_spelled(name, gradient, one, other):
    component, arguments, dy, textbook = run(name)
    known = textbook.values | {"dy": dy}
    sentences = set()
    for way in (one, other):
        value = way(*(known[n] for n in inspect.signature(way).parameters))
        sentences.add(named(component, arguments, textbook.truth | {gradient: value}, dy))
    assert len(sentences) == 1 and None not in sentences


def test_the_place_is_the_statement_and_the_number_of_its_equation():
    component, arguments, dy, textbook = run("layer_norm, ε = 0.5")
    s = textbook.values
    wrong = textbook.truth | {"dx": s["r"] * (s["dx_hat"] - s["shift"])}
    assert named(component, arguments, wrong, dy) == "(7) dx: the path through the variance is missing"


def test_a_mistake_on_the_way_is_named_by_its_own_statement_and_only_once():
    component, arguments, dy, textbook = run("attention, causal")
    wrong = textbook.run({"dscores": lambda weights, dweights: weights * dweights})
    assert not np.allclose(wrong["dq"], textbook.truth["dq"]) and not np.allclose(wrong["dk"], textbook.truth["dk"])
    expected = "(6) dscores: Σ over keys of weights · dweights is not subtracted"
    assert named(component, arguments, wrong, dy) == expected


def test_mistakes_in_two_gradients_are_both_named():
    component, arguments, dy, textbook = run("linear")
    wrong = textbook.truth | {"dweight": textbook.truth["dweight"] / 10, "dbias": dy[:, -1].sum(axis=0)}
    assert named(component, arguments, wrong, dy) == (
        "(3) dweight: a mean over all positions stands in place of the sum; "
        "(4) dbias: only the last position of each sequence is counted"
    )


def test_one_mistake_after_another_on_the_way_to_one_gradient_are_both_named():
    component, arguments, dy, textbook = run("rms_norm, ε = 0.5")
    wrong = textbook.truth | {"dx": textbook.values["r"] * dy}
    assert named(component, arguments, wrong, dy) == (
        "(5) dx: the path through r is missing: r is taken for a constant; (4) dx_hat: the gain γ is forgotten"
    )


def test_what_could_be_either_of_two_mistakes_is_said_to_be_either():
    component, arguments, dy = drawn("linear")
    arguments["x"], dy = arguments["x"][:, :1], dy[:, :1]
    textbook = Textbook(component, arguments, dy)
    wrong = textbook.truth | {"dbias": dy.mean(axis=(0, 1))}
    assert named(component, arguments, wrong, dy) == (
        "(4) dbias: a mean over all positions stands in place of the sum, "
        "or a mean over the batch stands in place of the sum"
    )


def test_of_three_mistakes_that_it_could_be_none_is_said():
    component, arguments, dy = drawn("linear")
    arguments["x"], dy = np.repeat(arguments["x"][:1], 2, axis=0), np.repeat(dy[:1], 2, axis=0)
    textbook = Textbook(component, arguments, dy)
    wrong = textbook.truth | {"dbias": dy[0].sum(axis=0)}  # the mean over the batch, its first and its last
    assert named(component, arguments, wrong, dy) == "dbias: it is ½ × the right one"


def test_what_is_right_on_these_inputs_is_no_mistake_here():
    component, arguments, dy = drawn("rms_norm, ε = 0.5")
    arguments["gamma"] = np.ones_like(arguments["gamma"])
    textbook = Textbook(component, arguments, dy)
    sentences = {guess.sentence for guess in Search(textbook, {}).catalogued()}
    assert not any("γ is missing" in sentence or "γ is forgotten" in sentence for sentence in sentences)


def test_numbers_in_float32_are_compared_to_five_digits():
    component, arguments, dy, textbook = run("layer_norm, ε = 0.5")
    half = {name: value.astype(np.float32) for name, value in arguments.items() if isinstance(value, np.ndarray)}
    right = {name: value.astype(np.float32) for name, value in textbook.truth.items()}
    assert named(component, half | {"eps": 0.5}, right, dy.astype(np.float32)) is None
    wrong = right | {"dx": (textbook.values["r"] * textbook.values["dx_hat"]).astype(np.float32)}
    sentence = named(component, half | {"eps": 0.5}, wrong, dy.astype(np.float32))
    assert sentence == "(7) dx: mean and variance are taken for constants: both of their paths are missing"


def test_what_no_line_knows_is_told_by_a_mutant_of_the_textbook():
    component, arguments, dy, textbook = run("silu")
    s = textbook.values
    wrong = {"dx": dy * s["sigma"] * (1 + (1 - s["x"]) * (1 - s["sigma"]) * 0 + s["x"] / (1 - s["sigma"]))}
    assert named(component, arguments, wrong, dy) == ("(5) dx: the numbers are as if a product were a quotient")


# (run, gradient, what a learner wrote, what is said of it)
OF_THE_NUMBERS = [
    ("linear", "dx", lambda dx: 0 * dx, "dx: it is zero everywhere"),
    ("linear", "dx", lambda dx: -dx, "dx: it has the wrong sign: it is minus the right one"),
    ("linear", "dx", lambda dx: 2 * dx, "dx: it is 2 × the right one"),
    ("linear", "dx", lambda dx: dx[::-1], "dx: it is in reverse along axis 0"),
    ("linear, square", "dweight", lambda dbias, dweight: dweight + dbias, "dweight: it is off by dbias"),
    ("silu", "dx", lambda dx, y: dx - 3 * y, "dx: it is off by y × -3"),
    (
        "relu",
        "dx",
        lambda dy, off: np.where(off, 0.3 * dy, dy),
        "dx: it is wrong where off is True: there it is dy × 0.3",
    ),
    (
        "softmax",
        "dx",
        lambda dx: np.where(np.arange(5)[:, None] == 3, 7 * dx, dx),
        "dx: it is wrong at place 3 of axis 1 alone, counted from 0",
    ),
]


@pytest.mark.parametrize("name, gradient, way, expected", OF_THE_NUMBERS)
def test_what_no_line_knows_is_told_by_the_numbers_themselves(name, gradient, way, expected):
    component, arguments, dy, textbook = run(name)
    known = textbook.values | textbook.truth | {"dy": dy}
    wrong = textbook.truth | {gradient: way(*(known[n] for n in inspect.signature(way).parameters))}
    assert named(component, arguments, wrong, dy) == expected


def test_a_gradient_in_the_place_of_another_is_told():
    component, arguments, dy, textbook = run("swiglu")
    wrong = {"dg": textbook.truth["du"], "du": textbook.truth["dg"]}
    assert named(component, arguments, wrong, dy) == "dg: it is what du should be; du: it is what dg should be"


def test_a_module_of_a_learners_class_is_run_by_the_textbooks_and_nothing_is_changed():
    component, arguments, dy, textbook = run("FeedForward")

    class Mine(type(arguments["self"])):
        def forward(self, x):
            raise AssertionError("this is the learner's")

    module = arguments["self"]
    module.__class__ = Mine
    before = [(p.data.copy(), p.grad) for p in module.parameters()]
    x, wrong = arguments["x"].copy(), textbook.truth | {"dx": textbook.truth["dx"] + dy}
    assert named(component, arguments, wrong, dy) == "(6) dx: dy is added, as the block's residual would"
    assert type(module) is Mine and np.array_equal(arguments["x"], x)
    for parameter, (data, grad) in zip(module.parameters(), before, strict=True):
        assert np.array_equal(parameter.data, data) and parameter.grad is grad


@pytest.mark.parametrize("name", ["layer_norm, ε = 0.5", "cross_entropy"])
def test_the_sentence_on_a_mutant_is_one_short_line_and_quotes_no_formula(name):
    *_, textbook = run(name)
    lines = [line.split("#")[0].split("=", 1)[-1].strip() for line in source_of(textbook.function)[0].splitlines()]
    formulas = [line for line in lines if len(line) > 12]
    for sentence, _ in compiled_mutants(textbook.function):
        assert len(sentence) < 160 and "\n" not in sentence
        assert not any(formula in sentence for formula in formulas)


@pytest.mark.parametrize(
    "wrong", [{}, {"dx": np.zeros(3)}, {"dx": np.full((2, 5, 6), np.nan)}, {"dx": np.ones((2, 5, 6), int)}]
)
def test_nothing_is_said_of_what_is_no_gradient(wrong):
    component, arguments, dy = drawn("softmax")
    assert named(component, arguments, wrong, dy) is None


def test_nothing_is_said_of_a_component_that_is_not_known_or_arguments_that_do_not_fit():
    _, arguments, dy = drawn("softmax")
    assert named("convolution", arguments, {"dx": dy}, dy) is None
    assert named("softmax", {}, {"dx": dy}, dy) is None


@pytest.mark.parametrize(
    "name",
    [
        "layer_norm, ε = 0.5",
        "rms_norm, ε = 0.5",
        "gelu, tanh",
        "cross_entropy",
        "cross_entropy, sum",
        "cross_entropy, none",
        "cross_entropy, weighted, smoothed",
    ],
)
def test_the_other_ways_are_right(name):
    *_, textbook = run(name)
    way = getattr(other_ways, textbook.function.__name__)
    code = watched_text(*source_of(way)[:1], way.__name__)
    gradients = textbook.run(code=code, scope={"math": math})
    for gradient, value in textbook.truth.items():
        np.testing.assert_allclose(gradients[gradient], value, rtol=1e-12, atol=1e-14)
