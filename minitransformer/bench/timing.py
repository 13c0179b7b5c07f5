"""The time of calls, in seconds."""

import time
from itertools import pairwise


def seconds_of(call, *arguments) -> float:
    """Return the time that a call takes."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def fastest(call, fewest: int, enough: float = 0.0) -> float:
    """Return the time of the fastest of `fewest` calls, or of as many as take `enough` seconds together.

    The fastest counts, since nothing makes a computation too fast: so the first, which warms up, does no harm.
    """
    times = []
    while len(times) < fewest or sum(times) < enough:
        times.append(seconds_of(call))
    return min(times)


def token_times(tokens) -> list[float]:
    """Return the time that each of the tokens of a stream took."""
    marks = [time.perf_counter()]
    for _ in tokens:
        marks.append(time.perf_counter())
    return [after - before for before, after in pairwise(marks)]
