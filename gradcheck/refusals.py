"""Error messages for functions that cannot be checked or violate their contract, and for invalid settings.

This module is imported only when there is an error. Each function returns the exception to raise, or the text of a
problem for the report.
"""

import inspect
import numbers

import numpy as np

from gradcheck.adapters.hints import for_nested, for_no_backward, for_no_pair
from gradcheck.call import describe
from gradcheck.leftovers import cause
from gradcheck.report import GradientError, Report
from gradcheck.shape_errors import shape_problem
from gradcheck.shape_hints import shape_hint

# Settings


def settings(rtol, atol, max_entries, seed):
    """Return the exception for the first invalid setting."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, numbers.Real):
            return TypeError(f"{name} must be a number, not {value!r}")
    if not (rtol >= 0 and atol >= 0):
        return ValueError(f"rtol and atol must not be negative, not {rtol} and {atol}")
    if not isinstance(max_entries, numbers.Integral) or isinstance(max_entries, bool):
        return TypeError(f"max_entries must be a whole number, not {max_entries!r}")
    if max_entries < 1:
        return ValueError(f"max_entries must be at least 1, not {max_entries}")
    kind = ValueError if isinstance(seed, numbers.Integral) else TypeError
    return kind(f"seed must be a whole number of at least 0, not {seed!r}")


def oracles(asked, known):
    """Return the exception for an invalid `oracles`."""
    if not isinstance(asked, (str, tuple, list, set)):
        return TypeError(f"oracles must be a name or a list of names, such as {known[0]!r}, not {asked!r}")
    unknown = [name for name in ((asked,) if isinstance(asked, str) else asked) if name not in known]
    return ValueError(f"oracles must be among {', '.join(known)}, not {', '.join(map(repr, unknown)) or 'empty'}")


def not_complex_safe(name, reason):
    """Return the exception if only the complex step was selected and does not apply."""
    return ValueError(
        f"{name}: the forward pass is not complex-safe: {reason}. Omit `oracles`, or add 'central' to them"
    )


def not_callable(target):
    """Return the exception for a target that is not callable."""
    hint = ": for an object with forward() and backward() see from_layer of gradcheck.adapters"
    return TypeError(
        f"{describe(target)} cannot be called, so there is no gradient to check"
        f"{hint if hasattr(target, 'backward') else ''}"
    )


# Arguments and outputs


def nothing_to_differentiate(call):
    """Return the exception if no input is a floating-point array with entries."""
    kinds = [value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__ for value in call.inputs]
    return ValueError(
        f"{call.name}: nothing to differentiate: no positional input is a floating-point array with entries "
        f"({', '.join(kinds) or 'there are none'}); pass float64 arrays, such as np.array(1.5)"
        f"{for_nested(call.inputs)}"
    )


def unfit_argument(name, argument):
    """Return the exception for an array of the wrong class or dtype."""
    array, dtype = argument.array, argument.array.dtype
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        return TypeError(f"{name}: {argument.name} is {describe(array)}; it must be a plain array; use np.asarray")
    if dtype.kind == "c":
        obstacle = "the derivative along the real line does not determine the gradient"
    elif dtype.itemsize > 8:
        obstacle = "some NumPy functions compute with lower precision"
    else:
        obstacle = "rounding errors are as large as the errors to be found"
    return TypeError(
        f"{name}: central differences need float64: in {dtype} {obstacle}; {argument.name} is {dtype}, "
        f"shape {array.shape}"
    )


def not_finite(name, what, array):
    """Return the exception for an array with a NaN or an infinity, with its index."""
    bad = np.argwhere(~np.isfinite(array))
    index = tuple(int(i) for i in bad[0])
    where = f" at {list(index)}" if index else ""
    return ValueError(
        f"{name}: {what} is not finite: {array[index]}{where} ({len(bad)} of {array.size} entries); "
        "choose inputs at which it is finite"
    )


def unfit_dy(name, dy, y):
    """Return the exception for a dy that cannot reveal a wrong gradient."""
    if dy.dtype.kind not in "fiu":
        return TypeError(f"{name}: dy is {dy.dtype}; it must be an array of real numbers")
    if dy.shape != y.shape:
        return ValueError(f"{name}: dy has shape {dy.shape}, but y has {y.shape}")
    if not np.isfinite(dy).all():
        return not_finite(name, "dy", dy.astype(np.float64))
    if dy.size > 1:
        return ValueError(
            f"{name}: dy is {dy.flat[0]:g} everywhere, and checks too little: the outputs of a softmax or a layer norm "
            "have a constant sum, whose gradient is zero, so a backward that returns zeros would pass. Omit dy to "
            "use a random one"
        )
    return ValueError(
        f"{name}: dy is {dy.item():g}, and checks too little: a backward that "
        f"{'returns zeros' if dy.item() == 0 else 'ignores dy'} would pass. Omit dy to use a random one"
    )


def unfit_result(name, result):
    """Return the exception for a result that is not (one float64 output, a function)."""
    if not (isinstance(result, tuple) and len(result) == 2):
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else describe(result)
        return TypeError(
            f"{name} returned {what}; a differentiable function returns a pair (y, backward){for_no_pair(result)}"
        )
    y, backward = result
    if not callable(backward):
        return TypeError(
            f"{name} returned (y, {type(backward).__name__}); the second must be a function of dy; "
            f"{for_no_backward(y, backward)}"
        )
    if not isinstance(y, (np.ndarray, np.generic, float)):
        return TypeError(
            f"{name}: y is {describe(y)}; it must be one float64 array or number: "
            "check several outputs one at a time, or concatenated, as from_nested of gradcheck.adapters does"
        )
    dtype = np.asarray(y).dtype
    return TypeError(f"{name}: y is {dtype}, although every floating-point input is float64; it must be float64 too")


def not_deterministic(name, y, again):
    """Return the exception for two forward passes that differ."""
    return ValueError(
        f"{name} is not deterministic: two forward passes on the same inputs differ, by up to "
        f"{_difference(y, again)}. Pass the random generator as an input or option: it is copied before each call"
    )


# Results of backward


def wrong_number(call, returned, inputs):
    """Return the exception for a wrong number of gradients."""
    if returned is None or isinstance(returned, (list, dict)):
        what = "nothing" if returned is None else describe(returned)
        return _not_expected(call, what, "an array" if len(inputs) == 1 else f"a tuple of {len(inputs)}", inputs)
    what = "1 gradient" if len(returned) == 1 else f"{len(returned)} gradients"
    others = [
        f"{name} ({describe(value)})"
        for name, value in zip(call.input_names(), call.inputs, strict=True)
        if not (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    ]
    hint = f", and none for {', '.join(others)}" if others and len(returned) > len(inputs) else ""
    return _not_expected(call, what, len(inputs), inputs, hint)


def _not_expected(call, what, expected, inputs, hint=""):
    names = ", ".join(argument.name for argument in inputs) or "no input"
    return fault(call, f"backward returned {what}, expected {expected}: one for {names}{hint}{for_nested(call.inputs)}")


def unfit_gradient(call, argument, gradient, others):
    """Describe a gradient that is not an array, or has the wrong shape or dtype.

    `others` lists every (argument, gradient) of the same backward pass.
    """
    if not isinstance(gradient, (np.ndarray, np.generic, float)):
        return fault(call, f"{argument.label} is {describe(gradient)}, not an array {argument.array.shape}")
    gradient = np.array(gradient)
    if gradient.shape != argument.array.shape:
        return fault(
            call,
            f"{argument.label} has shape {gradient.shape}, but {argument.name} has {argument.array.shape}"
            f"{shape_hint(argument, gradient.shape, others)}",
        )
    return fault(call, f"{argument.label} is {gradient.dtype}, but {argument.name} is float64")


def fault(call, problem):
    """Return the GradientError for a fault found before any gradient is compared."""
    return GradientError(Report(call.name, problems=(problem,)))


# Other faults of backward


def raised(call, backward, dy, error):
    """Explain an error that backward raised, or return None.

    There is an explanation if backward takes more arguments than dy, or if the error is about shapes.
    """
    if isinstance(error, TypeError):
        try:
            inspect.signature(backward).bind(dy)
        except TypeError:
            return TypeError(
                f"{call.name}: backward takes {inspect.signature(backward)}; it must take dy alone: "
                "for two functions that share a cache see from_pair of gradcheck.adapters"
            )
        except ValueError:  # it has no signature
            pass
        return None
    problem = shape_problem(call, backward, error)
    return fault(call, problem) if problem else None


def raised_again(error, call, dy, arguments):
    """Describe an exception raised by a second backward(dy)."""
    reason = cause(call, dy, arguments) or "a backward that may be called only once should raise RuntimeError"
    return f"a second backward(dy) raises {type(error).__name__}: {error}; {reason}"


def another_the_second_time(label, first, second, call, dy, arguments):
    """Describe a second backward(dy) that returns another gradient."""
    reason = cause(call, dy, arguments) or "backward changes what forward saved for it, or draws random numbers"
    return (
        f"{label}: a second backward(dy) returns another gradient, different by up to {_difference(first, second)}: "
        f"{reason}"
    )


def another_in_another_run(label, first, second, call, dy, arguments):
    """Describe a gradient that changes if forward and backward are run again."""
    reason = cause(call, dy, arguments)
    return (
        f"{label}: another run of forward and backward changes it, by up to {_difference(first, second)}"
        f"{f': {reason}' if reason else ''}"
    )


def another_after_another_forward(label, first, second, call, dy, arguments):
    """Describe a gradient that changes after a forward pass on other inputs."""
    reason = cause(call, dy, arguments) or "backward reads values saved by the later forward pass"
    return (
        f"{label}: another forward pass before backward(dy) changes it, by up to {_difference(first, second)}: {reason}"
    )


def _difference(a, b):
    if a is None or b is None or a.shape != b.shape:
        return "everything"
    return f"{np.nanmax(np.abs(a - b)):.2g}"
