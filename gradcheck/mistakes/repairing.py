"""Repair wrong code: find the parts to change, and fill the holes of a pattern."""

import ast
import copy
import itertools

import numpy as np

from gradcheck.mistakes.patterns import LIBRARIES, is_number, number_of, same
from gradcheck.mistakes.planter import with_node
from gradcheck.mistakes.row import Edit
from gradcheck.mistakes.table import ROWS
from gradcheck.names import names_read

AXES = (-1, -2, 0, 1, 2)
SMALL = (2, 3, 4)
LARGEST = 12  # bound on the numerator and denominator of a number that a repair may write
POWERS = (1, 2, 3, -1, -2, 0.5, -0.5)
ELEMENTARY = ("sin", "cos", "exp", "log", "tanh", "sqrt", "sign", "abs")
FORMS = (
    *("np.exp({})", "np.log({})", "np.sqrt({})", "np.tanh({})", "(1 - {})", "{} ** 2", "{} ** 3", "1 / {}"),
    *("(1 - {} ** 2)", "np.sign({})", "np.cos({})", "np.sin({})", "(1 - np.tanh({}) ** 2)"),
)
BEFORE = "_before_it_is_overwritten"  # appended to a name, for its earlier value
REDUCTIONS = ("sum", "mean", "max", "min", "prod")
LONGEST = 60  # largest number of characters of code to which a factor or term is added
TOTALS = tuple(f"{{}}.sum(axis={axis}, keepdims=True)" for axis in AXES)
REPAIRS = [row for row in ROWS if row.at in ("expression", "value", "statement")]
(EXCHANGED,), LOOPS = ([row for row in ROWS if row.at == at] for at in ("names", "loop"))


class Names:
    """The names that are visible at a line and may fill the holes of repairs.

    `values` maps the names to their values. Names in `read`, which the line reads, are tried first. Names in `helpers`
    are computed in other lines and are not repaired here. `tests` and `lists` define the classes of holes, as in
    planting.Scope. `entries` is code such as `x[i]` or `self.f(x)`, which may be a factor.
    """

    def __init__(self, values, read, helpers, is_gradient, entries=()):
        self.values, self.is_gradient = values, is_gradient
        self.helpers = set(filter(is_gradient, helpers))
        order = [*(n for n in read if n in values), *(n for n in reversed(values) if n not in read)]
        kinds = {n: values[n].dtype.kind for n in order if isinstance(values[n], (np.ndarray, np.floating))}
        self.arrays = [n for n, kind in kinds.items() if kind == "f" and not n.endswith(BEFORE)]
        masks = [n for n, kind in kinds.items() if kind == "b" and values[n].ndim]
        self.called = [n for n in order if callable(values[n])]
        self.others = [n for n in order if _is_kept(values[n]) and not n.endswith(BEFORE)]
        self.backwards = [n for n in self.called if "backward" in n]
        axes = [n for n in order if _is_number(values[n], (int, np.integer)) and "axis" in n]
        scalars = [n for n in order if n not in kinds and _is_number(values[n]) and values[n] not in (0, 1, -1)]
        lengths = [f"{n}.shape[{axis}]" for n in self.arrays for axis in range(-values[n].ndim, 0)]

        def is_over_all(rest):
            return not any(keyword.arg in ("axis", "axes", "dim") for keyword in rest.keywords)

        def is_gradient_code(code):
            is_name = _id(code) in self.arrays and is_gradient(code.id)
            return is_name or _id(getattr(code, "func", None)) in self.backwards

        self.tests = {
            "names": lambda code: _id(code) in (*self.others, *self.backwards) and not is_gradient(code.id),
            "gradients": lambda code: _id(code) in self.others and is_gradient(code.id),
            **dict.fromkeys(("array", "positive"), lambda code: _id(code) in self.arrays),
            "operand": lambda code: _id(code) in self.arrays or isinstance(code, ast.Subscript),
            "gradient": is_gradient_code,
            "mask": lambda code: _id(code) in masks,
            "expression": lambda code: not isinstance(code, ast.Constant),
            **dict.fromkeys(("numbers", "number"), lambda code: isinstance(number_of(code), (int, float))),
            "computed": lambda code: isinstance(code, (ast.BinOp, ast.Call)) and len(ast.unparse(code)) <= LONGEST,
            "value": lambda code: _id(code) not in LIBRARIES,
            "reduction": lambda code: (code if isinstance(code, str) else _id(code)) in REDUCTIONS,
            **dict.fromkeys(("all_axes", "kept_axes"), is_over_all),
            "called": lambda code: _id(code) in self.called,
            "overwritten": lambda code: f"{_id(code)}{BEFORE}" in values,
            "named": lambda code: isinstance(code, (str, ast.Name)),
            "elementary": lambda code: code in ELEMENTARY,
            "summable": lambda code: not any(_id(n) in helpers for n in ast.walk(code)),
            "keywords": lambda rest: not rest.args,
            "gathered": lambda index: not any(isinstance(node, ast.Slice) for node in ast.walk(index)),
        }
        self.lists = {
            "names": self._other_names,
            "arrays": lambda bound: map(_name, self.arrays),
            "masks": lambda bound: map(_name, masks),
            "backwards": lambda bound: map(_name, self.backwards),
            "callables": lambda bound: [_name(n) for n in self.called if n not in self.backwards],
            "scalars": lambda bound: map(_name, scalars),
            "earlier": lambda bound: [_name(bound["B"].id + BEFORE)],
            "totals": lambda bound: [
                _code(f"{n}.sum(axis={axis}, keepdims=True)") for n in self.arrays for axis in (*axes, *AXES)
            ],
            "axes": lambda bound: _other_axes([*map(_name, axes), *map(_number, AXES), ast.Constant(None)], bound),
            "powers": lambda bound: map(_number, POWERS),
            "elementary": lambda bound: [name for name in ELEMENTARY if name not in bound.values()],
            "numbers": lambda bound: _other_numbers(number_of(bound["M"])),
            "factors": lambda bound: [
                *map(_name, [*self.arrays, *scalars]),
                *map(_number, SMALL),
                *map(_code, lengths),
                *entries,
            ],
            "lengths": lambda bound: map(_code, lengths),
            "functions": lambda bound: [
                _code(form.format(n))
                for n in [*self.arrays, *_with_neighbours(entries)]
                for form in ((*TOTALS, *FORMS) if is_gradient(n) else FORMS)
            ],
            "forms": lambda bound: [_code(form.format(_bound_name(bound))) for form in FORMS[:9]],
            "sums": lambda bound: [_code(form.format(_bound_name(bound))) for form in TOTALS],
            "terms": lambda bound: [
                *map(_name, self.arrays),
                *_products(self.arrays),
                *(code for code in entries if isinstance(code, ast.Call)),
            ],
        }

    def admits(self, kind, code, place):
        return kind not in self.tests or self.tests[kind](code)

    def members(self, kind, bound, place):
        return self.lists[kind](bound) if kind in self.lists else ()

    def _other_names(self, bound):
        """Return the names that may replace a name. Arrays of the same shape come first."""
        name = _bound_name(bound)
        if name in self.backwards:
            return [_name(other) for other in self.backwards if other != name]
        others = [other for other in self.others if other != name]
        shape = np.shape(self.values[name]) if name in self.arrays else None
        return map(_name, sorted(others, key=lambda n: n not in self.arrays or self.values[n].shape != shape))


def _with_neighbours(entries):
    """Return the code of entries such as `h[t]`, and of the entries before and after them."""
    codes = [(ast.unparse(e.value), e.slice) for e in entries if isinstance(e, ast.Subscript)]
    beside = [f"{x}[{i.id} {s} 1]" for x, i in codes if isinstance(i, ast.Name) for s in "+-"]
    return dict.fromkeys([*map(ast.unparse, entries), *beside])


def _products(names):
    pairs = itertools.combinations_with_replacement(names, 2)
    return [ast.BinOp(_name(a), ast.Mult(), _name(b)) for a, b in pairs]


def _other_axes(axes, bound):
    return [axis for axis in axes if "L" not in bound or not same(axis, bound["L"])]


def _other_numbers(n):
    """Return code for numbers that may have been meant, such as n + 1 and 2 n."""
    others = dict.fromkeys([-n, 2 * n, n / 2, 3 * n, n / 3, n + 1, n - 1, n * n, 1 / n if n else 0])
    plain = [_number(other) for other in others if other != n and _is_plain(other)]
    if _is_plain(n):
        return plain
    return [*plain, *(_code(form.format(n)) for form in ("-{}", "2 * {}", "{} / 2", "3 * {}", "{} / 3"))]


def repairs(code, names, rank):
    """Yield the possible repairs of a rank, as (Edit, repaired code).

    `code` is a statement or an expression. In an expression, each part is repaired separately, starting with the whole.
    """
    rows = [row for row in REPAIRS if row.rank == rank and (row.at == "statement") == isinstance(code, ast.stmt)]
    for node in [code] if isinstance(code, ast.stmt) else _nodes(code):
        is_whole = node is code
        # Repairs of a rank above 1 add a factor or term.
        is_arithmetic = _is_arithmetic(node) and (is_whole or _id(node) not in names.helpers)
        if rank == 1 or is_arithmetic or is_number(node):
            for row in rows:
                for edit in row.repairs(node, names, is_whole) if row.at != "value" or is_whole else ():
                    yield edit, with_node(code, node, edit.new)
    for node in _nodes(code) if rank == 1 and isinstance(code, ast.expr) else ():
        for edit in _with_exchanged_names(node, names):
            yield edit, with_node(code, node, edit.new)


def edits_of(statement, names, rank):
    """Yield the possible repairs of a rank in a statement, as (Edit, repaired statement).

    Of a loop or condition, only the first line is repaired.
    """
    target = (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]
    value = next((getattr(statement, field) for field in ("value", "test", "iter") if hasattr(statement, field)), None)
    parts = [(part, part) for part in (value.elts if isinstance(value, ast.Tuple) else [value] if value else [])]
    if isinstance(target, ast.Subscript):
        parts.append((ast.Subscript(target.value, target.slice, ast.Load()), target))
    if isinstance(target, (ast.Name, ast.Subscript)) and not isinstance(statement, ast.For):
        parts.append((statement, statement))
    for edit in exchanges(target) if isinstance(target, ast.Tuple) and rank == 1 else ():
        yield edit, with_node(statement, target, edit.new)
    for edit in loop_repairs(statement.iter, names) if isinstance(statement, ast.For) and rank == 1 else ():
        yield edit, with_node(statement, statement.iter, edit.new)
    for part, place in parts:
        for edit, code in repairs(part, names, rank):
            if place is not target:
                yield edit, with_node(statement, place, code)
            elif isinstance(code, ast.Subscript):
                yield edit, with_node(statement, place, ast.Subscript(code.value, code.slice, ast.Store()))


def entries_in(*trees):
    """Return the expressions such as `x[i]` that code reads, without duplicates."""
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    read = [node for node in nodes if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [*{ast.unparse(node): node for node in read}.values()]


def calls_in(tree):
    """Return the calls such as `self.f(x)` in code, without duplicates and those of a library."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and all(map(_id, node.args))]
    own = [node for node in nodes if not any(name in LIBRARIES for name in names_read(node.func))]
    return [*{ast.unparse(node): node for node in own}.values()]


def loop_repairs(iterable, names):
    return (edit for row in LOOPS for edit in row.repairs(iterable, names, True))


def exchanges(node):
    """Yield the edits that exchange two elements of a tuple."""
    for i, j in itertools.combinations(range(len(node.elts)), 2):
        elements = list(node.elts)
        elements[i], elements[j] = elements[j], elements[i]
        yield Edit(EXCHANGED, node, ast.Tuple(elements, node.ctx), {"A": node.elts[i], "B": node.elts[j]})


def _with_exchanged_names(node, names):
    """Yield the edits that exchange two names everywhere in an expression."""
    found = {_id(inner) for inner in ast.walk(node)} & {*names.arrays, *names.called}
    for a, b in itertools.combinations(sorted(found), 2):
        if (a in names.arrays) == (b in names.arrays):
            other = {a: b, b: a}
            new = copy.deepcopy(node)
            for inner in ast.walk(new):
                if _id(inner) in other:
                    inner.id = other[inner.id]
            yield Edit(EXCHANGED, node, new, {"A": _name(a), "B": _name(b)})


def _nodes(expression):
    inner = [n for n in ast.walk(expression) if isinstance(n, ast.expr) and not isinstance(n, (ast.Slice, ast.Starred))]
    hidden = set()
    for node in inner:
        if isinstance(node, ast.Call):
            hidden.add(id(node.func))
            hidden |= {id(n) for keyword in node.keywords for n in ast.walk(keyword)}
        elif isinstance(node, ast.Subscript):
            hidden |= {id(n) for n in ast.walk(node.slice)}
    read = [n for n in inner if _id(n) not in LIBRARIES and isinstance(getattr(n, "ctx", ast.Load()), ast.Load)]
    return [n for n in read if id(n) not in hidden or isinstance(n, ast.Name)]


def _is_arithmetic(node):
    if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Call, ast.Subscript)):
        return len(ast.unparse(node)) <= LONGEST
    return isinstance(node, ast.Attribute) and _id(node.value) in LIBRARIES  # a constant such as np.pi


def _is_kept(value):
    """Return True for a value that code computes with, rather than a function or module."""
    return isinstance(value, (np.ndarray, np.generic, int, float, list, tuple, dict))


def _is_number(value, types=(int, float, np.number)):
    return isinstance(value, types) and not isinstance(value, (bool, np.bool_))


def _is_plain(number):
    return any(number * n == round(number * n) and abs(number * n) <= LARGEST for n in range(1, LARGEST + 1))


def _id(node):
    return node.id if isinstance(node, ast.Name) else None


def _bound_name(bound):
    return next(code for hole, code in bound.items() if hole in "AB").id


def _name(name):
    return ast.Name(name, ast.Load())


def _number(value):
    value = int(value) if value == round(value) else value
    if isinstance(value, float):
        n = next((n for n in range(2, LARGEST + 1) if value * n == round(value * n)), None)
        if n is not None and value not in (0.5, -0.5, 0.25, 1.5, 2.5):
            return _code(f"{round(value * n)} / {n}")
    return _code(repr(value))


def _code(text):
    return ast.parse(text, mode="eval").body
