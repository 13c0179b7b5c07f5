"""Moving the arguments of a call: along one entry, or along a direction through a whole argument."""

import numpy as np

from gradcheck.central_differences import estimates


class Lines:
    """Estimates of the derivative of ⟨dy, y⟩ along lines. `arguments` are contract.Arguments, `y` the output now."""

    def __init__(self, call, arguments, y, dy):
        self.call = call
        self.arguments = arguments
        self.y = y
        self.dy = dy

    def along_entry(self, i, entry, scale):
        """Yield ever finer Estimates along one entry, an index into the flat array, of argument i."""
        array = self.arguments[i].array
        index = np.unravel_index(entry, array.shape)
        here = float(array[index])

        def line(t):
            array[index] = here + t
            try:
                return self._output()
            finally:
                array[index] = here

        return estimates(line, self.y, self.dy, scale)

    def along_direction(self, i, v):
        """Yield ever finer Estimates along v, of argument i's shape, whose entries have its scales."""
        array = self.arguments[i].array
        here = array.copy()

        def line(t):
            array[...] = here + t * v
            try:
                return self._output()
            finally:
                array[...] = here

        return estimates(line, self.y, self.dy, 1.0)

    def _output(self):
        return np.array(self.call.evaluate()[0], dtype=np.float64)  # a copy: y may be the very array that moves


def scales_of(array):
    """The length over which each entry matters, a power of two: its own size, or the array's mean if that is larger."""
    size = np.maximum(np.abs(array), np.mean(np.abs(array))) if array.size else np.abs(array)
    return np.where(size > 0, np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0)))), 1.0)
