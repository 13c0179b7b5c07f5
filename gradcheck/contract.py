"""Test the contract of a differentiable function before its gradients are compared.

The function returns a pair (y, backward). For float64 inputs, y is float64, finite and the same in each call.
backward(dy) returns one gradient for each argument, a float64 array of the argument's shape. Only a parameter may have
no gradient, which counts as zeros. Neither pass modifies an argument, a parameter, y or dy. A second backward(dy)
returns the same gradients, or raises RuntimeError if the activations have been discarded. A later forward pass on other
inputs does not affect the values that were saved.

TypeError or ValueError is raised if the function cannot be checked at all, and GradientError for any other violation.
The only exception is a backward pass that cannot be repeated. This becomes a problem of the report, and the gradients
are compared nevertheless.
"""

from typing import Any, NamedTuple

import numpy as np

from gradcheck.call import Call, clear_gradients, describe, is_floating, is_low_precision, parameters_of
from gradcheck.report import Problem, fault

REPEATS = 1e-12  # relative; two runs may differ by rounding if memory is aligned differently
ROUNDING = 1e-12  # relative to Σ|dy y|: bound on the rounding error of a gradient times the scale of its argument
NOTHING = 1e-50  # bound on the error of the complex step if the derivative is zero: for x³ at 0, the error is h²
ADAPTERS = (
    "for a cache see from_pair, for a value and its gradient see from_value_and_gradient, for a derivative see "
    "from_derivative, for a Jacobian see from_jacobian, of gradcheck.adapters"
)
NESTED = "for arrays in a dict, list or tuple see from_nested of gradcheck.adapters"


class Argument(NamedTuple):
    """An input, or the data of a parameter. `label` is the name of its gradient."""

    name: str
    label: str
    array: np.ndarray
    parameter: Any = None


class Run(NamedTuple):
    """The result of one forward and one backward pass."""

    call: Call
    arguments: list
    y: np.ndarray
    dy: np.ndarray
    gradients: list  # for each Argument, the gradient from backward
    missing: list  # for each Argument, True if backward has set no gradient, which counts as zeros
    rounding: float  # bound on the rounding error of the derivative of L = ⟨dy, y⟩ for an argument of scale 1
    problem: str = ""  # a description of a violation that leaves the gradients valid, or ""


def run_and_test(call, dy, rng):
    """Run both passes and test their contract. A missing dy is drawn from rng."""
    arguments = arguments_of(call)
    watched = _watched(call, arguments)
    returned, backward = _forward(call)
    _require_unchanged(call, "forward", watched)
    y = returned.copy()
    require_finite(call.name, "the output", y)
    again, _ = _forward(call)
    if not _same(y, again):
        raise ValueError(
            f"{call.name} is not deterministic: two forward passes on the same inputs differ, by up to "
            f"{_difference(y, again)}. Pass the random generator as an input or option: it is copied before each call"
        )
    drawn = np.ones(y.shape) if call.has_unit_dy else rng.standard_normal(y.shape)
    dy = drawn if dy is None or call.has_unit_dy else _fit_dy(call.name, dy, y)
    watched += [("dy", dy, dy.copy()), ("y", returned, y)]
    gradients = run_backward(call, backward, dy, arguments)
    _require_unchanged(call, "backward", watched)
    problem = _repetition(call, backward, dy, arguments, gradients)
    _require_unchanged(call, "a second backward", watched)
    problem = problem or _dependence(call, dy, arguments, gradients)
    missing = [gradient is None for gradient in gradients]
    rounding = ROUNDING * float(np.sum(np.abs(dy * y))) + NOTHING
    return Run(call, arguments, y, dy, with_zeros(gradients, arguments), missing, rounding, problem)


# Forward


def arguments_of(call, any_precision=False):
    """Return the inputs and parameters of a Call that have gradients."""
    names = call.input_names()
    arguments = [Argument(names[i], f"d{names[i]}", call.inputs[i]) for i in call.differentiable()]
    for name, parameter in parameters_of(call.target).items():
        if parameter.data.dtype.kind in "fc":
            arguments.append(Argument(name, f"{name}.grad", parameter.data, parameter))
    for name, _, array, _ in arguments:
        is_plain = not isinstance(array, (np.ma.MaskedArray, np.matrix))
        if not is_plain or not (any_precision or array.dtype == np.float64):
            raise TypeError(f"{call.name}: {name} must be a plain array of float64, not {describe(array)}")
        require_finite(call.name, name, array)
    if not arguments:
        kinds = ", ".join(map(describe, call.inputs)) or "none"
        raise ValueError(
            f"{call.name}: nothing to differentiate: no positional input is a floating-point array ({kinds}); pass "
            f"float64 arrays, such as np.array(1.5); {NESTED}"
        )
    return arguments


def require_finite(name, what, array):
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(bad[0].tolist())
        where = f" at {list(index)}" if index else ""
        raise ValueError(
            f"{name}: {what} is not finite: {array[index]}{where} ({len(bad)} of {array.size} entries); "
            "choose inputs at which it is finite"
        )


def _forward(call):
    result = call.evaluate()
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        must = "a differentiable function returns a pair (y, backward), where backward is a function of dy"
        raise TypeError(f"{call.name} returned {describe(result)}; {must}; {ADAPTERS}")
    call.type_of_y = type(result[0])
    return float64_output(call, result[0]), result[1]


def float64_output(call, y):
    """Convert y to an array. Raises TypeError unless y is a float64 array or number."""
    if not isinstance(y, (np.ndarray, np.generic, float)) or np.asarray(y).dtype != np.float64:
        must = "it must be one float64 array or number. Concatenate several outputs with from_nested"
        raise _with_precision(TypeError(f"{call.name}: y is {describe(y)}; {must} of gradcheck.adapters"), y)
    return np.asarray(y)


def _with_precision(error, value):
    """Record in an exception that `value` is complex or has a low precision."""
    if is_low_precision(value):
        error.precision = value.dtype.newbyteorder("=")
    error.is_complex = np.iscomplexobj(value)
    return error


def _fit_dy(name, dy, y):
    """Convert dy to a float64 array, and reject one that would hide mistakes."""
    dy = np.array(dy)
    if dy.dtype.kind not in "fiu":
        raise TypeError(f"{name}: dy is {dy.dtype}; it must be an array of real numbers")
    if dy.shape != y.shape:
        raise ValueError(f"{name}: dy has shape {dy.shape}, but y has {y.shape}")
    dy = dy.astype(np.float64)
    require_finite(name, "dy", dy)
    if dy.size and np.all(dy == dy.flat[0]) and (dy.size > 1 or dy.item() in (0, 1)):
        raise ValueError(
            f"{name}: every entry of dy is {dy.flat[0]:g}; dy must not be constant, nor 0 or 1 as a single number. A "
            "backward that returns zeros, or that ignores dy, might pass. Omit dy to use a random one"
        )
    return dy


# Backward


def gradients_of(call, arguments, dy):
    """Run both passes once and return the gradients of `arguments` in order."""
    _, backward = call.evaluate()
    return with_zeros(run_backward(call, backward, dy.copy(), arguments), arguments)


def with_zeros(gradients, arguments):
    pairs = zip(gradients, arguments, strict=True)
    return [np.zeros(argument.array.shape) if gradient is None else gradient for gradient, argument in pairs]


def run_backward(call, backward, dy, arguments):
    """Run the backward pass once, and return copies of the gradients (None if missing)."""
    clear_gradients(call.target)
    try:
        returned = backward(call.as_y(dy))
    except Exception as error:
        if isinstance(error, TypeError) and error.__traceback__.tb_next is None:  # raised by the call itself
            hint = "for two functions that share a cache see from_pair of gradcheck.adapters"
            raise TypeError(f"{call.name}: backward must take dy alone; {hint}") from error
        error.backward = backward  # so that checking.py can tell it from an error about the inputs
        raise
    inputs = [argument for argument in arguments if argument.parameter is None]
    if returned is None and not inputs:
        returned = ()
    elif returned is not None and not isinstance(returned, (tuple, list, dict)):
        returned = (returned,)
    returned = call.selected(returned)
    if not isinstance(returned, tuple) or len(returned) != len(inputs):
        given = "nothing" if returned is None else describe(returned)
        given = f"{len(returned)} gradient{'s' * (len(returned) != 1)}" if isinstance(returned, tuple) else given
        names = ", ".join(argument.name for argument in inputs) or "no input"
        expected = f"a tuple of {len(inputs)}: one for each of {names}"
        expected = {0: "an empty tuple", 1: f"an array: one for {names}"}.get(len(inputs), expected)
        hint = f"; {NESTED}" if any(isinstance(value, (dict, list, tuple)) for value in call.inputs) else ""
        problem = f"backward returned {given}, expected {expected}{hint}"
        count = len(returned) if isinstance(returned, tuple) else 1
        data = {"given": given, "names": names, "neither": names.replace(", ", " nor to ")}
        kind = "gradients added" if count > len(inputs) else "gradients dropped"
        kind = "no gradients" if returned is None else "parts of a gradient" if len(inputs) == 1 else kind
        raise fault(call.name, Problem.of(problem, kind, **data))
    supply = iter(returned)
    pairs = [(a, next(supply) if a.parameter is None else a.parameter.grad) for a in arguments]
    return [_validated(call, argument, gradient, pairs) for argument, gradient in pairs]


def _validated(call, argument, gradient, others):
    """Return a copy of a gradient, or None for a parameter without one."""
    label, wanted = argument.label, argument.array.shape
    if gradient is None and argument.parameter is not None:
        return None
    if not isinstance(gradient, (np.ndarray, np.generic, float)):
        problem = f"{label} is {describe(gradient)}, not an array of shape {wanted}"
        raise fault(call.name, Problem.of(problem, "not an array", label=label))
    array = np.array(gradient)
    if array.shape != wanted:
        kind, reason = _reason_of_shape(argument, array.shape, others)
        problem = f"{label} has shape {array.shape}, but {argument.name} has {wanted}"
        raise fault(call.name, Problem.of(problem + reason, kind, problem=problem, label=label, name=argument.name))
    native = array.dtype.newbyteorder("=")
    if native != argument.array.dtype:
        error = fault(call.name, f"{label} is {array.dtype}, but {argument.name} is {argument.array.dtype}")
        raise _with_precision(error, array)
    return array.astype(native, copy=False)


def _reason_of_shape(argument, shape, others):
    """Return the kind and the explanation of a wrong shape, such as a transpose."""
    wanted = argument.array.shape
    for other, gradient in others:
        if other is not argument and np.shape(gradient) == wanted and other.array.shape == shape:
            return "gradients exchanged", f": the shapes of {argument.label} and {other.label} are exchanged"
    if sorted(shape) == sorted(wanted):
        is_matrix = len(wanted) == 2
        words = f"the shape of {argument.name} transposed" if is_matrix else f"{argument.name}'s axes in another order"
        return "gradient transposed", f": {words}"
    padded = (1,) * (len(shape) - len(wanted)) + wanted
    axes = [i for i, (n, m) in enumerate(zip(padded, shape, strict=False)) if n != m]
    if axes and len(padded) == len(shape) and all(padded[i] == 1 for i in axes):
        listed = f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"
        return (
            "gradient not summed",
            f": not summed over {listed} of {argument.label}, along which {argument.name} is broadcast",
        )
    if [n for n in shape if n != 1] == [n for n in wanted if n != 1]:
        return "axis of length 1", ": an axis of length 1 is kept or lost (keepdims)"
    alike = [other.name for other, _ in others if other.array.shape == shape]
    return ("gradients exchanged", f": {alike[0]} has that shape") if alike else ("gradient not summed", "")


# Side effects


def _repetition(call, backward, dy, arguments, gradients):
    """Call backward again, and describe a change of the gradients, or return ""."""
    try:
        label, difference = _first_change(call, backward, dy, arguments, gradients)
    except Exception as error:
        rule = "a backward that may be called only once should raise RuntimeError"
        return f"a second backward(dy) raises {type(error).__name__}: {error}; {rule}"
    reason = "backward changes what forward saved for it, or draws random numbers"
    change = f"a second backward(dy) returns another gradient, different by up to {difference}: {reason}"
    return f"{label}: {change}" if label else ""


def _dependence(call, dy, arguments, gradients):
    """Describe an effect of another forward pass on y or the gradients, or return ""."""
    y, backward = _forward(call)
    before = y.copy()
    try:
        with np.errstate(all="ignore"):
            call.on(0.75 * value if is_floating(value) else value for value in call.inputs).evaluate()
    except Exception:  # the function may refuse these inputs
        return ""
    if not np.array_equal(y, before, equal_nan=True):
        return f"another forward pass overwrites y: {np.sum(y != before)} entries"
    rule = "backward must read only values that its own forward pass saved"
    try:
        label, difference = _first_change(call, backward, dy, arguments, gradients)
    except Exception as error:
        return f"after another forward pass, backward(dy) raises {type(error).__name__}: {error}: {rule}"
    changed = f"{label}: another forward pass before backward(dy) changes it, by up to {difference}: {rule}"
    return changed if label else ""


def _first_change(call, backward, dy, arguments, before):
    """Call backward again, and return (label, difference) of the first change."""
    try:
        after = run_backward(call, backward, dy, arguments)
    except RuntimeError:
        return "", ""  # backward may refuse a second call, but must not return another gradient
    for argument, a, b in zip(arguments, before, after, strict=True):
        if (a is None) != (b is None) or not (a is None or _same(a, b)):
            return argument.label, _difference(a, b)
    return "", ""


def _same(a, b):
    size = max(np.max(np.abs(a), initial=0, where=np.isfinite(a)), np.finfo(np.float64).tiny)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=REPEATS * size, equal_nan=True)


def _difference(a, b):
    is_whole = a is None or b is None or a.shape != b.shape
    return "the whole array" if is_whole else f"{np.nanmax(np.abs(a - b)):.2g}"


def _watched(call, arguments):
    """Return a list of (name, array, copy) for all inputs, options and parameters."""
    named = [*zip(call.input_names(), call.inputs, strict=True), *call.options.items()]
    named += [(argument.name, argument.array) for argument in arguments if argument.parameter is not None]
    return [(name, value, value.copy()) for name, value in named if isinstance(value, np.ndarray)]


def _require_unchanged(call, culprit, watched):
    for name, array, before in watched:
        if not np.array_equal(array, before, equal_nan=array.dtype.kind in "fc"):
            raise fault(call.name, f"{culprit} changed {name} in place: {np.sum(array != before)} entries")
