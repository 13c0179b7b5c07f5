"""Decide if a local may be wrong: if some value of it makes the gradient that is computed from it right.

A line with a wrong result may read a local that could not be followed (by_value.py). The local may be the cause of the
error, instead of the line, only if the line computes the true gradient for some value of it. A few Gauss–Newton steps
search for such a value.
"""

import numpy as np

from gradcheck.lines.probe import close, is_real_array

MOST_ENTRIES = 200  # of a local whose value is searched for
STEPS = 4  # of the Gauss–Newton method
NUDGE = 1e-6  # relative, of central differences
SOLVED = 1e-7  # relative


def may_be_wrong(bench, event):
    """Return True if some value of a local makes the Target right, or if unknown.

    All values that the local has in a loop are solved for together. A value with the shape of the gradient is tried
    too.
    """
    events = [e for e in bench.base.events if e.site == event.site]
    if not all(is_real_array(e.value) for e in events):
        return True
    values = np.stack([np.asarray(e.value, np.float64) for e in events]) if _are_alike(events) else None
    if values is None or values.size > MOST_ENTRIES:
        return True
    truth = np.asarray(bench.found.truths[bench.target])
    tried = [values]
    if np.shape(values[0]) != truth.shape and truth.size * len(events) <= MOST_ENTRIES:
        tried.append(np.ones((len(events), *truth.shape)))
    return any(_is_solved(bench, events, start, truth) for start in tried)


def _is_solved(bench, events, value, truth):
    """Return True if Gauss–Newton steps from a value make the Target right."""
    value = np.where(np.isfinite(value), value, 1.0)
    for _ in range(STEPS):
        given = _gradient(bench, events, value)
        if given is None or given.shape != truth.shape or not np.isfinite(given).all():
            return False
        if close(given, truth, SOLVED):
            return True
        columns = []
        for index in np.ndindex(value.shape):
            nudge = np.zeros(value.shape)
            nudge[index] = NUDGE * max(np.max(np.abs(value)), 1e-3)
            above, below = (_gradient(bench, events, value + sign * nudge) for sign in (1, -1))
            if above is None or below is None:
                return False
            columns.append((above - below).ravel() / (2 * nudge[index]))
        jacobian = np.stack(columns, axis=1)
        if not np.isfinite(jacobian).all() or not jacobian.any():
            return False
        step, *_ = np.linalg.lstsq(jacobian, (truth - given).ravel(), rcond=1e-8)
        value = value + step.reshape(value.shape)
    given = _gradient(bench, events, value)
    return given is not None and close(given, truth, SOLVED)


def _are_alike(events):
    return len({np.shape(e.value) for e in events}) == 1


def _gradient(bench, events, values):
    """Return the value of the Target for some values of a local, or None."""
    held = {e.key: value for e, value in zip(events, values, strict=True)}
    given = bench.scene.backward({**bench.held, **held}).value(bench.target)
    return np.asarray(given) if is_real_array(given) else None
