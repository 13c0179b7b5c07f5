"""The contract of a differentiable function, tested before any gradient is compared.

The function returns a pair (y, backward). For float64 inputs, y is float64, finite and the same in each call.
backward(dy) returns one gradient for each argument (gradients.py). Neither modifies an argument, a parameter, y or dy.
A second backward(dy) returns the same gradients, or raises RuntimeError if backward has discarded its activations. The
values that forward has saved are not affected by a later forward pass on other inputs.

If the function cannot be checked at all, TypeError or ValueError is raised; if backward returns no gradients,
GradientError. Any other violation is a problem of the report, and the gradients are still compared.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.call import Call, parameters_of, refusals
from gradcheck.gradients import run_backward, with_zeros

REPEATS = 1e-12  # relative; two runs may differ by rounding if memory is aligned differently
ROUNDING = 1e-12  # of Σ|dy y|: no rounding error of a gradient (of y's unit over x's) is larger
NOTHING = 1e-50  # the complex step of a zero may leave an error below this: h² for a cube


@dataclass
class Argument:
    """An array that has a gradient: an input, or a parameter's data.

    `label` is the name of the gradient in messages.
    """

    name: str
    label: str
    array: np.ndarray
    parameter: object = None


@dataclass(frozen=True)
class Run:
    """The result of one forward and one backward pass.

    `y` is the output, `dy` = ∂L/∂y, and `gradients` are the results of backward, one for each of `arguments`. They are
    zeros for the arguments that are `missing`, which are parameters without a gradient. `rounding` bounds the rounding
    error of the derivative of L = ⟨dy, y⟩ with respect to an argument of scale 1. `problem` is the first fault, or
    empty.
    """

    call: Call
    arguments: list
    y: np.ndarray
    dy: np.ndarray
    gradients: list
    missing: list
    rounding: float
    problem: str = ""


def arguments_of(call):
    """Return the Arguments of a call, inputs first.

    Raises TypeError or ValueError if they cannot be checked.
    """
    arguments = [
        Argument(name, f"d{name}", value)
        for name, value in zip(call.input_names(), call.inputs, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    ]
    for name, parameter in parameters_of(call.target).items():
        if parameter.data.dtype.kind in "fc":
            arguments.append(Argument(name, f"{name}.grad", parameter.data, parameter))
    for argument in arguments:
        if isinstance(argument.array, (np.ma.MaskedArray, np.matrix)) or argument.array.dtype != np.float64:
            raise refusals().unfit_argument(call.name, argument)
        refuse_infinite(call.name, argument.name, argument.array)
    if not any(argument.array.size for argument in arguments):
        raise refusals().nothing_to_differentiate(call)
    return arguments


def run_under_watch(call, dy, rng, problem=""):
    """Run forward and backward, test their contract, and return a Run.

    If dy is None, it is drawn from rng. The first violation of the contract becomes the `problem` of the Run. Forward
    and backward are then run again on copies, so that the violation does not affect the numbers.
    """
    arguments = arguments_of(call)
    watch = _Watch(call, arguments)
    returned, backward = _forward(call)
    problem = problem or watch.change("forward")
    y = returned.copy()
    refuse_infinite(call.name, "the output", y)
    again, _ = _forward(call)
    if not _same(y, again):
        raise refusals().not_deterministic(call.name, y, again)
    given, dy = dy, rng.standard_normal(y.shape) if dy is None else _fit_dy(call.name, dy, y)
    watch.add("dy", dy)
    watch.add("y", returned)
    gradients = run_backward(call, backward, dy, arguments)
    change = watch.change("backward")
    problem = problem or change or _repetition(call, backward, dy, arguments, gradients)
    problem = problem or watch.change("a second backward") or _dependence(call, dy, arguments, gradients)
    if problem and not call.is_careful:
        from gradcheck.careful import careful

        return run_under_watch(careful(call), given, rng, problem)
    missing = [gradient is None for gradient in gradients]
    rounding = ROUNDING * float(np.sum(np.abs(dy * y))) + NOTHING
    return Run(call, arguments, y, dy, with_zeros(gradients, arguments), missing, rounding, problem)


def _forward(call):
    """Evaluate a call, and return (y, backward) if both have the right type."""
    result = call.evaluate()
    is_pair = isinstance(result, tuple) and len(result) == 2 and callable(result[1])
    y = np.asarray(result[0]) if is_pair and isinstance(result[0], (np.ndarray, np.generic, float)) else None
    if y is None or y.dtype != np.float64:
        raise refusals().unfit_result(call.name, result)
    call.type_of_y = type(result[0])
    return y, result[1]


def _repetition(call, backward, dy, arguments, gradients):
    """Describe a difference between two calls of backward(dy), or return ""."""
    try:
        again = run_backward(call, backward, dy, arguments)
    except RuntimeError:
        return ""  # it may refuse a second call, but not return another gradient
    except Exception as error:
        return refusals().raised_again(error, call, dy, arguments)
    changed = _changed(arguments, gradients, again)
    return refusals().another_the_second_time(*changed, call, dy, arguments) if changed else ""


def _dependence(call, dy, arguments, gradients):
    """Describe the effect of another forward pass before backward, or return ""."""
    y, backward = _forward(call)
    before = y.copy()
    try:
        with np.errstate(all="ignore"):
            call.on(map(_elsewhere, call.inputs)).evaluate()
    except Exception:  # the function may refuse these inputs
        return ""
    if not np.array_equal(y, before, equal_nan=True):
        return f"another forward pass overwrites y: {np.sum(y != before)} entries"
    try:
        changed = _changed(arguments, gradients, run_backward(call, backward, dy, arguments))
    except RuntimeError:
        return ""
    if not changed:
        return ""
    anew = _changed(arguments, gradients, run_backward(call, call.evaluate()[1], dy, arguments))
    if anew and anew[0] == changed[0]:  # the cause is not the forward pass in between: every later run differs
        return refusals().another_in_another_run(*anew, call, dy, arguments)
    return refusals().another_after_another_forward(*changed, call, dy, arguments)


def _changed(arguments, before, after):
    """Return (label, gradient, other gradient) of the first that differs, or ()."""
    for argument, a, b in zip(arguments, before, after, strict=True):
        if (a is None) != (b is None) or not (a is None or _same(a, b)):
            return argument.label, a, b
    return ()


def _elsewhere(value):
    return 0.75 * value if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _fit_dy(name, dy, y):
    """Return a copy of the caller's dy. Raises if it could not reveal a mistake."""
    dy = np.array(dy)
    is_array = dy.dtype.kind in "fiu" and dy.shape == y.shape and np.isfinite(dy).all()
    if not is_array or (dy.item() in (0, 1) if dy.size == 1 else dy.size and np.all(dy == dy.flat[0])):
        raise refusals().unfit_dy(name, dy, y)
    return dy.astype(np.float64)


class _Watch:
    """Detects arrays that are modified in place."""

    def __init__(self, call, arguments):
        self.before = []
        for name, value in [*zip(call.input_names(), call.inputs, strict=True), *call.options.items()]:
            if isinstance(value, np.ndarray):
                self.add(name, value)
        for argument in arguments:
            if argument.parameter is not None:
                self.add(argument.name, argument.array)

    def add(self, name, array):
        """Store a copy of an array."""
        self.before.append((name, array, array.copy()))

    def change(self, culprit):
        """Describe an array that `culprit` modified in place, and restore all arrays."""
        problem = ""
        for name, array, before in self.before:
            if not np.array_equal(array, before, equal_nan=array.dtype.kind in "fc"):
                problem = problem or f"{culprit} changed {name} in place: {np.sum(array != before)} entries"
                array[...] = before
        return problem


def _same(a, b):
    """Return True if two arrays agree up to rounding."""
    size = max(np.max(np.abs(a), initial=0, where=np.isfinite(a)), np.finfo(np.float64).tiny)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=REPEATS * size, equal_nan=True)


def refuse_infinite(name, what, array):
    """Raise ValueError, with the index, if an array is not finite.

    `name` is the name of the function. The message calls the array `what`.
    """
    if not np.isfinite(array).all():
        raise refusals().not_finite(name, what, array)
