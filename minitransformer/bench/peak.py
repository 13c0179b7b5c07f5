"""What the machine can do: the fastest matrix product, and the fastest read of memory, with the threads at hand.

A training step is mostly matrix products; had it nothing else to do, it would run at the speed of large square ones.
Decoding one sequence reads every weight once for each token and does next to nothing with it, so it cannot be faster
than memory is read: a product of a matrix much larger than the caches with a vector.
"""

from minitransformer.bench.timing import fastest

SQUARES = (512, 1024, 2048)
MATRIX = (4096, 8192)  # 128 MiB of float32
REPEATS = 4  # the first of which warms up


def product_peak(engine, squares=SQUARES) -> float:
    """Return the highest speed of a product of two square float32 matrices, in FLOP/s."""
    rates = []
    for n in squares:
        a, b, out = engine.random(n, n), engine.random(n, n), engine.random(n, n)
        rates.append(2 * n**3 / fastest(lambda a=a, b=b, out=out: engine.multiply(a, b, out), REPEATS))
    return max(rates)


def read_bandwidth(engine, shape=MATRIX) -> float:
    """Return the highest speed at which a float32 matrix is read to multiply a vector, in bytes/s.

    Both sides are tried: libraries read the matrix in another order for each.
    """
    rows, columns = shape
    matrix = engine.random(rows, columns)
    left, right = engine.random(1, rows), engine.random(columns, 1)
    right_out, left_out = engine.random(rows, 1), engine.random(1, columns)
    seconds = min(
        fastest(lambda: engine.multiply(matrix, right, right_out), REPEATS),
        fastest(lambda: engine.multiply(left, matrix, left_out), REPEATS),
    )
    return 4 * rows * columns / seconds
