"""Undo mistakes in wrong code: find the parts of a line to change, and the code in scope that may fill the holes."""

import ast
import copy
import itertools
from dataclasses import dataclass

import numpy as np

from gradcheck.mistakes.patterns import LIBRARIES, is_number, number_of, same
from gradcheck.mistakes.table import ROWS

AXES = (-1, -2, 0, 1, 2)
SMALL = (2, 3, 4)
LARGEST = 12  # bound on the numerator and denominator of a number that a repair may write
POWERS = (1, 2, 3, -1, -2, 0.5, -0.5)
ELEMENTARY = ("sin", "cos", "exp", "log", "tanh", "sqrt", "sign", "abs")
FORMS = (
    *("np.exp({})", "np.log({})", "np.sqrt({})", "np.tanh({})", "(1 - {})", "{} ** 2", "{} ** 3", "1 / {}"),
    *("(1 - {} ** 2)", "np.sign({})", "np.cos({})", "np.sin({})", "(1 - np.tanh({}) ** 2)"),
)
REDUCTIONS = ("sum", "mean", "max", "min", "prod")
LONGEST = 60  # characters of code to which a factor or term may be added
REPAIRS = [row for row in ROWS if row.at in ("expression", "value")]


@dataclass(frozen=True)
class Part:
    """A part of a wrong line.

    `is_whole` is True if it is the whole expression, and `is_arithmetic` if a factor or term may be added to it.
    """

    is_whole: bool
    is_arithmetic: bool


class Names:
    """The names in scope at a line, which may fill the holes of repairs.

    `values` is {name: value}. The names in `read`, which the line reads, are tried first. `helpers` are names whose own
    lines are repaired too. `is_gradient(name)` returns True if a name is that of a gradient.
    """

    def __init__(self, values, read, helpers, is_gradient):
        self.values, self.all_helpers, self.is_gradient = values, helpers, is_gradient
        self.helpers = set(filter(is_gradient, helpers))
        order = [*(n for n in read if n in values), *(n for n in reversed(values) if n not in read)]
        kinds = {n: values[n].dtype.kind for n in order if isinstance(values[n], np.ndarray) and values[n].ndim}
        self.arrays = [n for n, kind in kinds.items() if kind == "f"]
        self.masks = [n for n, kind in kinds.items() if kind == "b"]
        self.backwards = [n for n in order if callable(values[n]) and "backward" in n]
        self.axes = [n for n in order if _is_whole_number(values[n]) and "axis" in n]
        self.scalars = [n for n in order if _is_scalar(values[n]) and values[n] not in (0, 1, -1)]
        self.lengths = [f"{n}.shape[{axis}]" for n in self.arrays for axis in range(-values[n].ndim, 0)]

    def admits(self, kind, code, part):
        test = getattr(self, f"_is_{kind}", None)
        return test is None or test(code)

    def members(self, kind, bound, part):
        list_members = getattr(self, f"_list_{kind}", None)
        return list_members(bound) if list_members else ()

    def _is_names(self, code):
        return isinstance(code, ast.Name) and (code.id in self.arrays or code.id in self.backwards)

    def _is_array(self, code):
        return isinstance(code, ast.Name) and code.id in self.arrays

    _is_positive = _is_array

    def _is_gradient(self, code):
        is_name = isinstance(code, ast.Name) and code.id in self.arrays and self.is_gradient(code.id)
        return is_name or getattr(getattr(code, "func", None), "id", "") in self.backwards

    def _is_mask(self, code):
        return isinstance(code, ast.Name) and code.id in self.masks

    def _is_expression(self, code):
        return not isinstance(code, ast.Constant)

    def _is_numbers(self, code):
        return is_number(code) and not isinstance(number_of(code), complex)

    _is_number = _is_numbers

    def _is_computed(self, code):
        return isinstance(code, (ast.BinOp, ast.Call)) and len(ast.unparse(code)) <= LONGEST

    def _is_value(self, code):
        return not (isinstance(code, ast.Name) and code.id in LIBRARIES)

    def _is_reduction(self, code):
        return (code if isinstance(code, str) else getattr(code, "id", "")) in REDUCTIONS

    def _is_all_axes(self, rest):
        return not any(keyword.arg in ("axis", "axes") for keyword in rest.keywords)

    def _is_named(self, code):
        return isinstance(code, (str, ast.Name))

    def _is_elementary(self, code):
        return code in ELEMENTARY

    def _is_summable(self, code):
        return not any(isinstance(n, ast.Name) and n.id in self.all_helpers for n in ast.walk(code))

    def _is_keywords(self, code):
        return not code.args

    def _list_names(self, bound):
        """Return the names that may replace a name. Arrays of the same shape come first."""
        name = next(code for hole, code in bound.items() if hole in "AB").id
        if name in self.backwards:
            return [_name(other) for other in self.backwards if other != name]
        others = [other for other in self.arrays if other != name]
        return map(_name, sorted(others, key=lambda n: self.values[n].shape != self.values[name].shape))

    def _list_arrays(self, bound):
        return map(_name, self.arrays)

    def _list_masks(self, bound):
        return map(_name, self.masks)

    def _list_backwards(self, bound):
        return map(_name, self.backwards)

    def _list_axes(self, bound):
        axes = [*map(_name, self.axes), *map(_number, AXES), ast.Constant(None)]
        return [axis for axis in axes if "L" not in bound or not same(axis, bound["L"])]

    def _list_powers(self, bound):
        return map(_number, POWERS)

    def _list_elementary(self, bound):
        return [name for name in ELEMENTARY if name not in bound.values()]

    def _list_numbers(self, bound):
        """Return the numbers that may replace a number n, such as n + 1, and 2 n.

        If n is not a plain number, the code of its multiples, such as `2 * 0.044715`, is added.
        """
        n = number_of(bound["M"])
        others = dict.fromkeys([-n, 2 * n, n / 2, 3 * n, n / 3, n + 1, n - 1, n * n, 1 / n if n else 0])
        plain = [_number(other) for other in others if other != n and _is_plain(other)]
        if _is_plain(n):
            return plain
        return [*plain, *(_expression(form.format(n)) for form in ("-{}", "2 * {}", "{} / 2", "3 * {}", "{} / 3"))]

    def _list_factors(self, bound):
        return [*map(_name, [*self.arrays, *self.scalars]), *map(_number, SMALL), *map(_expression, self.lengths)]

    def _list_lengths(self, bound):
        return map(_expression, self.lengths)

    def _list_functions(self, bound):
        totals = [f"{{}}.sum(axis={axis}, keepdims=True)" for axis in AXES]
        forms = [(n, f) for n in self.arrays for f in ((*totals, *FORMS) if self.is_gradient(n) else FORMS)]
        return [_expression(form.format(name)) for name, form in forms]

    def _list_forms(self, bound):
        name = next(code for hole, code in bound.items() if hole in "AB").id
        totals = [f"{name}.sum(axis={axis}, keepdims=True)" for axis in AXES]
        return map(_expression, [*(form.format(name) for form in FORMS[:9]), *totals])

    def _list_terms(self, bound):
        pairs = itertools.combinations_with_replacement(self.arrays, 2)
        return [*map(_name, self.arrays), *(ast.BinOp(_name(a), ast.Mult(), _name(b)) for a, b in pairs)]


def repairs(expression, names, rank):
    """Yield (Edit, repaired expression, is_whole) for each repair of a rank, those of the outer parts first.

    `is_whole` is True if the repair changes the whole expression.
    """
    rows = [row for row in REPAIRS if row.rank == rank]
    for node in _nodes(expression):
        is_whole = node is expression
        part = Part(is_whole, _is_arithmetic(node) and (is_whole or getattr(node, "id", "") not in names.helpers))
        for row in rows:
            is_possible = rank == 1 or part.is_arithmetic or is_number(node)
            if (row.at == "value" and not is_whole) or not is_possible:
                continue
            for edit in row.repaired(node, names, part):
                yield edit, exchanged(expression, node, edit.new), is_whole


def exchanged(tree, node, new):
    """Return a copy of a tree in which `new` replaces `node`, which is found by identity."""
    if not isinstance(tree, ast.AST) or tree is node:
        return new if tree is node else tree
    twin = copy.copy(tree)
    for name, value in ast.iter_fields(tree):
        many = isinstance(value, list)
        setattr(twin, name, [exchanged(v, node, new) for v in value] if many else exchanged(value, node, new))
    return twin


def _nodes(expression):
    """Return the nodes of an expression that may be replaced, the outer ones first."""
    inner = [n for n in ast.walk(expression) if isinstance(n, ast.expr) and not isinstance(n, (ast.Slice, ast.Starred))]
    hidden = set()
    for node in inner:
        if isinstance(node, ast.Call):
            hidden.add(id(node.func))
            hidden |= {id(n) for keyword in node.keywords for n in ast.walk(keyword)}
        elif isinstance(node, ast.Subscript):
            hidden |= {id(n) for n in ast.walk(node.slice)}
    return [n for n in inner if _is_readable(n) and (id(n) not in hidden or isinstance(n, ast.Name))]


def _is_readable(node):
    is_library = isinstance(node, ast.Name) and node.id in LIBRARIES
    return not is_library and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _is_arithmetic(node):
    is_constant = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in LIBRARIES
    return is_constant or (
        isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Call)) and len(ast.unparse(node)) <= LONGEST
    )


def _is_whole_number(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def _is_scalar(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def _is_plain(number):
    """Return True if a number is a fraction whose numerator and denominator are at most LARGEST."""
    return any(number * n == round(number * n) and abs(number * n) <= LARGEST for n in range(1, LARGEST + 1))


def _name(name):
    return ast.Name(name, ast.Load())


def _number(value):
    value = int(value) if value == round(value) else value
    if isinstance(value, float):
        n = next((n for n in range(2, LARGEST + 1) if value * n == round(value * n)), None)
        if n is not None and value not in (0.5, -0.5, 0.25, 1.5, 2.5):
            return _expression(f"{round(value * n)} / {n}")
    return _expression(repr(value))


def _expression(text):
    return ast.parse(text, mode="eval").body
