"""How much of a small difference is rounding: measured, by moving all arguments by a few units of their last digit.

A gradient may be truly zero, as that of a key's bias, which the softmax ignores. What backward and the complex step
give then is the remainder of terms that cancel, 1e-17 and −3e-17, a relative error of 400 % between two right answers.
Another may be small and meant: 1e-9 of the others, because something multiplies it by 1e-9. Its size does not tell the
two apart. A nudge does: at arguments that differ by 1e-15 of themselves, a true gradient is the same to some twelve
digits, however small, and a remainder of rounding is another number altogether.

So each side is evaluated again at a few nudged places, the complex step with a step whose digits are others too, and
what changes there is what each may be wrong by. Near a jump, or where a maximum has ties, a nudge changes the gradient
itself; therefore no more is allowed for rounding than ε Σ|dy y| justifies.
"""

from functools import cached_property

import numpy as np

from gradcheck.complex_step import ComplexStep
from gradcheck.gradients import gradients_of

NUDGE = 2.0**-50  # relative: four units of the last place
PLACES = 3
SHORTENED = 0.7  # the step at the nudged places, so that the imaginary parts are rounded in other ways
FACTOR = 10.0  # the changes at so few places are a sample of the error, not a bound on it


class Rounding:
    """The rounding errors of the gradients of one run of a call, and of the complex step, measured when asked for."""

    def __init__(self, call, arguments, gradients, y, dy):
        self.call = call
        self.arguments = arguments
        self.gradients = gradients
        self.y = y
        self.dy = dy

    def of_direction(self, i, v, exact):
        """Return what ⟨dx, v⟩ of argument i and its value `exact` by the complex step may differ by, rightly."""
        changes = [abs(self._exact_along(step, {i: v}) - exact) for _, step in self._places]
        for gradients, _ in self._places:
            change = (gradients[i] - self._gradient(i)) * v
            changes[0] = max(changes[0], abs(float(np.sum(change))), float(np.linalg.norm(change)))
        return FACTOR * max(changes)

    def of_entries(self, i, entries, scales, exact):
        """Return likewise for each of some entries, indices into the flat array, with the step of each in `scales`."""
        array = self.arguments[i].array
        change = np.zeros(len(entries))
        for gradients, step in self._places:
            values = [
                np.sum(self.dy * step.along_entry(i, np.unravel_index(entry, array.shape), SHORTENED * scale))
                for entry, scale in zip(entries, scales, strict=True)
            ]
            change = np.maximum(change, np.abs(np.array(values) - exact))
            change = np.maximum(change, np.abs(gradients[i] - self._gradient(i)).ravel()[entries])
        typical = float(np.sqrt(np.mean(change * change))) if len(change) else 0.0
        return FACTOR * np.maximum(change, typical)  # one that did not change has done so by chance

    def _gradient(self, i):
        gradient = self.gradients[i]
        return np.zeros(self.arguments[i].array.shape) if gradient is None else gradient

    def _exact_along(self, step, directions):
        shortened = {i: SHORTENED * v for i, v in directions.items()}
        return float(np.sum(self.dy * step.along(shortened))) / SHORTENED

    @cached_property
    def _places(self):
        """A (gradients, ComplexStep) for each nudged place."""
        before = [argument.array.copy() for argument in self.arguments]
        rng = np.random.default_rng(0)
        places = []
        try:
            for _ in range(PLACES):
                for argument, here in zip(self.arguments, before, strict=True):
                    argument.array[...] = here * (1 + NUDGE * rng.choice((-1.0, 1.0), size=here.shape))
                gradients = gradients_of(self.call, self.arguments, self.dy)
                places.append((gradients, ComplexStep(self.call, self.arguments, self.y)))
        finally:
            for argument, here in zip(self.arguments, before, strict=True):
                argument.array[...] = here
        return places
