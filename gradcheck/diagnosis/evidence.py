"""The data that a hypothesis may use."""

import numpy as np

from gradcheck.contract import gradients_of
from gradcheck.judgement import CANNOT_TELL, KINK

EXACT = 1e-9  # relative to the largest entry: far above the rounding error of the complex step, far below a mistake
APPROXIMATE = 1e-7  # as EXACT, for central differences


class Evidence:
    """The given and the true gradient of one argument, and the arrays of the call."""

    def __init__(self, run, finding, position, others, elsewhere):
        self.run, self.position = run, position
        # The Evidence of all arguments, and a function that returns their Evidence on another draw, or []
        self.others, self.elsewhere = others, elsewhere
        self.name, self.label, self.array = finding.argument.name, finding.argument.label, finding.argument.array
        self.is_wrong, self.given, self.dy, self.y = finding.is_wrong, finding.gradient, run.dy, run.y
        # The truth is NaN at kinks, and at entries that were not compared or are known too imprecisely.
        if finding.exact is not None:
            is_sharp = np.isfinite(finding.exact)
        else:
            largest = np.max(np.abs(finding.numeric), initial=0.0, where=np.isfinite(finding.numeric))
            is_sharp = finding.uncertainty <= 1e-6 * largest
        known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL) & is_sharp
        truth = np.full(self.given.size, np.nan)
        truth[finding.entries[known]] = finding.truth[known]
        self.truth = truth.reshape(self.given.shape)
        self.known = np.isfinite(self.truth)
        # True if the truth is known at all entries, and at all compared entries
        self.is_complete, self.is_told = bool(self.known.all()), bool(known.all())
        self.size = np.max(np.abs(self.truth[self.known]), initial=0.0)
        self.resolution, uncertainty = EXACT, finding.uncertainty[known]
        if finding.exact is None and len(uncertainty):
            self.resolution = max(APPROXIMATE, 10 * float(np.max(uncertainty)) / max(self.size, 1e-300))

    @property
    def twin(self):
        """The evidence of the same argument for another draw of the inputs, or None."""
        return self.elsewhere()[self.position] if self.elsewhere() else None

    @property
    def error(self):
        return self.given - self.truth

    def wrong(self, resolutions=100):
        """Return a boolean array that is True for the entries that are known to be wrong."""
        return self.known & ~(np.abs(self.error) <= resolutions * self.resolution * self.size)

    def same(self, a, b, where=None):
        """Return True if two arrays are equal up to the resolution.

        Only known entries inside the mask `where` are compared. Returns False if no known entry is wrong, because any
        rearrangement of zeros would then explain the mistake.
        """
        mask = self.known if where is None else self.known & where
        if not mask.any() or not self.wrong(1).any():
            return False
        a, b = np.broadcast_to(a, self.given.shape)[mask], np.broadcast_to(b, self.given.shape)[mask]
        gap = np.max(np.abs(a - b))
        size = max(np.max(np.abs(a)), np.max(np.abs(b)))
        return bool(gap <= self.resolution * size and gap <= 1e-2 * np.max(np.abs(self.error[mask])))

    def factor(self):
        """Return c if the given gradient is c times the true one, and None if c is 0 or 1."""
        given, truth = self.given[self.known], self.truth[self.known]
        square = float(np.dot(truth, truth))
        c = float(np.dot(truth, given)) / square if square else 0.0
        is_one = abs(c - 1) <= 10 * self.resolution
        return c if c and np.isfinite(c) and not is_one and self.same(self.given, c * self.truth) else None

    def arrays(self, kinds="f"):
        """Yield (name, array) for the arrays of the call with one of the dtype kinds."""
        call = self.run.call
        parameters = [(a.name, a.array) for a in self.run.arguments if a.parameter is not None]
        for name, value in [*zip(call.input_names(), call.inputs, strict=True), *call.options.items(), *parameters]:
            if isinstance(value, np.ndarray) and value.dtype.kind in kinds:
                yield name, value

    def again(self, dy):
        """Return the gradient for another dy, or None if a pass raises an exception."""
        try:
            return gradients_of(self.run.call, self.run.arguments, dy)[self.position]
        except Exception:  # user code may fail for another dy, and then there is no evidence
            return None


def spread(array, shape):
    """Broadcast an array to a shape, and return None if this is impossible."""
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        return None
