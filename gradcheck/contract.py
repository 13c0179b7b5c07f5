"""What a differentiable function owes its caller before any gradient is compared.

It returns a pair (y, backward). Given float64 it answers in float64, finite, and the same each time. backward(dy)
returns one gradient for each argument (gradients.py). Neither changes an argument, a parameter, y or dy, and a second
backward(dy) gives what the first gave; one that cannot (it has let go of its activations) says so with a RuntimeError.
What forward returned and saved is its own: a forward pass on other inputs in between changes nothing.

Where the function cannot be checked at all, TypeError or ValueError is raised, and GradientError where backward returns
no gradients. Any other fault is a problem of the report: it is said, and the numbers are compared all the same.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.call import Call, parameters_of, refusals
from gradcheck.gradients import run_backward, with_zeros

REPEATS = 1e-12  # relative; two runs may differ by rounding where memory is aligned differently
ROUNDING = 1e-12  # of Σ|dy y|: no rounding error of a gradient (of y's unit over x's) is larger
NOTHING = 1e-50  # smaller than that is what the complex step leaves of a zero: h² of a cube


@dataclass
class Argument:
    """An array that has a gradient: an input, or a parameter's data. `label` is what messages call the gradient."""

    name: str
    label: str
    array: np.ndarray
    parameter: object = None


@dataclass(frozen=True)
class Run:
    """One forward and one backward pass: what the oracles are asked about.

    `y` is what forward gave, `dy` = ∂L/∂y, and `gradients` are what backward made of it, one for each of `arguments`:
    zeros for those that are `missing`, parameters that got none. `rounding` is the largest error that rounding may
    leave in a derivative of L = ⟨dy, y⟩, by a change of its argument by 1. `problem` is the first fault, or empty.
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
    """Return the Arguments of a call, inputs first. Raises TypeError or ValueError if they cannot be checked."""
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
    """Run forward and backward, and see that they keep the contract. Returns a Run; dy, if None, is drawn from rng.

    If they do not, that is the `problem`, and both are run anew on copies, so that it changes no numbers.
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
    """Evaluate a call. Returns (y, backward) once they are what they should be."""
    result = call.evaluate()
    is_pair = isinstance(result, tuple) and len(result) == 2 and callable(result[1])
    y = np.asarray(result[0]) if is_pair and isinstance(result[0], (np.ndarray, np.generic, float)) else None
    if y is None or y.dtype != np.float64:
        raise refusals().unfit_result(call.name, result)
    call.type_of_y = type(result[0])
    return y, result[1]


def _repetition(call, backward, dy, arguments, gradients):
    """Return what is wrong with a second backward(dy), or nothing."""
    try:
        again = run_backward(call, backward, dy, arguments)
    except RuntimeError:
        return ""  # refused, rather than answered differently
    except Exception as error:
        return refusals().raised_again(error, call, dy, arguments)
    changed = _changed(arguments, gradients, again)
    return refusals().another_the_second_time(*changed, call, dy, arguments) if changed else ""


def _dependence(call, dy, arguments, gradients):
    """Run forward on other inputs between a forward and its backward, and return what that changes, or nothing."""
    y, backward = _forward(call)
    before = y.copy()
    try:
        with np.errstate(all="ignore"):
            call.on(map(_elsewhere, call.inputs)).evaluate()
    except Exception:  # the function may refuse these inputs, and nothing is said about it
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
    if anew and anew[0] == changed[0]:  # not the forward pass in between, but that it is not the first run
        return refusals().another_in_another_run(*anew, call, dy, arguments)
    return refusals().another_after_another_forward(*changed, call, dy, arguments)


def _changed(arguments, before, after):
    """Return (label, gradient, other gradient) of the first that is not the same, or nothing."""
    for argument, a, b in zip(arguments, before, after, strict=True):
        if (a is None) != (b is None) or not (a is None or _same(a, b)):
            return argument.label, a, b
    return ()


def _elsewhere(value):
    return 0.75 * value if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _fit_dy(name, dy, y):
    """Return a copy of the caller's dy, once it can tell a right gradient from a wrong one."""
    dy = np.array(dy)
    is_array = dy.dtype.kind in "fiu" and dy.shape == y.shape and np.isfinite(dy).all()
    if not is_array or (dy.item() in (0, 1) if dy.size == 1 else dy.size and np.all(dy == dy.flat[0])):
        raise refusals().unfit_dy(name, dy, y)
    return dy.astype(np.float64)


class _Watch:
    """Notices arrays that are changed in place."""

    def __init__(self, call, arguments):
        self.before = []
        for name, value in [*zip(call.input_names(), call.inputs, strict=True), *call.options.items()]:
            if isinstance(value, np.ndarray):
                self.add(name, value)
        for argument in arguments:
            if argument.parameter is not None:
                self.add(argument.name, argument.array)

    def add(self, name, array):
        """Remember an array as it is now."""
        self.before.append((name, array, array.copy()))

    def change(self, culprit):
        """Return what `culprit` has changed in place, or nothing, and let the arrays be again as they were."""
        problem = ""
        for name, array, before in self.before:
            if not np.array_equal(array, before, equal_nan=array.dtype.kind in "fc"):
                problem = problem or f"{culprit} changed {name} in place: {np.sum(array != before)} entries"
                array[...] = before
        return problem


def _same(a, b):
    """Whether two runs gave the same, but for rounding."""
    size = max(np.max(np.abs(a), initial=0, where=np.isfinite(a)), np.finfo(np.float64).tiny)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=REPEATS * size, equal_nan=True)


def refuse_infinite(name, what, array):
    """Raise ValueError, with the place, if an array is not finite; `name` is that of the function."""
    if not np.isfinite(array).all():
        raise refusals().not_finite(name, what, array)
