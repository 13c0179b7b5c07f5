"""Find the containers in which a function may leave state behind."""

import inspect
from collections import deque

CONTAINERS = (list, dict, set, deque)
DEPTH = 3


def containers(function):
    """Return {name: container} for the containers that a function can reach."""
    found, pending, seen = {}, [("", function, 0)], set()
    while pending:
        name, value, depth = pending.pop(0)
        if id(value) in seen or depth > DEPTH:
            continue
        seen.add(id(value))
        if isinstance(value, CONTAINERS):
            found.setdefault(name, value)
        pending += [(inner, held, depth + 1) for inner, held in _within(name, value)]
    return found


def _within(name, value):
    """Yield (name, value) for each variable, attribute or entry that a value contains."""
    if inspect.ismethod(value):
        yield "self", value.__self__
        value = value.__func__
    if inspect.isfunction(value):
        scope = inspect.getclosurevars(value)
        yield from scope.nonlocals.items()
        yield from ((n, v) for n, v in scope.globals.items() if not inspect.ismodule(v))
    elif isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from ((f"{name}[{key!r}]", held) for key, held in items)
    elif hasattr(value, "__dict__") and not inspect.isclass(value) and name:
        yield from ((f"{name}.{key}", held) for key, held in vars(value).items())
