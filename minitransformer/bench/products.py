"""The time in matrix products, measured where they stand: with the caches, layouts and new arrays of the real step.

Timing the same products alone would need a list of them, which goes out of date when the code changes, and would find
them faster than they are, with warm caches. Instead, the model's weights become arrays of a class that times every
product that they, or what was computed from them, take part in: NumPy lets such a class stand before each of its
functions (NEP 13 and 18). The arithmetic stays the same. What surrounds a product becomes a little slower, so the
step's own time is measured without it.

Sums and means that are products with a vector are no matrix products here: they multiply nothing that is not 1, or read
a matrix for one row. A product that a sum over an axis hides in (`einsum`, `tensordot`) is counted where NumPy uses
`matmul` or `dot` for it, and otherwise not.
"""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass
class Products:
    """What the products of some work came to. seconds: their time; flops: multiplications and additions."""

    seconds: float = 0.0
    flops: int = 0

    def add(self, seconds: float, left: tuple, right: tuple, result: tuple) -> None:
        """Count one product, unless a factor or the result is a vector."""
        if min(len(left), len(right)) < 2 or min(left[-2:] + right[-2:]) == 1:
            return
        self.seconds += seconds
        self.flops += 2 * math.prod(result) * left[-1]


class Counted(np.ndarray):
    """An array whose products are counted in `products`, as are those of all that is computed from it."""

    products = None

    def __array_finalize__(self, source):
        if self.products is None:
            self.products = getattr(source, "products", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        if out:
            options["out"] = uncounted(out)
        options = {name: uncounted(value) for name, value in options.items()}
        factors = uncounted(inputs)
        start = time.perf_counter()
        result = getattr(ufunc, method)(*factors, **options)
        seconds = time.perf_counter() - start
        if ufunc is np.matmul:
            self.products.add(seconds, factors[0].shape, factors[1].shape, result.shape)
        if out:
            return out[0] if len(out) == 1 else out
        return self.like(result)

    def __array_function__(self, function, types, arguments, options):
        if function is not np.dot:
            return self.like(super().__array_function__(function, types, arguments, options))
        factors = uncounted(arguments)
        start = time.perf_counter()
        result = np.dot(*factors, **{name: uncounted(value) for name, value in options.items()})
        self.products.add(time.perf_counter() - start, *(np.shape(array) for array in (*factors[:2], result)))
        return self.like(result)

    def like(self, result):
        """Return a result, or several, as of this class; numbers as they are."""
        if isinstance(result, tuple):
            return tuple(map(self.like, result))
        if not isinstance(result, np.ndarray):
            return result
        result = result.view(Counted)
        result.products = self.products
        return result


def uncounted(value):
    """Return an array, or those in a tuple, as an ordinary one that shares its memory."""
    if isinstance(value, tuple):
        return tuple(map(uncounted, value))
    return value.view(np.ndarray) if isinstance(value, Counted) else value


@contextmanager
def counted_in_model(model):
    """Count the matrix products of a model of this package during a `with` block, which receives the Products."""
    products = Products()
    try:
        for parameter in model.parameters():
            parameter.data = parameter.data.view(Counted)
            parameter.data.products = products
        yield products
    finally:
        for parameter in model.parameters():
            parameter.data, parameter.grad = uncounted(parameter.data), uncounted(parameter.grad)
