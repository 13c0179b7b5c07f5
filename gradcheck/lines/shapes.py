"""Explain an exception in a backward pass by its line and the shapes of the arrays.

If NumPy refuses the shapes, the parts of the line are evaluated again to find the failing operation and the shapes of
its operands. A mistake from the table, such as a missing transpose or sum, is named only if backward returns the right
gradients once the line is corrected.
"""

import ast
import copy
import linecache
import re
import traceback

import numpy as np

from gradcheck.contract import arguments_of
from gradcheck.examination import examine
from gradcheck.judgement import Terms
from gradcheck.lines.instrument import bound, modified
from gradcheck.lines.report import WRONG, StepRow, StepsReport, equation_in
from gradcheck.lines.source import source_of
from gradcheck.mistakes import Reader, with_node
from gradcheck.mistakes.repairing import Names, repairs
from gradcheck.names import names_read

__all__ = ["exception_in_backward", "exception_report", "operands_at_fault", "value_of"]

ABOUT_SHAPES = re.compile(
    r"broadcast|core dimension|not aligned|reshape|must match exactly|sum of .* size|enough dimensions"
)
PRODUCTS = ("dot", "matmul")
LIBRARIES = ("numpy", "scipy", "torch", "jax", "gradcheck")  # the line to name is in none of them
OF_SHAPES = ("transpose lost", "transpose added", "operands exchanged", "sum dropped", "call dropped")


def exception_in_backward(call, error):
    """Return a description of `error`, or "" if backward has not raised this exception."""
    if not hasattr(error, "backward"):
        return ""
    found = _found(call, error)
    where = f" in line {found[1]}, `{found[2]}`" if found else ""
    return f"backward raises {type(error).__name__}{where}: {found[3] if found else _message(error)}"


def exception_report(call, error):
    """Return a report on the line of backward that raised the exception, or None."""
    found = _found(call, error)
    if not found:
        return None
    statement, line, text, reason = found
    name = ", ".join(bound(statement)[0]) if statement else ""
    sentence = f"it raises {type(error).__name__}: {reason}"
    row = StepRow(name or "the returned value", equation_in(text), line, WRONG, sentence, "exception raised")
    return StepsReport(call.name, (row,), total=len(arguments_of(call)))


def _found(call, error):
    """Find the line of backward that raised an exception.

    Returns (statement or None, line number, text of the line, reason), or () if there is none.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    ours = max(i for i, (frame, _) in enumerate(frames) if _module(frame) == "gradcheck")  # the last calls backward
    own = [at for at in frames[ours:] if _module(at[0]) not in LIBRARIES]
    if not hasattr(error, "backward") or not own:
        return ()
    frame, line = own[-1]
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except SyntaxError:
        tree = ast.Module([], [])
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    at = [n for n in ast.walk(tree) if isinstance(n, simple) and n.lineno <= line <= n.end_lineno and n.value]
    statement, is_about_shapes = max(at, key=lambda n: n.lineno, default=None), ABOUT_SHAPES.search(str(error))
    operands = operands_at_fault(statement, frame) if statement and is_about_shapes else []
    if operands:
        reason = _shapes(operands, frame) + _mistake(call, error.backward, statement, frame)
    else:
        read = sorted(names_read(statement)) if statement else ()
        shapes = _shapes([ast.Name(name, ast.Load()) for name in read], frame)
        reason = _message(error) + (f" ({shapes})" if shapes else "")
    return statement, line, linecache.getline(frame.f_code.co_filename, line).strip(), reason


def _shapes(nodes, frame):
    """Return the shapes of the arrays among some expressions as text."""
    values = {ast.unparse(node): value_of(node, frame) for node in nodes}
    shapes = {code: getattr(value, "shape", None) for code, value in values.items()}
    return ", ".join(f"{code} has shape {tuple(s)}" for code, s in shapes.items() if isinstance(s, tuple))


def _message(error):
    return " ".join(str(error).split()) or "no message"


def _module(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]


def operands_at_fault(statement, frame):
    """Return the operands of the operation that fails in a statement, or []."""
    for node in reversed([*ast.walk(statement.value)]):
        operands = []
        if isinstance(node, ast.BinOp):
            operands = [node.left, node.right]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in PRODUCTS:
            operands = node.args if len(node.args) == 2 else [node.func.value, *node.args]
        values = [value_of(operand, frame) for operand in operands]
        if values and not any(value is None for value in values) and value_of(node, frame) is None:
            return operands
    is_update = isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name)
    return [ast.Name(statement.target.id, ast.Load()), statement.value] if is_update else []


def value_of(node, frame):
    code = compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "<part>", "eval")
    try:
        with np.errstate(all="ignore"):
            return eval(code, frame.f_globals, frame.f_locals)
    except Exception:
        return None


def _mistake(call, backward, statement, frame):
    """Return a phrase that names the mistake in a statement, or "" if no edit makes every gradient right."""
    try:
        source = source_of(backward, call.target, call.name)
    except ValueError:
        return ""
    place = statement.lineno, statement.col_offset
    at = [n for n in ast.walk(source.tree) if isinstance(n, ast.stmt) and (n.lineno, n.col_offset) == place]
    if not at:  # the statement is in a function that backward calls
        return ""
    own = at[0]
    names = Names(frame.f_locals, names_read(statement), (), lambda name: False)
    names.lists["axes"] = lambda bound: [ast.Constant(axis) for axis in range(4)]  # of arrays with at most 4 axes
    for edit, code in [found for rank in (1, 2) for found in repairs(own.value, names, rank)]:
        corrected = with_node(own, own.value, code)  # `code` may be a part of the shared tree
        if edit.row.kind not in OF_SHAPES or value_of(code, frame) is None:
            continue
        tree = ast.fix_missing_locations(copy.deepcopy(with_node(source.tree, own, corrected)))
        with modified(source, tree):
            try:
                if examine(call.copy(), Terms()).report.is_right:
                    return f"; {edit.sentence(Reader())}"
            except Exception:  # the corrected line may raise as well
                continue
    return ""
