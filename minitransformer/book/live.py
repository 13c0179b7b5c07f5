"""The data with which a page computes: a function's translation, its inputs, and mistakes to plant.

A ladder contains one script of this kind, which static/live.js reads. The values that NumPy computed are in elements
with the attribute `data-array`, the name of a variable. Each entry has `data-i`, its index in row-major order. live.js
replaces the entries of the inputs and of dy by fields, and computes all others again when one changes.
"""

import importlib
import inspect
import json
import operator
from functools import partial
from html import escape

import numpy as np

from minitransformer.book.chapters import CHAPTERS
from minitransformer.book.observation import places, read_python
from minitransformer.book.pictures import table
from minitransformer.book.translation import TranslationError, encoded, file_of, translate

SCRIPTS = ("page.js", "arrays.js", "live.js", "train.js", "reading.js")
TAGS = "".join(f'<script src="{name}" defer></script>' for name in SCRIPTS)
MOST = 9  # number of mistakes to choose from


def example(function, inputs, options, dy, mistakes=(), shown="", also=()) -> str:
    """Return the script of a call, or "" if the function has no translation.

    Numbers among the inputs become arrays, as they may have gradients. `dy` maps the arguments of backward to their
    values. `mistakes` are pairs of a sentence and the changed source of the file, and `also` are other functions to
    translate. `shown` is the function whose variables come first if several have one of the same name (default: the
    called function).
    """
    called = [*also] + [
        value.func if isinstance(value, partial) else value for value in options.values() if callable(value)
    ]
    try:
        lines = translate(function, *called)
        inputs = [np.asarray(value) if isinstance(value, float) else value for value in inputs]
        data = {
            "file": file_of(function),
            "function": function.__name__,
            "shown": shown or function.__name__,
            "lines": lines,
            "inputs": dict(zip(inspect.signature(function).parameters, map(encoded, inputs), strict=False)),
            "options": {name: encoded(value) for name, value in options.items()},
            "dy": {name: encoded(np.asarray(value)) for name, value in dy.items()},
            "mistakes": [mistake(function, called, lines, *one) for one in mistakes],
        }
    except TranslationError:
        return ""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" class="example">{text}</script>'


def chosen(names, planted) -> list:
    """Return the mistakes of planted.py in functions of these names, as pairs for `example`.

    There are at most MOST. Those in different lines come first.
    """
    found = [one for one in planted if one.mutant.function.partition(".")[0] in names]
    first = {one.mutant.line: one for one in reversed(found)}.values()
    some = [*first, *(one for one in found if one not in first)][:MOST]
    return [(one.sentence, one.mutant.mutated_source) for one in sorted(some, key=lambda one: one.mutant.line)]


def mistake(function, called, lines, sentence, changed) -> dict:
    """Return the lines of JavaScript that a mistake changes, and its lines of Python."""
    source = read_python(function.__code__.co_filename)
    pairs = enumerate(zip(source.split("\n"), changed.split("\n"), strict=True), start=1)
    python = {at: new.partition("  #")[0].strip() for at, (old, new) in pairs if old != new}
    return {
        "sentence": sentence,
        "lines": list(python),
        "code": " ".join(filter(None, python.values())),
        "edits": edits(lines, translate(function, *called, source=changed)),
    }


def edits(lines, changed) -> dict[int, str]:
    """Return {index: new line} for the lines that differ."""
    return {k: new for k, (old, new) in enumerate(zip(lines, changed, strict=True)) if new != old}


def untranslated() -> dict[str, str]:
    """Return {function: reason} for the functions with equations that have no translation."""
    found = {}
    for leaf in CHAPTERS:
        module = importlib.import_module(f"minitransformer.{leaf.file.removesuffix('.py').replace('/', '.')}")
        numbered = places(read_python(leaf.path)).values()
        for name in dict.fromkeys(place.function.partition(".<locals>")[0] for some in numbered for place in some):
            try:
                translate(operator.attrgetter(name)(module))
            except TranslationError as reason:
                found[f"{leaf.file} {name}"] = str(reason)
    return found


def untranslated_section() -> str:
    rows = [(f"<code>{escape(name)}</code>", escape(reason)) for name, reason in untranslated().items()]
    return f"<h2>Functions without a translation</h2>{table('function | reason', rows)}"
