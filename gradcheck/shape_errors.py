"""Explain a ValueError that NumPy raises in a backward pass because of shapes: the line, the shapes, and the mistake.

The parts of the line are evaluated again to find the failing operation. A missing transpose, two exchanged factors or a
missing sum over an axis is named only if backward, with the line corrected, returns the right gradients.
"""

import ast
import copy
import linecache
import re

import numpy as np

from gradcheck.examination import examine
from gradcheck.judgement import Terms

ABOUT_SHAPES = re.compile(r"broadcast|core dimension|not aligned|reshape|must match exactly|sum of .* size")
PRODUCTS = ("dot", "matmul")


def shape_problem(call, backward, error):
    """Describe the shapes that made backward raise an error, or return ""."""
    frame, line = _place(error)
    if not ABOUT_SHAPES.search(str(error)) or frame is None:
        return ""
    text = linecache.getline(frame.f_code.co_filename, line).strip()
    statement = _statement(frame, line)
    node = None if statement is None else _at_fault(statement, frame)
    if node is None:
        return f"backward raises ValueError in line {line}, `{text}`: {error}"
    operands = {ast.unparse(operand): _evaluated(operand, frame) for operand in _operands(node)}
    shapes = ", ".join(f"{name} has shape {np.shape(value)}" for name, value in operands.items())
    mistake = _verified(call, backward, node, [np.ndim(value) for value in operands.values()])
    return f"backward raises ValueError in line {line}, `{text}`: {shapes}{f'; {mistake}' if mistake else ''}"


def _place(error):
    """Return (frame, line) of the innermost call outside of NumPy and gradcheck.

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


def _verified(call, backward, node, ndims):
    """Return the mistake whose correction makes every gradient right, or ""."""
    from gradcheck.lines.instrument import planted
    from gradcheck.lines.source import source_of

    try:
        source = source_of(backward, call.target, call.name)
    except ValueError:
        return ""
    for sentence, mended in _mended(node, ndims):
        tree = _With(node, mended).visit(copy.deepcopy(source.tree))
        with planted(source, call.target, ast.fix_missing_locations(tree), None):
            if _is_right(call):
                return sentence
    return ""


def _is_right(call):
    try:
        return examine(call.copy(), None, Terms()).report.is_right
    except Exception:
        return False


def _mended(node, ndims):
    """Yield (name of a mistake, the operation without it)."""
    left, right = _operands(node)
    is_product = isinstance(node, ast.Call) or isinstance(getattr(node, "op", None), ast.MatMult)
    if is_product:
        for wrong, pair in (
            (f"{ast.unparse(left)} is not transposed", (_turned(left), right)),
            (f"{ast.unparse(right)} is not transposed", (left, _turned(right))),
            ("the two factors are in the wrong order", (right, left)),
        ):
            yield wrong, ast.BinOp(pair[0], ast.MatMult(), pair[1])
    for k, operand in enumerate((left, right)):
        if isinstance(node, ast.AugAssign) and k == 0:
            continue
        for axis in range(ndims[k]):
            summed = ast.Call(ast.Attribute(operand, "sum", ast.Load()), [], [ast.keyword("axis", ast.Constant(axis))])
            pair = (summed, right) if k == 0 else (left, summed)
            new = (
                ast.AugAssign(node.target, node.op, summed)
                if isinstance(node, ast.AugAssign)
                else ast.BinOp(pair[0], getattr(node, "op", ast.MatMult()), pair[1])
            )
            yield f"the sum of {ast.unparse(operand)} over axis {axis} is missing", new


def _turned(node):
    """Return the transpose of an expression; x.T becomes x."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


class _With(ast.NodeTransformer):
    """Replaces one node, which is identified by its position in the source."""

    def __init__(self, node, new):
        self.node, self.new = node, new

    def visit(self, node):
        position = ("lineno", "col_offset", "end_lineno", "end_col_offset")
        if type(node) is type(self.node) and all(getattr(node, p) == getattr(self.node, p) for p in position):
            return ast.copy_location(copy.deepcopy(self.new), node)
        return super().generic_visit(node)
