"""Remove type hints and argument checks from source code, so that an exercise shows only the mathematics."""

import ast
import copy

LONGEST = 120  # characters of a line
CHECKS = ("check_", "require_")  # prefixes of the functions that check arguments


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


def without_checks(source: str) -> str:
    """Return a source file without argument checks. A check that is alone in its block stays."""
    lines = source.split("\n")
    blocks = [node.body for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]
    checks = [statement for block in blocks if not all(map(is_check, block)) for statement in filter(is_check, block)]
    for node in sorted(checks, key=lambda node: node.lineno, reverse=True):
        del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines)


def is_check(node) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith(CHECKS)


def types_of(node) -> list:
    """Return the annotations of an assignment or signature.

    The list is empty for a function whose body is on the same line as its signature.
    """
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    if not isinstance(node, ast.FunctionDef) or node.body[0].lineno == node.lineno:
        return []
    parameters = [inner.annotation for inner in ast.walk(node.args) if isinstance(inner, ast.arg)]
    return [annotation for annotation in (*parameters, node.returns) if annotation is not None]


def assignment(node, source: str) -> list[str]:
    """Return the lines of an assignment without its annotation. The list is empty if it has no value."""
    if node.value is None:
        return []
    target, value = (ast.get_source_segment(source, part) for part in (node.target, node.value))
    behind = source.split("\n")[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    return f"{' ' * node.col_offset}{target} = {value}{behind}".split("\n")


def signature(function, source: str) -> list[str]:
    """Return the lines of a signature without types, on one line if they fit."""
    arguments, indent = copy.deepcopy(function.args), " " * function.col_offset
    for parameter in ast.walk(arguments):
        if isinstance(parameter, ast.arg):
            parameter.annotation = None
    for defaults in (arguments.defaults, arguments.kw_defaults):  # written as they are in the source
        defaults[:] = [value and ast.Name(ast.get_source_segment(source, value)) for value in defaults]
    line = f"{indent}def {function.name}({ast.unparse(arguments)}):"
    if len(line) <= LONGEST:
        return [line]
    entries = ast.unparse(arguments).split(", ")
    return [f"{indent}def {function.name}(", *(f"{indent}    {entry}," for entry in entries), f"{indent}):"]
