"""The comparison with other checkers: each accepts a right gradient, rejects a wrong one, and the table counts."""

import numpy as np
import pytest

from gradcheck import museum
from gradcheck.__main__ import main
from gradcheck.museum import compare


@pytest.mark.parametrize("name", compare.CHECKERS)
def test_a_checker_accepts_a_right_gradient_of_two_inputs_and_rejects_each_wrong_one(name):
    package, adapter = compare.CHECKERS[name]
    pytest.importorskip(package)
    x, w = np.random.default_rng(0).normal(size=(2, 3, 4))

    def product(dx=1.0, dw=1.0):
        return lambda x, w: (
            np.tanh(x * w),
            lambda dy: tuple(f * dy * (1 - np.tanh(x * w) ** 2) * v for f, v in ((dx, w), (dw, x))),
        )

    assert compare.is_accepted(adapter, product(), [x, w])
    assert not compare.is_accepted(adapter, product(dx=1.05), [x, w])
    assert not compare.is_accepted(adapter, product(dw=-1.0), [x, w])
    assert not compare.is_accepted(adapter, lambda x, w: 1 / 0, [x, w])


def test_every_wrong_and_every_right_function_of_the_corpus_is_a_case(monkeypatch):
    monkeypatch.setattr(compare, "corpus", lambda: museum.CASES)  # without the variants, whose search takes seconds
    found = [(name, is_right) for name, is_right, *_ in compare.cases()]
    wrong, right = [(case.name, False) for case in museum.CASES], [(right.name, True) for right in museum.RIGHTS]
    assert found == [*wrong, *right]


def test_the_table_counts_what_a_checker_catches_misses_and_wrongly_rejects(capsys, monkeypatch):
    three = [museum.find(name) for name in ("softmax-identity", "softmax-in-place", "attention-dropout")]
    monkeypatch.setattr(compare, "corpus", lambda: three)
    monkeypatch.setattr(compare, "RIGHTS", [right for case in three for right in case.function.rights[:1]])
    monkeypatch.setitem(compare.CHECKERS, "SciPy", ("scipy", lambda f, inputs: len(inputs) == 1))
    assert main(["compare", "gradcheck", "SciPy", "--cases"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 wrong gradients, of which 3 are from public code, and 3 right ones"
    rows = [line.split() for line in lines[2:]]
    assert rows[0][:4] == ["gradcheck", "3", "0", "0"] and rows[1][:4] == ["SciPy", "1", "2", "1"]
    assert rows[2:] == [
        ["SciPy", "missed", "softmax-identity"],
        ["SciPy", "missed", "softmax-in-place"],
        ["SciPy", "false", "alarm", "attention"],
    ]


def test_a_checker_that_is_unknown_is_refused(capsys):
    assert main(["compare", "numdifftools"]) == 2
    assert "invalid choice: 'numdifftools'" in capsys.readouterr().err
