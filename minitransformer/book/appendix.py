"""What stands after a derivation: the numbers that went in, the arrays to scale, what was saved, and the checks."""

from functools import cache, partial
from html import escape

import numpy as np

from gradcheck import GradientError, check_case, report_html
from minitransformer.book.matrices import board, matrix, with_digits
from minitransformer.book.pictures import picture_of_shapes
from minitransformer.book.run import BACKWARD, numbers_in, saved
from minitransformer.book.symbols import bases_in
from minitransformer.book.typesetting import name_set
from minitransformer.cases import CASES

LARGEST = 60  # numbers of an array that is shown whole


def appendix(runs) -> list:
    """What went in, the shapes, and what was saved: of each function once, on the first numbers."""
    first = {run.specimen.function: run for run in reversed(runs)}
    once = [run for run in runs if run is first[run.specimen.function]]
    return [
        *section("On these numbers", map(numbers_of, runs)),
        *section("The arrays, to scale", map(shapes_of, once)),
        *section("Saved for backward", map(saved_by, once)),
    ]


def section(title, parts):
    """A heading and its parts, if there are any."""
    parts = [part for part in parts if part]
    return [f'<section><h2>{title}</h2><div class="parts">', *parts, "</div></section>"] if parts else []


def numbers_of(run):
    """The numbers on which the equations are executed whose values are shown."""
    given, names = run.given(), bases_in(*(side for s in run.statements for side in s.equation.sides))
    if not given:
        return ""
    boxes = board(given_array(name_set(symbol, names), value) for symbol, value in given.items())
    return f"<div>{function_name(run, shown_on(run))}{boxes}</div>"


def shown_on(run):
    """Which equations have their values of this run."""
    shown = [s.number for s in run.statements if s.shown_on is run]
    numbers = sorted({number for number in shown if number is not None})
    parts = [f"({number})" for number in numbers]
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        parts = [f"{parts[0]} to {parts[-1]}"]
    parts += ["the equations without a number"] * (None in shown)
    return f"for {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}"


def given_array(label, value):
    """A number or an array behind its name, whole unless it is large."""
    if np.size(value) <= LARGEST:
        return matrix(label, value, with_digits(3))
    return f'<span class="given">{label} {" × ".join(map(str, value.shape))} numbers</span>'


def function_name(run, what=""):
    """The name of the function that was run, if it has one, and words on it."""
    name = f"<code>{escape(run.specimen.function)}</code> " if run.specimen.function else ""
    return f'<p class="of">{name}{what}</p>'


def shapes_of(run):
    """The arrays of the forward pass as rectangles, and below them those of backward."""
    function = run.specimen.function
    rows = {"forward": run.arrays(function), "backward": run.arrays(function + BACKWARD)}
    if not any(rows.values()):
        return ""
    return f'<div class="scroll">{function_name(run)}{picture_of_shapes(rows, run.specimen.letters)}</div>'


def saved_by(run):
    """A table of what backward needs of the forward pass."""
    rows = "".join(row_of_saved(name, kept) for name, kept in saved(run.handed_back()).items())
    if not rows:
        return ""
    heading = f"<tr><th>{escape(run.specimen.function)}</th><th>shape</th><th>numbers</th></tr>"
    return f'<div class="scroll"><table>{heading}{rows}</table></div>'


def row_of_saved(name, kept):
    """A row for an array, and for another backward or a list of these if it keeps any number."""
    if isinstance(kept, np.ndarray):
        return row_of(escape(name), " × ".join(map(str, kept.shape)) or "1", kept.size)
    others = f"{len(kept)} others save" if isinstance(kept, list) else f"{escape(name.removesuffix('_backward'))} saves"
    return row_of(f"what {others}", "", numbers_in(kept)) if numbers_in(kept) else ""


def row_of(*cells):
    """A row of a table."""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def checks(reports: dict) -> list:
    """The table of the gradient checks, {case: its Report}: a row a case, and all arguments for whoever asks."""
    if not reports:
        return []
    rows = "".join(row_of(*cells(name, report)) for name, report in reports.items())
    heading = "<tr><th>case</th><th>gradients</th><th>entries</th><th>worst error, relative</th><th></th></tr>"
    details = "".join(f'<p>{escape(name)}</p><div class="scroll">{report_html(r)}</div>' for name, r in reports.items())
    return [
        f'<section><h2>Checked by central differences</h2><div class="scroll"><table>{heading}{rows}</table></div>',
        f"<details><summary>each argument</summary>{details}</details></section>",
    ]


def cells(name, report):
    """The cells of a case: how much was compared, and how it came out."""
    worst = max((argument.worst_relative for argument in report.arguments), default=0.0)
    verdict = '<span class="equal">right</span>' if report.is_right else '<span class="different">WRONG</span>'
    return escape(name), len(report.arguments), f"{report.entries:,}", f"{worst:.1e}", verdict


def checked(cases) -> dict:
    """Return {name of a case: its Report}, of wrong gradients too. Raises ValueError for what cannot be checked."""
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
    """Return {file below the package: the cases of its functions and modules}."""
    found = {}
    for case in CASES:
        found.setdefault(file_of(case.draw(np.random.default_rng(0)).target), []).append(case)
    return found


def file_of(target):
    """The file below the package in which a function or module is defined."""
    while isinstance(target, partial):
        target = target.func
    owner = target if hasattr(target, "__name__") else type(target)
    return owner.__module__.removeprefix("minitransformer.").replace(".", "/") + ".py"
