"""Record, and replace, the value of each expression of a learner's functions.

An expression E becomes `probe(site, lambda: E)`. If it raises an exception, its value is NaN and the code goes on, so
that one mistake hides no other line. Nothing changes while the probe is off, as in the forward pass.
"""

import ast
import copy
import itertools
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gradcheck.mistakes.planter import codes_of, key_of, planted
from gradcheck.names import names_bound

PROBE = "__minitransformer_probe__"
FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError, ValueError)
NOT_WRAPPED = (ast.Slice, ast.Starred, ast.JoinedStr, ast.FormattedValue)
OF_THE_FRAME = ("super", "locals", "vars", "dir", "eval", "exec")  # functions that do not work within a lambda
# Expressions whose parts are evaluated several times or not at all.
SOMETIMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.IfExp, ast.BoolOp)
MOST_EVENTS, MOST_FACTORS = 20_000, 5


@dataclass(frozen=True, eq=False)
class Event:
    """The record of one value of an expression. Each part of a tuple has an Event of its own."""

    keys: (
        tuple  # (site, number of earlier values, index of the part) of each, or () for a value that is not in the code
    )
    value: np.ndarray
    is_fixed: bool = False  # True for a constant in the code
    is_missing: bool = False  # True if the expression raised an exception or is a blank
    sizes: tuple = ()  # sizes of the values of a loop


class Probe:
    def __init__(self):
        self.is_on, self.changes = False, {}
        self.events: list[Event] = []
        self.counts, self.last = {}, {}

    @property
    def failures(self):
        return FAILURES if self.is_on else ()

    def __call__(self, site, evaluate, parts=0, factors=(), is_fixed=False):
        """Evaluate an expression by calling `evaluate`, record the value, and return it.

        `site` is the number of the expression. If the value is assigned to several names, as in `a, b = f(x)`, `parts`
        is their number. For a product, `factors` lists (site, 1) for each factor and (site, -1) for each divisor. The
        products of some of them are recorded too, because a learner may multiply in any order. A value whose key is in
        `self.changes` is replaced before it is returned.
        """
        if not self.is_on:
            return evaluate()
        is_missing = False
        try:
            value = evaluate()
            if parts:
                value = tuple(value)
                is_missing = len(value) != parts
        except FAILURES:
            is_missing = True
        is_missing = is_missing or value is ...
        if is_missing:
            value = (np.nan,) * parts if parts else np.nan
        if len(self.events) > MOST_EVENTS:  # the results count, and no other value
            return value
        nth = self.counts[site] = self.counts.get(site, -1) + 1
        several, is_changed = isinstance(value, (tuple, list)), False
        found = list(value) if several else [value]
        for k, part in enumerate(found):
            array, key = array_of(part), (site, nth, k)
            if array is not None:
                self.events.append(Event((key,), array.copy(), is_fixed, is_missing))
                if key in self.changes:
                    found[k], is_changed = fitted(self.changes[key], array, is_missing), True
        if is_changed:  # otherwise it stays the same object, into which later statements may write
            value = tuple(found) if several else found[0]
        self.last[site] = array_of(value)
        for some in subsets(factors):
            self.record_product([(self.last.get(at), power) for at, power in some])
        return value

    def record_product(self, factors):
        if all(array is not None for array, _ in factors):
            with np.errstate(all="ignore"):
                try:
                    product = np.prod([1.0])
                    for array, power in factors:
                        product = product * array if power > 0 else product / array
                except ValueError:
                    return
            self.events.append(Event((), np.asarray(product)))

    @contextmanager
    def running(self, changes):
        """Record the values of expressions within a `with` block, and yield the list of their Events.

        `changes` maps the keys of Events to values that replace the computed ones.
        """
        self.is_on, self.changes, self.events, self.counts, self.last = True, changes, [], {}, {}
        try:
            with np.errstate(all="ignore"):
                yield self.events
        finally:
            self.is_on = False


def with_stacks(events) -> list[Event]:
    """Add an Event for each expression in a loop, whose value joins the values of all iterations."""
    found = {}
    for event in events:
        for site, _, k in event.keys:
            found.setdefault((site, k), []).append(event)
    several = [some for some in found.values() if len(some) > 1 and not any(e.is_fixed or e.is_missing for e in some)]
    return [*events, *map(stack, several)]


def stack(events) -> Event:
    value, sizes = np.concatenate([event.value.ravel() for event in events]), [event.value.size for event in events]
    return Event(tuple(event.keys[0] for event in events), value, sizes=tuple(sizes))


def array_of(value):
    """Convert a number or an array to an array of floats. Return None for any other value."""
    if isinstance(value, (np.ndarray, np.generic, float, int)) and not isinstance(value, (bool, np.bool_)):
        array = np.asarray(value)
        return array.astype(float) if array.dtype.kind in "fiu" else None
    return None


def fitted(new, array, is_missing):
    """Return a copy of `new` in the shape of `array`, the value that it replaces, if the sizes agree."""
    return np.array(new) if is_missing or new.size != array.size else np.array(new).reshape(array.shape)


def subsets(factors):
    if not 3 <= len(factors) <= MOST_FACTORS:
        return []
    return [some for n in range(2, len(factors)) for some in itertools.combinations(factors, n)]


@contextmanager
def probed(source: str, module):
    """Insert probes into the functions of a module within a `with` block, and yield the Probe.

    `source` is the source code of the module.
    """
    probe, functions = Probe(), list(functions_of(module))
    tree = Probes().visit(copy.deepcopy(ast.parse(source)))
    codes = codes_of(ast.fix_missing_locations(tree), module.__file__)
    pairs = [(function, codes.get(key_of(function.__code__))) for function in functions]
    vars(module)[PROBE] = probe
    try:
        with planted((f, code) for f, code in pairs if code and code.co_freevars == f.__code__.co_freevars):
            yield probe
    finally:
        del vars(module)[PROBE]


def functions_of(module):
    """Yield the functions of a module and the methods of its classes, without those imported from other files."""
    for value in vars(module).values():
        for function in vars(value).values() if isinstance(value, type) else [value]:
            if getattr(getattr(function, "__code__", None), "co_filename", "") == module.__file__:
                yield function


class Probes(ast.NodeTransformer):
    """Replaces each expression E in the functions of a module with `probe(site, lambda: E)`."""

    def __init__(self):
        self.site, self.local = 0, {}

    def visit_FunctionDef(self, node):
        outer, self.local = self.local, names_bound(*node.body)
        start = ast.get_docstring(node, clean=False) is not None
        node.body = [*node.body[:start], *self.block(node.body[start:])]
        self.local = outer
        return node

    def block(self, statements):
        return [new for statement in statements for one in hoisted(statement) for new in self.statement(one)]

    def statement(self, node):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            return [self.visit(node)]
        if any(isinstance(n, (ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)) for n in ast.walk(node)):
            return [node]
        written = [name for name in names_written(node) if name in self.local]
        bound = names_bound(node)
        targets = getattr(node, "targets", None) or [ast.Tuple([])]
        is_unpacked = isinstance(node, ast.Assign) and isinstance(targets[0], ast.Tuple)
        parts = len(targets[0].elts) if is_unpacked else 0
        if any(isinstance(n, ast.Starred) for n in getattr(targets[0], "elts", ())):
            parts = 0
        for field, value in list(ast.iter_fields(node)):
            if field in ("body", "orelse", "finalbody"):
                setattr(node, field, self.block(value))
            elif field == "value" and isinstance(value, ast.expr):
                node.value = self.expression(value, parts)
            elif field in ("iter", "test", "exc"):
                setattr(node, field, self.expression(value))
            elif field == "items":
                for item in value:
                    item.context_expr = self.expression(item.context_expr)
            elif field == "handlers":
                for handler in value:
                    handler.body = self.block(handler.body)
        again = [self.assigned(node, name, self.wrapped(node, ast.Name(name, ast.Load()))) for name in written]
        lost = [self.assigned(node, name, ast.Constant(np.nan)) for name in bound] or [ast.Pass()]
        failures = ast.Attribute(ast.Name(PROBE, ast.Load()), "failures", ast.Load())
        if isinstance(node, (ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Break, ast.Continue, ast.Pass)):
            return [node]
        return [ast.copy_location(ast.Try([node, *again], [ast.ExceptHandler(failures, None, lost)], [], []), node)]

    def assigned(self, node, name, value):
        return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], value), node)

    def expression(self, node, parts=0, in_product=False):
        """Wrap an expression and its parts in probes. `parts` is the number of names to which it is assigned."""
        if node is None or isinstance(node, NOT_WRAPPED):
            return node
        if isinstance(node, ast.Constant) and not isinstance(node.value, (int, float, type(...))):
            return node
        factors = []
        if isinstance(node, ast.Lambda):
            node.body = self.expression(node.body)
            return node
        if is_product(node):
            node = self.product(node, 1, factors)
        elif isinstance(node, ast.Call):
            if getattr(node.func, "id", "") in OF_THE_FRAME:
                return node
            if isinstance(node.func, ast.Attribute):
                node.func.value = self.expression(node.func.value)
            node.args = [self.starred(argument) for argument in node.args]
            for keyword in node.keywords:
                keyword.value = self.expression(keyword.value)
        elif isinstance(node, ast.Subscript):
            node.value = self.expression(node.value)
        elif isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.SetComp)):
            node.elt = self.expression(node.elt)
            for generator in node.generators:
                generator.iter = self.expression(generator.iter)
            if isinstance(node, ast.GeneratorExp):
                return node
        elif isinstance(node, (ast.Tuple, ast.List)):
            node.elts = [self.starred(element) for element in node.elts]
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name):  # such as np.pi and self.scale
                return self.wrapped(node, node)
            node.value = self.expression(node.value)
        elif not isinstance(node, (ast.Name, ast.Constant, ast.DictComp)):
            for field, value in ast.iter_fields(node):
                if isinstance(value, ast.expr):
                    setattr(node, field, self.expression(value))
                elif isinstance(value, list):
                    setattr(node, field, [self.expression(v) if isinstance(v, ast.expr) else v for v in value])
        return self.wrapped(node, node, parts, factors)

    def product(self, node, power, factors):
        """Return a syntax tree in which the factors of a product are wrapped in probes.

        `power` is 1, or -1 within a divisor. For each factor, (number of its probe, power) is appended to `factors`.
        """
        if not is_product(node):
            wrapped = self.expression(node)
            if isinstance(wrapped, ast.Call) and getattr(wrapped.func, "id", "") == PROBE:
                factors.append((wrapped.args[0].value, power))
            return wrapped
        node.left = self.product(node.left, power, factors)
        node.right = self.product(node.right, -power if isinstance(node.op, ast.Div) else power, factors)
        return self.wrapped(node, node)

    def starred(self, node):
        if isinstance(node, ast.Starred):
            node.value = self.expression(node.value)
            return node
        return self.expression(node)

    def wrapped(self, node, value, parts=0, factors=()):
        self.site += 1
        nothing = ast.arguments([], [], None, [], [], None, [])
        settings = {"parts": parts, "factors": tuple(factors), "is_fixed": isinstance(value, ast.Constant)}
        keywords = [ast.keyword(name, ast.parse(repr(v), mode="eval").body) for name, v in settings.items() if v]
        call = ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(self.site), ast.Lambda(nothing, value)], keywords)
        return ast.copy_location(call, node)


def hoisted(statement) -> list:
    """Return a statement after one for each `name := value` in it that is evaluated once, in order."""
    found = []

    class Hoisting(ast.NodeTransformer):
        def visit_NamedExpr(self, node):
            value = self.visit(node.value)
            found.append(ast.copy_location(ast.Assign([node.target], value), node))
            return ast.copy_location(ast.Name(node.target.id, ast.Load()), node)

        def generic_visit(self, node):
            is_plain = not isinstance(node, (*SOMETIMES, ast.stmt)) or node is statement
            return super().generic_visit(node) if is_plain else node

    if not isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.While)):
        statement = Hoisting().visit(statement)
    return [*found, statement]


def is_product(node):
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div))


def names_written(statement):
    """Yield the name of each array that a statement changes in place, such as `d` in np.add.at(d, ids, dy)."""
    value = getattr(statement, "value", None)
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    if isinstance(statement, ast.Expr) and isinstance(value, ast.Call):
        targets = value.args[:1] if isinstance(value.func, ast.Attribute) else []
    elif not isinstance(statement, ast.AugAssign):
        targets = [target for target in targets if isinstance(target, ast.Subscript)]
    for target in targets:
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id
