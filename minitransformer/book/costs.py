"""Count the arithmetic operations of the forward and the backward pass.

Each addition, product, comparison or function value counts as one operation.
"""

import numpy as np

from minitransformer.module import Module, plain


class Counted(np.ndarray):
    """An array that counts the operations on it. Arrays computed from it have the same class."""

    total = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain_inputs = [np.asarray(value) if isinstance(value, Counted) else value for value in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(value) for value in out)
        made = getattr(ufunc, method)(*plain_inputs, **options)
        if ufunc is np.matmul:
            Counted.total += 2 * np.size(made) * np.shape(plain_inputs[0])[-1]
        else:
            Counted.total += max(map(np.size, (made, *plain_inputs[-1 if method == "at" else 0 :])))
        return made.view(Counted) if isinstance(made, np.ndarray) else made

    def __array_function__(self, function, kinds, arguments, options):
        made = super().__array_function__(function, kinds, arguments, options)
        Counted.total += np.size(made) if function is np.where else 0
        return made.view(Counted) if isinstance(made, np.ndarray) else made


def operations(specimen) -> tuple[int, int] | None:
    """Count the operations of the forward and the backward pass. Return None if a pass has none.

    Operations on single numbers are not counted.
    """
    parameters, before = parameters_of(specimen.call), Counted.total
    try:
        for parameter in parameters:
            parameter.data = parameter.data.view(Counted)
        with plain():
            returned = specimen.call(*map(counted, specimen.inputs), **specimen.options)
            forward = Counted.total - before
            if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
                return None
            y, backward = returned
            backward(*(np.ones(np.shape(leaf)).view(Counted) for leaf in (y if isinstance(y, tuple) else (y,))))
        passes = forward, Counted.total - before - forward
    finally:
        for parameter in parameters:
            parameter.data, parameter.grad = np.asarray(parameter.data), None
    return passes if all(passes) else None


def parameters_of(target) -> list:
    owner = getattr(target, "__self__", target)  # of a method, such as loss
    return owner.parameters() if isinstance(owner, Module) else []


def counted(value):
    return value.view(Counted) if isinstance(value, np.ndarray) else value
