"""The sections after a derivation: inputs, shapes, saved arrays, gradient checks, and equations in the text."""

from functools import cache, partial
from html import escape
from itertools import groupby

import numpy as np

from gradcheck import GradientError, check_case, report_html
from gradcheck.certify import certify_call
from minitransformer.book import notation as n
from minitransformer.book.costs import operations
from minitransformer.book.derivations import EQUAL, names_of
from minitransformer.book.pictures import board, matrix, with_digits
from minitransformer.book.planted import SMALL, planted_mistakes
from minitransformer.book.run import numbers_in, saved
from minitransformer.book.typesetting import mathml, name_set
from minitransformer.cases import CASES
from minitransformer.module import plain
from minitransformer.system.terminal import counted

LARGEST = 60  # size of an array up to which all entries are shown


def appendix(runs) -> list:
    first = {run.specimen.function: run for run in reversed(runs)}
    once = [run for run in runs if run is first[run.specimen.function]]
    return [
        *section("On these numbers", map(numbers_of, runs)),
        *section("Cost on these numbers", [costs_of(once), *map(saved_by, once)]),
    ]


def section(title, parts):
    parts = [part for part in parts if part]
    return [f'<section><h2>{title}</h2><div class="parts">', *parts, "</div></section>"] if parts else []


def numbers_of(run):
    given, names = run.given(), names_of(run.statements)
    if not given:
        return ""
    boxes = []
    for symbol, value in given.items():
        label, size = name_set(symbol, names), " × ".join(map(str, np.shape(value)))
        is_small = np.size(value) <= LARGEST
        box = matrix(label, value, with_digits(3)) if is_small else f'<span class="given">{label} {size} numbers</span>'
        boxes.append(box)
    return f"<div>{function_name(run, shown_on(run))}{board(boxes)}</div>"


def shown_on(run):
    shown = [s.number for s in run.statements if s.shown_on is run and not s.in_prose]
    numbers = sorted({number for number in shown if number is not None})
    parts = [f"({number})" for number in numbers]
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        parts = [f"{parts[0]} to {parts[-1]}"]
    parts += ["the equations without a number"] * (None in shown)
    return f"for {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}"


def function_name(run, what=""):
    name = f"<code>{escape(run.specimen.function)}</code> " if run.specimen.function else ""
    return f'<p class="of">{name}{what}</p>'


def saved_by(run):
    rows = ""
    for name, kept in saved(run.handed_back()).items():
        if isinstance(kept, np.ndarray):
            rows += row_of(escape(name), " × ".join(map(str, kept.shape)) or "1", kept.size)
        elif count := numbers_in(kept):  # the arrays that other backward functions save
            others = f"{len(kept)} functions" if isinstance(kept, list) else escape(name.removesuffix("_backward"))
            rows += row_of(f"saved by {others}", "", count)
    if not rows:
        return ""
    heading = f"<tr><th>{escape(run.specimen.function)}</th><th>shape</th><th>numbers</th></tr>"
    return f'<div class="scroll" tabindex="0"><table>{heading}{rows}</table></div>'


def costs_of(runs):
    """Return a table of the inputs, operations and saved numbers of each function."""
    rows = ""
    for run in runs:
        counted_operations = operations(run.specimen) if run.specimen.function else None
        if counted_operations is not None:
            forward, backward = counted_operations
            given = sum(np.size(value) for value in run.specimen.inputs if isinstance(value, np.ndarray))
            kept = numbers_in(run.handed_back())
            rows += row_of(escape(run.specimen.function), given, f"{forward:,}", f"{backward:,}", f"{kept:,}")
    heading = "<tr><th>function</th><th>numbers in the inputs</th><th>operations forward</th><th>backward</th>"
    heading += "<th>numbers saved for backward</th></tr>"
    return f'<div class="scroll" tabindex="0"><table>{heading}{rows}</table></div>' if rows else ""


def mistakes(path, cases) -> list:
    """Return the section on classic mistakes, with their lines and their errors."""
    rows = ""
    for one in planted_mistakes(path, cases):
        code = escape(one.mutant.difference()[1][0].partition("  #")[0].strip())
        off = [f"{error:.0%}" if error > SMALL else "0: not found" for error in (one.error, one.error_of_ones)]
        rows += row_of(f"<code>{code}</code>", escape(one.sentence), *off)
    if not rows:
        return []
    heading = "<tr><th>line</th><th>mistake</th><th>error for a random dy</th><th>for dy = 1</th></tr>"
    return [
        "<section><h2>Classic mistakes</h2><p>Each line was put in the place of the right one. The largest error of a "
        "gradient is given in percent of the gradient's largest entry. The gradient check below finds each of them. A "
        "check with dy = 1 can miss one.</p>",
        f'<div class="scroll" tabindex="0"><table>{heading}{rows}</table></div></section>',
    ]


def row_of(*cells):
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def checks(reports: dict, cases) -> list:
    if not reports:
        return []
    certificates = [(case.name, certified(case)) for case in cases]
    rows = ""
    for name, report in reports.items():
        worst = max((argument.worst_relative for argument in report.arguments), default=0.0)
        verdict = '<span class="equal">right</span>' if report.is_right else '<span class="different">WRONG</span>'
        rows += row_of(escape(name), len(report.arguments), f"{report.entries:,}", f"{worst:.1e}", verdict)
    heading = "<tr><th>case</th><th>gradients</th><th>entries</th><th>worst error, relative</th><th>verdict</th></tr>"
    details = "".join(
        f'<p>{escape(name)}</p><div class="scroll" tabindex="0">{report_html(r)}</div>' for name, r in reports.items()
    )
    return [
        "<section><h2>Checked by central differences</h2>",
        f'<div class="scroll" tabindex="0"><table>{heading}{rows}</table></div>',
        f"<details><summary>each argument</summary>{details}</details></section>",
        '<section><h2>Certified as an identity</h2><div class="scroll"><table>',
        "<tr><th>case</th><th>the two sides of ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩, without a tolerance</th></tr>",
        *(row_of(escape(name), escape(str(certificate))) for name, certificate in certificates),
        "</table></div></section>",
    ]


def certified(case):
    with plain():
        return certify_call(case.call(np.random.default_rng(0)))


def in_the_text(statements, names) -> list:
    """Return the section on the equations within sentences.

    Each equation that is not executed, or whose sides differ, is listed with the reason.
    """
    equations = list({s.text: s for s in statements if s.in_prose}.values())
    if not equations:
        return []
    others = [s for s in equations if s.verdict != EQUAL]
    held = f"{counted(len(equations) - len(others), 'equation')} within the sentences"
    by_result = groupby(sorted(others, key=lambda s: s.in_words), key=lambda s: s.in_words)
    rows = "".join(row_of(escape(result), "; ".join(shown(s, names) for s in some)) for result, some in by_result)
    table = f'<div class="scroll" tabindex="0"><table><tr><th>result</th><th>equations</th></tr>{rows}</table></div>'
    return [
        f"<section><h2>Equations in the text</h2><p>Both sides of {held} are also computed on the numbers above, and "
        f"are equal{'. The others:' if others else '.'}</p>{table * bool(others)}</section>",
    ]


def shown(statement, names):
    is_parsed = not isinstance(statement.equation.sides[0], n.Remark)
    return mathml(statement.equation, names, display=False) if is_parsed else escape(statement.text)


def checked(cases) -> dict:
    """Check the gradients of cases and return {name: Report}.

    A case with a wrong gradient is included. Raises ValueError if a case cannot be checked.
    """
    reports = {}
    for case in cases:
        try:
            reports[case.name] = check_case(case)
        except GradientError as error:
            reports[case.name] = error.report
        except Exception as error:
            raise ValueError(f"case {case.name!r}: {type(error).__name__}: {error}") from error
    return reports


@cache
def cases_by_file() -> dict:
    found = {}
    for case in CASES:
        found.setdefault(file_of(case.draw(np.random.default_rng(0)).target), []).append(case)
    return found


def file_of(target):
    while isinstance(target, partial):
        target = target.func
    owner = target if hasattr(target, "__name__") else type(target)
    return owner.__module__.removeprefix("minitransformer.").replace(".", "/") + ".py"
