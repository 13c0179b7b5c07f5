"""When two arrays are the same numbers: as many digits as the learner's have, and no more."""

import numpy as np

DIGITS = {8: 1e-9, 4: 1e-5}  # of the largest entry, by the size of one in bytes; none of another size can be compared


def digits_of(array):
    """Return to how much of its largest entry a learner's array is compared: 0 if it cannot be."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def equal(a, b, digits, floor=0.0):
    """Whether two arrays are equal at all entries, to `digits` of the largest of the second, or to `floor`."""
    b = np.asarray(b)
    if a.shape != b.shape or not (np.isfinite(a) == np.isfinite(b)).all():
        return False
    size = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
    return bool(np.allclose(a, b, rtol=0, atol=max(digits * size, floor), equal_nan=True))
