"""Make mistakes in right code: find the places of a function to change, and the code that may fill the holes."""

import ast
import builtins
import itertools
from dataclasses import dataclass, replace

from gradcheck.mistakes.patterns import is_number, number_of, same
from gradcheck.mistakes.row import Edit
from gradcheck.mistakes.sources import FUNCTION, argument_names, bound_names, called_names, module_names
from gradcheck.mistakes.table import ROWS

TWINS = {"sum": "mean", "mean": "sum", "nansum": "nanmean", "nanmean": "nansum"}
TRANSPOSES = ("swapaxes", "transpose", "moveaxis")
PRODUCTS = ("dot", "matmul", "outer", "inner", "tensordot")
ABOUT_AN_ARRAY = ("shape", "dtype", "ndim", "size")
OPERATORS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Attribute, ast.Subscript, ast.Call, ast.IfExp)
NOT_ARITHMETIC = (
    *(ast.Tuple, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.GeneratorExp, ast.Lambda, ast.JoinedStr, ast.Starred),
)
BY_PLACE = {at: [row for row in ROWS if row.at == at] for at in {row.at for row in ROWS}}
UNTOUCHED = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


@dataclass(frozen=True)
class Place:
    """The place of a piece of code in a function.

    `parent` is the syntax node around the code, and `lines` are the first and last line of its statement. `needs_atom`
    is True if the code is the operand of an operator, so that its replacement may need parentheses. `is_whole` is True
    for the whole value of an assignment and for a gradient that is returned. `is_stored` is True for the target of an
    assignment. For a pair of elements, `elements` is (the tuple, first index, second index).
    """

    parent: ast.AST
    lines: tuple
    needs_atom: bool = False
    is_whole: bool = False
    is_stored: bool = False
    elements: tuple = ()


class Scope:
    """The names that are visible in a function to be mutated, and the code that may fill the holes of a pattern."""

    def __init__(self, closure):
        self.names, self.modules = module_names(closure.module)
        self.locals = bound_names(closure.node)
        self.around = [bound_names(function) for function in reversed(closure.around)]
        self.called = called_names(closure.around[0] if closure.around else closure.node)
        arguments = [name for name in argument_names(closure.node) if name not in ("self", "cls")]
        self.dy = arguments[0] if arguments else None
        self.unfit = {"self", "cls", closure.node.name, *(function.name for function in closure.around)}

    # The code that a hole may match

    def admits(self, kind, code, place):
        """Return True if code of the function may fill a hole of the class `kind`.

        Any code may fill a hole of a class that only repairs use.
        """
        test = getattr(self, f"_is_{kind}", None)
        return test is None or test(code, place)

    def _is_unplanted(self, code, place):
        return False

    _is_positive = _is_unplanted

    def _is_reduction(self, code, place):
        return isinstance(code, (str, ast.Name))

    _is_named = _is_reduction

    def _is_numbers(self, code, place):
        return is_number(code)

    def _is_expression(self, code, place):
        return not isinstance(code, ast.Constant)

    def _is_arithmetic(self, code, place):
        return not isinstance(code, NOT_ARITHMETIC) and (not isinstance(code, ast.Constant) or is_number(code))

    def _is_unturned(self, code, place):
        name = getattr(code.func if isinstance(code, ast.Call) else code, "attr", "")
        return name not in ("T", "mT", *TRANSPOSES) and not self._is_module(code)

    def _is_entries(self, code, place):
        is_about = isinstance(code, ast.Attribute) and code.attr in ABOUT_AN_ARRAY
        return not is_about and not place.is_stored

    def _is_value(self, code, place):
        return not self._is_module(code)

    def _is_product(self, code, place):
        return _last_name(code) in PRODUCTS and (isinstance(code, (str, ast.Name)) or self._is_module(code.value))

    def _is_transpose(self, code, place):
        return code in TRANSPOSES

    def _is_keywords(self, code, place):
        return not code.args

    def _is_einsum(self, code, place):
        return _last_name(code) == "einsum"

    def _is_backward(self, code, place):
        return "backward" in _last_name(code)

    _is_backwards = _is_backward

    def _is_function(self, code, place):
        name = _last_name(code)
        is_special = "backward" in name or name in TRANSPOSES or hasattr(builtins, name)
        return not is_special and (not isinstance(code, ast.Attribute) or self._is_module(code.value))

    def _is_method(self, code, place):
        return "backward" not in code and code not in TRANSPOSES

    def _is_sum_or_mean(self, code, place):
        return isinstance(code, ast.Name) and any(word in code.id.split("_") for word in ("sum", "mean"))

    def _is_lone_sum(self, code, place):
        return self._is_sum_or_mean(code, place) and "sum" in code.id.split("_") and not self._twin(code)

    def _is_lone_mean(self, code, place):
        return self._is_sum_or_mean(code, place) and "mean" in code.id.split("_") and not self._twin(code)

    def _is_dy(self, code, place):
        is_about = isinstance(place.parent, ast.Attribute) and place.parent.attr in ABOUT_AN_ARRAY
        return isinstance(code, ast.Name) and code.id == self.dy and not is_about

    def _is_names(self, code, place):
        return isinstance(code, ast.Name)

    _is_array = _is_names

    def _is_rebound(self, target, place):
        """Return True if the target of an assignment exists before it, so that code may run without the assignment."""
        names = [element.id for element in ast.walk(target) if isinstance(element, ast.Name)]
        outer = set().union(self.names, *self.around)
        is_bound = all(self.locals.get(name, target.lineno) < target.lineno or name in outer for name in names)
        return is_bound or not isinstance(target, (ast.Name, ast.Tuple))

    # The code that may fill a hole

    def members(self, kind, bound, place):
        """Return the code that may fill a hole of the class `kind`, given the other holes.

        No code may fill a hole of a class that only repairs use.
        """
        list_members = getattr(self, f"_list_{kind}", None)
        return list_members(bound, place) if list_members else ()

    def _list_dy(self, bound, place):
        return [ast.Name(self.dy)] if self.dy is not None else []

    def _list_numbers(self, bound, place):
        n = number_of(bound["N"])
        others = (n + 1, n - 1) if isinstance(n, int) else (2 * n, 0.0) if n else (1.0,)
        return [ast.Constant(other) for other in others]

    def _list_axes(self, bound, place):
        axes = [ast.Constant(axis) for axis in (-2, -1, 0, 1)] + getattr(bound["K"], "elts", [])
        return [axis for axis in axes if not same(ast.parse(ast.unparse(axis)), ast.parse(ast.unparse(bound["K"])))]

    def _list_letters(self, bound, place):
        """Return einsum subscripts in which the last two letters of one operand, or of the result, are exchanged."""
        subscripts = getattr(bound["S"], "value", None)
        parts = subscripts.replace(" ", "").replace("->", ",>").split(",") if isinstance(subscripts, str) else []
        found = []
        for i, part in enumerate(parts):
            if part[-2:].isalpha() and len(part) >= 2:
                changed = [*parts[:i], part[:-2] + part[-1] + part[-2], *parts[i + 1 :]]
                found.append(ast.Constant(",".join(changed).replace(",>", "->")))
        return found

    def _list_twin(self, bound, place):
        twin = self._twin(bound["F"])
        return [ast.Name(twin)] if twin else []

    def _twin(self, function):
        """Return the name in which `sum` and `mean` are exchanged, or None if the module has no such function.

        For example, the twin of `masked_sum` is `masked_mean`.
        """
        twin = "_".join(TWINS.get(word, word) for word in function.id.split("_"))
        return twin if twin in self.names else None

    def _list_names(self, bound, place):
        """Return the names that may replace a name: the other names of the scope that binds it."""
        node = bound["A"]
        is_called = isinstance(place.parent, ast.Call) and node is place.parent.func
        if node.id in self.locals:
            others = [other for other, line in self.locals.items() if line < node.lineno]
        else:
            others = list(next((scope for scope in self.around if node.id in scope), ()))
            if not others and is_called and node.id in self.names:
                others = sorted(self.called & self.names)
        unfit = {node.id, *self.unfit}
        return [ast.Name(other) for other in others if other not in unfit and (other in self.called) == is_called]

    def _is_module(self, node):
        """Return True for an imported module or an attribute of one, such as np.linalg and np.add."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.modules and node.id not in self.locals


def planted(closure, others=(), rows=BY_PLACE):
    """Yield (Edit, Place) for each mistake that can be made in a function.

    `others` are nested functions to leave out. `rows` maps each kind of place to rows of the table. By default it
    contains all of them. The signature of the function is not changed, and neither are `raise` and `assert`.
    """
    scope = Scope(closure)
    for statement in closure.node.body:
        for at, node, place in _places(statement, others):
            for row in rows.get(at, ()):
                for edit in row.planted(node, scope, place):
                    yield _of_the_tuple(edit, place) if place.elements else edit, place


def _places(statement, others):
    """Yield (kind of place, node, Place) for each place in a statement and in the statements inside it."""
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
    """Yield ("expression", node, Place) for an expression and its subexpressions. `outer` is the Place around it."""
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
    """Yield (kind of place, node, Place) for the values and pairs in a statement, or the test of an `if`."""
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


def _of_the_tuple(edit, place):
    """Convert an Edit of a pair of elements into an Edit of the whole tuple."""
    whole, i, j = place.elements
    elements = list(whole.elts)
    elements[i], elements[j] = edit.new.elts
    return Edit(edit.row, whole, ast.Tuple(elements), edit.bound)


def _last_name(function):
    """Return the name of a function or method without the part before the last dot."""
    return function if isinstance(function, str) else getattr(function, "attr", getattr(function, "id", ""))
