"""Whether a mistake may be in a local: whether any value of it makes the gradient right that is computed from it.

Nothing vouches for some locals that a wrong line reads (by_value.py). The line is right, and the local is wrong, only if
the line gives the true gradient for some value of the local. A few steps of Gauss and Newton find such a value.
"""

import numpy as np

from gradcheck.line_by_line.probe import close, is_real_array

MOST_ENTRIES = 200  # of a local whose value is sought
STEPS = 4  # of Gauss and Newton
NUDGE = 1e-6  # relative, of central differences
SOLVED = 1e-7  # relative


def may_be_wrong(bench, event):
    """Return True if some value of the local of an Event makes the Target right, or if that cannot be found out."""
    if not is_real_array(event.value) or np.size(event.value) > MOST_ENTRIES:
        return True
    truth = np.asarray(bench.found.truths[bench.target])
    value = np.array(event.value, np.float64)
    value[~np.isfinite(value)] = 1.0
    for _ in range(STEPS):
        given = _gradient(bench, event, value)
        if given is None or given.shape != truth.shape or not np.isfinite(given).all():
            return True
        if close(given, truth, SOLVED):
            return True
        columns = []
        for index in np.ndindex(value.shape):
            nudge = np.zeros(value.shape)
            nudge[index] = NUDGE * max(np.max(np.abs(value)), 1e-3)
            above, below = (_gradient(bench, event, value + sign * nudge) for sign in (1, -1))
            if above is None or below is None:
                return True
            columns.append((above - below).ravel() / (2 * nudge[index]))
        jacobian = np.stack(columns, axis=1)
        if not np.isfinite(jacobian).all() or not jacobian.any():
            return False
        step, *_ = np.linalg.lstsq(jacobian, (truth - given).ravel(), rcond=1e-8)
        value = value + step.reshape(value.shape)
    given = _gradient(bench, event, value)
    return given is not None and close(given, truth, SOLVED)


def _gradient(bench, event, value):
    """Return the value of the Target for a value of a local, or None."""
    bench.look.runs += 1
    given = bench.scene.backward({**bench.held, event.key: value}).value(bench.target)
    return np.asarray(given) if is_real_array(given) else None
