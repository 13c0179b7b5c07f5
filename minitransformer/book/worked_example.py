"""A worked example: every number of one training step of a tiny model.

The model has two positions, width 4, one head, a vocabulary of five tokens, and weights with one decimal. The forward
pass, the loss, the backward pass and a step of AdamW are computed by one_page.py and shown line by line.
"""

import ast
import inspect
from dataclasses import dataclass
from functools import partial
from html import escape

import numpy as np

from minitransformer import one_page
from minitransformer.book.matrices import board, matrix, with_decimals
from minitransformer.book.observation import watched

V, T, C, F, H = 5, 2, 4, 4, 1
IDS, TARGETS = np.array([[3, 1]]), np.array([[1, 4]])
LR = 0.1


@dataclass(frozen=True)
class Step:
    """One statement of the training step: its code, its comment, and its results as {name: array}."""

    code: str
    comment: str
    arrays: dict


def weights(seed: int = 0) -> list:
    """Return float64 weights for one_page.gpt, rounded to one decimal."""
    rng = np.random.default_rng(seed)
    shapes = [(V, C), (T, C), (C,), (C,), *[(C, C)] * 4, (C,), (C,), (C, F), (F, C), (C,), (C,)]
    drawn = [rng.integers(-5, 6, shape) / 10 for shape in shapes]
    for gain in (2, 8, 12):
        drawn[gain] = 1 + drawn[gain] / 5
    return [np.round(w, 1) for w in drawn]


def names() -> list:
    parameters = inspect.signature(one_page.gpt).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def worked(theta) -> tuple[list[Step], list[Step], list]:
    """Return (forward steps, backward steps, [(name, θ, gradient, θ′), …])."""
    with watched(one_page.__file__) as seen:
        _, _, backward = one_page.gpt(*theta, ids=IDS, targets=TARGETS, H=H)
        gradients = backward()
    forward_names, backward_names = seen["gpt"][-1].names, seen["gpt.<locals>.backward"][-1].names
    function = ast.parse(inspect.getsource(one_page.gpt)).body[0]
    within = next(node for node in function.body if isinstance(node, ast.FunctionDef))
    lines = inspect.getsource(one_page.gpt).splitlines()
    forward, back = steps(function.body, lines, forward_names), steps(within.body, lines, backward_names)
    step = partial(one_page.adamw, m=0.0, v=0.0, t=1, lr=LR)
    moved = [(n, w, g, step(w, g)[0]) for n, w, g in zip(names(), theta, gradients, strict=True)]
    return forward, back, moved


def steps(body, lines, values):
    found = []
    for node in body:
        code, _, comment = lines[node.end_lineno - 1].partition("  #")
        if isinstance(node, ast.Assign) and comment:
            made = [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            found.append(Step(code.strip(), comment.strip(), {name: values[name] for name in made}))
    return found


def worked_page(seed: int = 0) -> list:
    theta = weights(seed)
    forward, back, moved = worked(theta)
    return [
        "<h1>One training step, every number</h1>",
        f"<p>The inputs are the ids {IDS[0].tolist()}, and the targets {TARGETS[0].tolist()}: T = {T} positions, width "
        f"C = {C}, {H} head, F = {F}, and a vocabulary of V = {V}. The lines, names and numbers are those of "
        "one_page.py. Each row is a position. The weights are</p>",
        board(named(name, w, decimals=1) for name, w in zip(names(), theta, strict=True)),
        "<h2>Forward</h2>",
        steps_in_columns(forward),
        "<h2>Backward, from the last line to the first</h2>",
        steps_in_columns(back),
        "<h2>The first step of AdamW</h2>",
        f"<p>{step_in_words()}</p>",
        board(f"<div>{named(f'd{name}', g)}{named(f'{name}′', new)}</div>" for name, _, g, new in moved),
    ]


def step_in_words():
    settings = {p.name: p.default for p in inspect.signature(one_page.adamw).parameters.values()}
    return (
        f"The learning rate is {LR}, the weight decay of matrices {settings['decay']}, and ε = {settings['eps']:g}. At "
        "t = 1, with m = v = 0, the corrected averages are the gradient g and its square. After the decay, each weight "
        f"therefore changes by {LR} g / (|g| + ε), which is nearly {LR} unless g is close to 0."
    )


def named(name, array, decimals=3):
    """Return an array with its name, without decimals if all entries are integers."""
    label = f"<var>{escape(name)}</var>" if name else ""
    return matrix(label, array, with_decimals(0 if np.array_equal(array, np.round(array)) else decimals))


def steps_in_columns(steps):
    return f'<div class="steps">{"".join(map(line, steps))}</div>'


def line(step):
    arrays = (named(name if len(step.arrays) > 1 else "", array) for name, array in step.arrays.items())
    return (
        f'<div class="step"><span class="comment">{escape(step.comment.partition("(")[0])}</span>'
        f"<code>{escape(step.code)}</code>{board(arrays)}</div>"
    )
