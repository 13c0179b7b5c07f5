"""A report as HTML for a notebook: the table of `str(report)`, readable on a light and a dark background.

Notebooks display a Report in this form. For other pages, `report_html(report)` returns a fragment with inline styles.
It loads no other files, and all names are escaped.
"""

from collections.abc import Callable, Iterable
from html import escape

from gradcheck.report import ArgumentReport, Report

RIGHT, DOUBTFUL, WRONG = "#2e7d32", "#8a6100", "#b3261e"  # white text is readable on each of them

TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0.3em 0"
CELL = "padding:0.15em 0.7em;border-bottom:1px solid rgba(128,128,128,0.35);text-align:"
BADGE = "display:inline-block;padding:0 0.5em;border-radius:0.6em;color:#fff;background:"

COLUMNS: tuple[tuple[str, str, Callable[[ArgumentReport], str]], ...] = (
    ("argument", "left", lambda argument: argument.name),
    ("shape", "left", lambda argument: str(argument.shape)),
    ("entries", "right", lambda argument: argument.extent),
    ("absolute", "right", lambda argument: argument.numbers[0]),
    ("relative", "right", lambda argument: argument.numbers[1]),
    ("oracle ±", "right", lambda argument: argument.numbers[2]),
)


def report_html(report: Report, look: Iterable[str] = ()) -> str:
    """Return a Report as an HTML fragment: verdict, a row per argument, and messages.

    `look` holds lines of text on the lines of the backward pass; they are shown unchanged below the table.
    """
    lines = [*report.failures(), *(f"note: {note}" for note in report.notes)]
    text = "\n".join(look)
    return table_html(report.name, _overall(report), COLUMNS, report.arguments, lines, text)


def table_html(name, verdict, columns, rows, lines, text=""):
    """Return a table with a name, a verdict, the rows and a list of messages.

    `columns` are (heading, alignment, function that returns the text for a row). Each row has an attribute `verdict`.
    `text` is shown unchanged at the end.
    """
    parts = [f"<div><strong>{escape(name)}</strong> {_badge(verdict)}</div>"]
    if rows:
        body = "".join(_row(row, columns) for row in rows)
        parts.append(f'<table style="{TABLE}"><thead>{_header(columns)}</thead><tbody>{body}</tbody></table>')
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f'<ul style="margin:0.3em 0;padding-left:1.2em">{items}</ul>')
    if text:
        parts.append(f'<pre style="margin:0.3em 0">{escape(text)}</pre>')
    return f'<div class="gradcheck-report">{"".join(parts)}</div>'


def _overall(report):
    if report.is_right:
        return "right"
    doubts = [argument.verdict for argument in report.arguments if not argument.is_right]
    return "WRONG" if report.problems or "WRONG" in doubts else doubts[0]


def _header(columns):
    cells = [(name, align) for name, align, _ in columns] + [("verdict", "left")]
    return "<tr>" + "".join(f'<th style="{CELL}{align}">{name}</th>' for name, align in cells) + "</tr>"


def _row(row, columns):
    cells = "".join(f'<td style="{CELL}{align}">{escape(show(row))}</td>' for _, align, show in columns)
    return f'<tr>{cells}<td style="{CELL}left">{_badge(row.verdict)}</td></tr>'


def _badge(verdict):
    if verdict == "WRONG":
        colour = WRONG
    else:
        colour = RIGHT if verdict == "right" else DOUBTFUL
    return f'<span style="{BADGE}{colour}">{escape(verdict)}</span>'
