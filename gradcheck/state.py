"""Save and restore the state of a target: random generators, and arrays that forward or backward changes.

A check evaluates a function hundreds of times, at perturbed and at complex inputs. Without this module a running mean
would drift and become complex, and dropout would use another mask in each evaluation.
"""

import copy
import pickle
import sys
from contextlib import contextmanager

import numpy as np

STATEFUL = (np.random.Generator, np.random.RandomState, dict, list)
ELSEWHERE = frozenset(
    {"numpy", *sys.stdlib_module_names}
)  # objects of these packages hold no state of a target and are not searched


def fresh(value):
    """Copy a random generator, or a dictionary or list with its contents.

    Any other value is returned unchanged.
    """
    if not isinstance(value, STATEFUL):
        return value
    if not isinstance(value, (dict, list)):
        return copy.deepcopy(value)
    copied = copy.copy(value)
    for key, entry in _entries(value).items():
        copied[key] = entry.copy() if isinstance(entry, np.ndarray) else fresh(entry)
    return copied


class GlobalRandom:
    """NumPy's global random state, repeated in each evaluation and restored afterwards."""

    def __init__(self):
        self.state = None
        self.is_drawn = True  # set by the first use

    @contextmanager
    def repeated(self):
        """Start the `with` block in the random state of the first such block."""
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
    """Restore an object's arrays, and their contents, after the `with` block.

    The search covers its attributes recursively. The parameters are not restored.
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
    """Restore the entries of a dictionary or list that are or were arrays."""
    now = _entries(holder)
    for key in [*now, *(was.keys() - now.keys())]:
        if isinstance(now.get(key), np.ndarray) or isinstance(was.get(key), np.ndarray):
            if key in was and (key in now or isinstance(holder, dict)):
                holder[key] = was[key]
            elif isinstance(holder, dict):
                del holder[key]


def _holders(owner, seen):
    """Yield the dictionary of an object's attributes, and all containers within it.

    Each is yielded once.
    """
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
