"""Turn an error message into a question that leads to the cause but contains no answer."""

import ast
import re

import numpy as np

from minitransformer.module import Module, Parameter

RETURNED = re.compile(r"d(\w+) has shape \(.*?\), but \1 has \(.*?\)")
COUNT = re.compile(r"backward returned (.*?), expected (.*?): one for (.*)")
ON_REACH = "which entries of y does one entry of {0} reach? Their contributions add"
ON_REASONS = {
    "transposed": "which index comes first in {0}, and which factor of the product has that index?",
    "each other's place": "in which order does forward take its arguments? The gradients are returned in that order",
    "has that shape": "in which order does forward take its arguments? The gradients are returned in that order",
    "keepdims": "which sum keeps its axis, with length 1, and which of the arguments has such an axis?",
}
FLAT = "reverses all of its axes: which two have to be exchanged, or which flattened to rows?"


def question_on(error, source: str, frame, line: int) -> str:
    """Return a question about an exception that a learner's line raised, or ""."""
    if isinstance(error, UnboundLocalError):
        name = re.search(r"'(.*?)'", str(error))[1]
        return f"{name} is read before the line that computes it: which order do the lines need?"
    if isinstance(error, NameError):
        of = "forward computes the value that you mean"
        of = "backward computes it, or is it a part of dy" if error.name.startswith("d") else of
        return f"{error.name} has no value here: which line of {of}?"
    if isinstance(error, AttributeError) and isinstance(error.obj, Parameter):
        return "the array of a Parameter is its .data: does a backward of the module already compute this product?"
    if isinstance(error, AttributeError) and isinstance(error.obj, Module):
        of = type(error.obj).__name__
        return f"forward calls the {of} as a function: which backward function does it receive from this call?"
    if unpacked := unpacked_in(source, frame):
        return f"{unpacked}: a module has one gradient to return, so these are the parts of one array"
    from gradcheck.lines.shapes import operands_at_fault

    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, simple) and n.value]
    at = [node for node in nodes if node.lineno <= line <= node.end_lineno]
    if not at:
        return ""
    place = f"{ast.unparse(at[-1].targets[0])}: " if isinstance(at[-1], ast.Assign) else ""
    operands = operands_at_fault(at[-1], frame) if isinstance(error, ValueError) else []
    if len(operands) == 2:
        return place + question_on_shapes(error, operands, frame)
    known = {n.id: frame.f_locals[n.id] for n in ast.walk(at[-1].value) if getattr(n, "id", "") in frame.f_locals}
    listed = ", ".join(f"{name} is {described(value)}" for name, value in known.items())
    return f"{place}{listed}: is each of them what you expect?" if listed else ""


def described(value) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape}"
    if callable(value) or isinstance(value, (tuple, list)):
        return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")
    return f"of type {type(value).__name__}"


def unpacked_in(source: str, frame) -> str:
    """Return an assignment that unpacks an array, the result of a backward function, or ""."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Call):
            parts = [frame.f_locals.get(getattr(part, "id", "")) for part in node.targets[0].elts]
            bases = {id(getattr(part, "base", None)) for part in parts}
            if "backward" in ast.unparse(node.value.func) and len(bases) == 1 and id(None) not in bases:
                return ast.unparse(node)
    return ""


def question_on_shapes(error, operands, frame) -> str:
    from gradcheck.lines.shapes import value_of

    shapes = [np.shape(value_of(operand, frame)) for operand in operands]
    one, other = map(ast.unparse, operands)
    for code, shape in zip((one, other), shapes, strict=True):
        if code.endswith(".T") and len(shape) > 2:
            return f"{code} has shape {shape}, because .T {FLAT}"
    if "matmul" in str(error) or "aligned" in str(error):
        return f"{one} @ {other} multiplies {shapes[0]} by {shapes[1]}: {on_product(*shapes)}"
    return f"{one} has shape {shapes[0]} and {other} has shape {shapes[1]}: {on_entries(*shapes)}"


def on_product(one, other) -> str:
    if len(one) > 1 and len(other) > 1 and (one[-1] == other[-1] or one[-2] == other[-2]):
        return "which of the two has to be transposed so that the inner sizes agree?"
    return "over which axis should the sum run, and where does it stand in each of the two?"


def on_entries(one, other) -> str:
    longer, shorter = sorted((one, other), key=len, reverse=True)
    if any(longer[:k] + longer[k + 1 :] == shorter for k in range(len(longer))):
        return "which of the two lacks an axis of length 1: a sum that keeps its axis, or a new one?"
    if one == other[::-1]:
        return "which of the two has to be transposed?"
    return "which of the two has a shape that you did not expect?"


def question_on_problem(problem: str) -> str:
    """Return a question about a wrong shape or a wrong number of gradients, or ""."""
    if match := RETURNED.search(problem):
        reason = problem[match.end() :]
        asked = (question for part, question in ON_REASONS.items() if part in reason)
        return f"{match[0]}: {next(asked, ON_REACH).format(match[1])}"
    if match := COUNT.search(problem):
        if match[1] == "nothing":
            return "does backward end with return? A call that works in place, such as np.add.at, returns None"
        if ", " not in match[3]:
            return f"backward returned {match[1]}: how do they become one array of the shape of {match[3]}?"
        given, known = match[1].partition(" ")[0], match[3].split(", ")
        if given.isdecimal() and int(given) > len(known):
            return f"backward returned {match[1]}: which of them belongs neither to {' nor to '.join(known)}?"
        return f"backward returned {match[1]}: which of {match[3]} lacks its gradient?"
    return ""
