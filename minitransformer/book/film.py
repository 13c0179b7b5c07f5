"""Build the film, a page that shows the training step of one_page.py line by line.

Every number is computed when the page is built, for the correct code and for each of thirteen planted mistakes. To find
out on which numbers a result depends, each number that its line reads is changed, and the line is run again.
"""

import ast
import json
import re
from collections import namedtuple
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from gradcheck.complex_step import derivatives
from gradcheck.names import names_read
from minitransformer.book.strip import strip
from minitransformer.book.worked_example import NAMES, SHAPES, execution, weights

WORD, LETTERS = "banan", "abdens"
T, C, F, H = len(WORD) - 1, 4, 8, 2
IDS = np.array([[LETTERS.index(letter) for letter in WORD]])
LABELS = {"N": WORD[:-1], "T": WORD[:-1], "V": LETTERS}  # labels of the entries along an axis
WEIGHTS = weights(0, decimals=2, V=len(LETTERS), T=T, C=C, F=F)
DIFFERENT = 1e-9  # tolerance, relative to the largest entry


FILM = Path(__file__).with_name("film.md").read_text("utf-8")
MISTAKES = re.findall("^## (.*)\n(.*)\n\n {4}(.*)$", FILM, flags=re.MULTILINE)  # (title, consequence, right → wrong)


# A run of one_page.py: the Execution with all its steps, {name: array} of the weights and results, the names of the
# gradients that differ from the derivative of the loss, and the largest difference, divided by the largest derivative.
Filmed = namedtuple("Filmed", "execution steps values wrong error")


@cache
def filmed(old: str = "", new: str = "") -> Filmed:
    """Run one_page.py with `old` replaced by `new`. Raises LookupError unless `old` occurs once."""
    theta, options = WEIGHTS, {"ids": IDS[:, :-1], "targets": IDS[:, 1:], "H": H}
    made = execution(theta, old, new, **options)
    steps = [*made.forward, *made.back]
    values = {name: array for step in steps for name, array in step.arrays.items()}
    truth = [
        derivatives(lambda moved, k=k: made.module.gpt(*theta[:k], moved, *theta[k + 1 :], **options)[0], w)
        for k, w in enumerate(theta)
    ]
    largest = max(np.abs(true).max() for true in truth)
    errors = {f"d{n}": np.abs(g - true).max() for n, g, true in zip(NAMES, made.gradients, truth, strict=True)}
    wrong = [name for name, error in errors.items() if error > DIFFERENT * largest]
    values |= zip(NAMES, theta, strict=True)
    return Filmed(made, steps, values, wrong, float(max(errors.values()) / largest))


def reads(step, values) -> list:
    return [name for name in names_read(ast.parse(step.code)) if name in values]


def dependence(step, right) -> dict:
    """Return the entries of each result of a line that depend on each entry of an array that the line reads.

    The value is {result: {array: lists}}. List k contains the flat indices of the entries of the result that change
    when entry k of the array changes.
    """
    code, scope = compile(step.code, "<line>", "exec"), vars(right.execution.module) | right.execution.scope
    found = {made: {} for made in step.arrays}
    for name in reads(step, right.values):
        for made in found:
            found[made][name] = []
        for at in np.ndindex(right.values[name].shape):
            changed = right.values[name].copy()
            changed[at] = 0.73 * changed[at] + 0.21 if np.isfinite(changed[at]) else 0.21
            after = scope | {name: changed}
            exec(code, after)
            for made, array in step.arrays.items():
                with np.errstate(invalid="ignore"):  # −∞ − (−∞) is NaN
                    moved = ~np.isclose(after[made], array, rtol=1e-12, atol=1e-14, equal_nan=True)
                found[made][name].append(np.flatnonzero(moved).tolist())
    return found


def differs(array, right) -> bool:
    with np.errstate(invalid="ignore"):  # −∞ − (−∞) is NaN, which counts as equal
        return bool((np.abs(array - right) > DIFFERENT * np.abs(right[np.isfinite(right)]).max()).any())


def numbers(array) -> list:
    return [float(f"{entry:.3g}") if np.isfinite(entry) else None for entry in np.ravel(array)]


@cache
def film() -> dict:
    right = filmed()
    axes = {name: SHAPES.get(name, "C") for name in NAMES}
    for step in right.steps:  # the comment is such as `# 28 (N, V)` or `# ← 31, 30, 29  (N, V)`
        shape = re.search(r"\(([A-Z1, ]*)\)", step.comment)[1].replace(", ", "")
        axes |= dict.fromkeys(step.arrays, shape)
    places = {name: i for i, step in enumerate(right.steps) for name in step.arrays}
    lines = []
    for step in right.steps:
        read, is_back = reads(step, right.values), step in right.execution.back
        mirrors = [int(number) for number in re.findall(r"\d+", step.comment)] if is_back else []
        sources = sorted({places[name] for name in read if name in places})
        line = {"code": step.code, "mirrors": mirrors, "made": list(step.arrays), "reads": read, "from": sources}
        lines.append(line | {"depends": dependence(step, right)})
    values = {}
    for name, array in right.values.items():
        labels = [LABELS.get(axis, "") for axis in axes[name]]
        values[name] = {"shape": list(np.shape(array)), "labels": labels, "data": numbers(array)}
    mistakes = [consequence(right, *mistake) for mistake in MISTAKES]
    return {"lines": lines, "forward": len(right.execution.forward), "values": values, "mistakes": mistakes}


def consequence(right, title, why, edit) -> dict:
    wrong = filmed(*edit.split(" → "))
    both = list(zip(wrong.steps, right.steps, strict=True))
    (line,) = (i for i, (a, b) in enumerate(both) if a.code != b.code)
    different = {
        name: numbers(array)
        for step, as_it_should in both
        for name, array in step.arrays.items()
        if differs(array, as_it_should.arrays[name])
    }
    first, *others = (i for i, step in enumerate(right.steps) if different.keys() & step.arrays.keys())
    return {
        "title": title,
        "why": why,
        "line": line,
        "code": wrong.steps[line].code,
        "values": different,
        "first": first,
        "others": len(others),
        "wrong": wrong.wrong,
        "error": float(f"{wrong.error:.2g}"),
    }


def film_page() -> list:
    forward = film()["forward"]
    return [
        "<h1>One training step, line by line</h1>",
        f"<p>A transformer of one block reads <code>{' '.join(WORD[:-1])}</code> and should predict "
        f'<code>{" ".join(WORD[1:])}</code>. <b class="forward">Forward</b>, the values run through '
        f'{forward} lines to one number, the loss; <b class="back">backward</b>, the gradients run the '
        "same way in reverse, to every weight. Every number comes from a run of <code>one_page.py</code>. Numbers "
        "above zero are in colour, those below in grey. The arrow keys step. Point at a number to see the "
        "numbers on which it depends.</p>",
        *player(),
    ]


def player() -> list:
    """Return the film itself, with its style, data and script, for one place of a page."""
    shown = film()
    static = files("minitransformer.book").joinpath("static")
    style, *scripts = (static.joinpath(name).read_text("utf-8") for name in ("film.css", "page.js", "film.js"))
    data = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    lines = "".join(map(line, range(len(shown["lines"])), shown["lines"]))
    options = "".join(f'<option value="{i}">{escape(title)}</option>' for i, (title, *_) in enumerate(MISTAKES))
    return [
        f"<style>{style}</style>",
        f'<div class="strip scroll" tabindex="0" role="region" aria-label="All lines">{strip(shown)}</div>',
        '<div class="controls" hidden>'
        '<button id="before" aria-label="previous line">◂</button><button id="play" aria-label="play">▶</button>'
        '<button id="after" aria-label="next line">▸</button>'
        f'<input id="at" type="range" min="0" max="{len(shown["lines"]) - 1}" value="0" aria-label="line">'
        f'<label>Plant a mistake <select id="mistake"><option value="">none</option>{options}</select></label></div>',
        '<div id="consequence" hidden></div>',
        f'<div class="film"><ol class="lines" tabindex="0">{lines}</ol><div id="now" aria-live="polite"></div></div>',
        f'<script type="application/json" id="data">{data}</script><script>{"".join(scripts)}</script>',
    ]


def line(i: int, shown: dict) -> str:
    number = f"← {', '.join(map(str, shown['mirrors']))}" if shown["mirrors"] else str(i + 1)
    way = "back" if shown["mirrors"] else "forward"
    return (
        f'<li class="{way}" data-line="{i}"><span class="at">{number}</span><code>{escape(shown["code"])}</code>'
        '<div aria-hidden="true"></div></li>'
    )
