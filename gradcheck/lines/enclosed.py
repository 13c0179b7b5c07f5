"""Put the syntax tree of a backward pass into that of its forward pass, and run the result as a function.

Line numbers are those of the user's file, so that probes, edits and reports need no other.
"""

import ast
import copy
import linecache
import types

import numpy as np

from gradcheck.lines.source import NOT_WITHIN, Source, contents, node_of, require_unchanged
from gradcheck.mistakes.planter import codes_of
from gradcheck.names import OWN_SCOPE

NUMPY, PRODUCT = "__gradcheck_numpy__", "__gradcheck_product__"  # names in lowered code


class Enclosed:
    """A callable that takes arrays and returns (y, backward), made from a function that defines `backward` inside.

    `names` are the names of the arrays. `arguments(arrays)` returns the positional and keyword arguments that are
    passed to `function`, which may modify them.
    """

    def __init__(self, function, names, arguments):
        self.function, self.names_of_inputs, self.arguments = function, names, arguments
        self.__name__ = function.__name__

    def __call__(self, *arrays, **options):
        inputs, further = self.arguments(arrays)
        y, backward = self.function(*inputs, **options, **further)
        return y, lambda *dy: _with_copied_contents(backward)(*dy)

    def source(self, call, outer, spelling, returned):
        """Return the Source, the code of both passes, of this function.

        `call` is a Call of this function and `outer` its syntax tree. `spelling` and `returned` are fields of the
        Source.
        """
        inner = contents(call.evaluate()[1])["backward"]
        file = inner.__code__.co_filename
        tree, lines = ast.Module([outer], []), linecache.getlines(file)
        return Source(file, tree, outer, outer.body[0], inner, lines, True, spelling=spelling, returned=returned)


def _with_copied_contents(function):
    """Copy a function and the values in its closure, so that a call of the copy cannot modify the original values."""
    held = copy.deepcopy(contents(function))
    cells = [types.CellType(*[held[n]][: n in held] if n in held else ()) for n in function.__code__.co_freevars]
    copied = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def enclosed(name, functions, nodes, arguments, bodies, scope=()):
    """Build a function from a forward and a backward pass, and return it with its syntax tree.

    `functions` and `nodes` are the two passes and their syntax trees, whose line numbers are kept. `arguments` and
    `bodies` are the arguments and the statements of the two passes. `scope` contains additional global names.
    """
    inner = ast.FunctionDef("backward", arguments[1], bodies[1], [], type_params=[])
    outer = ast.FunctionDef(name, arguments[0], [inner, *bodies[0]], [], type_params=[])
    for function, node in ((inner, nodes[1]), (outer, nodes[0])):
        ast.copy_location(function, node)
        for argument in ast.walk(function.args):
            ast.copy_location(argument, node)
            if isinstance(argument, ast.arg):
                argument.annotation = None
    tree, file = ast.fix_missing_locations(ast.Module([outer], [])), functions[0].__code__.co_filename
    held = contents(functions[0]) | contents(functions[1])
    globals_ = functions[0].__globals__ | held | {NUMPY: np} | dict(scope)
    return types.FunctionType(codes_of(tree, file)[outer.lineno, name], globals_), outer


def definitions(name, functions):
    """Return the syntax trees of two functions in one file. Raises ValueError if their source is not found."""
    file, found = functions[0].__code__.co_filename, []
    linecache.checkcache(file)
    for function in functions:
        tree, _, node = node_of(function, linecache.getlines(file))
        if function.__code__.co_filename != file or node is None:
            is_lambda = function.__name__ == "<lambda>"
            raise ValueError(f"{name}: {'two lambdas in one line have no lines' if is_lambda else NOT_WITHIN}")
        require_unchanged(name, tree, file, [function])
        found.append(node)
    return found


def returning(body, stored, form):
    """Replace each `return value` by `return form(value)`. If the value is missing or None, `stored` replaces it."""
    body = [part for statement in body if (part := _Returns(stored, form).visit(statement)) is not None]
    if not isinstance(body[-1], ast.Return):
        body.append(ast.copy_location(ast.Return(form(stored)), body[-1]))
        ast.fix_missing_locations(body[-1])
    return body


class _Returns(ast.NodeTransformer):
    def __init__(self, stored, form):
        self.stored, self.form = stored, form

    def visit(self, node):
        if isinstance(node, OWN_SCOPE):
            return node
        if not isinstance(node, ast.Return):
            return self.generic_visit(node)
        is_none = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        node.value = self.form(copy.deepcopy(self.stored) if is_none else node.value)
        return node


def name_of(name):
    return ast.Name(name, ast.Load())
