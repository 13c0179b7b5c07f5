"""The plugin for pytest: its fixture, its table, and that it is in nobody's way."""

import re

import pytest

from gradcheck import plugin

pytest_plugins = ["pytester"]

MINE = """
import gradcheck
import numpy as np
import pytest

x = np.random.default_rng(0).normal(size=(2, 3))

def product(x, w, *, scale=1.0, wrong=False):
    def backward(dy):
        return scale * dy * w, (2 if wrong else 1) * scale * dy * x
    return scale * x * w, backward

class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, None

class Scale:
    def __init__(self):
        self.gamma = Parameter(np.ones(3, np.float32))

    def named_parameters(self):
        yield "gamma", self.gamma

    def __call__(self, x):
        gamma = self.gamma.data
        def backward(dy):
            grad = (dy * x).sum(axis=0)
            self.gamma.grad = grad if self.gamma.grad is None else self.gamma.grad + grad
            return dy * gamma
        return gamma * x, backward
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on a file of tests, with this plugin and no other that happens to be installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run_tests(tests, *arguments):
        pytester.makepyfile(test_mine=MINE + tests)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", *arguments, plugins=[plugin])

    return run_tests


RIGHT_AND_WRONG = """
def test_right(gradcheck):
    gradcheck(product, x, x + 1)

def test_wrong(gradcheck):
    gradcheck(product, x, x + 1, wrong=True)
"""


def test_a_failure_shows_gradchecks_words_and_the_line_of_the_test_and_not_the_plugins(run):
    result = run(RIGHT_AND_WRONG)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       gradcheck(product, x, x + 1, wrong=True)",
            "E*GradientError: product: dw: 6 of 6 entries disagree*",
        ]
    )
    assert "plugin.py" not in result.stdout.str()
    assert not any(re.match("=+ gradients =+", line) for line in result.stdout.lines)


def test_the_fixture_is_check_and_check_module_and_hides_no_other_name(run):
    result = run(
        """
def test_check(gradcheck, request):
    report = gradcheck(product, x, x, scale=3.0, seed=5, rtol=1e-5)
    assert report.is_right and [a.name for a in report.arguments] == ["x", "w"]
    assert not request.node.user_properties
    with pytest.raises(TypeError, match="float64"):
        gradcheck(product, x.astype("longdouble"), x)

def test_module(gradcheck):
    assert [a.name for a in gradcheck.module(Scale(), x).arguments] == ["x", "gamma"]

def test_names(gradcheck):
    assert gradcheck.Call(product, x, x).name == "product"
    with pytest.raises(gradcheck.GradientError):
        gradcheck.check(product, x, x, wrong=True)
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        gradcheck.chekc

def test_the_module_itself():
    assert gradcheck.check(product, x, x).is_right
"""
    )
    result.assert_outcomes(passed=4)


def test_the_table_lists_every_gradient_with_the_worst_first(run):
    result = run(RIGHT_AND_WRONG, "--gradcheck-report")
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if re.match("=+ gradients =+", line))
    header, first, *rest = lines[start + 1 : start + 7]
    assert header.split() == ["worst", "error", "verdict", "function", "argument", "test"]
    assert re.fullmatch(r" *\d\.\de[+-]\d\d  WRONG +product +w +test_mine\.py::test_wrong", first)
    assert sorted(line.split()[1:] for line in rest[:3]) == [
        ["right", "product", "w", "test_mine.py::test_right"],
        ["right", "product", "x", "test_mine.py::test_right"],
        ["right", "product", "x", "test_mine.py::test_wrong"],
    ]
    errors = [float(line.split()[0]) for line in (first, *rest[:3])]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.1 and errors[1] < 1e-8
    assert rest[3] == "4 compared in 2 tests: 1 not right"


def test_a_gradient_that_breaks_the_contract_stands_in_the_table_and_checks_in_fixtures_count_once(run):
    result = run(
        """
@pytest.fixture
def checked(gradcheck):
    yield gradcheck(product, x, x)
    gradcheck.module(Scale(), x)

def test_uses_it(checked):
    assert checked.is_right

def test_shape(gradcheck):
    gradcheck(lambda x: (x * 1.0, lambda dy: dy.sum(axis=0)), x)
""",
        "--gradcheck-report",
    )
    result.stdout.re_match_lines([r" *inf  WRONG +<lambda> +test_mine.py::test_shape", "5 compared in 2 tests: 1 not"])


def test_on_github_the_table_is_added_to_the_summary_of_the_job(run, monkeypatch, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run(RIGHT_AND_WRONG, "--gradcheck-report")
    lines = summary.read_text("utf-8").splitlines()
    assert lines[:3] == ["before", "### Gradients", ""]
    assert lines[3] == "| worst error | verdict | function | argument | test |"
    assert lines[5].startswith("| ") and "| WRONG | product |" in lines[5]
    assert sum("| right | product |" in line for line in lines) >= 2


def test_the_option_and_the_fixture_are_documented(run):
    assert "--gradcheck-report" in run("", "--help").stdout.str()
    run("", "--fixtures").stdout.fnmatch_lines(["gradcheck -- *", "*gradcheck.module(module*"])


def test_the_plugin_loads_nothing_before_its_fixture_is_asked_for(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        "import sys\n"
        "def test_before(): assert {name for name in sys.modules if name.split('.')[0] in ('gradcheck', 'numpy')} == "
        "{'gradcheck', 'gradcheck.plugin'}\n"
        "def test_after(gradcheck): gradcheck.check; assert 'numpy' in sys.modules\n"
    )
    run = pytester.runpytest_subprocess("-p", "gradcheck.plugin", "-p", "no:cacheprovider")
    run.assert_outcomes(passed=2)
