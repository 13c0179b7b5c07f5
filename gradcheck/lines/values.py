"""Lower a function with a gradient, a derivative or a Jacobian to one that defines `backward` inside.

One function that returns both is split (slices.py); of two functions, the second is the backward pass. A gradient is
examined with dy = 1.
"""

import ast
import copy
import inspect
import types

import numpy as np

from gradcheck.call import is_floating
from gradcheck.lines.enclosed import NUMPY, PRODUCT, Enclosed, definitions, enclosed, name_of, returning
from gradcheck.lines.slices import passes_of
from gradcheck.lines.source import NOT_WITHIN, contents
from gradcheck.mistakes.sources import argument_names
from gradcheck.names import names_in


def of_value(call):
    """Convert a function with a gradient, derivative or Jacobian to one that defines `backward` inside.

    Returns (Call of the new function, its Source), or None if the target of `call` is of another kind.
    """
    if getattr(call.target, "__globals__", {}).get("__name__") != "gradcheck.adapters.derivatives":
        return None
    held = contents(call.target)
    given = held["function"], held["derivative"] or held["function"]
    functions = [inspect.unwrap(getattr(function, "__func__", function)) for function in given]
    if not all(isinstance(function, types.FunctionType) for function in functions):
        return None
    nodes = definitions(call.name, functions)
    scope = {n.args.args[0].arg: f.__self__ for n, f in zip(nodes, given, strict=True) if hasattr(f, "__self__")}
    own, of_derivative = ([name for name in argument_names(node) if name not in scope] for node in nodes)
    if any(node.args.vararg or node.args.kwarg for node in nodes):
        raise ValueError(f"{call.name}: {NOT_WITHIN}")
    bodies, value = _bodies(call.name, nodes)
    taken = {*own, *of_derivative, *names_in(*bodies[0], *bodies[1])}
    dy = next(name for name in ("dy", "dy_", "dy__") if name not in taken)
    has_unit_dy, arrays = held["noun"] == "gradient", [i for i, x in enumerate(call.inputs) if is_floating(x)]
    other = copy.copy(call)
    other.has_unit_dy = has_unit_dy
    derivative = given[1](*call.copy().inputs, **call.copy().options)
    derivative = derivative if held["derivative"] else derivative[1]
    if has_unit_dy and not isinstance(derivative, (np.ndarray, tuple)):
        bodies[1] = returning(bodies[1], None, lambda d: _called(f"{NUMPY}.asarray", d))
    elif not has_unit_dy:
        bodies[1] = returning(bodies[1], None, lambda d: _called(PRODUCT, d, name_of(dy), name_of(own[arrays[0]])))
    scope[PRODUCT] = lambda d, dy, x: held["product"]("", x, dy, np.asarray(d), dy)
    before = {name: own[i] if name not in own else name for i, name in enumerate(of_derivative)} if not value else {}
    inner = ast.arguments(
        *([], [] if has_unit_dy else [ast.arg(dy)], ast.arg(dy) if has_unit_dy else None),
        *(list(map(ast.arg, before)), list(map(name_of, before.values())), None, []),
    )
    outer = ast.arguments([], [], None, list(map(ast.arg, own)), [None] * len(own), None, [])
    function, tree = enclosed(call.name, functions, nodes, (outer, inner), bodies, scope)
    signature = inspect.signature(functions[0]).parameters.values()
    function.__kwdefaults__ = {p.name: p.default for p in signature if p.default is not p.empty}
    names = own[: len(call.inputs)]
    other.target = Enclosed(function, call.input_names(), lambda arrays: ((), dict(zip(names, arrays, strict=True))))

    def returned(code):
        return ast.Tuple([value, code], ast.Load()) if value else code

    return other, other.target.source(other, tree, {}, returned)


def _bodies(name, nodes):
    """Return [statements of forward, statements of backward], and the value that is returned with the gradient.

    `nodes` are the syntax trees of the two functions, which may be the same. The value is None if they are different.
    """
    if nodes[0] is nodes[1]:
        *body, last = _body(nodes[0])
        pair = getattr(last, "value", None)
        if not isinstance(last, ast.Return) or not isinstance(pair, ast.Tuple) or len(pair.elts) != 2:
            raise ValueError(f"{name}: {NOT_WITHIN}")
        value, gradient = pair.elts
        passes = passes_of(body, value, gradient)
        ends = [ast.copy_location(ast.Return(copy.deepcopy(part)), last) for part in pair.elts]
        bodies = [[*part, end] for part, end in zip(passes, ends, strict=True)]
    else:
        bodies, value = [copy.deepcopy(_body(node)) for node in nodes], None
    return [returning(bodies[0], None, lambda y: ast.Tuple([y, name_of("backward")], ast.Load())), bodies[1]], value


def _body(node):
    return [ast.copy_location(ast.Return(node.body), node.body)] if isinstance(node, ast.Lambda) else node.body


def _called(function, *arguments):
    return ast.Call(ast.parse(function, mode="eval").body, [*arguments], [])
