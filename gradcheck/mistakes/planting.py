"""Make mistakes in right code: find the places, and fill the holes of a pattern."""

import ast
import builtins
import itertools
from dataclasses import dataclass, replace

from gradcheck.mistakes.patterns import is_number, number_of
from gradcheck.mistakes.sources import FUNCTION, argument_names, bound_names, called_names, module_names
from gradcheck.mistakes.table import ROWS
from gradcheck.names import names_in

TRANSPOSES = ("swapaxes", "transpose", "moveaxis")
PRODUCTS = ("dot", "matmul", "outer", "inner", "tensordot")
TURNED = ("T", "mT", *TRANSPOSES)
ABOUT_AN_ARRAY = ("shape", "dtype", "ndim", "size")
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Attribute, ast.Subscript, ast.Call, ast.IfExp)
NOT_ARITHMETIC = (
    *(ast.Tuple, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.GeneratorExp, ast.Lambda, ast.JoinedStr, ast.Starred),
)
BY_PLACE = {at: [row for row in ROWS if row.at == at] for at in {row.at for row in ROWS}}
ONLY_REPAIRED = ("unplanted", "positive", "called", "callables", "kept_axes")  # classes of holes
UNTOUCHED = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


@dataclass(frozen=True)
class Place:
    """The context of a piece of code in a function."""

    parent: ast.AST
    lines: tuple  # the first and the last line of the statement
    needs_atom: bool = False  # True for the operand of an operator, whose replacement may need parentheses
    is_whole: bool = False  # True for the whole value of an assignment, and for a gradient that is returned
    is_stored: bool = False  # True for the target of an assignment
    elements: tuple = ()  # (tuple, first index, second index) for a pair of elements of a tuple


class Scope:
    """The names that are visible in a function, and the code that may fill holes.

    The keys of `tests` and `lists` are classes of holes. A hole in the pattern to replace may match code only if
    `tests[class](code, place)` returns True. It may match any code if its class has no test. A hole that occurs only in
    the new pattern is filled with each element of `lists[class](filled holes, place)`, or not at all without a list.
    """

    def __init__(self, closure):
        self.names, self.modules = module_names(closure.module)
        self.locals = bound_names(closure.node)
        self.around = [bound_names(function) for function in reversed(closure.around)]
        self.called = called_names(closure.around[0] if closure.around else closure.node)
        arguments = [name for name in argument_names(closure.node) if name not in ("self", "cls")]
        self.dy = arguments[0] if arguments else None
        self.unfit = {"self", "cls", closure.node.name, *(function.name for function in closure.around)}
        self.tests = {
            **dict.fromkeys(ONLY_REPAIRED, lambda code, place: False),
            **dict.fromkeys(("reduction", "named"), lambda code, place: isinstance(code, (str, ast.Name))),
            **dict.fromkeys(("array", "operand"), lambda code, place: isinstance(code, ast.Name)),
            "names": lambda code, place: isinstance(code, ast.Name) and code.id not in ("self", "cls"),
            "numbers": lambda code, place: is_number(code),
            "expression": lambda code, place: not isinstance(code, ast.Constant),
            "arithmetic": lambda code, place: not isinstance(code, NOT_ARITHMETIC) and not _is_text(code),
            "unturned": lambda code, place: _last_name(code) not in TURNED and not self._is_module(code),
            "entries": lambda code, place: getattr(code, "attr", "") not in ABOUT_AN_ARRAY,
            "value": lambda code, place: not self._is_module(code),
            "product": lambda code, place: _last_name(code) in PRODUCTS and self._is_of_a_module(code),
            "transpose": lambda code, place: code in TRANSPOSES,
            "keywords": lambda code, place: not code.args,
            "einsum": lambda code, place: _last_name(code) == "einsum",
            **dict.fromkeys(("backward", "backwards"), lambda code, place: "backward" in _last_name(code)),
            "function": lambda code, place: not _is_special(_last_name(code)) and self._is_of_a_module(code),
            "method": lambda code, place: "backward" not in code and code not in TRANSPOSES,
            "sum": lambda code, place: isinstance(code, ast.Name) and "sum" in code.id.split("_"),
            "mean": lambda code, place: isinstance(code, ast.Name) and "mean" in code.id.split("_"),
            "dy": lambda code, place: isinstance(code, ast.Name) and code.id == self.dy and not _is_read_about(place),
            "rebound": lambda code, place: self._is_rebound(code),
        }
        self.lists = {
            "dy": lambda bound, place: [ast.Name(self.dy)] if self.dy is not None else [],
            "numbers": lambda bound, place: _other_numbers(number_of(bound["N"])),
            "axes": lambda bound, place: _other_axes(bound["K"]),
            "letters": lambda bound, place: _other_subscripts(bound["S"]),
            "names": lambda bound, place: self._other_names(bound["A"], place.parent),
        }

    def admits(self, kind, code, place):
        return kind not in self.tests or self.tests[kind](code, place)

    def members(self, kind, bound, place):
        return self.lists[kind](bound, place) if kind in self.lists else ()

    def _is_module(self, node):
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.modules and node.id not in self.locals

    def _is_of_a_module(self, function):
        return not isinstance(function, ast.Attribute) or self._is_module(function.value)

    def _is_rebound(self, target):
        if not isinstance(target, (ast.Name, ast.Tuple)):
            return True
        outer, line = set().union(self.names, *self.around), target.lineno
        return all(self.locals.get(name, line) < line or name in outer for name in names_in(target))

    def _other_names(self, node, parent):
        """Return the other names in the same scope, which may replace a name."""
        is_called = isinstance(parent, ast.Call) and node is parent.func
        if node.id in self.locals:
            others = [other for other, line in self.locals.items() if line < node.lineno]
        else:
            others = list(next((scope for scope in self.around if node.id in scope), ()))
            if not others and is_called and node.id in self.names:
                others = sorted(self.called & self.names)
        unfit = {node.id, *self.unfit}
        return [ast.Name(other) for other in others if other not in unfit and (other in self.called) == is_called]


def _last_name(function):
    function = function.func if isinstance(function, ast.Call) else function
    return function if isinstance(function, str) else getattr(function, "attr", getattr(function, "id", ""))


def _is_text(code):
    return isinstance(code, ast.Constant) and not is_number(code)


def _is_special(name):
    return "backward" in name or name in TRANSPOSES or hasattr(builtins, name)


def _is_read_about(place):
    return isinstance(place.parent, ast.Attribute) and place.parent.attr in ABOUT_AN_ARRAY


def _other_numbers(n):
    others = (n + 1, n - 1) if isinstance(n, int) else (2 * n, 0.0) if n else (1.0,)
    return [ast.Constant(other) for other in others]


def _other_axes(axis):
    axes = [ast.Constant(other) for other in (-2, -1, 0, 1)] + getattr(axis, "elts", [])
    return [other for other in axes if ast.unparse(other) != ast.unparse(axis)]


def _other_subscripts(code):
    """Return einsum subscripts with the last two letters of a term exchanged."""
    subscripts = getattr(code, "value", None)
    parts = subscripts.replace(" ", "").replace("->", ",>").split(",") if isinstance(subscripts, str) else []
    found = []
    for i, part in enumerate(parts):
        if part[-2:].isalpha() and len(part) >= 2:
            changed = [*parts[:i], part[:-2] + part[-1] + part[-2], *parts[i + 1 :]]
            found.append(ast.Constant(",".join(changed).replace(",>", "->")))
    return found


def possible_mistakes(closure, others=(), rows=BY_PLACE):
    """Yield every mistake that can be made in a function, as (Edit, Place).

    `closure` is the function (sources.Closure). `rows` maps each kind of place to the rows of the table that may be
    applied there; by default, these are all rows. Signatures, `raise` and `assert` statements and the nested functions
    `others` do not change.
    """
    scope = Scope(closure)
    for statement in closure.node.body:
        for at, node, place in _places(statement, others):
            for row in rows.get(at, ()):
                for edit in row.mistakes(node, scope, place):
                    if place.is_stored and not isinstance(edit.new, ast.Subscript):
                        continue  # only another entry can be assigned to
                    if place.elements:
                        whole, i, j = place.elements
                        elements = list(whole.elts)
                        elements[i], elements[j] = edit.new.elts
                        edit = replace(edit, old=whole, new=ast.Tuple(elements))
                    yield edit, place


def _places(statement, others):
    """Yield the places where a mistake can be made, as (kind, node, Place)."""
    if isinstance(statement, UNTOUCHED) or (isinstance(statement, FUNCTION) and statement in others):
        return
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return
    bodies = [inner for field in ("body", "orelse", "finalbody") for inner in getattr(statement, field, [])]
    if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Raise):
        bodies = statement.orelse
    bodies += [inner for handler in getattr(statement, "handlers", []) for inner in handler.body]
    body = getattr(statement, "body", None)
    lines = (statement.lineno, max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno)
    here = Place(statement, lines)
    yield "statement", statement, here
    if not isinstance(statement, FUNCTION):
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, (ast.expr, ast.withitem)):
                yield from _expressions(child, here)
    yield from _wholes(statement, here)
    for inner in bodies:
        yield from _places(inner, others)


def _expressions(node, outer):
    """Yield the subexpressions of an expression, as ("expression", node, Place)."""
    if isinstance(node, (ast.JoinedStr, ast.Lambda)):
        return
    parent = outer.parent
    is_argument = isinstance(parent, ast.Call) and node is not parent.func
    is_index = isinstance(parent, ast.Subscript) and node is parent.slice
    is_stored = isinstance(getattr(node, "ctx", None), ast.Store)
    if is_stored and not isinstance(node, ast.Subscript):
        return
    needs_atom = isinstance(parent, OPERATORS) and not is_argument and not is_index
    is_whole = isinstance(parent, (ast.Assign, ast.Return))
    yield "expression", node, replace(outer, needs_atom=needs_atom, is_whole=is_whole, is_stored=is_stored)
    if is_number(node):
        return  # a negative number is one constant
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword) and child.arg != "keepdims":
            yield from _expressions(child.value, replace(outer, parent=child))
        elif isinstance(child, ast.comprehension):
            yield from _expressions(child.iter, replace(outer, parent=child))
        elif isinstance(child, ast.expr):
            yield from _expressions(child, replace(outer, parent=node))


def _wholes(statement, here):
    """Yield the values, pairs and conditions in a statement, as (kind, node, Place)."""
    value = getattr(statement, "value", None)
    if isinstance(statement, ast.Return) and value is not None:
        for gradient in value.elts if isinstance(value, ast.Tuple) else [value]:
            yield "value", gradient, replace(here, is_whole=True)
            yield "gradient", gradient, replace(here, is_whole=True)
        yield from _pairs(value, here)
    elif isinstance(statement, ast.Assign):
        yield "value", value, replace(here, is_whole=True)
        yield from _pairs(statement.targets[0], here)
    elif isinstance(statement, ast.If):
        yield "test", statement.test, here


def _pairs(node, here):
    elements = node.elts if isinstance(node, ast.Tuple) else []
    for i, j in itertools.combinations(range(len(elements)), 2):
        yield "pair", ast.Tuple([elements[i], elements[j]]), replace(here, elements=(node, i, j))
