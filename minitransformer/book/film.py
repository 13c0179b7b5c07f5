"""The training step as a film: a page that steps through one_page.py, forward and then backward, line by line.

Every number is computed when the page is built, for the correct code and for each of thirteen planted mistakes. To find
the numbers that an entry depends on, each entry that its line reads is changed, and the line is run again.
"""

import ast
import json
import re
import types
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from minitransformer import one_page
from minitransformer.book.observation import watched
from minitransformer.book.strip import strip
from minitransformer.book.worked_example import names, steps

WORD, LETTERS = "banan", "abdens"
T, C, F, H = len(WORD) - 1, 4, 8, 2
IDS = np.array([[LETTERS.index(letter) for letter in WORD]])
LABELS = {"N": WORD[:-1], "T": WORD[:-1], "V": LETTERS}  # of the axes
SHAPES = {"E": "VC", "P": "TC", "W1": "CF", "W2": "FC", **dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), "CC")}
DIFFERENT = 1e-9  # relative to the largest entry


@dataclass(frozen=True)
class Mistake:
    """A mistake to plant: `new` replaces the code `old`. `why` explains the consequence."""

    title: str
    why: str
    old: str
    new: str


MISTAKES = [
    Mistake(
        "The target is not subtracted",
        "Every logit is pushed down, that of the right letter too. Nothing tells the model which letter was right.",
        "dz = (np.exp(logp) - Y) * (dloss / N)",
        "dz = np.exp(logp) * (dloss / N)",
    ),
    Mistake(
        "The mean over positions is forgotten",
        "The loss is a mean over N positions. All gradients are N times too large, in the right direction.",
        "(dloss / N)",
        "dloss",
    ),
    Mistake(
        "Layer norm: γ is forgotten",
        "The gradient of n3 is passed on as that of h3. With γ = 1, as at the start of training, nothing differs.",
        "dh3 = dn3 * g3",
        "dh3 = dn3",
    ),
    Mistake(
        "Layer norm: the path through the variance is forgotten",
        "y also changes the standard deviation that divides it. Without that path, a component along h3 remains.",
        "dy = r3 * (dh3 - mean(dh3) - h3 * mean(dh3 * h3))",
        "dy = r3 * (dh3 - mean(dh3))",
    ),
    Mistake(
        "GELU: the path through u is forgotten",
        "f = u · p is a product, and p depends on u too. Here only the factor p is in the slope's place.",
        "du = df * p + dp",
        "du = dp",
    ),
    Mistake(
        "The residual's direct path is forgotten",
        "r also reaches y beside the layer. Every gradient before it misses that path.",
        "dr = dy + r2",
        "dr = r2",
    ),
    Mistake(
        "Softmax: the common sum is forgotten",
        "Each weight is divided by the sum of its row, so each score lowers all other weights of the row.",
        "ds = w * (dw - (w * dw).sum(axis=3, keepdims=True))",
        "ds = w * dw",
    ),
    Mistake(
        "The scale 1/√D is forgotten in backward",
        "The scores were divided by √D. The gradients of queries and keys are √D times too large.",
        "dc = ds / math.sqrt(D)",
        "dc = ds",
    ),
    Mistake(
        "The gradient of the keys is not transposed",
        "A key gathers its gradient from the queries that attend to it, a column of dc, not a row. The sizes agree.",
        "dc.swapaxes(2, 3) @ qh",
        "dc @ qh",
    ),
    Mistake(
        "The gradient of the values is not transposed",
        "A value gathers its gradient from the positions that attend to it, a column of w. The sizes agree here too.",
        "dvh = w.swapaxes(2, 3) @ dah",
        "dvh = w @ dah",
    ),
    Mistake(
        "Only the path through the queries is kept",
        "n1 is read three times, by queries, keys and values. Its gradient is the sum of the three paths.",
        "dn1 = dq @ Wq.T + dk @ Wk.T + dv @ Wv.T",
        "dn1 = dq @ Wq.T",
    ),
    Mistake(
        "A tied embedding loses half of its gradient",
        "E is read at the bottom and, transposed, at the top. Only the bottom counts here.",
        "dE = X.T @ dx + dz.T @ n3",
        "dE = X.T @ dx",
    ),
    Mistake(
        "The mask is forgotten",
        "Each position sees the letters that it should predict. Backward is right for this forward pass.",
        "s = np.where(np.tri(T, dtype=bool), c / math.sqrt(D), -np.inf)",
        "s = c / math.sqrt(D)",
    ),
]


def weights(seed: int = 0) -> list:
    """Return float64 weights for one_page.gpt, with two decimals."""
    rng = np.random.default_rng(seed)
    sizes = {"V": len(LETTERS), "T": T, "C": C, "F": F}
    drawn = {name: rng.normal(0, 0.7, [sizes[axis] for axis in SHAPES.get(name, "C")]) for name in names()}
    return [np.round(w / 4 + (name[0] == "g") if w.ndim == 1 else w, 2) for name, w in drawn.items()]


@dataclass(frozen=True)
class Run:
    """A run of one_page.py.

    `forward` and `back` are the Steps of the two passes. `values` maps names to arrays, and `scope` contains all
    variables that a line may read. `wrong` lists the gradients that differ from the derivative of the loss. `error` is
    the largest difference divided by the largest derivative.
    """

    forward: list
    back: list
    values: dict
    scope: dict
    wrong: list
    error: float

    @property
    def steps(self) -> list:
        return [*self.forward, *self.back]


@cache
def run(old: str = "", new: str = "") -> Run:
    """Run one_page.py with `old` replaced with `new`.

    Raises LookupError if `old` does not occur exactly once.
    """
    source, file = Path(one_page.__file__).read_text("utf-8"), f"one_page.py with {new!r}"
    if old:
        if source.count(old) != 1:
            raise LookupError(f"{old!r} occurs {source.count(old)} times in one_page.py, not once")
        source = source.replace(old, new)
    module = types.ModuleType("one_page_of_the_film")
    exec(compile(source, file, "exec"), module.__dict__)
    theta, options = weights(), {"ids": IDS[:, :-1], "targets": IDS[:, 1:], "H": H}
    with watched(file) as seen:
        gradients = module.gpt(*theta, **options)[2]()
    scope = seen["gpt"][-1].names | seen["gpt.<locals>.backward"][-1].names
    function = next(node for node in ast.parse(source).body if getattr(node, "name", "") == "gpt")
    within = next(node for node in function.body if isinstance(node, ast.FunctionDef))
    forward, back = (steps(part.body, source.splitlines(), scope) for part in (function, within))
    values = {name: array for step in [*forward, *back] for name, array in step.arrays.items()}
    values |= dict(zip(names(), theta, strict=True))

    def loss(*changed):
        return module.gpt(*changed, **options)[0]

    truth = derivatives(loss, theta)
    largest = max(np.abs(true).max() for true in truth)
    errors = {f"d{n}": np.abs(g - true).max() for n, g, true in zip(names(), gradients, truth, strict=True)}
    wrong = [name for name, error in errors.items() if error > DIFFERENT * largest]
    return Run(forward, back, values, module.__dict__ | scope, wrong, float(max(errors.values()) / largest))


def derivatives(loss, theta, h: float = 1e-30) -> list:
    """Return the derivative of loss(*theta) with respect to each array, by a complex step for each entry."""
    found = [np.zeros_like(w) for w in theta]
    for w, derivative in enumerate(found):
        for at in np.ndindex(derivative.shape):
            moved = [array.astype(complex) for array in theta]
            moved[w][at] += 1j * h
            derivative[at] = loss(*moved).imag / h
    return found


def reads(step, values) -> list:
    """Return the names of the arrays that a line reads, in the order of the code."""
    value = ast.parse(step.code).body[0].value
    loaded = sorted((node.lineno, node.col_offset, node.id) for node in ast.walk(value) if isinstance(node, ast.Name))
    return [name for name in dict.fromkeys(name for *_, name in loaded) if name in values]


def dependence(step, played) -> dict:
    """Find the entries that a line computes from each entry that it reads.

    The result is {made: {read: lists}}. The list for an entry of `read` contains the flat indices of the entries of
    `made` that change with it.
    """
    code = compile(step.code, "<line>", "exec")
    found = {made: {} for made in step.arrays}
    for name in reads(step, played.values):
        for made in found:
            found[made][name] = []
        for at in np.ndindex(played.values[name].shape):
            changed = played.values[name].copy()
            changed[at] = 0.73 * changed[at] + 0.21 if np.isfinite(changed[at]) else 0.21
            scope = played.scope | {name: changed}
            exec(code, scope)
            for made, array in step.arrays.items():
                with np.errstate(invalid="ignore"):  # −∞ − (−∞)
                    moved = ~np.isclose(scope[made], array, rtol=1e-12, atol=1e-14, equal_nan=True)
                found[made][name].append(np.flatnonzero(moved).tolist())
    return found


def differs(array, right) -> bool:
    with np.errstate(invalid="ignore"):  # −∞ − (−∞), which counts as equal
        return bool((np.abs(array - right) > DIFFERENT * np.abs(right[np.isfinite(right)]).max()).any())


def axes_of(step) -> str:
    """Return the axes in the comment of a line, such as NV for `# 28 (N, V)`."""
    return re.search(r"\(([A-Z1, ]*)\)", step.comment)[1].replace(", ", "")


def numbers(array) -> list:
    """Return the entries rounded to three digits, with None in place of −∞."""
    return [float(f"{entry:.3g}") if np.isfinite(entry) else None for entry in np.ravel(array)]


def film() -> dict:
    """Return the data of the page's script as a JSON-serializable dictionary."""
    right = run()
    axes = {name: SHAPES.get(name, "C") for name in names()}
    axes |= {name: axes_of(step) for step in right.steps for name in step.arrays}
    places = {name: i for i, step in enumerate(right.steps) for name in step.arrays}
    lines = []
    for step in right.steps:
        read = reads(step, right.values)
        lines.append(
            {
                "code": step.code,
                "mirrors": mirrored(step) if step in right.back else [],
                "made": list(step.arrays),
                "reads": read,
                "from": sorted({places[name] for name in read if name in places}),
                "depends": dependence(step, right),
            }
        )
    values = {
        name: {
            "shape": list(np.shape(array)),
            "labels": [LABELS.get(a, "") for a in axes[name]],
            "data": numbers(array),
        }
        for name, array in right.values.items()
    }
    return {
        "lines": lines,
        "forward": len(right.forward),
        "values": values,
        "mistakes": list(map(consequence, MISTAKES)),
    }


def mirrored(step) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", step.comment)]


def consequence(mistake) -> dict:
    """Return a mistake with its consequences: changed values, the first such line, and wrong gradients."""
    right, played = run(), run(mistake.old, mistake.new)
    changed = [i for i, (a, b) in enumerate(zip(played.steps, right.steps, strict=True)) if a.code != b.code]
    different = {
        name: numbers(array)
        for step, as_it_should in zip(played.steps, right.steps, strict=True)
        for name, array in step.arrays.items()
        if differs(array, as_it_should.arrays[name])
    }
    first = [i for i, step in enumerate(right.steps) if different.keys() & step.arrays.keys()]
    return {
        "title": mistake.title,
        "why": mistake.why,
        "line": changed[0],
        "code": played.steps[changed[0]].code,
        "values": different,
        "first": first[0],
        "others": len(first) - 1,
        "wrong": played.wrong,
        "error": float(f"{played.error:.2g}"),
    }


def film_page() -> list:
    """Return the body of the page. Without its script, the page shows the strip and all lines of code."""
    shown = film()
    static = files("minitransformer.book").joinpath("static")
    style, script = (static.joinpath(f"film.{kind}").read_text("utf-8") for kind in ("css", "js"))
    data = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    lines = "".join(map(line, range(len(shown["lines"])), shown["lines"]))
    options = "".join(f'<option value="{i}">{escape(m.title)}</option>' for i, m in enumerate(MISTAKES))
    return [
        f"<style>{style}</style>",
        "<h1>One training step, line by line</h1>",
        f"<p>A transformer of one block reads <code>{' '.join(WORD[:-1])}</code> and should predict "
        f'<code>{" ".join(WORD[1:])}</code>. <b class="forward">Forward</b>, the values run through '
        f'{shown["forward"]} lines to one number, the loss; <b class="back">backward</b>, the gradients run the '
        "same way in reverse, to every weight. Every number comes from a run of <code>one_page.py</code>. Numbers "
        "above zero are in colour, those below in grey. The arrow keys step. Point at a number to see the "
        "numbers on which it depends.</p>",
        f'<div class="strip scroll" tabindex="0" role="region" aria-label="All lines">{strip(shown)}</div>',
        '<div class="controls" hidden>'
        '<button id="before" aria-label="previous line">◂</button><button id="play" aria-label="play">▶</button>'
        '<button id="after" aria-label="next line">▸</button>'
        f'<input id="at" type="range" min="0" max="{len(shown["lines"]) - 1}" value="0" aria-label="line">'
        f'<label>Plant a mistake <select id="mistake"><option value="">none</option>{options}</select></label></div>',
        '<div id="consequence" hidden></div>',
        f'<div class="film"><ol class="lines" tabindex="0">{lines}</ol><div id="now" aria-live="polite"></div></div>',
        f'<script type="application/json" id="data">{data}</script><script>{script}</script>',
    ]


def line(i: int, shown: dict) -> str:
    number = f"← {', '.join(map(str, shown['mirrors']))}" if shown["mirrors"] else str(i + 1)
    way = "back" if shown["mirrors"] else "forward"
    return (
        f'<li class="{way}" data-line="{i}"><span class="at">{number}</span><code>{escape(shown["code"])}</code>'
        "<canvas hidden></canvas></li>"
    )
