"""A product of matrices by one thread, in the bits that several would give: for kernels where these depend on the cuts.

OpenBLAS's kernels for Haswell and Zen (AVX2) add up the even and the odd terms of an entry apart at the edges of the
block that a thread takes at once, and in one sum elsewhere: bits depend on where the threads cut. But where they cut is
known of one version (driver/level3/level3_thread.c of OpenBLAS), as `cuts` says. So beside others one thread computes,
one after the other, the products that several would. Several compute as they are and lose nothing; so they do where one
cannot have their bits. Beside four busy processes on two cores, a step with 128 or 192 channels takes 0.3 of the time.
"""

import itertools
from functools import lru_cache, partial

import numpy as np

UNSHARED = 1 << 18  # multiplications, in each matrix; up to here OpenBLAS takes one thread
MOST_ROWS = 1 << 14  # in each thread
AT_ONCE = 320  # terms, or columns, that a kernel takes


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
