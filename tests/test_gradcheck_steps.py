"""A backward pass line by line: the line that is wrong is found, and no line that is right is called wrong."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gradcheck
import minitransformer
from gradcheck.line_by_line import steps_of_call
from minitransformer.cases import CASES

FOLDER = Path(minitransformer.__file__).parent
TEXTBOOK = [case for case in CASES if not case.name.startswith(("fast.", "blocked", "in_", "Transformer"))]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def row(report, name):
    """Return the last row of that name."""
    return [row for row in report.rows if row.name == name][-1]


@pytest.fixture
def plant(tmp_path):
    """Import a file of the textbook with a mistake in it: plant(file, old, new)."""
    planted = []

    def plant_mistake(file, old, new):
        source = (FOLDER / file).read_text("utf-8")
        assert source.count(old) == 1, old
        name = f"planted_{len(planted)}_{Path(file).stem}"
        path = tmp_path / f"{name}.py"
        path.write_text(source.replace(old, new), "utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        planted.append(name)
        return module

    yield plant_mistake
    for name in planted:
        del sys.modules[name]


# Right code


def test_nothing_right_is_called_wrong_and_nearly_all_of_it_is_followed():
    numbered = []
    for case in TEXTBOOK:
        with minitransformer.plain():
            report = steps_of_call(case.call(np.random.default_rng(0)))
        assert report.passed and report.first_wrong is None, report
        numbered += [row.verdict for row in report.rows if row.equation]
    assert set(numbered) <= {"right", "not followed"}
    assert numbered.count("right") > 0.95 * len(numbered) > 150


# Mistakes


def test_a_gradient_that_lacks_its_sum_is_found_and_what_follows_from_it():
    def attention(q, k, v):
        scores = q @ k.swapaxes(-1, -2)
        e = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
        weights = e / e.sum(axis=-1, keepdims=True)
        y = weights @ v

        def backward(dy):
            dv = weights.swapaxes(-1, -2) @ dy  # (5)
            dweights = dy @ v.swapaxes(-1, -2)  # (5)
            dscores = weights * dweights  # (6)
            dq = dscores @ k  # (7)
            dk = dscores.swapaxes(-1, -2) @ q  # (7)
            return dq, dk, dv

        return y, backward

    report = gradcheck.steps(attention, normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(2, 5, 6, seed=2))
    assert not report.passed
    assert [(row.name, row.equation, row.verdict) for row in report.rows] == [
        ("dv", "(5)", "right"),
        ("dweights", "(5)", "right"),
        ("dscores", "(6)", "WRONG"),
        ("dq", "(7)", "follows"),
        ("dk", "(7)", "follows"),
    ]
    assert report.first_wrong is report.rows[2]
    text = str(report)
    assert text.startswith("attention.backward: 1 of 3 gradients right\n   (5) dv        right\n")
    assert "   (7) dq        follows from dscores\n" in text
    here = Path(__file__).read_text("utf-8").splitlines()
    assert here[report.first_wrong.line - 1].strip() == "dscores = weights * dweights  # (6)"
    assert re.search(r"^   \(6\) dscores   WRONG: ", text, re.M)
