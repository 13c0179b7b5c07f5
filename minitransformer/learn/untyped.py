"""Remove type hints from source code, so that an exercise shows only the mathematics."""

import ast

LONGEST = 120  # characters of a line


def untyped(source: str) -> str:
    """Return a source file without the types in signatures and assignments."""
    lines = source.split("\n")
    nodes = [node for node in ast.walk(ast.parse(source)) if types_of(node)]
    for node in sorted(nodes, key=lambda node: node.lineno, reverse=True):
        if isinstance(node, ast.AnnAssign):
            lines[node.lineno - 1 : node.end_lineno] = assignment(node, source)
        else:
            lines[node.lineno - 1 : node.body[0].lineno - 1] = signature(node, source)
    return "\n".join(lines)


def types_of(node) -> list:
    """Return the annotations of an assignment or signature.

    A function whose body is on the same line as its signature is left as it is.
    """
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    if not isinstance(node, ast.FunctionDef) or node.body[0].lineno == node.lineno:
        return []
    parameters = [inner.annotation for inner in ast.walk(node.args) if isinstance(inner, ast.arg)]
    return [annotation for annotation in (*parameters, node.returns) if annotation is not None]


def assignment(node, source: str) -> list[str]:
    """Return the lines of an assignment without annotation; none if it has no value."""
    if node.value is None:
        return []
    target, value = (ast.get_source_segment(source, part) for part in (node.target, node.value))
    behind = source.split("\n")[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    return f"{' ' * node.col_offset}{target} = {value}{behind}".split("\n")


def signature(function, source: str) -> list[str]:
    """Return the lines of a signature without types, on one line if they fit."""
    indent = " " * function.col_offset
    entries = [*parameters(function.args, source)]
    line = f"{indent}def {function.name}({', '.join(entries)}):"
    if len(line) <= LONGEST:
        return [line]
    return [f"{indent}def {function.name}(", *(f"{indent}    {entry}," for entry in entries), f"{indent}):"]


def parameters(arguments, source: str):
    """Yield the parameters of a signature without annotations, with their defaults."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    for k, (parameter, default) in enumerate(zip(positional, defaults, strict=True)):
        yield with_default(parameter, default, source)
        if k + 1 == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg or arguments.kwonlyargs:
        yield f"*{arguments.vararg.arg if arguments.vararg else ''}"
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield with_default(parameter, default, source)
    if arguments.kwarg:
        yield f"**{arguments.kwarg.arg}"


def with_default(parameter, default, source: str) -> str:
    return parameter.arg if default is None else f"{parameter.arg}={ast.get_source_segment(source, default)}"
