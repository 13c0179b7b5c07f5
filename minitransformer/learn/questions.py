"""Turn an error message into a question that leads to the cause but contains no answer."""

import ast
import re
from types import ModuleType
from typing import NamedTuple

import numpy as np

from gradcheck.mistakes import KINDS
from minitransformer.module import Module, Parameter

FLAT = "reverses all of its axes: which two have to be exchanged, or which flattened to rows?"


class Question(NamedTuple):
    """A question that helps the learner find a mistake. It is empty if there is nothing to ask.

    `line` is the name that the line in question assigns, or "", and `names` are other names in the line.
    """

    text: str = ""
    line: str = ""
    names: tuple = ()


def question_on(error, source: str, frame, line: int) -> Question:
    """Return a question about an exception in the learner's code. It is empty for other exceptions.

    `frame` is the frame of the function that raised the exception, and `line` the number of the line.
    """
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, simple) and n.value]
    at = [node for node in nodes if node.lineno <= line <= node.end_lineno]
    target = ast.unparse(at[-1].targets[0]) if at and isinstance(at[-1], ast.Assign) else ""
    if isinstance(error, UnboundLocalError):
        name = re.search(r"'(.*?)'", str(error))[1]
        return Question(f"{name} is read before the line that computes it: which order do the lines need?", target)
    if isinstance(error, NameError):
        of = "forward computes the value that you mean"
        of = "backward computes it, or is it a part of dy" if error.name.startswith("d") else of
        return Question(f"{error.name} has no value here: which line of {of}?", target)
    if isinstance(error, AttributeError) and isinstance(error.obj, Parameter):
        return Question(
            "the array of a Parameter is its .data: does a backward of the module already compute this product?"
        )
    if isinstance(error, AttributeError) and isinstance(error.obj, Module):
        of = type(error.obj).__name__
        return Question(
            f"forward calls the {of} as a function: which backward function does it receive from this call?"
        )
    if unpacked := unpacked_in(source, frame):
        text = f"{ast.unparse(unpacked)}: a module has one gradient to return, so these are the parts of one array"
        return Question(text, names=names_of(unpacked))
    if not at:
        return Question()
    from gradcheck.lines.shapes import operands_at_fault, value_of

    operands = operands_at_fault(at[-1], frame) if isinstance(error, ValueError) else []
    values = [value_of(operand, frame) for operand in operands]
    if len(operands) == 2 and all(isinstance(value, (np.ndarray, np.generic, float, int, list)) for value in values):
        text, names = question_on_shapes(error, operands, list(map(np.shape, values))), names_of(*operands)
    else:
        values = frame.f_globals | frame.f_locals
        known = {
            name: values[name] for name in names_read(at[-1]) if not isinstance(values.get(name), ModuleType | None)
        }
        listed = ", ".join(f"{name} is {described(value)}" for name, value in known.items())
        text, names = f"{listed}: is each of them what you expect?" if listed else "", tuple(known)
    return Question(f"{target}: {text}" if target and text else text, target if text else "", names)


def names_read(statement) -> tuple[str, ...]:
    loads = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return tuple(dict.fromkeys(node.id for node in loads))


def names_of(*nodes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)))


def described(value) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape}"
    if callable(value) or isinstance(value, (tuple, list)):
        return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")
    return f"of type {type(value).__name__}"


def unpacked_in(source: str, frame):
    """Return the statement that unpacks an array as if a backward function had returned a tuple, or None."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Call):
            parts = [frame.f_locals.get(getattr(part, "id", "")) for part in node.targets[0].elts]
            bases = {id(getattr(part, "base", None)) for part in parts}
            if "backward" in ast.unparse(node.value.func) and len(bases) == 1 and id(None) not in bases:
                return node
    return None


def question_on_shapes(error, operands, shapes) -> str:
    one, other = map(ast.unparse, operands)
    for operand, shape in zip(operands, shapes, strict=True):
        if getattr(operand, "attr", "") == "T" and len(shape) > 2:
            return f"{ast.unparse(operand)} has shape {shape}, because .T {FLAT}"
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


def question_on_problem(problem) -> Question:
    """Return a question about a problem of a backward pass that gradcheck has found, or an empty Question."""
    if not problem.kind:
        return Question()
    asked = KINDS[problem.kind].question.format(**problem.data)
    where, label = problem.data.get("problem"), problem.data.get("label", "")
    return Question(f"{where}: {asked}" if where else asked, label)
