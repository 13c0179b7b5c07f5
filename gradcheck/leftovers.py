"""State that forward or backward leaves behind: a cache that backward empties, a list that each forward pass lengthens.

It is looked for once a function is found to answer differently the second time. Each list, dictionary, set or deque
that the function reaches through its closure, its globals or its object is counted before and after.
"""

import inspect
from collections import deque

from gradcheck.gradients import run_backward

CONTAINERS = (list, dict, set, deque)
DEPTH = 3


def cause(call, dy, arguments):
    """Return a sentence on entries that a Call removes from its state or adds to it; empty if there are none."""
    _, backward = call.evaluate()
    reached = containers(backward) | containers(call.target)
    before = {name: len(container) for name, container in reached.items()}
    try:
        run_backward(call, backward, dy.copy(), arguments)
    except Exception:  # the function is at fault, and this only asks how
        return ""
    taken = {name: n - len(reached[name]) for name, n in before.items()}
    for name, n in taken.items():
        if n > 0:
            missed = "it" if n == 1 else "them"
            return f"backward takes {_entries(n)} out of {name}, and another call does not find {missed}"
    call.evaluate()
    for name, container in containers(call.target).items():
        added = len(container) - before.get(name, len(container)) + taken.get(name, 0)
        if added > 0:
            return f"each forward pass leaves {_entries(added)} in {name}, where backward finds those of others too"
    return ""


def _entries(n):
    return "an entry" if n == 1 else f"{n} entries"


def containers(function):
    """Return {name: container} of those that a function reaches."""
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
    """Yield (name, value) of each value in a function's scope, an object or a container."""
    if inspect.ismethod(value):
        yield "self", value.__self__
        value = value.__func__
    if inspect.isfunction(value):
        scope = inspect.getclosurevars(value)
        yield from scope.nonlocals.items()
        yield from ((n, v) for n, v in scope.globals.items() if not inspect.ismodule(v))
    elif isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", held) for key, held in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}[{i}]", held) for i, held in enumerate(value))
    elif hasattr(value, "__dict__") and not inspect.isclass(value) and name:
        yield from ((f"{name}.{key}", held) for key, held in vars(value).items())
