"""A product of matrices in as many threads as there are cores that nobody else wants, and with the same bits in any.

Hundreds of products in a training step are just large enough for the matrix library to share them among its threads,
which makes them 1.3 to 1.9 times as fast on two cores that are free, and ten times as slow where one of the threads
must wait for its core. So how many threads there are is decided anew at each product (see crowd.py): beside others who
kept one and a half of two cores busy, a step of one process at tiny and at nano took 0.2 of the time. To decide costs
0.8 µs, and 20 µs in a crowd.

How many there are must not change the result. What is known of that was measured, with some versions and kernels of the
OpenBLAS in NumPy's wheels (`BITS_ARE_KNOWN`); any other library, as conda's or Debian's, has the threads that it has.
These kernels add up the terms of an entry in parts of 192 to 512, by the machine and the dtype, whatever the number of
threads; but the last two parts they make equal in another way with one thread than with several. Parts are multiples of
64, so there is no difference where the terms are a multiple of 64, or so few that they are one part. Hence the terms of
other products are cut: a multiple of 64 first, and then the rest,

    x y = x_1 y_1 + x_2 y_2                         (1)

Two kinds of products always have as many threads as there may be, as they would differ in their last bits: with a
vector, unless the entries of the result are shared evenly, and in float64, with some versions in one of 50 shapes.

The kernels for Haswell and Zen (AVX2) keep no such rule: there a product has all threads, or one that takes their place
(see cuts.py).
"""

from functools import cache
from pathlib import Path

import numpy as np

from minitransformer.cores import fairly, matrix_library, threads
from minitransformer.fast.cuts import UNSHARED, in_place_of

BITS_ARE_KNOWN = {  # of which versions and architectures, as threadpoolctl says them
    ("0.3.31.dev", "SkylakeX"),
    ("0.3.31.188.0", "SkylakeX"),
    ("0.3.31.188.0", "Haswell"),  # which Zen has as well
}
ONE_PART = 192  # terms
EVEN_TERMS = 64
EVEN_ENTRIES = 16  # of a vector, in each thread


def product(a, b):
    """Return a @ b, for a (..., P, I) or (I,) and b (..., I, O)."""
    if a.size * b.shape[-1] <= UNSHARED:  # all matrices together: most products of a token are told at once
        return a @ b
    rows, (inner, columns) = a.shape[-2] if a.ndim > 1 else 1, b.shape[-2:]
    if rows * inner * columns <= UNSHARED or not a.dtype == b.dtype == np.float32 or not known_kernel():
        return a @ b
    if min(rows, columns) == 1:
        is_even = max(rows, columns) % (EVEN_ENTRIES * threads()) == 0
        return fairly(np.matmul, a, b, evenly=True) if is_even else a @ b
    if known_kernel() == "Haswell":
        return fairly(np.matmul, a, b, alone=in_place_of)
    return fairly(np.matmul if inner <= ONE_PART or inner % EVEN_TERMS == 0 else in_two_parts, a, b)


@cache
def known_kernel() -> str | None:
    """Return for which architecture the kernels of NumPy's matrix library are; None where their bits are not known."""
    for library in matrix_library().lib_controllers if matrix_library() else ():
        is_numpys = Path(library.filepath).parent.name == "numpy.libs" and library.internal_api == "openblas"
        if is_numpys and (library.version, library.architecture) in BITS_ARE_KNOWN:
            return library.architecture
    return None


def in_two_parts(a, b):
    """Return a @ b, for a (..., P, I) and b (..., I, O)."""
    even = a.shape[-1] // EVEN_TERMS * EVEN_TERMS
    y = a[..., :even] @ b[..., :even, :]
    y += a[..., even:] @ b[..., even:, :]  # (1)
    return y
