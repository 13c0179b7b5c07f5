"""A failed check explains the mistake before it raises, within a time limit; printing the error runs no code of it."""

import copy
import pickle
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from verdicts import normal

import gradcheck
from gradcheck import Call, Case, GradientError, report_html
from gradcheck.__main__ import main


class Counted:
    """A wrong gradient that counts the calls of its forward and backward pass."""

    def __init__(self, on_call=lambda: None):
        self.calls, self.on_call = 0, on_call

    def counted(self):
        self.calls += 1
        self.on_call()

    def function(self, x):
        self.counted()
        h = np.sin(x)
        y = np.tanh(h)

        def backward(dy):
            self.counted()
            dh = dy * y
            dx = dh * np.cos(x)
            return dx

        return y, backward


class Scaled:
    """A module with the same mistake in the gradient of its parameter."""

    def __init__(self):
        self.gamma, self.calls = SimpleNamespace(data=np.ones(3), grad=None), 0

    def named_parameters(self):
        yield "gamma", self.gamma

    def __call__(self, x):
        self.calls += 1
        gamma = self.gamma

        def backward(dy):
            self.calls += 1
            dgamma = (dy * x).mean(axis=0)
            gamma.grad = dgamma if gamma.grad is None else gamma.grad + dgamma
            return dy * gamma.data

        return gamma.data * x, backward


def error_of(check, *arguments, **options):
    with pytest.raises(GradientError) as caught:
        check(*arguments, **options)
    return caught.value


def raised(explain):
    """Return (the object that counts its calls, the GradientError) for each function that checks."""
    by_check, by_module, by_adjoint, by_case = Counted(), Scaled(), Counted(), Counted()
    case = Case("counted", lambda rng: Call(by_case.function, rng.normal(size=(2, 3))))
    return [
        (by_check, error_of(gradcheck.check, by_check.function, normal(2, 3), explain=explain)),
        (by_module, error_of(gradcheck.check_module, by_module, normal(2, 3), explain=explain)),
        (by_adjoint, error_of(gradcheck.adjoint, by_adjoint.function, normal(2, 3), explain=explain)),
        (by_case, error_of(gradcheck.check_case, case, explain=explain)),
    ]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("explain", [True, False])
def test_printing_an_error_calls_the_users_function_zero_times(explain, monkeypatch):
    display = SimpleNamespace(publish_display_data=lambda data: None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    for counted, error in raised(explain):
        calls = counted.calls
        text = str(error)
        assert text in "".join(traceback.format_exception(error))
        assert text.splitlines()[-1] in "\n".join(error._render_traceback_())
        assert str(pickle.loads(pickle.dumps(error))) == str(copy.copy(error)) == text
        assert repr(error) and str(error.report) and report_html(error.report)
        assert counted.calls == calls


@pytest.mark.slow
def test_with_an_explanation_the_mistake_and_the_line_are_named_and_without_one_nothing_else_changes():
    explained = raised(explain=True)
    for (counted, error), (bare, verdict) in zip(explained, raised(explain=False), strict=True):
        assert any(argument.diagnosis for argument in error.report.arguments) or error.lines
        assert str(error).startswith(str(verdict))
        assert [a.verdict for a in verdict.report.arguments] == [a.verdict for a in error.report.arguments]
        assert not verdict.lines and not any(argument.diagnosis for argument in verdict.report.arguments)
        assert bare.calls < counted.calls
    _, error = explained[0]
    assert any("dh  WRONG" in line for line in error.lines)
    assert str(error).splitlines()[1:] == [f"  {line}" for line in error.lines]


CASES = """
from gradcheck import Call, Case
from test_explanation import Counted

CASES = [Case("counted", lambda rng: Call(Counted().function, rng.normal(size=(2, 3))))]
"""


def test_the_command_line_shows_the_explanation(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    (tmp_path / "mine.py").write_text(CASES)
    assert main([str(tmp_path / "mine.py")]) == 1
    assert "   dh  WRONG" in capsys.readouterr().out


def test_an_update_is_not_diagnosed_where_no_explanation_is_asked_for():
    error = error_of(gradcheck.check_update, lambda theta, g, lr: theta + lr * g, "sgd", explain=False)
    assert error.report.diagnosis == ""


@pytest.mark.parametrize("oracles", [None, "adjoint"])
def test_an_explanation_takes_no_longer_than_the_check_or_five_seconds(oracles, monkeypatch):
    """Every call of the function takes half a second, by a clock of ours."""
    clock = SimpleNamespace(time=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.time)

    def took(explain):
        counted = Counted(lambda: setattr(clock, "time", clock.time + 0.5))
        start = clock.time
        error = error_of(gradcheck.check, counted.function, normal(2, 3), oracles=oracles, explain=explain)
        return clock.time - start, error

    (check, bare), (together, error) = took(explain=False), took(explain=True)
    limit = max(5.0, check)
    begun = 1.5  # a forward pass and two backward passes, which are not interrupted
    assert check < together <= check + limit + begun
    assert str(error).startswith(str(bare))
    given_up = error.lines[-1].startswith("(the explanation is incomplete: it stopped after ")
    assert given_up == (together > check + limit)
    assert given_up or oracles is None


def test_several_wrong_gradients_are_counted_together_as_numpy_counts_them():
    def product(x, w):
        return x * w, lambda dy: (2 * dy * w, dy * x * [1, 1, 3])

    with pytest.raises(GradientError) as failure:
        gradcheck.check(product, *np.random.default_rng(0).normal(size=(2, 3)))
    first, *lines = str(failure.value).split("\n")
    assert first == "product: Mismatched elements: 4 / 6 (66.7%)"
    assert {line.split(";")[0] for line in lines} >= {"  dx: 3 of 3 entries disagree", "  dw: 1 of 3 entries disagree"}
