"""What a backward pass hands back: one gradient for each argument, a float64 array of its shape.

Whatever else it is, is a fault of backward and raises GradientError; but a parameter may have no gradient, which counts
as zeros. The message says what the shape or the number
gives away, as long as it is only one thing.
"""

import numpy as np

from gradcheck.call import clear_gradients, describe
from gradcheck.report import GradientError, Report


def gradients_of(call, arguments, dy):
    """Run forward and backward once more and return the gradients in the order of `arguments`."""
    before = [argument.array.copy() for argument in arguments] if call.is_careful else []
    _, backward = call.evaluate()
    gradients = with_zeros(run_backward(call, backward, dy.copy(), arguments), arguments)
    for argument, here in zip(arguments, before, strict=False):  # a careless backward may have changed parameters
        argument.array[...] = here
    return gradients


def with_zeros(gradients, arguments):
    """Return the gradients with zeros in the place of those that are None."""
    pairs = zip(gradients, arguments, strict=True)
    return [np.zeros(argument.array.shape) if gradient is None else gradient for gradient, argument in pairs]


def run_backward(call, backward, dy, arguments):
    """Run backward once, and return copies of the gradients in the order of `arguments`."""
    clear_gradients(call.target)
    returned = backward(dy)
    inputs = [argument for argument in arguments if argument.parameter is None]
    if returned is None and not inputs:
        returned = ()
    elif returned is None or isinstance(returned, (list, dict)):
        what = "nothing" if returned is None else describe(returned)
        raise _wrong_number(call, what, "an array" if len(inputs) == 1 else f"a tuple of {len(inputs)}", inputs)
    elif not isinstance(returned, tuple):
        returned = (returned,)
    if len(returned) != len(inputs):
        what = "1 gradient" if len(returned) == 1 else f"{len(returned)} gradients"
        raise _wrong_number(call, what, len(inputs), inputs, _without_gradient(call, inputs, len(returned)))
    gradients = []
    supply = iter(returned)
    pairs = [(a, next(supply) if a.parameter is None else a.parameter.grad) for a in arguments]
    for argument, gradient in pairs:
        gradients.append(_fit(call, argument, gradient, pairs))
    return gradients


def fault(call, problem):
    """Return the error of a function whose backward pass is at fault before any gradient is compared."""
    return GradientError(Report(call.name, problems=(problem,)))


def _wrong_number(call, what, expected, inputs, hint=""):
    from gradcheck.adapter_hints import for_nested

    names = ", ".join(argument.name for argument in inputs) or "no input"
    return fault(call, f"backward returned {what}, expected {expected}: one for {names}{hint}{for_nested(call.inputs)}")


def _without_gradient(call, inputs, count):
    """Name the inputs that have no gradient, if backward returned so many that it must have taken them to have one."""
    if count <= len(inputs):
        return ""
    others = [
        f"{name} ({describe(value)})"
        for name, value in zip(call.input_names(), call.inputs, strict=True)
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    ]
    return f", and none for {', '.join(others)}" if others else ""


def _fit(call, argument, gradient, others):
    """Return a copy of a gradient, of its argument's shape. `others` are all (argument, gradient) of this backward."""
    if gradient is None and argument.parameter is not None:
        return None
    if not isinstance(gradient, (np.ndarray, np.generic, float)):
        raise fault(call, f"{argument.label} is {describe(gradient)}, not an array {argument.array.shape}")
    gradient = np.array(gradient)
    if gradient.shape != argument.array.shape:
        from gradcheck.shape_hints import shape_hint

        raise fault(
            call,
            f"{argument.label} has shape {gradient.shape}, but {argument.name} has {argument.array.shape}"
            f"{shape_hint(argument, gradient.shape, others)}",
        )
    if gradient.dtype != np.float64:
        raise fault(call, f"{argument.label} is {gradient.dtype}, but {argument.name} is float64")
    return gradient
