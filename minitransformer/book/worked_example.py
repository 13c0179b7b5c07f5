"""Compute a worked example: every number of one training step of a tiny model.

The model has two positions, width 4, one head, a vocabulary of five tokens, and weights with one decimal. The forward
pass, the loss, the backward pass and a step of AdamW are computed by one_page.py and shown line by line.
"""

import ast
import inspect
import types
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import numpy as np

from gradcheck.names import names_in
from minitransformer import one_page
from minitransformer.book.observation import watched
from minitransformer.book.pictures import board, matrix, written

V, T, C, F, H = 5, 2, 4, 4, 1
IDS, TARGETS = np.array([[3, 1]]), np.array([[1, 4]])
LR = 0.1
Step = namedtuple("Step", "code comment arrays")
GPT = inspect.signature(one_page.gpt).parameters.values()
NAMES = [p.name for p in GPT if p.kind is p.POSITIONAL_OR_KEYWORD]  # names of the weights
SHAPES = {"E": "VC", "P": "TC", "W1": "CF", "W2": "FC", **dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), "CC")}


@dataclass(frozen=True)
class Execution:
    module: types.ModuleType  # the executed module
    forward: list  # Steps of the forward pass
    back: list  # Steps of the backward pass
    gradients: tuple  # gradients that backward returned
    scope: dict  # {name: value} of the local variables of both passes


def execution(theta, old: str = "", new: str = "", **options) -> Execution:
    """Run one_page.py with `old` replaced by `new`. Raises LookupError unless `old` occurs once."""
    source, file = Path(one_page.__file__).read_text("utf-8"), f"one_page.py with {new!r}"
    if old and source.count(old) != 1:
        raise LookupError(f"{old!r} occurs {source.count(old)} times in one_page.py, not once")
    source = source.replace(old, new) if old else source
    module = types.ModuleType("one_page_of_the_book")
    exec(compile(source, file, "exec"), module.__dict__)
    with watched(file) as seen:
        gradients = module.gpt(*theta, **options)[2]()
    scope = seen["gpt"][-1].names | seen["gpt.<locals>.backward"][-1].names
    function = next(node for node in ast.parse(source).body if getattr(node, "name", "") == "gpt")
    within = next(node for node in function.body if isinstance(node, ast.FunctionDef))
    forward, back = (steps(part.body, source.splitlines(), scope) for part in (function, within))
    return Execution(module, forward, back, gradients, scope)


def steps(body, lines, values):
    found = []
    for node in body:
        code, _, comment = lines[node.end_lineno - 1].partition("  #")
        if isinstance(node, ast.Assign) and comment:
            made = {name: values[name] for name in names_in(*node.targets)}
            found.append(Step(code.strip(), comment.strip(), made))
    return found


def weights(seed: int = 0, decimals: int = 1, **sizes) -> list:
    rng, sizes = np.random.default_rng(seed), {"V": V, "T": T, "C": C, "F": F} | sizes
    drawn = {name: rng.normal(0, 0.7, [sizes[axis] for axis in SHAPES.get(name, "C")]) for name in NAMES}
    return [np.round(w / 4 + (name[0] == "g") if w.ndim == 1 else w, decimals) for name, w in drawn.items()]


def training_step(theta) -> tuple[list[Step], list[Step], list]:
    run, step = execution(theta, ids=IDS, targets=TARGETS, H=H), partial(one_page.adamw, m=0.0, v=0.0, t=1, lr=LR)
    moved = [(n, w, g, step(w, g)[0]) for n, w, g in zip(NAMES, theta, run.gradients, strict=True)]
    return run.forward, run.back, moved


def worked_page(seed: int = 0) -> list:
    theta = weights(seed)
    forward, back, moved = training_step(theta)
    settings = {p.name: p.default for p in inspect.signature(one_page.adamw).parameters.values()}
    return [
        "<h1>One training step, every number</h1>",
        f"<p>The inputs are the ids {IDS[0].tolist()}, and the targets {TARGETS[0].tolist()}: T = {T} positions, width "
        f"C = {C}, {H} head, F = {F}, and a vocabulary of V = {V}. The lines, names and numbers are those of "
        "one_page.py. Each row is a position. The weights are</p>",
        board(named(name, w, decimals=1) for name, w in zip(NAMES, theta, strict=True)),
        "<h2>Forward</h2>",
        board_of_steps(forward),
        "<h2>Backward, from the last line to the first</h2>",
        board_of_steps(back),
        "<h2>The first step of AdamW</h2>",
        f"<p>The learning rate is {LR}, the weight decay of matrices {settings['decay']}, and ε = {settings['eps']:g}. "
        "At t = 1, with m = v = 0, the corrected averages are the gradient g and its square. After the decay, each "
        f"weight therefore changes by {LR} g / (|g| + ε), which is nearly {LR} unless g is close to 0.</p>",
        board(f"<div>{named(f'd{name}', g)}{named(f'{name}′', new)}</div>" for name, _, g, new in moved),
    ]


def named(name, array, decimals=3):
    label = f"<var>{escape(name)}</var>" if name else ""
    form = ".0f" if np.array_equal(array, np.round(array)) else f".{decimals}f"
    return matrix(label, array, way="", show=partial(written, form=form))


def board_of_steps(steps):
    lines = ""
    for step in steps:
        arrays = (named(name if len(step.arrays) > 1 else "", array) for name, array in step.arrays.items())
        comment, code = escape(step.comment.partition("(")[0]), escape(step.code)
        lines += f'<div class="step"><span class="comment">{comment}</span><code>{code}</code>{board(arrays)}</div>'
    return f'<div class="steps">{lines}</div>'
