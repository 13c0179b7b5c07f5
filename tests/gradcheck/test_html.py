"""A report as HTML: its contents, escaped, well formed and readable on any page."""

import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from gradcheck import GradientError, check
from gradcheck.html import DOUBTFUL, RIGHT, WRONG, report_html
from gradcheck.report import ArgumentReport, Report


def product(x, w, *, wrong=False):
    def backward(dy):
        return dy * w, (2 if wrong else 1) * dy * x

    return x * w, backward


def report_on(wrong):
    x = np.random.default_rng(0).normal(size=(2, 3))
    try:
        return check(product, x, x + 1, wrong=wrong)
    except GradientError as error:
        return error.report


@pytest.mark.parametrize("wrong", [False, True])
def test_the_table_has_a_row_for_each_argument_with_its_errors_and_its_verdict(wrong):
    report = report_on(wrong)
    root = ElementTree.fromstring(report_html(report))
    header, *rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    assert header == ["argument", "shape", "entries", "absolute", "relative", "oracle ±", "verdict"]
    assert rows == [
        [a.name, "(2, 3)", "6", *(f"{n:.1e}" for n in (a.worst_absolute, a.worst_relative, a.uncertainty)), a.verdict]
        for a in report.arguments
    ]
    assert rows[1][-1] == ("WRONG" if wrong else "right")


def test_what_is_wrong_is_said_below():
    report = report_on(True)
    items = ["".join(item.itertext()) for item in ElementTree.fromstring(report_html(report)).iter("li")]
    assert items[: len(report.failures())] == report.failures()
    assert items[0].startswith("dw: 6 of 6 entries disagree")


def test_a_right_report_without_notes_has_no_list():
    assert "<ul" not in report_html(Report("f", (ArgumentReport("x", "dx", (2,), 2),)))


def test_a_report_without_arguments_shows_its_problem():
    text = report_html(Report("f", problems=("dx has shape (2,), but x has (3,)",)))
    assert "dx has shape (2,), but x has (3,)" in text and "<table" not in text and WRONG in text


def test_every_name_is_escaped():
    nasty = "<script>alert('x')</script>&"
    text = report_html(Report(nasty, (ArgumentReport(nasty, nasty, (2,), 2),), problems=(nasty,)))
    assert "<script" not in text and text.count("&lt;script&gt;") == 3
    assert nasty in "".join(ElementTree.fromstring(text).itertext())


@pytest.mark.parametrize(
    "argument, colour",
    [
        (ArgumentReport("x", "dx", (2,), 2), RIGHT),
        (ArgumentReport("x", "dx", (2,), 2, at_kink=1), DOUBTFUL),
        (ArgumentReport("x", "dx", (2,), 2, disagree=1, worst_index=(0,)), WRONG),
    ],
)
def test_the_verdict_has_its_colour(argument, colour):
    row = report_html(Report("f", (argument,))).split("<tbody>")[1]
    assert re.findall(r"background:(#\w+)", row) == [colour]


def test_the_heading_is_wrong_if_anything_is_and_in_doubt_if_nothing_worse():
    right = ArgumentReport("x", "dx", (2,), 2)
    doubtful = ArgumentReport("w", "dw", (2,), 2, cannot_tell=1, worst_index=(0,))
    wrong = ArgumentReport("b", "db", (2,), 2, disagree=1, worst_index=(0,))
    for arguments, verdict in (
        ((right,), "right"),
        ((right, doubtful), "CANNOT TELL"),
        ((doubtful, wrong), "WRONG"),
    ):
        heading = report_html(Report("f", arguments)).split("<table")[0]
        assert f">{verdict}</span>" in heading


@pytest.mark.parametrize("colour", [RIGHT, DOUBTFUL, WRONG])
def test_white_is_readable_on_every_colour(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    assert 1.05 / (luminance + 0.05) >= 4.5  # the contrast required by the web's accessibility guidelines


def test_an_error_in_a_notebook_publishes_the_table_and_keeps_the_callers_lines(monkeypatch):
    published = []
    display = SimpleNamespace(publish_display_data=published.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    x = np.random.default_rng(0).normal(size=(2, 3))
    with pytest.raises(GradientError) as caught:
        check(product, x, x + 1, wrong=True)
    lines = caught.value._render_traceback_()  # which IPython calls to show an exception
    report = caught.value.report
    assert published == [{"text/plain": str(report), "text/html": report_html(report)}]
    assert "check(product, x, x + 1, wrong=True)" in lines[1]
    assert lines[-1] == f"gradcheck.report.GradientError: {caught.value}"
    assert not any("checking.py" in line for line in lines)


def test_outside_the_badges_no_colour_of_text_or_page_is_fixed():
    text = re.sub(r"<span.*?</span>", "", report_html(report_on(True)))
    assert "color:" not in text.replace("rgba", "") and "background" not in text
