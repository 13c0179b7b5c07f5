"""One file with a function and its case is checked, certified, audited, in the book and in the course."""

import re

import pytest
from solutions import blank_filled

from gradcheck.__main__ import main as gradcheck
from minitransformer.cli import main as minitransformer
from minitransformer.learn import check

BODY = """\
        da = u * dy  # (3) ← a · u (2)
        du = a * dy  # (3) ← a · u (2)
        dx = (1 - a**2) * da  # (4) ← tanh(x) (1)
"""
FILE = f'''"""A gate of hyperbolic tangents."""

import numpy as np

from gradcheck import Call, Case


def tanh_gate(x, u, *, scale=1.0):
    """Let u (..., F) pass by the factor tanh(x), with x (..., F). Return y (..., F).

        a = tanh(x)                                     (1)
        y = a · u                                       (2)
    """
    a = np.tanh(x)  # (1)
    y = a * u  # (2)

    def backward(dy):
        """By (2), each factor gets the gradient times the other one, and by (1), x gets it times the slope:

            da = u · dy    du = a · dy                      (3)
            dx = (1 − a²) · da                              (4)
        """
{BODY}        return dx, du

    return y, backward


CASES = [Case("tanh_gate", lambda rng: Call(tanh_gate, *rng.normal(size=(2, 3, 4)), scale=2.0))]
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE, "utf-8")
    return tmp_path / "mine.py"


def test_it_is_checked_and_certified(file, capsys):
    assert gradcheck(["mine.py"]) == 0
    assert "1 component, 2 gradients, 24 entries checked" in capsys.readouterr().out
    assert gradcheck(["certify", "mine.py"]) == 0
    assert "1 of 1" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_audited(file, capsys):
    assert gradcheck(["audit", "mine.py", "--jobs", "1"]) == 0
    assert re.search(r"0 surviving; score 100\.0 %", capsys.readouterr().out)


@pytest.mark.slow
def test_it_is_in_the_book_with_each_equation_executed(file, capsys):
    assert minitransformer(["book", "mine.py", "--out", "book"]) == 0
    assert "mine.py: 5 equations, 5 equal to their lines" in capsys.readouterr().err
    assert "tanh_gate" in (file.parent / "book" / "mine.html").read_text("utf-8")


def test_it_is_in_the_course(file, capsys):
    assert minitransformer(["learn", "start", "--exercise", "mine.py", "--level", "1"]) == 0
    mine = file.parent / "learn" / "tanh_gate.py"
    text = mine.read_text("utf-8")
    assert BODY.splitlines()[0].strip() not in text
    mine.write_text(blank_filled(text, f"{BODY}        return dx, du\n"), "utf-8")
    assert check("tanh_gate", "learn").is_solved
    mine.write_text(mine.read_text("utf-8").replace("(1 - a**2) * ", ""), "utf-8")
    assert check("tanh_gate", "learn").first_wrong.name == "dx"


def test_a_case_that_cannot_be_an_exercise_is_refused_in_a_line(file, capsys):
    file.write_text(FILE.replace("scale=2.0", "scale=np.ones(2)"), "utf-8")
    assert minitransformer(["learn", "start", "--exercise", "mine.py"]) == 1
    assert "tanh_gate: the options of its cases must be numbers or strings" in capsys.readouterr().err
    file.write_text(FILE.replace("*rng.normal(size=(2, 3, 4))", "np.arange(3), rng.normal(size=3)"), "utf-8")
    assert minitransformer(["learn", "start", "--exercise", "mine.py"]) == 1
    assert "the inputs of the case 'tanh_gate' must be floating-point arrays" in capsys.readouterr().err
