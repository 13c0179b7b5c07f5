"""The time of calls, and the fastest matrix product and memory read of this machine.

A training step consists mostly of matrix products, so the speed of large square products bounds it. Decoding one
sequence reads every weight once per token, so the speed at which memory is read bounds it; a product of a vector with a
matrix that is much larger than the caches measures that speed.
"""

import time
from itertools import pairwise

SQUARES = (512, 1024, 2048)
MATRIX = (4096, 8192)  # 128 MiB of float32
REPEATS = 4


def seconds_of(call, *arguments) -> float:
    """Return the time of one call in seconds."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def fastest(call, fewest: int, enough: float = 0.0) -> float:
    """Return the shortest time of at least `fewest` calls that take at least `enough` seconds together.

    The shortest time is least affected by the warm-up and by disturbances, which only add time.
    """
    times = []
    while len(times) < fewest or sum(times) < enough:
        times.append(seconds_of(call))
    return min(times)


def token_times(tokens) -> list[float]:
    """Consume a stream of tokens and return the time of each."""
    marks = [time.perf_counter()]
    for _ in tokens:
        marks.append(time.perf_counter())
    return [after - before for before, after in pairwise(marks)]


def machine_limits(engine, squares=SQUARES, shape=MATRIX) -> dict:
    """Measure the limits of the machine in float32, with the engine's library.

    Returns {"flops": highest FLOP/s of a square matrix product, "bandwidth": highest bytes/s of a memory read}.
    """

    def product_seconds(rows, inner, columns):
        a, b, out = engine.random(rows, inner), engine.random(inner, columns), engine.random(rows, columns)
        return fastest(lambda: engine.multiply(a, b, out), REPEATS)

    rows, columns = shape
    read = min(
        product_seconds(rows, columns, 1), product_seconds(1, rows, columns)
    )  # the faster one of the two orders of reading
    return {
        "flops": max(2 * n**3 / product_seconds(n, n, n) for n in squares),
        "bandwidth": 4 * rows * columns / read,
    }
