"""The data with which a page computes: a function's translation, its inputs, and mistakes to plant.

A ladder, and any other element with the attribute `data-function`, contains one script of this kind, which
static/live.js reads. The page has the function's values, computed by NumPy, in elements with the attribute
`data-array`, the name of a local variable; the entries in them have `data-i`, their index in row-major order. A line
of code has `data-line`, its number in the file. live.js replaces the entries of the inputs and of dy by fields, and
computes all others again when one changes.
"""

import inspect
import json
from html import escape

import numpy as np

from minitransformer.book.specimens import called_by
from minitransformer.book.translation import TranslationError, encoded, file_of, translate

SCRIPTS = ("arrays.js", "live.js")
TAGS = "".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)


def example(function, inputs, options, dy, mistakes=()) -> str:
    """Return the script of a call. `mistakes` are those of planted.py. Raises TranslationError."""
    lines, named = translate(function), list(inspect.signature(function).parameters)
    data = {
        "file": file_of(function),
        "function": function.__name__,
        "lines": lines,
        "inputs": {name: encoded(value) for name, value in zip(named, inputs, strict=False)},
        "options": {name: encoded(value) for name, value in options.items()},
        "dy": encoded(np.asarray(dy)),
        "mistakes": [
            mistake(function, lines, one) for one in mistakes if one.mutant.function.startswith(function.__name__)
        ],
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" class="example">{text}</script>'


def mistake(function, lines, planted) -> dict:
    """Return the lines of JavaScript that a planted mistake changes, and its line of Python."""
    changed = translate(function, source=planted.mutant.mutated_source)
    first, _ = planted.mutant.lines
    return {
        "sentence": planted.sentence,
        "line": first,
        "code": "\n".join(planted.mutant.difference()[1]).partition("  #")[0].strip(),
        "edits": edits(lines, changed),
    }


def edits(lines, changed) -> dict[int, str]:
    return {k: new for k, (old, new) in enumerate(zip(lines, changed, strict=True)) if new != old}


def untranslated(specimens) -> dict[str, str]:
    """Return {function: reason} for the functions of specimens that do not run in a browser."""
    found = {}
    for specimen in filter(lambda specimen: specimen.function, specimens):
        function = called_by(specimen.call)
        try:
            translate(function)
        except TranslationError as reason:
            found.setdefault(function.__qualname__, str(reason))
    return found


def untranslated_page(specimens) -> list:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(reason)}</td></tr>"
        for name, reason in sorted(untranslated(specimens).items())
    )
    return [f"<h2>Functions that the pages do not compute</h2><table><tr><th>function<th>reason</tr>{rows}</table>"]
