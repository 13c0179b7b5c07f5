"""Format a table of verdicts as HTML that is readable on a light or a dark background."""

import os
import traceback
from html import escape

RIGHT, DOUBTFUL, WRONG = "#2e7d32", "#8a6100", "#b3261e"  # white text is readable on each of them

TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0.3em 0"
CELL = "padding:0.15em 0.7em;border-bottom:1px solid rgba(128,128,128,0.35);text-align:"
BADGE = "display:inline-block;padding:0 0.5em;border-radius:0.6em;color:#fff;background:"


def table_html(name, verdict, rows, lines, text=""):
    """Return an HTML fragment with a table and messages.

    name       the title
    verdict    the verdict beside the title
    rows       rows of text, of which the first is the header; the last column has the verdicts
    lines      messages, shown as a list below the table
    text       preformatted text, shown at the end
    """
    parts = [f"<div><strong>{escape(name)}</strong> {_badge(verdict)}</div>"]
    if len(rows) > 1:
        body = "".join(_row("td", [*map(escape, cells), _badge(verdict)]) for *cells, verdict in rows[1:])
        parts.append(f'<table style="{TABLE}"><thead>{_row("th", rows[0])}</thead><tbody>{body}</tbody></table>')
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        parts.append(f'<ul style="margin:0.3em 0;padding-left:1.2em">{items}</ul>')
    if text:
        parts.append(f'<pre style="margin:0.3em 0">{escape(text)}</pre>')
    return f'<div class="gradcheck-report">{"".join(parts)}</div>'


def _row(kind, cells):
    aligned = zip(("left", *["right"] * (len(cells) - 2), "left"), cells, strict=True)
    return "<tr>" + "".join(f'<{kind} style="{CELL}{side}">{cell}</{kind}>' for side, cell in aligned) + "</tr>"


def _badge(verdict):
    colour = {"WRONG": WRONG, "right": RIGHT}.get(verdict, DOUBTFUL)
    return f'<span style="{BADGE}{colour}">{escape(verdict)}</span>'


def notebook_traceback(error, html: str):
    """Display the report of a GradientError in a notebook and return the traceback.

    For an uncaught exception, IPython calls the method `_render_traceback_` and prints the text that it returns. Frames
    within gradcheck are left out, so that the traceback ends at the caller's line.
    """
    from IPython.display import publish_display_data

    text = "\n".join([str(error.report), *error.lines])
    publish_display_data({"text/plain": text, "text/html": html})
    ours = (os.path.dirname(os.path.abspath(__file__)) + os.sep, f"{os.sep}IPython{os.sep}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in ours)]
    where = "".join(traceback.format_list(frames)).splitlines()
    return [*where, *traceback.format_exception_only(error)[-1].splitlines()]
