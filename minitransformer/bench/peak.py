"""What the machine can do: the fastest matrix product, and the fastest read of memory, with the threads at hand.

A training step is mostly matrix products; had it nothing else to do, it would run at the speed of large square ones.
Decoding one sequence reads every weight once for each token and does next to nothing with it, so it cannot be faster
than memory is read: a product of a matrix much larger than the caches with a vector.
"""

import time

SQUARES = (512, 1024, 2048)
MATRIX = (4096, 8192)  # 128 MiB of float32
REPEATS = 3


def best_seconds(call, repeats: int = REPEATS) -> float:
    """Return the time of the fastest of `repeats` calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def product_peak(engine, squares=SQUARES) -> float:
    """Return the highest speed of a product of two square float32 matrices, in FLOP/s."""
    rates = []
    for n in squares:
        a, b, out = engine.random(n, n), engine.random(n, n), engine.random(n, n)
        rates.append(2 * n**3 / best_seconds(lambda a=a, b=b, out=out: engine.multiply(a, b, out)))
    return max(rates)


def read_bandwidth(engine, shape=MATRIX) -> float:
    """Return the highest speed at which a float32 matrix is read to multiply a vector, in bytes/s.

    Both sides are tried: libraries read the matrix in another order for each.
    """
    rows, columns = shape
    matrix = engine.random(rows, columns)
    left, right = engine.random(1, rows), engine.random(columns, 1)
    right_out, left_out = engine.random(rows, 1), engine.random(1, columns)
    fastest = min(
        best_seconds(lambda: engine.multiply(matrix, right, right_out)),
        best_seconds(lambda: engine.multiply(left, matrix, left_out)),
    )
    return 4 * rows * columns / fastest
