"""Grading while a file is edited: the latest text is graded, and a new request cancels the previous one."""

import re
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minitransformer.learn import workspace
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import exercise_set, named_exercise
from minitransformer.learn.verdict import BEGUN, FAILED, FOLLOWS, RIGHT, SOLVED, WRONG_LINE
from minitransformer.learn.workbench.checking import Checks
from minitransformer.system.files import write_atomically


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workbench")
    workspace.start(folder, exercise_set("first"), 0)
    made = Checks(folder)
    yield made
    made.close()
    assert not made.thread.is_alive() and made.grader.process is None


def edit(checks, name, **lines):
    """Replace the blanks of an exercise at level 0, {name: right-hand side}, in a fresh file."""
    text = cut(named_exercise(name), 0)
    for variable, code in lines.items():
        assert text.count(f"        {variable} = ...") == 1
        text = text.replace(f"        {variable} = ...", f"        {variable} = {code}")
    write_atomically(checks.folder / f"{name}.py", lambda file: file.write(text.encode()))


def test_a_line_is_judged_while_others_are_blank(checks):
    edit(checks, "linear", dweight="dy.T @ dy", dx="dy @ weight.T")
    verdict = checks.of("linear")
    assert verdict.status == BEGUN
    assert {row.name: row.verdict for row in verdict.rows if row.name in ("dx", "dweight")} == {
        "dx": RIGHT,
        "dweight": WRONG_LINE,
    }


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "name, lines, wrong, words",
    [
        ("layer_norm", {"dx_hat": "dy"}, "dx_hat", "the gain γ is missing"),
        (
            "layer_norm",
            {"dgamma": "(dy * x_hat).sum(0)"},
            "dgamma",
            r"dgamma has shape .*, and should have \(\d,\)",
        ),
        ("gelu", {"u_slope": "1 + x**2"}, "u_slope", r"u_slope\[.*\] is .*, and should be "),
        ("linear", {"dweight": "x @ dy"}, "dweight", ""),
    ],
)
def test_a_mistake_is_named_while_other_lines_are_blank(checks, name, lines, wrong, words):
    edit(checks, name, **lines)
    verdict = checks.of(name)
    assert verdict.status == BEGUN and verdict.first_wrong.name == wrong
    assert re.match(words, verdict.first_wrong.sentence)
    assert {row.name for row in verdict.rows if row.verdict == WRONG_LINE} == {wrong}
    assert str(checks.folder) not in str(verdict)


def test_a_lost_axis_is_found_at_its_own_line(checks):
    edit(checks, "softmax", weighted_sum="(y * dy).sum(axis=axis)", dx="y * (dy - weighted_sum)")
    verdict = checks.of("softmax")
    assert verdict.status == FAILED and verdict.first_wrong.name == "weighted_sum"
    words = r"weighted_sum has shape \((.*)\), and should have \(\1,? ?1\)"
    assert re.fullmatch(words, verdict.first_wrong.sentence) and "could not be broadcast" in verdict.sentence


def test_the_line_that_loses_an_axis_is_wrong_and_not_the_line_that_fails(checks):
    edit(checks, "sum_and_share", dS="(x * dy).sum(axis=-1)", dx="S * dy + dS")
    verdict = checks.of("sum_and_share")
    assert verdict.status == FAILED and "broadcast" in verdict.sentence
    assert [(row.name, row.verdict) for row in verdict.rows] == [("dS", WRONG_LINE), ("dx", FOLLOWS)]
    assert re.match(r"dS has shape \(2, 3\), and should have \(2, 3, 1\)", verdict.first_wrong.sentence)


@pytest.mark.parametrize(
    "lines",
    [
        {"dS": "(x * dy).sum(axis=-1)", "dx": "S * dy + dS[..., None] * np.ones(99)"},
        {"dS": "(x * dy).sum(axis=-1)", "dx": "S * dy + missing(dS[..., None])"},
    ],
)
def test_a_shape_of_ones_own_is_not_blamed_for_another_exception(checks, lines):
    edit(checks, "sum_and_share", **lines)
    verdict = checks.of("sum_and_share")
    assert verdict.status == FAILED and [row.name for row in verdict.rows if row.verdict == WRONG_LINE] == ["dx"]


def test_a_new_request_cancels_an_endless_loop(checks):
    edit(checks, "relu", dx="0\n        while True: pass")
    endless = checks.request("relu")
    assert checks.wait(endless, 0, 1.0) == (None, False)  # it is running
    before = checks.grader.process
    edit(checks, "relu", dx="dy * (x > 0)")
    number = checks.request("relu")
    assert checks.wait(endless, 0, 60) == (None, True)
    verdict, is_last = checks.wait(number, 1, 60)
    assert is_last and verdict.status == SOLVED
    assert checks.grader.process is before  # the warm process goes on


def test_a_waiting_page_hears_that_its_request_is_cancelled(checks):
    edit(checks, "relu", dx="0\n        while True: pass")
    answers, number = [], checks.request("relu")
    waiting = threading.Thread(target=lambda: answers.append(checks.wait(number, 0, 60)))
    waiting.start()
    edit(checks, "relu", dx="dy")
    assert checks.of("relu").first_wrong.name == "dx"
    waiting.join()
    assert answers == [(None, True)]


def test_a_text_that_was_judged_before_is_not_graded_again(checks, monkeypatch):
    edit(checks, "relu", dx="-dy")
    first = checks.of("relu")
    monkeypatch.setattr(checks.grader, "verdict", lambda *given: pytest.fail("it was graded again"))
    assert checks.of("relu") == first and first.first_wrong is not None


def test_small_numbers_are_yours_beside_the_right_ones(checks):
    edit(checks, "linear", dx="-dy @ weight.T", dweight="7")
    found = checks.numbers("linear")
    assert "with random x (" in found["example"]
    dx, dweight = found["numbers"]
    assert dx["name"] == "dx" and dx["yours"] == [[-entry for entry in row] for row in dx["right"]]
    assert max(abs(entry) for row in dx["right"] for entry in row) > 0.1
    assert dweight["name"] == "dweight" and dweight["yours"] == "no array of this name"
    edit(checks, "linear", dx="dy @ missing", dweight="7")  # which raises
    assert {one["yours"] for one in checks.numbers("linear")["numbers"]} == {"no array of this name"}
    edit(checks, "linear", dx="[dy @ weight.T]")
    assert checks.numbers("linear")["numbers"][0]["yours"] == "a list of 1, not an array"


def test_small_numbers_can_be_computed_again_by_hand(checks):
    edit(checks, "relu", dx="dy")
    found = checks.numbers("relu")
    x, dy = (np.array(one["values"]) for one in found["given"])
    assert [one["name"] for one in found["given"]] == ["x", "dy"]
    (dx,) = found["numbers"]
    assert_array_equal(dx["yours"], dy)
    assert_array_equal(dx["right"], dy * (x > 0))


def test_the_upstream_gradient_has_the_name_of_the_file(checks):
    edit(checks, "expression", ds="s * dL")
    assert [one["name"] for one in checks.numbers("expression")["given"]] == ["a", "b", "c", "dL"]


def test_small_numbers_of_an_exercise_without_numbered_lines_are_its_gradients(checks):
    text = cut(named_exercise("embedding"), 1)
    assert text.count("        ...\n") == 1
    text = text.replace(
        "        ...\n", "        dW = np.zeros_like(weight)\n        dW[ids] += dy\n        return dW\n"
    )
    write_atomically(checks.folder / "embedding.py", lambda file: file.write(text.encode()))
    (dweight,) = checks.numbers("embedding")["numbers"]
    assert dweight["name"] == "dweight" and dweight["yours"] != dweight["right"]


def test_small_numbers_show_a_mistake_that_most_draws_hide(checks):
    edit(checks, "fork", ds="np.sin(x) * dy", dx="s * dy + np.cos(x) * ds")
    ds = checks.numbers("fork")["numbers"][0]
    assert ds["name"] == "ds" and abs(ds["yours"][0][0] / ds["right"][0][0] - 1) > 0.3


def test_a_list_of_numbers_is_shown_where_the_textbook_has_one(checks):
    edit(checks, "shares", J="[[y1 * y2, y1 * y2], [-y1 * y2, y1 * y2]]")
    J = next(one for one in checks.numbers("shares")["numbers"] if one["name"] == "J")
    assert J["yours"][0][1] == -J["right"][0][1] and J["yours"][1] == J["right"][1]


def test_a_planted_mistake_is_drawn_between_two_checks(checks):
    text = checks.planted(named_exercise("relu"), 1, 3)
    assert "WRONG_LINE = ..." in text and checks.planted(named_exercise("relu"), 1, 3) == text


def test_a_cancelled_exercise_has_no_verdict(checks):
    edit(checks, "relu", dx="0\n        while True: pass")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(checks.of("relu")))
    waiting.start()
    while not checks.number or checks.is_final:
        time.sleep(0.01)
    edit(checks, "softmax", dx="dy")
    assert checks.of("softmax").first_wrong is not None
    waiting.join()
    assert answers == [None]
