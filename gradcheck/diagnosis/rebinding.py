"""Captured names that are rebound after backward was defined.

A closure keeps the variable, not its value. If `x = norm(x)` follows `def backward`, backward reads the new value when
it runs later. The numbers alone do not show this mistake. So forward is run again under a trace that records the value
of each captured name at the line that defines the closure. Backward then runs with the recorded value. If its gradient
is now right, the rebinding was the mistake.
"""

import ast
import functools
import linecache
import sys
import types
from contextlib import contextmanager

import numpy as np

from gradcheck.contract import run_backward, with_zeros


def captured_name_rebound(evidence):
    """Detect a captured name that is rebound after the closure, and report the name and the line."""
    run, seen = evidence.run, {}
    try:
        with _watched(seen):
            _, backward = run.call.evaluate()
    except Exception:  # the user's function ran before, so an exception now does not explain the gradient
        return None
    for function in _closures(backward, set()):
        code = function.__code__
        values = seen.get(code, [])
        if len(values) != 1:  # never seen, or defined several times and so ambiguous
            continue
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            if name in values[0] and _holds_another(cell, values[0][name]):
                with _holding(cell, values[0][name]):
                    again = _gradient(evidence, backward)
                if again is not None and evidence.same(again, evidence.truth):
                    return (
                        f"the name {name}, which {function.__name__} captures, is bound anew after it"
                        f"{_in_line(code, name)}: {function.__name__} reads the later value"
                    )
    return None


def _gradient(evidence, backward):
    run = evidence.run
    try:
        gradients = run_backward(run.call, backward, run.dy.copy(), run.arguments)
        return with_zeros(gradients, run.arguments)[evidence.position]
    except Exception:  # user code may fail with a value that it was not written for
        return None


@contextmanager
def _watched(seen):
    """Record in `seen` the values of a closure's free variables whenever the line that defines it is reached.

    `seen` is {code of the closure: [{name: value}]}, with one dictionary per definition.
    """

    def trace_calls(frame, event, _):
        inner = [c for c in frame.f_code.co_consts if isinstance(c, types.CodeType) and c.co_freevars]
        if not inner:
            return None

        def trace_lines(frame, event, _):
            if event == "line":
                for code in inner:
                    if code.co_firstlineno == frame.f_lineno:
                        held = frame.f_locals
                        seen.setdefault(code, []).append({n: held[n] for n in code.co_freevars if n in held})
            return trace_lines

        return trace_lines

    before = sys.gettrace()
    sys.settrace(trace_calls)
    try:
        yield
    finally:
        sys.settrace(before)


def _closures(function, seen):
    """Yield a function and every function that it captures, directly or through other functions."""
    if isinstance(function, types.FunctionType) and id(function) not in seen and len(seen) < 100:
        seen.add(id(function))
        yield function
        for cell in function.__closure__ or ():
            try:
                yield from _closures(cell.cell_contents, seen)
            except ValueError:  # an empty cell
                continue


def _holds_another(cell, value):
    try:
        now = cell.cell_contents
    except ValueError:
        return False
    return now is not value and not (type(now) is type(value) is not np.ndarray and now == value)


@contextmanager
def _holding(cell, value):
    """Set a cell to a value during the `with` block."""
    before = cell.cell_contents
    cell.cell_contents = value
    try:
        yield
    finally:
        cell.cell_contents = before


def _in_line(code, name):
    """Return the line of the first assignment to a name after a closure that captures it, as `, in line 12`.

    Return an empty string if there is none.
    """
    tree = _parsed("".join(linecache.getlines(code.co_filename)))
    for outer in ast.walk(tree):
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in _own_nodes(outer):
                if isinstance(inner, (ast.FunctionDef, ast.Lambda)) and _starts_at(inner, code):
                    stores = (n for n in _own_nodes(outer) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                    later = [n.lineno for n in stores if n.id == name and n.lineno > inner.end_lineno]
                    return f", in line {min(later)}" if later else ""
    return ""


def _own_nodes(function):
    """Yield the nodes of a function's body, except those inside nested functions and classes."""
    pending = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))


def _starts_at(node, code):
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return node.lineno == code.co_firstlineno and name == code.co_name


@functools.lru_cache(maxsize=32)
def _parsed(source):
    """Return the syntax tree of a source text, or an empty tree if the text is not valid Python.

    The result is cached because a check parses the same file many times.
    """
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")
