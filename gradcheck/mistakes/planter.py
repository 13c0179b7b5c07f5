"""Run edited source, in a copy of a function or in the functions in memory.

Edited source is compiled, never executed: the code objects of its functions are found by their first line and name.
"""

import ast
import contextlib
import copy
import inspect
import textwrap
import types

__all__ = ["codes_of", "copy_with", "key_of", "planted", "tree_of", "with_node"]


def codes_of(source, file):
    """Compile source text or a tree, and return {(first line, name): code} of its functions."""
    codes, pending = {}, [compile(source, file, "exec", dont_inherit=True)]
    while pending:
        for constant in pending.pop().co_consts:
            if isinstance(constant, types.CodeType):
                codes[key_of(constant)] = constant
                pending.append(constant)
    return codes


def key_of(code):
    return code.co_firstlineno, code.co_name


def tree_of(function):
    """Return the syntax tree of a function, with the line numbers of its file."""
    lines, first = inspect.getsourcelines(function)
    return ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)


def copy_with(function, code):
    copied = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def with_node(tree, node, new):
    """Return a syntax tree with `node` replaced by `new`, without copying the rest."""
    if tree is node:
        return new
    if isinstance(tree, list):
        parts = [with_node(part, node, new) for part in tree]
        return parts if any(part is not old for part, old in zip(parts, tree, strict=True)) else tree
    if not isinstance(tree, ast.AST):
        return tree
    for name, value in ast.iter_fields(tree):
        other = with_node(value, node, new)
        if other is not value:
            twin = copy.copy(tree)
            setattr(twin, name, other)
            return twin
    return tree


@contextlib.contextmanager
def planted(changes):
    """Replace the code of functions within a `with` block. `changes` lists (function, code)."""
    before = []
    try:
        for function, code in changes:
            before.append((function, function.__code__))
            function.__code__ = code
        yield
    finally:
        for function, code in reversed(before):
            function.__code__ = code
