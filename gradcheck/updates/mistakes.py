"""Name the mistake in a wrong update.

Mistakes are inserted into the formula until it gives the same numbers as the update, to nine digits, at every step of
two sequences of steps. The mistakes are those of the tables in gradcheck/mistakes and below, and mistakes in the code
around the formula, such as a state that is not kept. Single mistakes are tried first, and pairs of mistakes last.
"""

import ast
import copy
import itertools
import re
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from gradcheck.mistakes import KINDS, ROWS, Reader, Student, rows_of, with_node
from gradcheck.mistakes.patterns import parsed
from gradcheck.mistakes.planter import codes_of, copy_with, key_of, tree_of
from gradcheck.mistakes.planting import possible_mistakes
from gradcheck.names import names_in
from gradcheck.updates.course import agrees, clip_factors, read_formula
from gradcheck.updates.formulas import FORMULAS

NOBODY = Student("", {})
SMALL = 1e-5  # relative error of a step: larger than rounding in float32, smaller than the effect of a mistake
DECAY, L2 = "theta = theta - lr * weight_decay * theta", "g = g + weight_decay * theta"
L2_TIMES_LR, UNSCALED = L2.replace("+ ", "+ lr * "), DECAY.replace("lr * ", "")

# Mistakes in one line of a formula, in the notation of gradcheck/mistakes/table.py
TABLE = f"""
sign flipped: the step has the wrong sign | theta - step → theta + step
term dropped: the weight decay is missing | {DECAY} → pass | {L2} → pass
power changed: t + 1 stands where t belongs | A ** t → A ** (t + 1)
power changed: t - 1 stands where t belongs | A ** t → A ** (t - 1)
power changed: the power t is missing, or t stays 1 | A ** t → A
power changed: the power is always 2, not t | A ** t → A ** 2
brackets misplaced: the root is divided, not v | sqrt(v_hat) → sqrt(v_new) / (1 - beta2 ** t)
names exchanged: β and 1 − β are exchanged | A * B + (1 - A) * C → (1 - A) * B + A * C
power changed: the absolute value stands where the square belongs | A ** 2 → abs(A)
power changed: the gradient is squared twice | A ** 2 → A ** 4
brackets misplaced: 1 − β is squared together with the gradient | A * B ** 2 → (A * B) ** 2
brackets misplaced: the mean is squared together with the gradient | A + B * C ** 2 → (A + B * C) ** 2
brackets misplaced: ε is inside the root | A + eps → sqrt(A ** 2 + eps) | A + eps → sqrt(A ** 2 + eps ** 2)
brackets misplaced: ε is added before the bias of v is corrected | A + eps → A + eps / sqrt(1 - beta2 ** t)
brackets misplaced: parentheses around the root and ε are missing | A / (B + eps) → A / B - eps
brackets misplaced: parentheses around the root and ε are missing | A / (B + eps) → A / B + eps
brackets misplaced: ε is added to the quotient, not to the root | lr * A / (B + eps) → lr * (A / B + eps)
update changed: the decay is coupled, as L2 regularisation | {DECAY} → {L2} | {DECAY} → {L2_TIMES_LR}
update changed: the decay is of the gradient, not of θ | {DECAY} → theta = theta - weight_decay * g
update changed: the weight decay is decoupled, as in AdamW | {L2} → {DECAY} | {L2} → {UNSCALED}
factor added: the decay is multiplied by lr | {L2} → {L2_TIMES_LR}
term dropped: the decay is missing from v | A ** 2 → (A - weight_decay * theta) ** 2
factor added: the gradient is multiplied by 1 − momentum | A * B + g → A * B + (1 - A) * g
update changed: the momentum multiplies the gradient, not the velocity | A * B + g → B + A * g
brackets misplaced: the momentum multiplies the gradient too | A * B + g → A * (B + g)
sign flipped: the momentum has the wrong sign | A * B + g → g - A * B
update changed: the momentum is Nesterov's | lr * velocity_new → lr * (g + momentum * velocity_new)
update changed: the momentum is plain, not Nesterov's | g + momentum * velocity_new → velocity_new
term added: it is added to the gradient in m | A * g → A * (g + weight_decay * theta)
update changed: it is divided by the root | lr * m_hat → lr * (m_hat + weight_decay * theta)
update changed: it is subtracted after the step | theta - step → (theta - step) * (1 - lr * weight_decay)
update changed: it is subtracted after the step | theta - step → (theta - step) * (1 - weight_decay)
update changed: v stands where m belongs | lr * m_hat → lr * v_hat
update changed: m stands where v belongs | sqrt(v_hat) → sqrt(m_hat)
update changed: m_hat and v_hat are kept for the next step | A, m_new, v_new → A, m_hat, v_hat
factor added: lr multiplies twice | lr * A → lr * lr * A
factor changed: it is twice as large | A * B → 2 * A * B
factor changed: it is half as large | A * B → A * B / 2
"""
OF_UPDATES = rows_of(TABLE)
# Two mistakes of these kinds may occur together.
USUAL = ("factor dropped", "division dropped", "term dropped", "sign flipped", "power changed")
TWINS = re.compile(r"\bm(?=_|\b)|\bv(?=_|\b)|(?<=beta)[12]| \*\* 2")  # the differences between m and v


class Change(NamedTuple):
    """One or two mistakes in a formula.

    `lines` maps the index of each changed statement to (wrong statement, hint), where a hint is a pair (sentence
    without code, kind).
    """

    sentence: str
    lines: dict
    kind: str = "name replaced"


class Lines:
    """The statements of a built-in formula, in which mistakes can be made."""

    def __init__(self, formula):
        self.formula = formula
        (node,) = tree_of(formula.function).body
        self.closure = SimpleNamespace(node=node, around=(), module=ast.parse("from numpy import sqrt"))
        self.statements = node.body[1:]  # without the docstring
        self.texts = list(map(ast.unparse, self.statements))
        self.names = {*names_in(node), "abs", "sqrt", *formula.settings, *formula.state, "theta", "g", "t"}

    def changed(self, change):
        lines, function = [*self.statements], self.formula.function
        for i, (wrong, _) in change.lines.items():
            lines[i] = wrong
        node = copy.copy(self.closure.node)
        node.body = lines
        code = codes_of(ast.Module([node], []), "<formula>")[key_of(function.__code__)]
        return replace(self.formula, function=copy_with(function, code))

    def changes(self, rows):
        """Return the mistakes that the rows of a table make in this formula."""
        by_place = {at: [row for row in rows if row.at == at] for at in ("expression", "value", "statement", "pair")}
        found = {}
        for edit, _ in possible_mistakes(self.closure, rows=by_place):
            i = next(k for k, s in enumerate(self.statements) if any(node is edit.old for node in ast.walk(s)))
            text, kind = ast.unparse(with_node(self.statements[i], edit.old, edit.new)), edit.row.kind
            wrong = parsed(text)
            if {*names_in(wrong)} <= self.names:  # otherwise the row is for another formula
                hint = edit.sentence(NOBODY) or KINDS[kind].sentence, kind
                found.setdefault((i, text), Change(edit.sentence(Reader()), {i: (wrong, hint)}, kind))
        return list(found.values())

    def renamed(self):
        """Yield changes that exchange two names, or replace one of them in a line."""
        everywhere, kind = range(len(self.texts)), "name replaced"
        for a, b in (("beta1", "beta2"), ("theta", "g")):
            tried = [({a: b, b: a}, everywhere, f"{a} and {b} are exchanged")]
            tried += [({x: y}, [i], f"{y} stands where {x} belongs") for i in everywhere for x, y in ((a, b), (b, a))]
            for names, indices, sentence in tried:
                lines = {}
                for i in indices:
                    text = re.sub(r"\w+", lambda found, names=names: names.get(found[0], found[0]), self.texts[i])
                    if text != self.texts[i]:
                        lines[i] = parsed(text), (KINDS[kind].sentence, kind)
                if lines:
                    yield Change(sentence, lines)

    def pairs(self, changes):
        """Return the pairs of changes, first those with the same mistake in m and in v."""
        alike = [TWINS.sub("", str(self.quoted(change))) for change in changes]
        pairs = itertools.combinations(zip(changes, alike, strict=True), 2)
        apart = [(a, b, x != y) for (a, x), (b, y) in pairs if not a.lines.keys() & b.lines.keys()]
        return [
            Change("; and ".join(dict.fromkeys([a.sentence, b.sentence])), a.lines | b.lines)
            for a, b, _ in sorted(apart, key=lambda pair: pair[2])
        ]

    def quoted(self, change):
        return [(self.texts[i], ast.unparse(wrong)) for i, (wrong, _) in sorted(change.lines.items())]

    def explanation(self, change):
        """Describe a change, with a pair (name, hint) for each changed line."""
        pairs = self.quoted(change)
        quoted = [f"without `{old}`" if new == "pass" else f"`{new}` in place of `{old}`" for old, new in pairs]
        targets = [(self.statements[i], hint) for i, (_, hint) in sorted(change.lines.items())]
        hints = tuple((s.targets[0].id if isinstance(s, ast.Assign) else "the result", *hint) for s, hint in targets)
        return f"{change.sentence}: {' and '.join(quoted)}" if len(pairs) <= 2 else change.sentence, hints


@cache
def mistakes_in(name):
    """Return the lines of a built-in formula, and the mistakes that can be made in them.

    The mistakes are two lists: those that are typical of updates, and those of the general table.
    """
    lines = Lines(read_formula(name))
    return lines, [*lines.changes(OF_UPDATES), *lines.renamed()], lines.changes(ROWS)


def name_the_mistake(formula, courses, largest):
    """Return (sentence, hints) about the mistake, both empty if it is not found.

    A hint is a tuple of a name that the formula assigns, a sentence without code, and the kind of mistake.
    """
    for sentence, hints in _explanations(formula, courses, largest):
        if sentence:
            return sentence, hints or (("", sentence, ""),)
    return "", ()


def _explanations(formula, courses, largest):
    """Try each kind of explanation, the simplest first, and yield (sentence, hints)."""
    yield _unmoved(courses[0]), ()
    is_built_in = FORMULAS.get(formula.name) is formula.function
    lines, own, general = mistakes_in(formula.name) if is_built_in else (None, [], [])
    habits = list(mistakes_around(formula, courses[0]))

    def first(changes, **habit):
        for change in changes:
            if all(agrees(lines.changed(change), course, **habit) for course in courses):
                return lines.explanation(change)
        return "", ()

    outside = next((said for said, habit in habits if all(agrees(formula, c, **habit) for c in courses)), "")
    sentence, hints = first([*own, *general])
    yield "; or ".join(filter(None, (outside, sentence))), hints or (("", outside, "update changed"),)
    yield "errors this small may come from float32 or from a rounded constant" if largest < SMALL else "", ()
    if formula.counts and not np.isfinite(np.concatenate(courses[0].thetas[1], axis=None)).any():
        yield "no entry is finite after the first step, as if t began at 0, where 1 - beta1 ** t is 0", ()
    usual = own + [change for change in general if change.kind in USUAL]
    yield first(lines.pairs(usual) if lines else ())
    for outside, habit in habits:
        sentence, hints = first(usual, **habit)
        yield f"{outside}; and {sentence}" if sentence else "", hints


def mistakes_around(formula, course):
    """Yield mistakes in the code around a formula, as (sentence, options of `follow`)."""
    names, everything = " and ".join(formula.state), tuple(range(len(formula.state)))
    if formula.counts:
        yield (
            f"nothing is kept for the next step: {names} begin at 0, and t at 1",
            {"lost": everything, "count": lambda step, i: 1},
        )
        yield "t stays 1", {"count": lambda step, i: 1}
        yield "t counts parameters, not steps", {"count": lambda step, i: len(course.starts) * (step - 1) + i + 1}
    if len(everything) > 1:
        yield f"the new {names} are not kept for the next step", {"lost": everything}
    for k, name in enumerate(formula.state):
        yield f"the new {name} is not kept for the next step", {"lost": (k,)}
        yield f"{name} begins at 1, not at 0", {"ones": (k,)}
    if everything:
        yield f"all parameters share one {names}", {"shared": True}
    if course.max_norm is not None:
        yield "the gradients are not clipped, or too late", {"clip": lambda g, _: [np.ones(a.shape) for a in g]}
        yield "each entry is clipped, not the norm", {"clip": lambda g, n: [np.minimum(1, n / np.abs(a)) for a in g]}
        yield "small gradients are scaled up to max_norm", {"clip": lambda g, n: clip_factors(g, n, np.inf)}
        if course.jointly:
            by_own = {"clip": lambda g, n: [clip_factors([a], n)[0] for a in g]}
            yield "each gradient is clipped by its own norm, not all by their common norm", by_own


def _unmoved(course):
    moved = [any(np.any(theta[i] != start) for theta in course.thetas) for i, start in enumerate(course.starts)]
    if not any(moved):
        return "no parameter ever moves: the new θ is neither returned nor stored in place"
    return "" if all(moved) else f"parameter {moved.index(False)} never moves"
