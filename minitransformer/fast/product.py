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

The kernels for Haswell and Zen (AVX2) keep no such rule. Within a part they add up the even and the odd terms apart at
the edges of the block that a thread takes at once, and in one sum elsewhere: bits depend on where the threads cut.
"""

from functools import cache
from pathlib import Path

import numpy as np

from minitransformer.cores import fairly, matrix_library, threads

BITS_ARE_KNOWN = {(version, "SkylakeX") for version in ("0.3.31.dev", "0.3.31.188.0")}  # as threadpoolctl says them
UNSHARED = 1 << 18  # multiplications, in each matrix; up to here OpenBLAS takes one thread
ONE_PART = 192  # terms
EVEN_TERMS = 64
EVEN_ENTRIES = 16  # of a vector, in each thread


def product(a, b):
    """Return a @ b, for a (..., P, I) or (I,) and b (..., I, O)."""
    if a.size * b.shape[-1] <= UNSHARED:  # all matrices together: most products of a token are told at once
        return a @ b
    rows, (inner, columns) = a.shape[-2] if a.ndim > 1 else 1, b.shape[-2:]
    if rows * inner * columns <= UNSHARED or not a.dtype == b.dtype == np.float32 or not bits_are_known():
        return a @ b
    if min(rows, columns) == 1:
        is_even = max(rows, columns) % (EVEN_ENTRIES * threads()) == 0
        return fairly(np.matmul, a, b, evenly=True) if is_even else a @ b
    return fairly(np.matmul if inner <= ONE_PART or inner % EVEN_TERMS == 0 else in_two_parts, a, b)


@cache
def bits_are_known() -> bool:
    """Whether NumPy's matrix library is one of which it is known when its number of threads changes no bit."""
    if matrix_library() is None:
        return False
    return any(
        Path(library.filepath).parent.name == "numpy.libs"
        and library.internal_api == "openblas"
        and (library.version, library.architecture) in BITS_ARE_KNOWN
        for library in matrix_library().lib_controllers
    )


def in_two_parts(a, b):
    """Return a @ b, for a (..., P, I) and b (..., I, O)."""
    even = a.shape[-1] // EVEN_TERMS * EVEN_TERMS
    y = a[..., :even] @ b[..., :even, :]
    y += a[..., even:] @ b[..., even:, :]  # (1)
    return y
