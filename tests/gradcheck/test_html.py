"""A report as HTML: its contents, escaped, well formed and readable on any page."""

import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from verdicts import check, normal

from gradcheck import ArgumentReport, GradientError, Report, report_html
from gradcheck.html import DOUBTFUL, RIGHT, WRONG


def product(x, w, *, factor=1):
    return x * w, lambda dy: (dy * w, factor * dy * x)


X, W = normal(2, 3), normal(2, 3) + 1


@pytest.mark.parametrize("factor", [1, 2])
def test_the_table_has_a_row_for_each_argument_and_the_errors_are_said_below(factor):
    report = check(product, X, W, factor=factor, raises=False)
    root = ElementTree.fromstring(report_html(report))
    header, *rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    assert header == ["argument", "shape", "entries", "absolute", "relative", "oracle ±", "verdict"]
    assert rows == [
        [a.name, "(2, 3)", "6", *(f"{n:.1e}" for n in (a.worst_absolute, a.worst_relative, a.uncertainty)), a.verdict]
        for a in report.arguments
    ]
    assert rows[1][-1] == ("WRONG" if factor == 2 else "right")
    items = ["".join(item.itertext()) for item in root.iter("li")]
    assert items == report.failures() and len(items) == factor - 1
    text = re.sub(r"<span.*?</span>", "", report_html(report))  # outside the badges, no colour is fixed
    assert "color:" not in text.replace("rgba", "") and "background" not in text


def test_every_name_is_escaped():
    nasty = "<script>alert('x')</script>&"
    text = report_html(Report(nasty, (ArgumentReport(nasty, nasty, (2,), 2),), problems=(nasty,)))
    assert "<script" not in text and text.count("&lt;script&gt;") == 3
    assert nasty in "".join(ElementTree.fromstring(text).itertext())


@pytest.mark.parametrize(
    "doubts, verdict, colours",
    [
        ({"at_kink": 1}, "right", [RIGHT, DOUBTFUL]),
        ({"cannot_tell": 1}, "CANNOT TELL", [RIGHT, DOUBTFUL]),
        ({"disagree": 1}, "WRONG", [RIGHT, WRONG]),
    ],
)
def test_the_heading_is_the_worst_verdict_and_each_verdict_has_its_colour(doubts, verdict, colours):
    arguments = ArgumentReport("x", "dx", (2,), 2), ArgumentReport("w", "dw", (2,), 2, worst_index=(0,), **doubts)
    heading, table = report_html(Report("f", arguments)).split("<table")
    assert f">{verdict}</span>" in heading
    assert re.findall(r"background:(#\w+)", table) == colours


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
    with pytest.raises(GradientError) as caught:
        check(product, X, W, factor=2)
    lines = caught.value._render_traceback_()  # which IPython calls to show an exception
    report = caught.value.report
    assert published == [{"text/plain": str(report), "text/html": report_html(report)}]
    assert "check(product, X, W, factor=2)" in lines[1]
    assert lines[-1] == f"gradcheck.report.GradientError: {caught.value}"
    assert not any("checking.py" in line for line in lines)
