"""Run backward and validate its result: one gradient for each argument, a float64 array of the argument's shape.

Any other result raises GradientError, except that a parameter may have no gradient, which counts as zeros.
"""

import numpy as np

from gradcheck.call import clear_gradients, refusals


def gradients_of(call, arguments, dy):
    """Run forward and backward once, and return the gradients of `arguments` in order."""
    _, backward = call.evaluate()
    return with_zeros(run_backward(call, backward, dy.copy(), arguments), arguments)


def with_zeros(gradients, arguments):
    """Return the gradients with each None replaced by zeros."""
    pairs = zip(gradients, arguments, strict=True)
    return [np.zeros(argument.array.shape) if gradient is None else gradient for gradient, argument in pairs]


def run_backward(call, backward, dy, arguments):
    """Run backward once, and return copies of the gradients of `arguments` in order."""
    clear_gradients(call.target)
    try:
        returned = backward(call.as_y(dy))
    except (TypeError, ValueError) as error:
        explained = refusals().raised(call, backward, dy, error)
        if explained is None:
            raise
        raise explained from error
    inputs = [argument for argument in arguments if argument.parameter is None]
    if returned is None and not inputs:
        returned = ()
    elif returned is not None and not isinstance(returned, (tuple, list, dict)):
        returned = (returned,)
    if not isinstance(returned, tuple) or len(returned) != len(inputs):
        raise refusals().wrong_number(call, returned, inputs)
    supply = iter(returned)
    pairs = [(a, next(supply) if a.parameter is None else a.parameter.grad) for a in arguments]
    return [_fit(call, argument, gradient, pairs) for argument, gradient in pairs]


def _fit(call, argument, gradient, others):
    """Return a copy of a gradient, or raise GradientError if it is not valid.

    `others` lists every (argument, gradient) of the same backward pass.
    """
    if gradient is None and argument.parameter is not None:
        return None
    array = np.array(gradient) if isinstance(gradient, (np.ndarray, np.generic, float)) else None
    if array is None or array.shape != argument.array.shape or array.dtype != np.float64:
        raise refusals().unfit_gradient(call, argument, gradient, others)
    return array
