"""What is said of a function that cannot be checked, or does not do what it owes its caller, and of bad settings.

Nothing of this is loaded before it has to be said. Each function returns the exception to raise, or a problem in words.
"""

import inspect
import numbers

import numpy as np

from gradcheck.adapter_hints import for_nested, for_no_backward, for_no_pair
from gradcheck.call import describe
from gradcheck.leftovers import cause
from gradcheck.report import GradientError, Report
from gradcheck.shape_errors import shape_problem
from gradcheck.shape_hints import shape_hint

# Settings


def settings(rtol, atol, max_entries, seed):
    """The first of these that means nothing."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, numbers.Real):
            return TypeError(f"{name} must be a number, not {value!r}")
    if not (rtol >= 0 and atol >= 0):
        return ValueError(f"rtol and atol must not be negative: {rtol}, {atol}")
    if not isinstance(max_entries, numbers.Integral) or isinstance(max_entries, bool):
        return TypeError(f"max_entries must be a whole number, not {max_entries!r}")
    if max_entries < 1:
        return ValueError(f"max_entries must be at least 1, not {max_entries}")
    kind = ValueError if isinstance(seed, numbers.Integral) else TypeError
    return kind(f"seed must be a whole number of at least 0, not {seed!r}")


def oracles(asked, known):
    """What was asked for is no name of an oracle."""
    if not isinstance(asked, (str, tuple, list, set)):
        return TypeError(f"oracles must be names, such as {known[0]!r}, not {asked!r}")
    unknown = [name for name in ((asked,) if isinstance(asked, str) else asked) if name not in known]
    return ValueError(f"oracles are {', '.join(known)}; not {', '.join(map(repr, unknown)) or 'none at all'}")


def not_complex_safe(name, reason):
    """The complex step alone was asked for, and does not apply."""
    return ValueError(
        f"{name}: the forward pass is not complex-safe: {reason}. Leave `oracles` out, or name central among them"
    )


def not_callable(target):
    """There is no function."""
    hint = ": for an object with forward() and backward() see from_layer of gradcheck.adapters"
    return TypeError(
        f"{describe(target)} cannot be called, so there is no gradient to check"
        f"{hint if hasattr(target, 'backward') else ''}"
    )


# Arguments and outputs


def nothing_to_differentiate(call):
    """No input is a floating-point array with entries."""
    kinds = [value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__ for value in call.inputs]
    return ValueError(
        f"{call.name}: nothing to differentiate: no positional input is a floating-point array with entries "
        f"({', '.join(kinds) or 'there are none'}); give float64 arrays, as np.array(1.5) is"
        f"{for_nested(call.inputs)}"
    )


def unfit_argument(name, argument):
    """An array of another kind, or another type than float64."""
    array, dtype = argument.array, argument.array.dtype
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        return TypeError(f"{name}: {argument.name} is {describe(array)}; it must be a plain array, as np.asarray makes")
    if dtype.kind == "c":
        obstacle = "a derivative along the real line alone says too little"
    elif dtype.itemsize > 8:
        obstacle = "some of NumPy falls back to less"
    else:
        obstacle = "rounding alone is as large as the error looked for"
    return TypeError(
        f"{name}: central differences need float64: in {dtype} {obstacle}; {argument.name} is {dtype}, "
        f"shape {array.shape}"
    )


def not_finite(name, what, array):
    """An array with a NaN or an infinity in it: where."""
    bad = np.argwhere(~np.isfinite(array))
    index = tuple(int(i) for i in bad[0])
    where = f" at {list(index)}" if index else ""
    return ValueError(
        f"{name}: {what} is not finite: {array[index]}{where} ({len(bad)} of {array.size} entries); "
        "check it where it is"
    )


def unfit_dy(name, dy, y):
    """A dy that cannot tell a right gradient from a wrong one."""
    if dy.dtype.kind not in "fiu":
        return TypeError(f"{name}: dy is {dy.dtype}; it must be an array of real numbers")
    if dy.shape != y.shape:
        return ValueError(f"{name}: dy has shape {dy.shape}, but y has {y.shape}")
    if not np.isfinite(dy).all():
        return not_finite(name, "dy", dy.astype(np.float64))
    if dy.size > 1:
        return ValueError(
            f"{name}: dy is {dy.flat[0]:g} everywhere, and checks too little: the outputs of a softmax or a layer norm "
            "have a constant sum, whose gradient is zero, so a backward that returns zeros would pass. Leave dy out to "
            "have a random one"
        )
    return ValueError(
        f"{name}: dy is {dy.item():g}, and checks too little: a backward that "
        f"{'returns zeros' if dy.item() == 0 else 'ignores dy'} would pass. Leave dy out to have a random one"
    )


def unfit_result(name, result):
    """Something else than a pair of one float64 output and a function."""
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
    return TypeError(f"{name}: y is {dtype}, although every floating-point input is float64; it must be too")


def not_deterministic(name, y, again):
    """Two forward passes that differ."""
    return ValueError(
        f"{name} is not deterministic: two forward passes on the same inputs differ, by up to "
        f"{_difference(y, again)}. Pass the random generator as an input or option: it is copied before each call"
    )


# What backward returns


def wrong_number(call, returned, inputs):
    """Another number of gradients than there are inputs that have one."""
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
    """No array, or one of another shape or type; `others` are all (argument, gradient) of this backward."""
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
    """A backward pass that is at fault before any gradient is compared."""
    return GradientError(Report(call.name, problems=(problem,)))


# What else backward does


def raised(call, backward, dy, error):
    """Explain an error that backward raised, if it takes more than dy or because of shapes; otherwise None."""
    if isinstance(error, TypeError):
        try:
            inspect.signature(backward).bind(dy)
        except TypeError:
            return TypeError(
                f"{call.name}: backward takes {inspect.signature(backward)}; it must take dy alone: "
                "for two functions with a cache between them see from_pair of gradcheck.adapters"
            )
        except ValueError:  # it has no signature
            pass
        return None
    problem = shape_problem(call, backward, error)
    return fault(call, problem) if problem else None


def raised_again(error, call, dy, arguments):
    """A second backward(dy) that raises something, in words."""
    reason = cause(call, dy, arguments) or "if it is meant to be called once, a RuntimeError says so"
    return f"a second backward(dy) raises {type(error).__name__}: {error}; {reason}"


def another_the_second_time(label, first, second, call, dy, arguments):
    """A second backward(dy) that gives something else, in words."""
    reason = cause(call, dy, arguments) or "backward changes what forward saved for it, or draws random numbers"
    return (
        f"{label}: a second backward(dy) gives something else, different by up to {_difference(first, second)}: "
        f"{reason}"
    )


def another_in_another_run(label, first, second, call, dy, arguments):
    """A gradient that is another as forward and backward are run again, in words."""
    reason = cause(call, dy, arguments)
    return (
        f"{label}: another run of forward and backward changes it, by up to {_difference(first, second)}"
        f"{f': {reason}' if reason else ''}"
    )


def another_after_another_forward(label, first, second, call, dy, arguments):
    """A gradient that is another after a forward pass on other inputs, in words."""
    reason = cause(call, dy, arguments) or "backward reads what the later forward pass has saved"
    return (
        f"{label}: another forward pass before backward(dy) changes it, by up to {_difference(first, second)}: {reason}"
    )


def _difference(a, b):
    if a is None or b is None or a.shape != b.shape:
        return "everything"
    return f"{np.nanmax(np.abs(a - b)):.2g}"
