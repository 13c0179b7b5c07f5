"""Find state that forward or backward leaves behind, such as a cache that backward empties.

This runs after a function has returned two different results. The length of each list, dictionary, set or deque that is
reachable through the function's closure, globals or object is compared before and after a call.
"""

import inspect
from collections import deque

CONTAINERS = (list, dict, set, deque)
DEPTH = 3


def cause(call, run_backward):
    """Describe entries that a Call removes from its state or adds to it, or return "".

    `run_backward(backward)` must run a backward pass of the Call.
    """
    _, backward = call.evaluate()
    reached = containers(backward) | containers(call.target)
    before = {name: len(container) for name, container in reached.items()}
    try:
        run_backward(backward)
    except Exception:  # the fault itself is reported elsewhere
        return ""
    taken = {name: n - len(reached[name]) for name, n in before.items()}
    for name, n in taken.items():
        if n > 0:
            missed = "it" if n == 1 else "them"
            return f"backward removes {_entries(n)} from {name}, and another call does not find {missed}"
    call.evaluate()
    for name, container in containers(call.target).items():
        added = len(container) - before.get(name, len(container)) + taken.get(name, 0)
        if added > 0:
            left = f"each forward pass leaves {_entries(added)} in {name}"
            return f"{left}, and backward also reads those of other passes"
    return ""


def _entries(n):
    return "an entry" if n == 1 else f"{n} entries"


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
    """Yield (name, value) for everything to which a value refers directly.

    These are the variables of a function, the attributes of an object or the entries of a container.
    """
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
