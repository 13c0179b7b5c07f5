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

from gradcheck.call import Call, describe, parameters_of
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
        _require_float64(call.name, argument)
        refuse_infinite(call.name, argument.name, argument.array)
    if not any(argument.array.size for argument in arguments):
        from gradcheck.adapter_hints import for_nested

        kinds = [value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__ for value in call.inputs]
        raise ValueError(
            f"{call.name}: nothing to differentiate: no positional input is a floating-point array with entries "
            f"({', '.join(kinds) or 'there are none'}); give float64 arrays, as np.array(1.5) is"
            f"{for_nested(call.inputs)}"
        )
    return arguments


def _require_float64(name, argument):
    array, dtype = argument.array, argument.array.dtype
    if isinstance(array, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"{name}: {argument.name} is {describe(array)}; it must be a plain array, as np.asarray makes")
    if dtype != np.float64:
        raise TypeError(
            f"{name}: central differences need float64: in {dtype} {_obstacle(dtype)}; "
            f"{argument.name} is {dtype}, shape {array.shape}"
        )


def _obstacle(dtype):
    if dtype.kind == "c":
        return "a derivative along the real line alone says too little"
    if dtype.itemsize > 8:
        return "some of NumPy falls back to less"
    return "rounding alone is as large as the error looked for"


def run_under_watch(call, dy, rng):
    """Run forward and backward, and see that they keep the contract. Returns a Run; dy, if None, is drawn from rng.

    After a fault the Call is careful: it hands out copies of its arrays, so that what is at fault changes no numbers.
    """
    arguments = arguments_of(call)
    watch = _Watch(call, arguments)
    returned, backward = _forward(call)
    problem = watch.change("forward")
    if problem:
        call.is_careful = True
        returned, backward = _forward(call)
    y = returned.copy()
    refuse_infinite(call.name, "the output", y)
    again, _ = _forward(call)
    if not _same(y, again):
        raise ValueError(
            f"{call.name} is not deterministic: two forward passes on the same inputs differ, by up to "
            f"{_difference(y, again)}. Pass the random generator as an input or option: it is copied before each call"
        )
    dy = rng.standard_normal(y.shape) if dy is None else _fit_dy(call.name, dy, y)
    watch.add("dy", dy)
    watch.add("y", returned)
    gradients = run_backward(call, backward, dy, arguments)
    change = watch.change("backward")
    problem = (
        problem
        or change
        or _repetition(call, backward, dy, arguments, gradients)
        or watch.change("a second backward")
        or _dependence(call, dy, arguments, gradients)
    )
    call.is_careful = bool(problem)
    missing = [gradient is None for gradient in gradients]
    rounding = ROUNDING * float(np.sum(np.abs(dy * y))) + NOTHING
    return Run(call, arguments, y, dy, with_zeros(gradients, arguments), missing, rounding, problem)


def _forward(call):
    """Evaluate a call. Returns (y, backward) once they are what they should be."""
    result = call.evaluate()
    if not (isinstance(result, tuple) and len(result) == 2):
        from gradcheck.adapter_hints import for_no_pair

        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else describe(result)
        raise TypeError(
            f"{call.name} returned {what}; a differentiable function returns a pair (y, backward){for_no_pair(result)}"
        )
    y, backward = result
    if not callable(backward):
        from gradcheck.adapter_hints import for_no_backward

        raise TypeError(
            f"{call.name} returned (y, {type(backward).__name__}); the second must be a function of dy; "
            f"{for_no_backward(y, backward)}"
        )
    if not isinstance(y, (np.ndarray, np.generic, float)):
        raise TypeError(
            f"{call.name}: y is {describe(y)}; it must be one float64 array or number: "
            "check several outputs one at a time, or concatenated, as from_nested of gradcheck.adapters does"
        )
    y = np.asarray(y)
    if y.dtype != np.float64:
        raise TypeError(f"{call.name}: y is {y.dtype}, although every floating-point input is float64; it must be too")
    return y, backward


def _repetition(call, backward, dy, arguments, gradients):
    """Return what is wrong with a second backward(dy), or nothing."""
    try:
        again = run_backward(call, backward, dy, arguments)
    except RuntimeError:
        return ""  # refused, rather than answered differently
    except Exception as error:
        return (
            f"a second backward(dy) raises {type(error).__name__}: {error}; "
            "if it is meant to be called once, a RuntimeError says so"
        )
    for argument, first, second in zip(arguments, gradients, again, strict=True):
        if _differ(first, second):
            return (
                f"{argument.label}: a second backward(dy) gives something else, different by up to "
                f"{_difference(first, second)}: backward changes what forward saved for it, "
                "or draws random numbers"
            )
    return ""


def _dependence(call, dy, arguments, gradients):
    """Run forward on other inputs between a forward and its backward, and return what that changes, or nothing."""
    y, backward = _forward(call)
    before = y.copy()
    moved = call.on(map(_elsewhere, call.inputs))
    try:
        with np.errstate(all="ignore"):
            moved.evaluate()
    except Exception:  # the function may refuse these inputs, and nothing is said about it
        return ""
    if not np.array_equal(y, before, equal_nan=True):
        return f"another forward pass overwrites y: {np.sum(y != before)} entries"
    try:
        after = run_backward(call, backward, dy, arguments)
    except RuntimeError:
        return ""
    for argument, first, second in zip(arguments, gradients, after, strict=True):
        if _differ(first, second):
            return f"{argument.label}: {_what_changed_it(call, dy, arguments, argument, first, second)}"
    return ""


def _what_changed_it(call, dy, arguments, argument, first, second):
    """Say what made a gradient another one: the forward pass in between, or merely that it is not the first run."""
    anew = run_backward(call, call.evaluate()[1], dy, arguments)
    third = next(gradient for other, gradient in zip(arguments, anew, strict=True) if other is argument)
    if _differ(first, third):
        return f"another run of forward and backward changes it, by up to {_difference(first, third)}"
    return (
        f"another forward pass before backward(dy) changes it, by up to {_difference(first, second)}: "
        "backward reads what the later forward pass has saved"
    )


def _elsewhere(value):
    return 0.75 * value if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _fit_dy(name, dy, y):
    """Return a copy of the caller's dy, once it can tell a right gradient from a wrong one."""
    dy = np.array(dy)
    if dy.dtype.kind not in "fiu":
        raise TypeError(f"{name}: dy is {dy.dtype}; it must be an array of real numbers")
    if dy.shape != y.shape:
        raise ValueError(f"{name}: dy has shape {dy.shape}, but y has {y.shape}")
    dy = dy.astype(np.float64)
    refuse_infinite(name, "dy", dy)
    if dy.size > 1 and np.all(dy == dy.flat[0]):
        raise ValueError(
            f"{name}: dy is {dy.flat[0]:g} everywhere, and checks too little: the outputs of a softmax or a layer norm "
            "have a constant sum, whose gradient is zero, so a backward that returns zeros would pass. Leave dy out to "
            "have a random one"
        )
    if dy.size == 1 and dy.item() in (0, 1):
        raise ValueError(
            f"{name}: dy is {dy.item():g}, and checks too little: a backward that "
            f"{'returns zeros' if dy.item() == 0 else 'ignores dy'} would pass. Leave dy out to have a random one"
        )
    return dy


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


def _differ(a, b):
    """Whether two gradients, either of which may be missing, are not the same."""
    return (a is None) != (b is None) or not (a is None or _same(a, b))


def _same(a, b):
    """Whether two runs gave the same, but for rounding."""
    size = max(np.max(np.abs(a), initial=0, where=np.isfinite(a)), np.finfo(np.float64).tiny)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=REPEATS * size, equal_nan=True)


def _difference(a, b):
    if a is None or b is None or a.shape != b.shape:
        return "everything"
    return f"{np.nanmax(np.abs(a - b)):.2g}"


def refuse_infinite(name, what, array):
    """Raise ValueError, with the place, if an array is not finite; `name` is that of the function."""
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        where = f" at {list(index)}" if index else ""
        raise ValueError(
            f"{name}: {what} is not finite: {array[index]}{where} ({len(bad)} of {array.size} entries); "
            "check it where it is"
        )
