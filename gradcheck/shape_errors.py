"""Explain a ValueError that NumPy raises in a backward pass because of shapes: the line, the shapes, and the mistake.

The parts of the line are evaluated again to find the failing operation. A missing transpose, two exchanged factors or a
missing sum over an axis is named only if backward, with the line corrected, returns the right gradients.
"""

import ast
import copy
import itertools
import linecache
import re

import numpy as np

from gradcheck.examination import examine
from gradcheck.judgement import Terms
from gradcheck.mistakes import Reader, exchanged
from gradcheck.mistakes.repairing import Names, repairs

ABOUT_SHAPES = re.compile(
    r"broadcast|core dimension|not aligned|reshape|must match exactly|sum of .* size|enough dimensions"
)
PRODUCTS = ("dot", "matmul")
KINDS = ("transpose lost", "transpose added", "operands exchanged", "call dropped")  # mistakes that change shapes


def shape_problem(call, error):
    """Describe the shapes that made backward raise an error, or return "" if the error has another cause."""
    backward, (frame, line) = getattr(error, "backward", None), _place(error)
    if backward is None or not ABOUT_SHAPES.search(str(error)) or frame is None:
        return ""
    text = linecache.getline(frame.f_code.co_filename, line).strip()
    statement = _statement(frame, line)
    node = None if statement is None else _at_fault(statement, frame)
    if node is None:
        return f"backward raises ValueError in line {line}, `{text}`: {error}"
    operands = {ast.unparse(operand): _evaluated(operand, frame) for operand in _operands(node)}
    shapes = ", ".join(f"{name} has shape {np.shape(value)}" for name, value in operands.items())
    mistake = _verified(call, backward, node, frame)
    return f"backward raises ValueError in line {line}, `{text}`: {shapes}{f'; {mistake}' if mistake else ''}"


def _place(error):
    """Return (frame, line) of the innermost call outside NumPy and gradcheck.

    If there is none, return (None, 0).
    """
    found, trace = (None, 0), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").split(".")[0] not in ("numpy", "gradcheck"):
            found = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    return found


def _statement(frame, line):
    """Return the innermost simple statement at a line of a frame's file, or None."""
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except SyntaxError:
        return None
    simple = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr)
    at = [n for n in ast.walk(tree) if isinstance(n, simple) and n.lineno <= line <= n.end_lineno]
    return max(at, key=lambda n: n.lineno, default=None)


def _at_fault(statement, frame):
    """Return the operation that raises although its operands do not, or None."""
    for node in reversed(list(ast.walk(statement))):
        operands = _operands(node)
        if operands and all(_evaluated(operand, frame) is not None for operand in operands):
            if isinstance(node, ast.AugAssign):
                return node
            if _evaluated(node, frame) is None:
                return node
    return None


def _operands(node):
    """Return the two operands of an operation on arrays, or []."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.AugAssign):
        return [ast.Name(node.target.id, ast.Load()), node.value] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS:
        operands = [*([] if len(node.args) == 2 else [node.func.value]), *node.args]
        return operands if len(operands) == 2 else []
    return []


def _evaluated(node, frame):
    """Return the value of an expression in a frame, or None if it raises."""
    code = compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "<part>", "eval")
    try:
        return eval(code, frame.f_globals, frame.f_locals)
    except Exception:
        return None


def _verified(call, backward, node, frame):
    """Return the sentence that names the mistake, or "".

    A mistake is named only if its correction makes every gradient right.
    """
    from gradcheck.lines.instrument import planted
    from gradcheck.lines.source import source_of

    try:
        source = source_of(backward, call.target, call.name)
    except ValueError:
        return ""
    twin = next(n for n in ast.walk(source.tree) if type(n) is type(node) and _position(n) == _position(node))
    for sentence, corrected in _corrected(twin, frame):
        tree = copy.deepcopy(exchanged(source.tree, twin, ast.copy_location(corrected, twin)))
        with planted(source, ast.fix_missing_locations(tree), None):
            if _is_right(call):
                return sentence
    return ""


def _is_right(call):
    try:
        return examine(call.copy(), None, Terms()).report.is_right
    except Exception:  # the corrected line may raise as well
        return False


def _corrected(node, frame):
    """Yield (sentence, operation that does not raise) for each repair of the operation and of its operands."""
    parts = [node.value] if isinstance(node, ast.AugAssign) else [node, *_operands(node)]
    names = Names(frame.f_locals, (), (), lambda name: False)
    names.lists["axes"] = lambda bound: [ast.Constant(axis) for axis in range(4)]  # of arrays with any number of axes
    for rank, part in itertools.product((1, 2), parts):
        for edit, code, _ in repairs(part, names, rank):
            if edit.row.kind in KINDS:
                corrected = exchanged(node, part, code)
                if isinstance(node, ast.AugAssign) or _evaluated(corrected, frame) is not None:
                    yield edit.sentence(Reader()), corrected


def _position(node):
    return [getattr(node, name, None) for name in ("lineno", "col_offset", "end_lineno", "end_col_offset")]
