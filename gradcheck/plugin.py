"""A pytest plugin with the fixture `gradcheck` and a table of the largest errors.

GUIDE.md shows their use. The results are stored in the reports of the tests, so that the table includes those of
pytest-xdist's workers.
"""

from __future__ import annotations  # gradcheck is loaded when a test first uses the fixture

import math
import os
from typing import TYPE_CHECKING, Any

import pytest

import gradcheck

if TYPE_CHECKING:
    from gradcheck.call import Differentiable
    from gradcheck.report import Report

PROPERTY = "gradcheck"
OF_CHECK = {"dy", "rtol", "atol", "max_entries", "oracles", "explain"}  # options that `certify` does not accept


def pytest_addoption(parser):
    group = parser.getgroup("gradcheck", "gradients derived by hand")
    words = "list every gradient that was compared through the fixture `gradcheck`, the largest error first"
    group.addoption("--gradcheck-report", action="store_true", help=words)
    words = "also certify every function that the fixture checks, list the verdict, and fail the test if refused"
    group.addoption("--oracle", choices=["certificate"], help=words)


class Checker:
    """The value of the fixture `gradcheck`, which records every checked gradient."""

    def __init__(self, note, certifies):
        self._note, self._certifies = note, certifies

    def __call__(self, function: Differentiable, /, *inputs: Any, **options: Any) -> Report:
        """Check a differentiable function with `gradcheck.check`."""
        __tracebackhide__ = True  # so that the traceback ends in the test
        return self._noted(gradcheck.check, function, inputs, options)

    def module(self, module: Differentiable, /, *inputs: Any, **options: Any) -> Report:
        """Check a module and its parameters with `gradcheck.check_module`."""
        __tracebackhide__ = True
        return self._noted(gradcheck.check_module, module, inputs, options)

    def _noted(self, check, target, inputs, options):
        __tracebackhide__ = True
        try:
            report = check(target, *inputs, **options)
        except gradcheck.GradientError as error:
            self._note(error.report)
            raise error.with_traceback(None) from None
        if not self._certifies:
            self._note(report)
            return report
        certificate = gradcheck.certify(target, *inputs, **{k: v for k, v in options.items() if k not in OF_CHECK})
        self._note(report, f", {certificate.verdict}")
        if certificate.verdict == "refused":
            raise AssertionError(f"{report.name}: {certificate}")
        return report

    def __getattr__(self, name: str) -> Any:
        return getattr(gradcheck, name)


@pytest.fixture(name="gradcheck")
def gradcheck_fixture(request):
    """Check gradients with gradcheck(f, *inputs) or gradcheck.module(module, *inputs)."""

    def note(report, certified=""):
        if _lists_gradients(request.config):
            rows = [[report.name, a.name, float(a.worst_relative), a.verdict + certified] for a in report.arguments]
            rows = rows or [[report.name, "", math.inf, "WRONG"]]
            request.node.user_properties.extend((PROPERTY, row) for row in rows)

    return Checker(note, certifies=request.config.getoption("oracle") == "certificate")


def _lists_gradients(config):
    return config.getoption("gradcheck_report") or config.getoption("oracle") is not None


def pytest_terminal_summary(terminalreporter, config):
    if not _lists_gradients(config):
        return
    from gradcheck.front.streams import counted
    from gradcheck.front.tables import table

    ended = [r for reports in terminalreporter.stats.values() for r in reports if getattr(r, "when", "") == "teardown"]
    found = [
        (error, verdict, name, argument, report.nodeid)
        for report in ended
        for key, (name, argument, error, verdict) in report.user_properties
        if key == PROPERTY
    ]
    terminalreporter.section("gradients")
    if not found:
        terminalreporter.write_line("No gradient was compared through the fixture `gradcheck`.")
        return
    found.sort(key=lambda row: -row[0] if not math.isnan(row[0]) else -math.inf)
    cells = [(f"{error:.1e}", *rest) for error, *rest in found]
    rows = [("worst error", "verdict", "function", "argument", "test"), *cells]
    for line in table(rows, "><", indent=0):
        terminalreporter.write_line(line)
    failures = sum(not row[1].startswith("right") for row in found)
    tests = counted(len({node for *_, node in found}), "test")
    verdict = f"{failures} not right" if failures else "all right"
    terminalreporter.write_line(f"{len(found)} compared in {tests}: {verdict}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
        with open(summary, "a", encoding="utf-8") as file:
            file.write("\n".join(["### Gradients", "", lines[0], "|---:|---|---|---|---|", *lines[1:], ""]) + "\n")
