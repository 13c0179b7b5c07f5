"""Find typical mistakes of a component in a wrong backward pass.

A component is a right version of the function under examination, with a list of mistakes that learners often make in
it. Each mistake is made in a copy of the right function. If every gradient that it changes then equals the gradient of
the wrong backward pass on every draw of the inputs, the wrong function contains this mistake, however it is written.
"""

import ast
import functools
import inspect
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradcheck.contract import gradients_of
from gradcheck.lines.instrument import close
from gradcheck.lines.report import equation_in
from gradcheck.mistakes.patterns import holes, parsed, same
from gradcheck.mistakes.planter import codes_of, copy_with, key_of, tree_of, with_node
from gradcheck.mistakes.row import Row, mistake
from gradcheck.report import GradientError

DIGITS = 1e-9  # relative to the largest entry
NOISE = 1e-11  # a gradient that should be 0 may deviate by this, relative to the largest entry of all gradients
FAILURES = (ValueError, TypeError, IndexError, ArithmeticError, KeyError, AttributeError, NameError)
RETURN, LOOP = "return", "for"  # the place of a returned call, and of the iterable of a loop


@dataclass(frozen=True)
class Component:
    """The right version of a function, and the mistakes that are typical of it.

    `function` is a function, or a class with a method `forward`. A row is a mistake. It applies to the statement that
    assigns to `where` or, without `where`, to each statement of backward, and then to all parts that match. `adapted`
    converts the right function, and each function with a mistake, so that they return the same result as the function
    under examination.
    """

    function: Callable
    rows: tuple[Row, ...] = field(repr=False)
    adapted: Callable[[Callable], Callable] = lambda function: function


@dataclass(frozen=True)
class Typical:
    """A typical mistake that explains wrong gradients."""

    row: Row
    where: str  # the target of the statement, such as "dq, dk, dv"
    equation: str  # the number in the comment of the statement, such as "(6)", or ""
    known: frozenset  # the targets of all statements of the component's backward
    explained: int = 0  # number of gradients that it explains

    @property
    def names(self):
        return [] if self.where in (RETURN, LOOP) else self.where.split(", ")

    @property
    def at(self):
        """The beginning of a sentence about another line, such as "(6) dx_hat: "."""
        return f"{self.equation} {', '.join(self.names)}".strip() + ": " if self.names else ""


def typical(kind: str, wrong: str, sentence: str, *, where: str, rank: int = 1) -> Row:
    """Create a row for a component: a typical mistake in one statement of backward.

    The value of the statement with the target `where` is replaced with the code `wrong`, in which V stands for the
    right value. Other names in capital letters are names of the component.
    """
    own: Any = {name: name for name in holes(parsed(wrong)) - {"V"}}
    return mistake(kind, "V", wrong, sentence, at="value", where=where, rank=rank, **own)


class _Names:
    """The names that may replace a placeholder in the rows of a component.

    A class of placeholders is a list of names, separated by commas, that may match, or the name that fills the
    placeholder.
    """

    def admits(self, kind, code, place):
        return getattr(code, "id", "") in kind.split(",")

    def members(self, kind, bound, place):
        return [ast.Name(kind, ast.Load())]


class Source:
    """The source code of a component, from which copies with a mistake are made."""

    def __init__(self, function):
        self.function, self.tree = function, tree_of(function)
        self.text, self.first = inspect.getsource(function).splitlines(), function.__code__.co_firstlineno
        backward = [node for node in ast.walk(self.tree) if getattr(node, "name", "") == "backward"]
        if not backward:
            raise ValueError(f"component: {function.__name__} defines no function `backward` within itself")
        self.statements = list(_statements(backward[0]))
        self.known = frozenset(name for where, _ in self.statements for name in where.split(", "))

    def require_places(self, rows):
        places = [where for where, _ in self.statements]
        for row in rows:
            if row.where and row.where not in places:
                name, listed = self.function.__name__, ", ".join(map(repr, places))
                raise ValueError(f"component: where must be a target in {name}.backward ({listed}), not {row.where!r}")

    def mistakes(self, rows):
        """Yield (Typical, function) for each mistake in `rows` and each statement in which it can be made.

        `function` is a copy of the component with this mistake.
        """
        for row in rows:
            for where, value in self.statements:
                if row.where == where or (not row.where and "," not in where):
                    nodes = [value] if row.at == "value" else ast.walk(value)
                    edits = [edit for node in nodes for edit in row.mistakes(node, _Names(), None)]
                    if not all(same(edit.old, edit.new) for edit in edits):
                        equation = equation_in(self.text[value.end_lineno - self.first])
                        tree = self.tree
                        for edit in edits:
                            tree = with_node(tree, edit.old, edit.new)
                        codes = codes_of(ast.fix_missing_locations(tree), "<a mistake>")
                        wrong = copy_with(self.function, codes[key_of(self.function.__code__)])
                        yield Typical(row, where, equation, self.known), wrong


def _statements(backward):
    """Yield (target, value), both parts of an assignment, for the statements of a backward pass.

    For a returned call, the target is "return". For another call, such as np.add.at, it is the first argument. For a
    loop, the target is "for" and the value is the iterable.
    """
    for node in ast.walk(backward):
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]).strip("()"), node.value
        elif isinstance(node, ast.For):
            yield LOOP, node.iter
        elif isinstance(node, (ast.Return, ast.Expr)) and isinstance(node.value, ast.Call):
            yield RETURN if isinstance(node, ast.Return) else ast.unparse(node.value.args[0]), node.value


source_of = functools.cache(Source)


class Trial:
    """Compares a function under examination with the right version of it, on one draw of the inputs.

    `truth` contains the gradients of the right version, or None if it raises an exception on these inputs. `wrong`
    contains the positions of the arguments whose gradients are wrong.
    """

    def __init__(self, component, function, scene):
        self.component, self.scene, run = component, scene, scene.run
        pairs = enumerate(zip(run.gradients, run.missing, strict=True))
        self.given = {i: g for i, (g, is_missing) in pairs if not is_missing and np.isfinite(g).all()}
        self.truth = self.gradients(function)
        truth = self.truth or {}
        self.floor = NOISE * max((np.max(np.abs(g), initial=0.0) for g in truth.values()), default=0.0)
        self.wrong = {i for i in truth.keys() & self.given.keys() if not self._is_near(self.given[i], truth[i])}

    def gradients(self, function):
        """Run `function`, a version of the component, and return {position of the argument: gradient}.

        Returns None if an exception is raised.
        """
        run = self.scene.in_use().run
        call = run.call.on(run.call.inputs)
        try:
            with np.errstate(all="ignore"), _called(self.component.function, self.component.adapted(function), call):
                gradients = gradients_of(call, run.arguments, run.dy)
        except (*FAILURES, GradientError):  # the mistake cannot be made with these inputs
            return None
        return {i: gradient for i, gradient in enumerate(gradients) if np.isfinite(gradient).all()}

    def explained(self, function):
        """Return the positions of the wrong gradients that a mistake explains.

        `function` is a copy of the component with this mistake. Returns None if the mistake also changes a gradient in
        a way that the function under examination does not.
        """
        gradients = self.gradients(function)
        if gradients is None or self.truth is None:
            return None
        changed = {i for i, g in gradients.items() if i not in self.truth or not self._is_near(g, self.truth[i])}
        is_given = all(self._is_near(self.given[i], gradients[i]) for i in changed & self.given.keys())
        return changed if is_given else None

    def _is_near(self, a, b):
        return close(a, b, DIGITS, self.floor)


@contextmanager
def _called(right, function, call):
    """Within a `with` block, make a Call use `function`, a version of the component.

    `right` is the component. If it is a class, the class of the module that is called, or of an attribute of this
    module, is replaced.
    """
    if not isinstance(right, type):
        call.target = function
        yield
        return
    module = next((m for m in (call.target, *vars(call.target).values()) if isinstance(m, right)), None)
    if module is None:
        raise TypeError(f"{type(call.target).__name__} is not a {right.__name__}, and has no attribute that is one")
    own = type(module)
    module.__class__ = type(right.__name__, (right,), {"forward": function})
    try:
        yield
    finally:
        module.__class__ = own


def typical_mistakes(component, scenes):
    """Return the typical mistakes that explain wrong gradients on all draws of the inputs.

    Those that explain the most gradients come first.
    """
    function = inspect.unwrap(getattr(component.function, "forward", component.function))
    source = source_of(function)
    source.require_places(component.rows)
    trials = [Trial(component, function, scene) for scene in scenes if scene is not None]
    first, *others = [trial for trial in trials if trial.truth is not None] or [None]
    found = []
    for one, wrong in source.mistakes(component.rows) if first and first.wrong else ():
        explained = first.explained(wrong)
        if explained and all(explained & other.wrong <= (other.explained(wrong) or set()) for other in others):
            found.append(replace(one, explained=len(explained)))
    return sorted(found, key=lambda one: -one.explained)
