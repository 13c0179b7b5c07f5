"""When two arrays are the same numbers: as many digits as the learner's have, and no more."""

import numpy as np

DIGITS = {8: 1e-9, 4: 1e-5}  # of the largest entry, by the size of one in bytes; none of another size can be compared


def digits_of(array):
    """Return to how much of its largest entry a learner's array is compared: 0 if it cannot be."""
    return DIGITS.get(array.dtype.itemsize, 0.0) if array.dtype.kind == "f" else 0.0


def equal(a, b, digits, floor=0.0):
    """Whether two arrays are equal at all entries, to `digits` of the largest of the second, or to `floor`."""
    b = np.asarray(b)
    if a.shape != b.shape:
        return False
    finite = np.isfinite(b)
    if not finite.all():
        there = np.isfinite(a)
        return bool((there == finite).all()) and equal(a[there], b[finite], digits, floor)
    size = np.abs(b).max(initial=0.0)
    return bool((np.abs(a - b) <= max(digits * size, floor)).all())
