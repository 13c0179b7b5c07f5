"""Format the sections after a derivation, from the inputs to the gradient checks."""

from functools import cache
from html import escape
from itertools import groupby

import numpy as np

from gradcheck import GradientError, check_case, report_html
from gradcheck.certify import certify_call
from gradcheck.front.streams import counted
from minitransformer.book import notation as n
from minitransformer.book.costs import operations, parameters_of
from minitransformer.book.derivations import EQUAL
from minitransformer.book.pictures import table, written
from minitransformer.book.planted import SMALL, classic
from minitransformer.book.run import numbers_in, saved
from minitransformer.book.specimens import called_by
from minitransformer.book.typesetting import mathml
from minitransformer.cases import CASES
from minitransformer.module import plain

MANY = 10  # largest number of gradients that are listed one by one
LARGE, SAMPLE = 700, 6  # of the arrays of a case with more entries, only a sample is compared one by one


def appendix(runs) -> str:
    first = {run.specimen.function: run for run in reversed(runs)}
    once = [run for run in runs if run is first[run.specimen.function]]
    parts = "".join([costs_of(once), *map(saved_by, once)])
    return f'<div class="parts">{parts}</div>' if parts else ""


def saved_by(run):
    rows = []
    for name, kept in saved(run.closure()).items():
        if isinstance(kept, np.ndarray):
            rows.append((escape(name), " × ".join(map(str, kept.shape)) or "1", kept.size))
        elif count := numbers_in(kept):  # the arrays that other backward functions save
            others = f"{len(kept)} functions" if isinstance(kept, list) else escape(name.removesuffix("_backward"))
            rows.append((f"saved by {others}", "", count))
    return table(f"{escape(run.specimen.function)} | shape | numbers", rows) if rows else ""


def costs_of(runs):
    rows = []
    for run in runs:
        counted_operations = operations(run.specimen) if run.specimen.function else None
        if counted_operations is not None:
            forward, backward = counted_operations
            given = sum(np.size(value) for value in run.specimen.inputs if isinstance(value, np.ndarray))
            counts = f"{forward:,}", f"{backward:,}", f"{numbers_in(run.closure()):,}"
            rows.append((escape(run.specimen.function), given, *counts))
    headings = "function | numbers in the inputs | operations forward | backward | numbers saved for backward"
    caption = "Operations are additions, products, comparisons (also in checks of arguments) and function values."
    return f"<div><p>{caption}</p>{table(headings, rows)}</div>" if rows else ""


def mistakes(planted) -> list:
    rows = []
    for one in classic(planted):
        code = escape(one.mutant.difference()[1][0].partition("  #")[0].strip())
        off = [f"{error:.0%}" if error > SMALL else "0: not found" for error in (one.error, one.error_of_ones)]
        rows.append((f"<code>{code}</code>", escape(one.sentence), *off))
    return [
        "<section><h2>Classic mistakes</h2><p>Each line was put in the place of the right one. The largest error of a "
        "gradient is given in percent of the gradient's largest entry. The gradient check finds each of them. A "
        "check with dy = 1 can miss one.</p>",
        table("line | mistake | error for a random dy | for dy = 1", rows),
        "</section>",
    ] * bool(rows)


def checks(reports: dict, cases) -> list:
    if not reports:
        return []
    rows = []
    for name, report in reports.items():
        worst = max((argument.worst_relative for argument in report.arguments), default=0.0)
        row = escape(name), len(report.arguments), f"{report.entries:,}", written(worst, ".1e"), verdict_of(report)
        rows.append(row)
    details = "".join(
        f'<p>{escape(name)}</p><div class="scroll" tabindex="0">{report_html(r)}</div>' for name, r in reports.items()
    )
    certificates = [(escape(case.name), escape(str(certified(case)))) for case in cases]
    return [
        "<section><h2>Checked by central differences</h2><p>Each entry a of a gradient is compared with a central "
        f"difference n of the forward pass. Of a case with more than {LARGE} entries, {SAMPLE} of each array and one "
        "random direction through all are compared. The relative error is |a − n| / (|n| + 0.01), and “oracle ±” is "
        "the estimated error of n.</p>",
        table("case | gradients | entries | worst error, relative | verdict", rows),
        f"<details><summary>each argument</summary>{details}</details></section>",
        "<section><h2>Certified as an identity</h2><p>J v is the change of y, to first order, if the inputs change by "
        "v, and ⟨ , ⟩ is the sum of the products of the entries. The backward pass is right if both sides are equal "
        "for all v and dy. They are computed without rounding, modulo a random prime, at a random point. A decision is "
        "a comparison of values in the function, such as x &gt; 0.</p>",
        table("case | the two sides of ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩, without a tolerance", certificates),
        "</section>",
    ]


def verdict_of(result) -> str:
    """Return the verdict of an argument, or of a whole report, as HTML."""
    text = getattr(result, "verdict", "right" if result.is_right else "WRONG")
    return f'<span class="{"right" if result.is_right else "wrong"}">{escape(text)}</span>'


def is_it_right(function, reports, cases) -> str:
    """Compare the gradients of a function's cases with central differences, in a table. Return "" without a case."""
    its_own = [case.name for case in cases if target_of(case).__qualname__ == function and case.name in reports]
    rows = [
        (escape(f"d{argument.name}"), written(argument.worst_relative, ".0e"), verdict_of(argument))
        for name in its_own[:1]
        for argument in reports[name].arguments
    ]
    if not rows:
        return ""
    if len(rows) > MANY:
        worst = max(argument.worst_relative for argument in reports[its_own[0]].arguments)
        rows = [(f"all {len(rows)}", written(worst, ".0e"), verdict_of(reports[its_own[0]]))]
    found = table("gradient | largest error, relative | verdict", rows)
    return (
        '<div class="columns check"><div class="words"><h3>Is it right?</h3><p>Let L be the sum of the products of '
        "the entries of y and dy, with a random dy. A number of an input is moved a little, up and down, and L is "
        "computed twice: a central difference. Backward must return the same, up to rounding. The table is for the "
        "first case of those in the details below.</p></div>"
        f'<div class="aside">{found}</div></div>'
    )


def certified(case):
    with plain():
        return certify_call(case.call(np.random.default_rng(0)))


def in_the_text(statements, names) -> list:
    """Format the results of the equations in sentences. Those that are not equal are listed with the reason."""
    equations = list({s.text: s for s in statements if s.in_prose}.values())
    if not equations:
        return []
    others = [s for s in equations if s.verdict != EQUAL]
    held = f"{counted(len(equations) - len(others), 'equation')} within the sentences"
    by_result = groupby(sorted(others, key=lambda s: s.in_words), key=lambda s: s.in_words)
    rows = [(escape(result), "; ".join(shown(s, names) for s in some)) for result, some in by_result]
    listed = table("result | equations", rows) if others else ""
    return [
        f"<section><h2>Equations in the text</h2><p>Both sides of {held} are also computed on the numbers above, and "
        f"are equal{'. The others:' if others else '.'}</p>{listed}</section>",
    ]


def shown(statement, names):
    is_parsed = not isinstance(statement.equation.sides[0], n.Remark)
    return mathml(statement.equation, names, display=False) if is_parsed else escape(statement.text)


def checked(cases) -> dict:
    reports = {}
    for case in cases:
        try:
            call = case.call(np.random.default_rng(0))
            size = sum(map(np.size, (*call.inputs, *(parameter.data for parameter in parameters_of(call.target)))))
            settings = {"max_entries": SAMPLE} if size > LARGE else {}
            reports[case.name] = check_case(case, explain=False, **settings)
        except GradientError as error:
            reports[case.name] = error.report
        except Exception as error:
            raise ValueError(f"case {case.name!r}: {type(error).__name__}: {error}") from error
    return reports


@cache
def target_of(case):
    return called_by(case.draw(np.random.default_rng(0)).target)


@cache
def cases_by_file() -> dict:
    found = {}
    for case in CASES:
        target = target_of(case)
        file = target.__module__.removeprefix("minitransformer.").replace(".", "/") + ".py"
        found.setdefault(file, []).append(case)
    return found
