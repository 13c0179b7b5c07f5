"""Give each student a variant of an exercise.

In a variant, forward uses other names, and scales and reorders the result. Code that was copied from another student
fails, because its names do not exist or its gradients differ.
"""

import ast
import hashlib

from gradcheck.names import names_in

# The exercises whose result has no order
ARE_NUMBERS = ["expression", "fork", "neuron", "cross_entropy", "grpo", "whole_model", "one_page"]


def drawn(exercise) -> tuple[str, int, bool]:
    """Return (suffix of the names, factor of the result, True if the result is reversed) for a student's variant."""
    first, second, third, fourth = hashlib.sha256(f"{exercise.student} {exercise.name}".encode()).digest()[:4]
    suffix = f"_{chr(97 + first % 26)}{chr(97 + second % 26)}"
    return suffix, 2 + third % 98, fourth % 2 == 1 and exercise.name not in ARE_NUMBERS


def of_result(exercise, y):
    """Convert y, as the package computes it, to the result of the student's variant.

    The same conversion maps dy, the gradient of the variant's result, to that of the package's y.
    """
    if not exercise.student or exercise.is_value:
        return y
    _, factor, is_reversed = drawn(exercise)
    return factor * (y[..., ::-1] if is_reversed else y)


def formula(exercise, y: str) -> str:
    _, factor, is_reversed = drawn(exercise)
    return f"{factor} * {y}{'[..., ::-1]' * is_reversed}"


def said(exercise) -> str:
    return f" Here names of forward end in {drawn(exercise)[0]}, and forward returns {formula(exercise, 'y')}."


def varied(source: str, exercise) -> str:
    """Return the source with the exercise's function replaced by the student's variant, including its backward pass."""
    lines = [line.encode() for line in source.split("\n")]
    node = next(node for node in ast.parse(source).body if getattr(node, "name", "") == exercise.target)
    forward = next((part for part in node.body if getattr(part, "name", "") == "forward"), node)
    backward = next(part for part in forward.body if getattr(part, "name", "") == "backward")
    assigned = [n for part in forward.body if part is not backward for n in ast.walk(part) if isinstance(n, ast.Assign)]
    own = {*names_in(*(target for a in assigned for target in a.targets))}
    arguments = {node.arg for node in ast.walk(forward) if isinstance(node, ast.arg)}
    own -= arguments | {name for name in own if name.endswith("backward")}
    read = [node for node in ast.walk(forward) if isinstance(node, ast.Name) and node.id in own]
    edits = [(node.end_lineno, node.end_col_offset, 0, drawn(exercise)[0]) for node in read]
    y, dy = forward.body[-1].value.elts[0], backward.args.args[0].arg
    before, after = formula(exercise, "{}" if isinstance(y, ast.Name) else "({})").split("{}")
    edits += [(y.lineno, y.col_offset, 1, before), (y.end_lineno, y.end_col_offset, 1, after)]
    for at, column, _, text in sorted(edits, reverse=True):
        lines[at - 1] = lines[at - 1][:column] + text.encode() + lines[at - 1][column:]
    first = backward.body[bool(ast.get_docstring(backward))]
    lines.insert(first.lineno - 1, f"{' ' * first.col_offset}{dy} = {formula(exercise, dy)}".encode())
    return b"\n".join(lines).decode()
