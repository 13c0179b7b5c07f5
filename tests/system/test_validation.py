"""Validation: the values that each check accepts, its messages, and the settings declared with them."""

import argparse
import math
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from minitransformer import Config
from minitransformer.commands.options import add_fields, given_fields, in_terms_of_options
from minitransformer.experiments.patterns.training import PatternSettings
from minitransformer.system.validation import (
    check_fields,
    check_int,
    dictionary,
    documented,
    finite,
    number,
    one_of,
    positive,
    setting,
    statements,
    text,
    texts,
    true_or_false,
)
from minitransformer.training import FineTuningSettings, PreferenceSettings, Settings


@pytest.mark.parametrize(
    "check, value, plain",
    [
        (partial(check_int, minimum=3, maximum=3), np.int64(3), 3),
        (partial(number, minimum=3, maximum=3), 3, 3.0),
        (check_int, -(10**30), -(10**30)),
        (number, 3, 3.0),
        (number, np.float32(0.5), 0.5),
        (number, Fraction(1, 4), 0.25),
        (number, math.inf, math.inf),
        (positive, 1e-300, 1e-300),
        (true_or_false, False, False),
        (text, "", ""),
    ],
)
def test_what_may_be_comes_back_as_a_plain_value(check, value, plain):
    found = check("x", value)
    assert found == plain
    assert type(found) is type(plain)


@pytest.mark.parametrize(
    "check, limits, value, error, words",
    [
        (check_int, {}, 1.0, TypeError, "f: x must be an integer, not 1.0"),
        (check_int, {}, True, TypeError, "f: x must be an integer, not True"),
        (check_int, {"minimum": 1}, 0, ValueError, "f: x must be at least 1, not 0"),
        (check_int, {"minimum": 1}, np.int64(0), ValueError, "f: x must be at least 1, not 0"),
        (check_int, {"maximum": 10**4}, 10**23, ValueError, f"f: x must be at most 10,000, not {10**23}"),
        (number, {}, "1", TypeError, "f: x must be a number, not '1'"),
        (number, {}, False, TypeError, "f: x must be a number, not False"),
        (number, {"minimum": 0}, math.nan, ValueError, "f: x must be at least 0, not nan"),
        (number, {"minimum": 0, "below": 1}, 1, ValueError, "f: x must be at least 0 and less than 1, not 1.0"),
        (number, {}, 10**400, ValueError, "f: x must be at most 1.8e+308 in absolute value, the limit of float64"),
        (finite, {}, math.nan, ValueError, "f: x must be a number and finite, not nan"),
        (finite, {}, -math.inf, ValueError, "f: x must be a number and finite, not -inf"),
        (dictionary, {}, [1], TypeError, "f: x must be a dictionary, not [1]"),
        (texts, {}, "ab", TypeError, "f: x must be a list of strings, not 'ab'"),
        (texts, {}, ["a", 1], TypeError, "f: x must be a list of strings, not ['a', 1]"),
        (number, {"above": 0, "maximum": 1}, 0, ValueError, "f: x must be positive and at most 1, not 0.0"),
        (number, {"above": 0.5}, 0.5, ValueError, "f: x must be more than 0.5, not 0.5"),
        (number, {"maximum": 1}, 2, ValueError, "f: x must be at most 1, not 2.0"),
        (positive, {}, math.inf, ValueError, "f: x must be positive and finite, not inf"),
        (true_or_false, {}, 1, TypeError, "f: x must be True or False, not 1"),
        (text, {}, b"a", TypeError, "f: x must be a string, not b'a'"),
        (one_of, {"known": ("a", "b")}, "c", ValueError, "f: unknown x 'c'; choose from a, b"),
        (one_of, {"known": ("a", "b")}, ["a"], ValueError, "f: unknown x ['a']; choose from a, b"),
    ],
)
def test_what_may_not_be_is_one_line_that_says_what_would_be_right(check, limits, value, error, words):
    with pytest.raises(error) as caught:
        check("f: x", value, **limits)
    assert str(caught.value) == words


@documented
@dataclass(frozen=True)
class Garden:
    """A garden."""

    trees: int = setting(3, "how many trees", check_int, minimum=1)
    water: float | None = setting(2.0, "litres a day", number, minimum=0, optional="rain")
    fence: str = setting("wood", "kind of fence", one_of, known=("wood", "wire"))

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class Orchard(Garden):
    trees: int = 100


def test_fields_are_checked_made_plain_and_named():
    garden = Garden(trees=np.int64(4), water=None)
    assert (type(garden.trees), garden.water) == (int, None)
    with pytest.raises(TypeError, match="Garden: trees must be an integer, not None"):
        Garden(trees=None)
    with pytest.raises(ValueError, match="Garden: unknown fence 'iron'; choose from wood, wire"):
        Garden(fence="iron")
    assert Orchard().trees == 100 and statements(Orchard) == statements(Garden)
    with pytest.raises(ValueError, match="Orchard: trees must be at least 1, not 0"):
        Orchard(trees=0)


def test_the_docstring_says_what_the_fields_mean():
    assert Garden.__doc__.splitlines() == [
        "A garden.",
        "",
        "trees             how many trees",
        "water             litres a day; None: rain",
        "fence             kind of fence (wood, wire)",
    ]


@pytest.mark.parametrize("cls", [Config, Settings, FineTuningSettings, PreferenceSettings, PatternSettings])
def test_every_setting_says_what_it_means(cls):
    assert list(statements(cls)) == [field.name for field in fields(cls)]
    documentation = [line.split()[0] for line in cls.__doc__.partition("\n\n")[2].splitlines() if line]
    assert documentation[-len(fields(cls)) :] == [field.name for field in fields(cls)]


def parsed(*argv):
    parser = argparse.ArgumentParser()
    add_fields(parser, Garden, ("trees", "water", "fence"), trees="a few")
    return " ".join(parser.format_help().split()), given_fields(parser.parse_args(argv), Garden)


def test_options_say_what_the_fields_say():
    said, given = parsed()
    assert given == {}
    assert "--trees N how many trees (default: a few)" in said
    assert "--water X litres a day; 0: rain (default: 2.0)" in said
    assert "--fence {wood,wire} kind of fence (default: wood)" in said


def test_options_give_fields_and_zero_stands_for_none():
    assert parsed("--trees", "0", "--water", "0", "--fence", "wire")[1] == {"trees": 0, "water": None, "fence": "wire"}


@pytest.mark.parametrize(
    "before, after",
    [
        (
            "Config: n_heads must divide d_model 8 unless d_head is given, not be 3",
            "--heads must divide --width 8 unless --head-width is given, not be 3",
        ),
        ("Config: rotary positions require an even number", "rotary positions require an even number"),
        ("runs/n_heads/model.npz: cannot resume: norm was a", "runs/n_heads/model.npz: cannot resume: --norm was a"),
        ("runs/n_heads: no such folder", "runs/n_heads: no such folder"),
        ("Other: d_ff (7) is odd", "Other: --ff (7) is odd"),
    ],
)
def test_errors_are_put_in_terms_of_options(before, after):
    with pytest.raises(ValueError) as caught, in_terms_of_options(Config):
        raise ValueError(before)
    assert str(caught.value) == after
