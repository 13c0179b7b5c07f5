"""Worksheets: every answer of a key is computed again from the sheet alone, and no two sheets are equal."""

import re
from fractions import Fraction

import numpy as np
import pytest

from minitransformer.book.problems import LEVELS, TOPICS, OddError, exactly
from minitransformer.book.symbols import texts_of
from minitransformer.book.typesetting import mathml
from minitransformer.book.worksheets import sheets, worksheet_page
from minitransformer.commands import book

EVERY = [(name, level) for name in TOPICS for level in LEVELS]
FEW, CLASS = 3, 30


def linear(x, W, b, dy=None):
    answers = {"y": np.einsum("pi,io->po", x, W) + b}
    if dy is not None:
        answers |= {"dx": np.einsum("po,io->pi", dy, W), "dW": np.einsum("pi,po->io", x, dy), "db": dy.sum(0)}
    return answers


def relu(x, dy=None):
    return {"y": (abs(x) + x) / 2, "dx": dy * (x > 0)} if dy is not None else {"y": (abs(x) + x) / 2}


def softmax_rows(x):
    """Softmax in fractions: each entry is the logarithm of a whole number, or of a half or a quarter, or −∞."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        powers = [Fraction(float(np.exp(entry))).limit_denominator(64) for entry in row]
        rows.append([float(power / sum(powers)) for power in powers])
    return np.reshape(rows, x.shape)


def through_softmax(y, dy):
    return np.stack([dy_p @ (np.diag(y_p) - np.outer(y_p, y_p)) for y_p, dy_p in zip(y, dy, strict=True)])


def softmax(x, m, dy=None):
    assert (m == np.sort(x)[:, -1:]).all()
    y = softmax_rows(x)
    return {"e": np.exp(x) / np.exp(m), "y": y} | ({} if dy is None else {"dx": through_softmax(y, dy)})


def cross_entropy(x, t, a, w, dL=None):
    p, n, rows = softmax_rows(x), len(x), np.arange(len(x))
    assert (w == 1).all() and (a.argmax(1) == t).all() and (a.sum(1) == 1).all()
    answers = {"z": np.log(p), "ℓ": -np.log(p[rows, t]), "L": -np.log(p[rows, t]).sum() / n, "p": p}
    if dL is not None:
        assert dL == 1
        answers |= {"dℓ": np.full(n, 1 / n), "A": np.ones((n, 1)), "dx": (p - a) / n}
    return answers


def attention(q, k, v, s, mask, dy=None):
    scores = np.array([[s * sum(q_i * k_j) for k_j in k] for q_i in q])
    masked = np.where(mask, scores, -np.inf)
    weights = softmax_rows(masked)
    answers = {"scores": scores, "masked": masked, "weights": weights, "y": np.einsum("ij,jd->id", weights, v)}
    if dy is not None:
        dused = np.einsum("id,jd->ij", dy, v)
        dscores = through_softmax(weights, dused)
        answers |= {"dv": np.einsum("ij,id->jd", weights, dy), "dused": dused, "dscores": dscores}
        answers |= {"dq": s * np.einsum("ij,jd->id", dscores, k), "dk": s * np.einsum("ij,id->jd", dscores, q)}
    return {name: answer[None] for name, answer in answers.items()}  # one head


def layer_norm(x, γ, β, ε, dy=None):
    C, σ = x.shape[-1], x.std(-1, keepdims=True)
    assert ε == 0
    x_hat = (x - x.mean(-1, keepdims=True)) / σ
    answers = {"μ": x.sum(-1, keepdims=True) / C, "σ": σ**2, "r": 1 / σ, "x\u0302": x_hat, "y": γ * x_hat + β}
    if dy is not None:
        jacobians = [(np.eye(C) - 1 / C - np.outer(h, h) / C) / s for h, s in zip(x_hat, σ, strict=True)]
        dx = np.stack([row @ jacobian for row, jacobian in zip(dy * γ, jacobians, strict=True)])
        answers |= {"dβ": dy.sum(0), "dγ": np.einsum("pc,pc->c", dy, x_hat), "dx\u0302": dy * γ, "dx": dx}
    return answers


def rms_norm(x, γ, ε, dy=None):
    C, size = x.shape[-1], np.sqrt((x * x).mean(-1, keepdims=True))
    assert ε == 0
    x_hat = x / size
    answers = {"r": 1 / size, "x\u0302": x_hat, "y": x_hat * γ}
    if dy is not None:
        jacobians = [(np.eye(C) - np.outer(h, h) / C) / s for h, s in zip(x_hat, size, strict=True)]
        dx = np.stack([row @ jacobian for row, jacobian in zip(dy * γ, jacobians, strict=True)])
        answers |= {"dγ": np.einsum("pc,pc->c", dy, x_hat), "dx\u0302": dy * γ, "dx": dx}
    return answers


def rotary(a, b, cos, sin, **gradients):
    turned = (a + 1j * b) * (cos + 1j * sin)
    answers = {"a′": turned.real, "b′": turned.imag}
    if gradients:
        back = (gradients["da′"] + 1j * gradients["db′"]) * (cos - 1j * sin)
        answers |= {"da": back.real, "db": back.imag}
    return answers


def adamw(θ, g, m, v, t, lr, λ, ε, **betas):
    β1, β2 = betas["β₁"], betas["β₂"]
    assert t == 1 and not m.any() and not v.any()
    new = {"decayed": (1 - lr * λ) * θ, "m′": (1 - β1) * g, "v′": (1 - β2) * g * g, "m\u0302": g, "v\u0302": g * g}
    return new | {"θ′": (1 - lr * λ) * θ - lr * g / (abs(g) + ε)}


ORACLES = {
    function.__name__: function
    for function in (linear, relu, softmax, cross_entropy, attention, layer_norm, rms_norm, rotary, adamw)
}


def answers_of(sheet):
    """Return {name: value} of the blanks of a sheet."""
    return {texts_of(statement.equation.sides[0])[-1]: value for statement, value in sheet.asked}


def assert_right_and_different(name, level, count):
    made = sheets(TOPICS[name], seed=3, level=level, count=count)
    assert len({tuple(array.tobytes() for array in sheet.given.values()) for sheet in made}) == count
    for sheet in made:
        expected, answered = ORACLES[name](**sheet.given), answers_of(sheet)
        assert list(answered) == list(expected)
        for symbol, value in answered.items():
            np.testing.assert_allclose(value, expected[symbol], rtol=0, atol=1e-9, err_msg=symbol)


@pytest.mark.parametrize("name, level", EVERY)
def test_a_few_sheets_are_right_and_different(name, level):
    assert_right_and_different(name, level, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name, level", EVERY)
def test_the_sheets_of_a_class_are_right_and_different(name, level):
    assert_right_and_different(name, level, CLASS)


def test_the_same_seed_makes_the_same_sheets_and_another_one_others():
    def given(seed):
        made = sheets(TOPICS["layer_norm"], seed=seed, level=2, count=2)
        return [array.tolist() for sheet in made for array in sheet.given.values()]

    assert given(1) == given(1) != given(2)


def test_the_first_level_asks_for_nothing_of_a_backward_and_gives_no_gradient():
    for topic in TOPICS.values():
        (sheet,) = sheets(topic, seed=0, level=1, count=1)
        assert not any(statement.is_of_gradient for statement, _ in sheet.asked)
        assert not any(name.startswith("d") for name in sheet.given)


def number_read(text):
    """The value of a number as a key writes it."""
    if text == "−∞":
        return -np.inf
    sign, rest = (-1, text[1:]) if text.startswith("−") else (1, text)
    factor, _, argument = rest.partition("ln ")
    return sign * float(Fraction(factor.strip() or 1)) * (np.log(int(argument)) if argument else 1)


@pytest.mark.parametrize("name", TOPICS)
def test_the_key_has_the_numbers_and_the_sheet_has_cells_for_them(name):
    made = sheets(TOPICS[name], seed=5, level=2, count=2)
    sheet, key = ("".join(worksheet_page(TOPICS[name], made, seed=5, level=2, answers=a)) for a in (False, True))
    asked = np.concatenate([np.ravel(value) for one in made for _, value in one.asked])
    cells = [re.findall(r"<td>(.*?)</td>", part) for part in re.findall(r'<div class="question">.*?</table>', key)]
    read = [number_read(text) for row in cells for text in row]
    np.testing.assert_allclose(read, asked, rtol=0, atol=1e-9)
    blank = re.findall(r'<table class="matrix to-write">.*?</table>', sheet)
    assert sum(table.count("<td></td>") for table in blank) == asked.size
    assert sheet.count("<section") == key.count("<section") == 2


def test_the_last_level_has_no_right_side_of_an_equation():
    topic = TOPICS["layer_norm"]
    made = sheets(topic, seed=0, level=3, count=1)
    page = "".join(worksheet_page(topic, made, seed=0, level=3, answers=False))
    for statement, _ in made[0].asked:
        assert mathml(statement.equation) not in page
    assert "<mfrac>" not in page and "∑" not in page


@pytest.mark.parametrize("name", TOPICS)
def test_a_sheet_says_what_its_names_stand_for(name):
    topic = TOPICS[name]
    (sheet,) = sheets(topic, seed=0, level=2, count=1)
    said = {
        text
        for word in re.findall(r"[^\s.,;:()]+", topic.names + topic.gradients)
        for text in (word, word.rstrip("²ᵗ"))
    }
    names = {*sheet.given, *answers_of(sheet)}
    assert {text for text in names if not {text, text.removeprefix("d")} & said} == set()


def test_more_sheets_than_there_are_is_an_error_that_says_how_many():
    with pytest.raises(ValueError, match=r"^AdamW's first step: level 1 has only \d\d different worksheets, not 200$"):
        sheets(TOPICS["adamw"], seed=0, level=1, count=200)


@pytest.mark.parametrize(
    "number, text",
    [
        (3.0, "3"),
        (-0.375, "−3/8"),
        (-0.0, "0"),
        (np.log(2), "ln 2"),
        (-3 * np.log(2) / 8, "−3/8 ln 2"),
        (np.log(3), "ln 3"),
        (-np.log(5), "−ln 5"),
        (-np.inf, "−∞"),
    ],
)
def test_a_number_is_written_as_one_writes_it(number, text):
    assert exactly(number) == text
    assert number_read(text) == pytest.approx(number)


@pytest.mark.parametrize("number", [0.1234567, np.sqrt(2), np.pi, 1 / 97, 1e6, np.inf, np.nan])
def test_a_number_that_does_not_come_out_even_is_refused(number):
    with pytest.raises(OddError, match=r"short exact form|at most"):
        exactly(number)


def test_the_command_names_the_topics_and_levels_that_there_are():
    assert tuple(TOPICS) == tuple(book.TOPICS.split(", "))
    assert set(LEVELS) == set(book.LEVELS)
