"""Split a function that returns a value and its gradient into a forward and a backward pass.

The statements on which the value depends are the forward pass. The other statements on which the gradient depends are
the backward pass, with dy = 1. A loop with statements of both passes is in both, with the statements that each needs.
"""

import ast
import copy

from gradcheck.lines.instrument import bound
from gradcheck.names import names_bound, names_in, names_read

ALWAYS = (ast.Break, ast.Continue)  # statements that a loop keeps


def passes_of(statements, value, gradient):
    """Split a list of statements into a forward and a backward pass, and return both lists.

    `value` and `gradient` are the two expressions that the function returns. The forward pass contains the statements
    that compute `value`, and the backward pass the others, even if `gradient` does not depend on them by mistake.
    """
    forward = sliced(statements, set(names_read(value)))
    there = {id(node) for part in forward for node in _simple(part)}
    own = {id(node) for part in statements for node in _simple(part)} - there
    every = sliced(statements, set(names_read(gradient)), own)
    chosen = [any(id(node) not in there for node in _simple(part)) for part in every]
    while True:  # a name that backward binds needs its earlier values there too
        stored = {name for part, is_own in zip(every, chosen, strict=True) if is_own for name in _bound(part)}
        wider = [is_own or bool(stored & _bound(part)) for part, is_own in zip(every, chosen, strict=True)]
        if wider == chosen:
            own = [part for part, is_own in zip(every, chosen, strict=True) if is_own]
            return copy.deepcopy(forward), copy.deepcopy(own)
        chosen = wider


def sliced(statements, needed, own=frozenset()):
    """Return the statements that affect the final values of the names in `needed`, and those with an id in `own`.

    For loops and conditions, only the parts that affect these values are returned.
    """
    kept = []
    for statement in reversed(statements):
        part = _part(statement, needed, own)
        if part is not None:
            kept.insert(0, part)
            if isinstance(part, ast.Assign) and not bound(part)[1]:
                needed -= set(bound(part)[0])
            needed |= set(names_read(part))
    return kept


def _part(statement, needed, own):
    """Return the part of a statement that affects the names in `needed`, or None if there is none."""
    if not hasattr(statement, "body") or not isinstance(statement, (ast.For, ast.While, ast.If, ast.With)):
        is_needed = id(statement) in own or isinstance(statement, ALWAYS) or _bound(statement) & needed
        return statement if is_needed else None
    if not _bound(statement) & needed and not own & {id(node) for node in _simple(statement)}:
        return statement if any(isinstance(node, ALWAYS) for node in ast.walk(statement)) else None
    part, inner = copy.copy(statement), set(needed)
    while True:
        part.body = sliced(statement.body, set(inner), own) or [ast.copy_location(ast.Pass(), statement)]
        if getattr(statement, "orelse", None):
            part.orelse = sliced(statement.orelse, set(inner), own)
        read = set(names_read(part))
        if read <= inner:
            return part
        inner |= read


def _simple(part):
    """Yield the statements within a loop or condition, or the statement itself if it contains no others."""
    inner = [*getattr(part, "body", ()), *getattr(part, "orelse", ())] if isinstance(part, ast.stmt) else ()
    if not inner:
        yield part
    for statement in inner:
        yield from _simple(statement)


def _bound(statement):
    """Return the names to which a statement assigns, or whose values it may modify."""
    found = set(names_bound(statement))
    for node in ast.walk(statement):
        if isinstance(node, ast.stmt):
            found |= set(bound(node)[0])
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            arguments = [*node.value.args, getattr(node.value.func, "value", node.value)]
            found |= {names_in(argument)[0] for argument in arguments if names_in(argument)}
    return found
