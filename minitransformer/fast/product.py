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
the edges of the block that a thread takes at once, and in one sum elsewhere: bits depend on where the threads cut. But
where they cut is known of one version, as `cuts` says. So beside others one thread computes, one after the other, the
products that several would, and these never notice; where it cannot have their bits they compute as they are.
"""

import itertools
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from minitransformer.cores import fairly, matrix_library, threads

BITS_ARE_KNOWN = {  # of which versions and architectures, as threadpoolctl says them
    ("0.3.31.dev", "SkylakeX"),
    ("0.3.31.188.0", "SkylakeX"),
    ("0.3.31.188.0", "Haswell"),  # which Zen has as well
}
UNSHARED = 1 << 18  # multiplications, in each matrix; up to here OpenBLAS takes one thread
ONE_PART = 192  # terms
EVEN_TERMS = 64
EVEN_ENTRIES = 16  # of a vector, in each thread
MOST_ROWS = 1 << 14  # in each thread
AT_ONCE = 320  # terms, or columns, that a kernel for AVX2 takes


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


# Kernels whose bits depend on where the threads cut.


def in_place_of(count, a, b):
    """Return what gives one thread the bits of `count`, of a (..., P, I) and b (..., I, O); None if nothing does."""
    if a.__array_interface__["data"] == b.__array_interface__["data"]:
        return None  # x x^T has a function of its own in the library
    slices = cuts(a.shape[-2], *b.shape[-2:], count)
    return None if slices is None else partial(in_slices, slices)


def in_slices(slices, a, b):
    """Return a @ b, put together of such slices of rows, terms and columns, each multiplied by such a function."""
    y = np.zeros_like(a, shape=(*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), order="C")
    for i, k, j, multiply in slices:
        y[..., i, j] += multiply(a[..., i, k], b[..., k, j])
    return y


@lru_cache(1 << 12)
def cuts(rows, inner, columns, count):
    """Return of which slices of rows, terms and columns `count` threads compute the products, and what does the same.

    `across` of them share the columns, and count / across groups of so many the rows. In a group each packs a share of
    its rows, in two halves, and multiplies its columns by all that are packed: 12 rows at once, and of what remains 4
    at once, or 8 if another thread has packed it. One thread alone never takes 8, whose terms are in one sum.

    None where threads share in other ways: few or very many rows, few columns, and some odd numbers of columns.
    """
    count = min(count, rows * inner * columns // UNSHARED)
    if count < 2:
        return [(slice(0, rows), slice(0, inner), slice(0, columns), np.matmul)]
    divisors = [d for d in range(1, count + 1) if count % d == 0]
    costs = {d: (rows * d + columns * count // d, min(d, count // d), -d) for d in divisors}
    across = min(divisors, key=costs.get)
    parts = shares(range(columns), across, 8)
    last = len(parts[-1])
    is_odd = last > 2 * AT_ONCE and last % 16 == 1
    if min(rows, columns) < 8 * count or last < 16 or rows > MOST_ROWS * count or is_odd:
        return None
    out = []
    for group in shares(range(rows), count // across):
        packed = [(owner, half) for owner, share in enumerate(shares(group, across, 8)) for half in shares(share, 2)]
        for (owner, half), thread, terms in itertools.product(packed, range(across), runs(range(inner))):
            takes_eight = thread != owner and len(half) % 12 >= 8
            even = len(half) // 12 * 12 if takes_eight else len(half)
            out += [(half[:even], terms, parts[thread], np.matmul), (half[even:], terms, parts[thread], in_one_sum)]
    if any(len(i) == 1 for i, *_ in out):
        return None
    return [(*(slice(part.start, part.stop) for part in some), multiply) for *some, multiply in out if some[0]]


def runs(terms):
    """Return the ranges of terms whose sums several threads add up; all in one where one thread has the same ones."""
    if len(terms) % 16 == 0 or len(terms) <= AT_ONCE:
        return [terms]
    width = AT_ONCE if len(terms) >= 2 * AT_ONCE else -(-len(terms) // 2)
    return [terms[:width], *runs(terms[width:])]


def in_one_sum(a, b):
    """Return a @ b, for at most 11 rows."""
    columns = b.shape[-1]
    turned = np.zeros((*b.shape[:-2], -(-columns // 12) * 12, b.shape[-2]), b.dtype)
    turned[..., :columns, :] = b.swapaxes(-1, -2)
    return (turned @ a.swapaxes(-1, -2))[..., :columns, :].swapaxes(-1, -2)


def shares(part, count, multiple=1):
    """Return a range in `count` parts, as equal as multiples of such a number may be."""
    out = []
    for left in range(count, 0, -1):
        width = -(-len(part) // (left * multiple)) * multiple
        out.append(part[:width])
        part = part[width:]
    return out
