"""What a forward pass draws from and keeps: each evaluation finds what the first found, and the caller finds all of it.

A check evaluates a function hundreds of times, on moved inputs and on complex ones. Without this a running mean would
wander off and end up complex, and dropout would drop others each time.
"""

import copy
import pickle
import sys
from contextlib import contextmanager

import numpy as np

STATEFUL = (np.random.Generator, np.random.RandomState, dict, list)
ELSEWHERE = frozenset(
    {"numpy", *sys.stdlib_module_names}
)  # no objects of these are searched: they hold nothing of a target's


def fresh(value):
    """Return a copy of a random generator, or of a dictionary or list with all that it holds; else the value itself."""
    if not isinstance(value, STATEFUL):
        return value
    if not isinstance(value, (dict, list)):
        return copy.deepcopy(value)
    copied = copy.copy(value)
    for key, entry in _entries(value).items():
        copied[key] = entry.copy() if isinstance(entry, np.ndarray) else fresh(entry)
    return copied


class GlobalRandom:
    """NumPy's global random state, which some dropout draws from: each time the same, and put back afterwards."""

    def __init__(self):
        self.state = None
        self.is_drawn = True  # until the first time tells

    @contextmanager
    def repeated(self):
        """Let the `with` block find the state that the first such block found."""
        before = np.random.get_state(legacy=False)  # noqa: NPY002 (others draw from it)
        is_first, self.state = self.state is None, self.state or before
        np.random.set_state(self.state)  # noqa: NPY002
        try:
            yield
        finally:
            if is_first:
                self.is_drawn = pickle.dumps(before) != pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
            np.random.set_state(before)  # noqa: NPY002


@contextmanager
def kept(owner, parameters=()):
    """Let an object have the arrays that it had, and these what was in them, once the `with` block is done.

    They are looked for among its attributes and further within. The parameters are left alone.
    """
    seen = {id(value) for parameter in parameters for value in (parameter, parameter.data)}
    before = [(holder, _entries(holder)) for holder in _holders(owner, seen)]
    arrays = [a for _, was in before for a in was.values() if isinstance(a, np.ndarray) and id(a) not in seen]
    contents = [array.copy() for array in arrays]
    try:
        yield
    finally:
        for holder, was in before:
            _put_back(holder, was)
        for array, content in zip(arrays, contents, strict=True):
            if array.flags.writeable:
                array[...] = content


def _put_back(holder, was):
    """Let what is an array in a dictionary or list, or was one, be what it was."""
    now = _entries(holder)
    for key in [*now, *(was.keys() - now.keys())]:
        if isinstance(now.get(key), np.ndarray) or isinstance(was.get(key), np.ndarray):
            if key in was and (key in now or isinstance(holder, dict)):
                holder[key] = was[key]
            elif isinstance(holder, dict):
                del holder[key]


def _holders(owner, seen):
    """Yield the dictionary of an object's attributes, and every dictionary and list within, each once."""
    pending = [owner]
    while pending:
        value = pending.pop()
        is_container = isinstance(value, (dict, list, tuple))
        if id(value) in seen or not (is_container or type(value).__module__.split(".")[0] not in ELSEWHERE):
            continue
        seen.add(id(value))
        holder = value if is_container else getattr(value, "__dict__", {})
        pending.extend(holder.values() if isinstance(holder, dict) else holder)
        if not isinstance(holder, tuple):
            yield holder


def _entries(holder):
    return dict(holder) if isinstance(holder, dict) else dict(enumerate(holder))
