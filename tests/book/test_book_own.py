"""The page of a user's functions: executed on the inputs of their cases, with one line for each error."""

import os
import re
import sys

import pytest
from html_pages import Page, assert_loads_only_its_own

from minitransformer.book import printing, writing
from minitransformer.cli import main

SQUARE = '''"""My layers."""

from functools import partial

from gradcheck import Call, Case


def square(x):
    """Square x (...).

        y = x²      (1)
    """
    y = x * x  # (1)

    def backward(dy):
        """From (1),

            dx = 2 x · dy      (2)
        """
        dx = 2 * x * dy  # (2)
        return dx

    return y, backward


CASES = [Case("square", lambda rng: Call(square, rng.normal(size=(2, 3))))]
'''


IDENTITY = "from minitransformer.module import Identity\nfrom gradcheck"


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """A function that writes a file, makes its page, and returns the status, the output and the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(content, *options, name="mine.py"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        status = main(["book", name, "--out", "out", *options])
        page = tmp_path / "out" / "mine.html"
        return status, capsys.readouterr().err, page if page.exists() else None

    return write


def edited(*replacements):
    content = SQUARE
    for old, new in replacements:
        assert old in content
        content = content.replace(old, new)
    return content


def test_equations_are_executed_on_the_inputs_of_the_cases(written):
    status, said, page = written(SQUARE)
    assert (status, said) == (0, "mine.py: 2 equations, 2 equal to their lines\nopen in a browser:\n")
    assert re.findall('data-array="(.*?)"', page.read_text("utf-8")) == ["x", "dy", "y", "dx"]
    read = Page(page)
    assert_loads_only_its_own(read, page.parent)
    assert all(link.startswith("#") and link[1:] in read.ids() for link in read.links())
    assert "Checked by central differences" in read.text and "square" in read.text
    assert "Certified as an identity" in read.text and "certified: for all inputs of these shapes" in read.text


def test_an_equation_in_a_sentence_is_executed_and_a_wrong_one_is_a_fault(written):
    of_a_row = SQUARE.replace("(2, 3)", "3")
    _, said, page = written(of_a_row.replace("From (1),", "For x = 3, by ∂y_i/∂x_j = 2 x_i δ_ij and a = 5,"))
    assert "mine.py: 5 equations, 3 equal to their lines, 2 not executed" in said
    text = Page(page).text
    assert "Both sides of 1 equation within" in text and "not executed: it is an assumption of its sentencex=3" in text
    assert "not executed: a has no valuea=5" in text
    status, said, _ = written(of_a_row.replace("From (1),", "By ∂y_i/∂x_j = x_i δ_ij,"))
    assert status == 1 and "mine.py, line 16: ∂y_i/∂x_j = x_i δ_ij: differs from its line by 0.5" in said


def test_the_page_of_ones_own_functions_has_their_cost_and_planted_mistakes(written):
    text = Page(written(SQUARE)[2]).text
    assert "squareshapenumbersx2 × 36" in text and "square66126" in text  # 6 numbers, 6 and 12 operations, 6 saved
    assert "Classic mistakes" in text and "dx = 2 * xthe factor dy is missing" in text


def test_an_equation_that_differs_from_its_line_is_said_and_shown(written):
    status, said, page = written(edited(("dx = 2 x · dy ", "dx = 3 x · dy ")))
    assert status == 1
    assert "mine.py, line 18: dx = 3 x · dy (2): differs from its line by 0.5 of the largest entry\n" in said
    assert '<span class="verdict wrong">differs from its line by 0.5' in page.read_text("utf-8")


def test_a_wrong_gradient_is_said_and_shown(written):
    status, said, page = written(edited(("dx = 2 x · dy ", "dx = 3 x · dy "), ("2 * x * dy", "3 * x * dy")))
    assert status == 1 and "mine.py: dx: 6 of 6 entries disagree" in said and "differs" not in said
    assert "WRONG" in page.read_text("utf-8")


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "replacements, reason",
    [
        ([("2 x · dy ", "2 q · dy ")], "q has no value"),
        ([("2 x · dy ", "f(x) · dy ")], "the function f is unknown"),
        ([("2 x · dy ", "δ_ij · dy ")], "the index i has no range"),
        ([("2 x · dy ", "Case · dy ")], "Case has no value"),
        ([("2 x · dy ", "1/0 · dy ")], "a quotient or a power is not defined"),
        ([("# (2)", "# here")], "no line of code ends in # (2)"),
        ([('CASES = [Case("square",', 'OTHERS = [Case("square",')], "no example runs it"),
        ([("Call(square, ", "Call(Identity(), "), ("from gradcheck", IDENTITY)], "no example runs it"),
    ],
)
def test_what_cannot_be_executed_is_shown_with_its_reason(written, replacements, reason):
    status, said, page = written(edited(*replacements))
    assert status == 0 and "not executed" in said
    assert f"not executed: {reason}" in page.read_text("utf-8")


@pytest.mark.parametrize("call", ["Call(partial(square), ", "Call(Square(), "])
def test_a_case_may_call_a_function_by_way_of_another_thing(written, call):
    forward = "class Square:\n    def forward(self, x):\n        return square(x)\n\n    __call__ = forward\n\n\nCASES"
    status, said, _ = written(edited(("Call(square, ", call), ("CASES", forward)))
    executed = 2 if "partial" in call else 0
    assert status == 0 and f"2 equations, {executed} equal" in said


@pytest.mark.parametrize("indent", ["\t", "      "])
def test_a_numbered_line_that_is_no_equation_is_told_with_its_column_in_the_file(written, indent):
    content = edited(("dx = 2 x · dy ", "dx = 2 x\u0302 · (dy ")).replace("    ", indent)
    column = content.split("\n")[17].index("(dy") + 1 + len("(dy      ") - len("      ")
    line = f"mine.py, line 18, column {column}: the line ends where ) is expected"
    assert written(content) == (1, f"minitransformer: error: {line}\n", None)


@pytest.mark.parametrize(
    "content, line",
    [
        ("def f(:\n", "mine.py, line 1, column 7: not Python: invalid syntax"),
        (b'"""caf\xe9"""\n', "mine.py: not UTF-8 text, and its first lines declare no other encoding"),
        (b'"""x"""\n#\n#\ns = "\xe9"\n', "mine.py, line 4: not UTF-8 text: invalid continuation byte"),
        ("", "mine.py: its docstrings contain no equation; write one on an indented line that ends in (1)"),
        (edited(("y = x * x", "y = x * (1 / 0)")), "mine.py: case 'square': ZeroDivisionError: division by zero"),
        (edited(("CASES =", "1 / 0\nCASES =")), "cannot import mine.py, line 26: ZeroDivisionError: division by zero"),
        (
            edited(("CASES = [", "CASES = [3, ")),
            "the CASES of mine.py must be gradcheck.Case objects, not an int",
        ),
    ],
)
def test_a_file_that_cannot_be_read_or_run_is_one_line(written, content, line):
    assert written(content) == (1, f"minitransformer: error: {line}\n", None)


HOSTILE = r'''"""<script>alert(1)</script> `</code><b>` **a `b** c` \x1b[31m & "quotes" 'x_i \u202e

    <img src=http://evil/x>  y = "<b>"
"""
from gradcheck import Call, Case


def double(x):
    """</p><script src="http://evil.example/x.js"></script> **bold** `x ** y` z ** w \x00

        y = x² </math>      (note <b>)
        y = 2 x   (<i onclick="x">remark</i>)   (1)
    """
    y = 2 * x  # (1) </span><script>
    w = "<script>alert('')</script>" if 3 <x.size> 2 else 3 <x.size> 4
    z = lambda: x <w.size> x

    def backward(dy):
        """%s"""
        return 2 * dy

    return y, backward


CASES = [Case("<b>double", lambda rng: Call(double, rng.normal(size=3)))]
'''


def test_nothing_in_a_docstring_is_markup_and_nothing_reaches_the_terminal(written):
    deep = "\n            y = " + "(" * 300 + "x" + ")" * 300 + "\n            q = " + "Σ " * 90 + "x   (no number)\n"
    status, said, page = written(HOSTILE % deep)
    assert status == 0 and said.startswith("mine.py: ") and "\x1b" not in said, said
    read = Page(page)
    assert_loads_only_its_own(read, page.parent)
    assert "<script>alert(1)</script>" in read.text and "\\x1b[31m" in read.text
    assert not {c for c in page.read_text("utf-8") if c < " " and c != "\n"} | {"\u202e"} & set(read.text)


# Options and places.


@pytest.mark.parametrize(
    "options, line",
    [
        ("mine.py --handout linear", "FILE and --handout cannot be used together"),
        ("--handout linear --worksheet relu", "--handout and --worksheet cannot be used together"),
        ("--answers", "--answers can only be used together with --handout; --worksheet always writes a key"),
        ("mine.py --count 3", "--count can only be used together with --worksheet"),
        ("--handout lineer", "there is no chapter 'lineer'; did you mean linear?"),
        ("--worksheet atention", "there is no worksheet 'atention'; did you mean attention?"),
        ("--worksheet relu --out a_file", "a_file: is a file, not a folder"),
    ],
)
def test_options_that_ask_for_nothing_that_there_is_are_one_line(options, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    assert main(["book", *options.split()]) == 1
    assert capsys.readouterr().err == f"minitransformer: error: {line}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_without_a_browser_pdf_says_so_before_anything_is_written(written, monkeypatch):
    monkeypatch.setattr(printing, "CHROMIUMS", ("no-such-browser",))
    line = "--pdf needs Chromium or Chrome, which was not found; print the pages from another browser"
    status, said, page = written(SQUARE, "--pdf")
    assert (status, said, page) == (1, f"minitransformer: error: {line}\n", None)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_browser_that_does_not_print_is_one_line(written, monkeypatch, tmp_path):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setattr(printing, "CHROMIUMS", (str(browser),))
    status, said, page = written(SQUARE, "--pdf", "--quiet")
    assert status == 1
    assert said == f"minitransformer: error: {page}: chromium did not print it (exit status 3)\n"


def test_an_equation_of_the_book_that_is_neither_equal_nor_listed_is_a_fault(monkeypatch):
    (chapter,) = (chapter for chapter in writing.CHAPTERS if chapter.page == "linear")
    derived = writing.read_derivations(chapter.path, ())
    (first, *_), reports = writing.unlisted(derived), {}
    assert writing.faults("layers/linear.py", [first], reports) == [
        "layers/linear.py, line 21: y = x W + b (1): not executed: no example runs it"
    ]
