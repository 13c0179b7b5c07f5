"""The time of the matrix products inside a real training step, with its caches, layouts and new arrays.

The model's weights become arrays of a subclass that times every product of a weight, or of an array computed from a
weight; NumPy passes such arrays to `__array_ufunc__` and `__array_function__` (NEP 13 and 18). The arithmetic is
unchanged. The rest of the step becomes slightly slower, so the duration of a step is measured separately.

Products with a vector are not counted: sums and means computed as products with ones, and reads of a matrix for one
row. Products inside `einsum` and `tensordot` are counted if NumPy computes them with `matmul` or `dot`.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass
class Products:
    """Total time in seconds and number of floating-point operations of some matrix products."""

    seconds: float = 0.0
    flops: int = 0

    def add(self, seconds: float, left: tuple, right: tuple, result: tuple) -> None:
        """Count a product of these shapes, unless a factor or the result is a vector."""
        if min(len(left), len(right)) < 2 or min(left[-2:] + right[-2:]) == 1:
            return
        self.seconds += seconds
        self.flops += 2 * math.prod(result) * left[-1]


class Counted(np.ndarray):
    """An array whose products are added to `products`, and those of all arrays computed from it."""

    products = None

    def __array_finalize__(self, source):
        if self.products is None:
            self.products = getattr(source, "products", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        options = {name: uncounted(value) for name, value in options.items()}
        if out:
            options["out"] = uncounted(out)
        result = self.timed(getattr(ufunc, method), ufunc is np.matmul, inputs, options)
        if out:
            return out[0] if len(out) == 1 else out
        return self.like(result)

    def __array_function__(self, function, types, arguments, options):
        if function is not np.dot:
            return self.like(super().__array_function__(function, types, arguments, options))
        options = {name: uncounted(value) for name, value in options.items()}
        return self.like(self.timed(np.dot, True, arguments, options))

    def timed(self, function, is_product, inputs, options):
        """Call a function on plain arrays, and count its time if it is a product."""
        inputs = uncounted(inputs)
        start = perf_counter()
        result = function(*inputs, **options)
        if is_product:
            self.products.add(perf_counter() - start, *(np.shape(array) for array in (*inputs[:2], result)))
        return result

    def like(self, result):
        """Convert the arrays of a result to this class."""
        if isinstance(result, tuple):
            return tuple(map(self.like, result))
        if not isinstance(result, np.ndarray):
            return result
        result = result.view(Counted)
        result.products = self.products
        return result


def uncounted(value):
    """Convert an array, or those in a tuple, to plain arrays that share the memory."""
    if isinstance(value, tuple):
        return tuple(map(uncounted, value))
    return value.view(np.ndarray) if isinstance(value, Counted) else value


@contextmanager
def counted_in_model(model):
    """Yield the Products of a model of this package, counted until the block ends."""
    products = Products()
    try:
        for parameter in model.parameters():
            parameter.data = parameter.data.view(Counted)
            parameter.data.products = products
        yield products
    finally:
        for parameter in model.parameters():
            parameter.data, parameter.grad = uncounted(parameter.data), uncounted(parameter.grad)
