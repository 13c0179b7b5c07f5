"""Worksheets: every answer of a key satisfies its equation on the given numbers alone, and no two sheets are equal."""

import re
from fractions import Fraction

import numpy as np
import pytest

from minitransformer.book import notation as n, worksheets
from minitransformer.book.evaluation import Scope, both_sides
from minitransformer.book.problems import LEVELS, TOPICS, OddError, exactly
from minitransformer.book.run import relative_error
from minitransformer.book.symbols import texts_of
from minitransformer.book.typesetting import mathml
from minitransformer.book.worksheets import sheets, worksheet_page
from minitransformer.commands import book

EVERY = [(name, level) for name in TOPICS for level in LEVELS]


def softmax_rows(x):
    """Softmax in fractions: each entry is the logarithm of a whole number, or of a half or a quarter, or −∞."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        powers = [Fraction(float(np.exp(entry))).limit_denominator(64) for entry in row]
        rows.append([float(power / (sum(powers) or 1)) for power in powers])
    return np.reshape(rows, x.shape)


FUNCTIONS = {"softmax": softmax_rows, "log_softmax": lambda x: np.log(softmax_rows(x)), "t": 1, "ignored": -100}


def answers_of(sheet):
    """Return {name: value} of the blanks of a sheet."""
    return {texts_of(statement.equation.sides[0])[-1]: value for statement, value in sheet.asked}


def known_of(sheet):
    """Return {name: value} of the given arrays and of the answers."""
    known = FUNCTIONS | sheet.given
    for statement, value in sheet.asked:
        symbol = texts_of(statement.equation.sides[0])[-1]
        known[symbol] = np.sqrt(value) if isinstance(statement.equation.sides[0], n.Power) else value
    return known | {"N": len(np.ravel(sheet.given.get("t", 0)))}


SIZES = [pytest.param(3, id="few"), pytest.param(100, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, level", EVERY)
def test_each_classic_mistake_changes_an_answer(name, level, count):
    for seed in range(count):
        (sheet,) = sheets(TOPICS[name], seed=seed, level=level, count=1)
        numbers = {statement.number for statement, _ in sheet.asked}
        planted = [mistake for mistake in TOPICS[name].mistakes if mistake.number in numbers]
        assert [mistake for mistake, _ in sheet.mistakes] == planted != []
        for mistake, wrong in sheet.mistakes:
            right, computed = both_sides(*mistake.equation.sides, Scope(known_of(sheet)))
            assert relative_error(right, computed) > 1e-6, (seed, mistake.sentence)
            (answer,) = (v for s, v in sheet.asked if s.equation.sides[0] == mistake.equation.sides[0])
            assert wrong.shape == np.shape(answer) and relative_error(wrong.ravel(), np.ravel(answer)) > 1e-6


@pytest.mark.one_in(6)
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name, level", EVERY)
def test_sheets_are_right_and_different(name, level, count):
    count = min(count, 30)
    made = sheets(TOPICS[name], seed=3, level=level, count=count)
    assert len({tuple(array.tobytes() for array in sheet.given.values()) for sheet in made}) == count
    for sheet in made:
        for statement, _ in sheet.asked:
            left, right = statement.equation.sides[0], statement.equation.sides[-1]
            assert relative_error(*both_sides(left, right, Scope(known_of(sheet)))) < 1e-9, statement.text


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
    assert f"{sheet.count('●') // 2} points, about " in sheet and sheet.count("●") == key.count("●")
    assert key.count("Numbers of classic mistakes") == 2 and "mistake" not in sheet
    asked = np.concatenate([np.ravel(value) for one in made for _, value in one.asked])
    cells = [re.findall(r"<td>(.*?)</td>", part) for part in re.findall(r'<div class="ask">.*?</table>', key)]
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


def test_more_sheets_than_there_are_is_an_error_that_says_how_many(monkeypatch):
    monkeypatch.setattr(worksheets, "TRIES", 20)  # 200 take three seconds
    with pytest.raises(ValueError, match=r"^AdamW's first step: level 1 has only \d\d different worksheets, not 100$"):
        sheets(TOPICS["adamw"], seed=0, level=1, count=100)


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
