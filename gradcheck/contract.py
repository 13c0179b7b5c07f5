"""What a differentiable function owes its caller before any gradient is compared.

It returns a pair (y, backward). Given float64 it answers in float64, finite, and the same each time. backward(dy)
returns one gradient for each argument, of its shape. Neither changes an argument, a parameter or dy, and a second
backward(dy) gives what the first gave; one that cannot (it has let go of its activations) says so with a RuntimeError.
What forward saved is its own: a forward pass on other inputs in between changes nothing.

Where the function cannot be checked at all, TypeError or ValueError is raised; where its backward pass is at fault,
or something is overwritten, GradientError.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.call import parameters_of
from gradcheck.parameters import clear_gradients
from gradcheck.report import GradientError, Report

REPEATS = 1e-12  # relative; two runs may differ by rounding where memory is aligned differently


@dataclass
class Argument:
    """An array that has a gradient: an input, or a parameter's data. `label` is what messages call the gradient."""

    name: str
    label: str
    array: np.ndarray
    parameter: object = None


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
        dtype = argument.array.dtype
        if dtype != np.float64:
            raise TypeError(
                f"{call.name}: central differences need float64: in {dtype} {_obstacle(dtype)}; "
                f"{argument.name} is {dtype}, shape {argument.array.shape}"
            )
        _refuse_infinite(call.name, argument.name, argument.array)
    if not any(argument.array.size for argument in arguments):
        kinds = [value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__ for value in call.inputs]
        raise ValueError(
            f"{call.name}: nothing to differentiate: no positional input is a floating-point array with entries "
            f"({', '.join(kinds) or 'there are none'})"
        )
    return arguments


def _obstacle(dtype):
    if dtype.kind == "c":
        return "a derivative along the real line alone says too little"
    if dtype.itemsize > 8:
        return "some of NumPy falls back to less"
    return "rounding alone is as large as the error looked for"


def run(call, arguments, dy, rng):
    """Run forward and backward under watch. Returns (y, dy, gradients), a gradient None where a parameter got none."""
    watch = _Watch(call, arguments)
    y, backward = _forward(call)
    watch.verify("forward")
    _refuse_infinite(call.name, "the output", y)
    again, _ = _forward(call)
    if not _same(y, again):
        raise ValueError(
            f"{call.name} is not deterministic: two forward passes on the same inputs differ, by up to "
            f"{_difference(y, again)}. Pass the random generator as an input or option: it is copied before each call"
        )
    dy = rng.standard_normal(y.shape) if dy is None else _fit_dy(call.name, dy, y)
    watch.add("dy", dy)
    gradients = _backward(call, backward, dy, arguments)
    watch.verify("backward")
    _verify_repetition(call, backward, dy, arguments, gradients)
    watch.verify("a second backward")
    _verify_independence(call, dy, arguments, gradients)
    return y, dy, gradients


def gradients_of(call, arguments, dy):
    """Run forward and backward once more and return the gradients in the order of `arguments`."""
    _, backward = call.evaluate()
    gradients = _backward(call, backward, dy.copy(), arguments)
    pairs = zip(arguments, gradients, strict=True)
    return [np.zeros(argument.array.shape) if gradient is None else gradient for argument, gradient in pairs]


def _forward(call):
    """Evaluate a call. Returns (copy of y, backward) once they are what they should be."""
    result = call.evaluate()
    if not (isinstance(result, tuple) and len(result) == 2):
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise TypeError(f"{call.name} returned {what}; a differentiable function returns a pair (y, backward)")
    y, backward = result
    if not callable(backward):
        raise TypeError(f"{call.name} returned (y, {type(backward).__name__}); the second must be a function of dy")
    if not isinstance(y, (np.ndarray, np.generic, float)):
        raise TypeError(f"{call.name}: y is a {type(y).__name__}; it must be one float64 array or number")
    y = np.array(y)
    if y.dtype != np.float64:
        raise TypeError(f"{call.name}: y is {y.dtype}, although every floating-point input is float64; it must be too")
    return y, backward


def _backward(call, backward, dy, arguments):
    """Run backward once, and return copies of the gradients in the order of `arguments`."""
    clear_gradients(call.target)
    returned = backward(dy)
    inputs = [argument for argument in arguments if argument.parameter is None]
    if returned is None and not inputs:
        returned = ()
    elif not isinstance(returned, tuple):
        returned = (returned,)
    if len(returned) != len(inputs):
        names = ", ".join(argument.name for argument in inputs) or "no input"
        raise _fault(call, f"backward returned {_count(len(returned))}, expected {len(inputs)}: one for {names}")
    gradients = []
    supply = iter(returned)
    pairs = [(a, next(supply) if a.parameter is None else a.parameter.grad) for a in arguments]
    for argument, gradient in pairs:
        gradients.append(_fit_gradient(call, argument, gradient, pairs))
    return gradients


def _fit_gradient(call, argument, gradient, others):
    """Return a copy of a gradient, of its argument's shape. `others` are all (argument, gradient) of this backward."""
    if gradient is None and argument.parameter is not None:
        return None
    if not isinstance(gradient, (np.ndarray, np.generic, float)):
        raise _fault(call, f"{argument.label} is a {type(gradient).__name__}, not an array {argument.array.shape}")
    gradient = np.array(gradient)
    if gradient.shape != argument.array.shape:
        raise _fault(
            call,
            f"{argument.label} has shape {gradient.shape}, but {argument.name} has {argument.array.shape}"
            f"{_shape_hint(argument, gradient.shape, others)}",
        )
    if gradient.dtype != np.float64:
        raise _fault(call, f"{argument.label} is {gradient.dtype}, but {argument.name} is float64")
    return gradient


def _shape_hint(argument, shape, others):
    """Say what a wrong shape gives away: a broadcast axis, an exchange, a transpose. `others` as in _fit_gradient."""
    wanted = argument.array.shape
    for other, gradient in others:
        if other is not argument and np.shape(gradient) == wanted and other.array.shape == shape:
            return f": {argument.label} and {other.label} are returned in each other's place"
    if sorted(shape) == sorted(wanted):
        return f": the shape of {argument.name} transposed"
    lengthened = (1,) * (len(shape) - len(wanted)) + wanted
    if len(lengthened) == len(shape) and all(n in (1, m) for n, m in zip(lengthened, shape, strict=True)):
        axes = [
            i for i, (n, m) in enumerate(zip(lengthened, shape, strict=True)) if n != m or i < len(shape) - len(wanted)
        ]
        broadcast = [i for i in axes if shape[i] != 1]
        if broadcast:
            listed = f"{'axis' if len(broadcast) == 1 else 'axes'} {', '.join(map(str, broadcast))}"
            return f": not summed over {listed}, along which {argument.name} is broadcast"
    if tuple(n for n in shape if n != 1) == tuple(n for n in wanted if n != 1):
        return ": an axis of length 1 is kept or lost (keepdims)"
    return ""


def _verify_repetition(call, backward, dy, arguments, gradients):
    try:
        again = _backward(call, backward, dy, arguments)
    except RuntimeError:
        return  # refused, rather than answered differently
    for argument, first, second in zip(arguments, gradients, again, strict=True):
        if (first is None) != (second is None) or not (first is None or _same(first, second)):
            raise _fault(
                call,
                f"{argument.label}: a second backward(dy) gives something else, different by up to "
                f"{_difference(first, second)}: backward changes what forward saved for it",
            )


def _verify_independence(call, dy, arguments, gradients):
    """Run forward on other inputs between a forward and its backward: what was saved must be that of the former."""
    _, backward = call.evaluate()
    moved = type(call)(call.target, *(_elsewhere(value) for value in call.inputs), **call.options)
    try:
        with np.errstate(all="ignore"):
            moved.evaluate()
    except Exception:  # the function may refuse these inputs, and nothing is said about it
        return
    try:
        after = _backward(call, backward, dy, arguments)
    except RuntimeError:
        return
    for argument, first, second in zip(arguments, gradients, after, strict=True):
        if (first is None) != (second is None) or not (first is None or _same(first, second)):
            raise _fault(
                call,
                f"{argument.label}: another forward pass before backward(dy) changes it, by up to "
                f"{_difference(first, second)}: backward reads what the later forward pass has saved",
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
    _refuse_infinite(name, "dy", dy)
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
        self.call = call
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

    def verify(self, culprit):
        """Raise GradientError, with `culprit` named, if one of the arrays is not as it was."""
        for name, array, before in self.before:
            if not np.array_equal(array, before, equal_nan=array.dtype.kind in "fc"):
                raise _fault(self.call, f"{culprit} changed {name} in place: {np.sum(array != before)} entries")


def _fault(call, problem):
    return GradientError(Report(call.name, problems=(problem,)))


def _count(n):
    return "1 gradient" if n == 1 else f"{n} gradients"


def _same(a, b):
    """Whether two runs gave the same, but for rounding."""
    size = max(np.max(np.abs(a), initial=0, where=np.isfinite(a)), np.finfo(np.float64).tiny)
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=REPEATS * size, equal_nan=True)


def _difference(a, b):
    if a is None or b is None or a.shape != b.shape:
        return "everything"
    return f"{np.nanmax(np.abs(a - b)):.2g}"


def _refuse_infinite(name, what, array):
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        where = f" at {list(index)}" if index else ""
        raise ValueError(
            f"{name}: {what} is not finite: {array[index]}{where} ({len(bad)} of {array.size} entries); "
            "check it where it is"
        )
