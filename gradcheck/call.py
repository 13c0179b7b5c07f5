"""A Call: a function or a module with its parameters, together with its inputs and options."""

import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import numpy as np

from gradcheck.state import STATEFUL, GlobalRandom, fresh, kept

# A function or module that returns its value and its backward pass.
Differentiable = Callable[..., tuple[Any, Callable[..., Any]]]


class Call:
    """A differentiable function or module together with its inputs and options.

        Call(layer_norm, x, gamma, beta, eps=1e-5)
        Call(LayerNorm(5), x)

    The target returns (y, backward). `inputs` are its positional arguments; each floating-point array among them has a
    gradient. `options` are its keyword arguments, which have none. A target with `named_parameters()`, or a method of
    an object that has it, is a module: its parameters have gradients too.
    """

    is_careful = False  # see gradcheck/careful.py
    time_limit: Any = None  # see gradcheck/causes.py
    type_of_y: Any = np.ndarray  # set by the first evaluation

    def __init__(self, target: Callable[..., Any], /, *inputs: Any, **options: Any):
        if not callable(target):
            raise refusals().not_callable(target)
        function: Any = target
        while isinstance(function, functools.partial) and not function.args:
            function, options = function.func, {**function.keywords, **options}
        self.target = function
        self.inputs = inputs
        self.options = options
        self.random = GlobalRandom()
        self.has_state = any(isinstance(value, STATEFUL) for value in (*inputs, *options.values()))

    def __repr__(self) -> str:
        return f"Call({self.name})"

    @property
    def name(self) -> str:
        """Return the name of the function, or of the module's class, for reports."""
        target = self.target
        while isinstance(target, functools.partial):
            target = target.func
        return getattr(target, "__name__", type(target).__name__)

    def input_names(self) -> list[str]:
        """Return one name for each input, from the signature of the target.

        For a module, the signature is that of its `forward`. A target made by from_nested has the attribute
        `names_of_inputs`, which is returned instead.
        """
        if len(getattr(self.target, "names_of_inputs", ())) == len(self.inputs) > 0:
            return list(self.target.names_of_inputs)
        try:
            signature = inspect.signature(getattr(self.target, "forward", self.target))
        except (TypeError, ValueError):  # some built-in functions have none
            signature = inspect.Signature()
        names = []
        rest = "input"
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                names.append(parameter.name)
            elif parameter.kind == parameter.VAR_POSITIONAL:
                rest = parameter.name
        numbered = (f"{rest}[{i}]" for i in itertools.count())
        return list(itertools.islice(itertools.chain(names, numbered), len(self.inputs)))

    def as_y(self, dy: Any) -> Any:
        """Return the array dy, converted to a number if the target returns a number."""
        return dy if issubclass(self.type_of_y, np.ndarray) else self.type_of_y(dy)

    def on(self, inputs: Iterable[Any], options: dict[str, Any] | None = None) -> Self:
        """Return this Call with other inputs and, if given, other options."""
        other = copy.copy(self)
        other.inputs, other.options = tuple(inputs), self.options if options is None else options
        return other

    def copy(self) -> Self:
        """Return a Call on copies of the arrays.

        An array that was passed twice becomes two arrays.
        """
        options = {name: _copy_array(value) for name, value in self.options.items()}
        return self.on(map(_copy_array, self.inputs), options)

    def evaluate(self) -> Any:
        """Call the target and return its result.

        Random generators (including NumPy's global one), dictionaries and lists are restored to their initial state
        before each call.
        """
        self.keep_to_time()
        inputs, options = self.inputs, self.options
        if self.has_state:
            inputs, options = tuple(map(fresh, inputs)), {name: fresh(value) for name, value in options.items()}
        with self.random.repeated() if self.random.is_drawn else nullcontext():
            return self.target(*inputs, **options)

    def keep_to_time(self) -> None:
        """Raise OutOfTime if the call belongs to an explanation that is out of time."""
        if self.time_limit is not None:
            self.time_limit.keep()


def is_module(target):
    """Return True if the target, or the object that it is a method of, has parameters."""
    return hasattr(_owner(target), "named_parameters")


def parameters_of(target: Any) -> dict[str, Any]:
    """Return {dotted name: parameter}, with tied parameters under their first name."""
    if not is_module(target):
        return {}
    unique = {}
    for name, parameter in _owner(target).named_parameters():
        unique.setdefault(id(parameter), (name, parameter))
    return dict(unique.values())


def _owner(target):
    """Return the object that holds the parameters.

    It is the target, or the object that the target is a method of.
    """
    return target if hasattr(target, "named_parameters") else getattr(target, "__self__", target)


def to_float64(module: Any) -> None:
    """Replace the data of every floating-point parameter by a float64 copy."""
    for parameter in parameters_of(module).values():
        if parameter.data.dtype.kind == "f":
            parameter.data = parameter.data.astype(np.float64)


def randomize_parameters(module: Any, rng: np.random.Generator) -> None:
    """Replace the values of every floating-point parameter by random values.

    Vectors are drawn from the standard normal distribution. Matrices (fan_in, ...) are drawn from it and divided by
    √fan_in, so that activations stay of order 1 at any depth. Each parameter keeps its dtype.
    """
    for parameter in parameters_of(module).values():
        data = parameter.data
        if data.dtype.kind == "f":
            fan_in = data.shape[0] if data.ndim > 1 else 1
            parameter.data = (rng.standard_normal(data.shape) / max(fan_in, 1) ** 0.5).astype(data.dtype)


def clear_gradients(module: Any) -> None:
    """Reset every gradient to None, or to zeros if it was an array."""
    for parameter in parameters_of(module).values():
        parameter.grad = None if parameter.grad is None else np.zeros(parameter.data.shape)


@contextmanager
def borrowed(module: Any) -> Iterator[None]:
    """Make every parameter require its gradient within the `with` block.

    At its end, also after an exception, the data, gradient and flag of every parameter are the same objects as before,
    and all other arrays of the module have their values from before.
    """
    before = [(p, p.data, p.grad, getattr(p, "requires_grad", None)) for p in parameters_of(module).values()]
    with state_kept(module):
        try:
            for parameter, *_, requires_grad in before:
                if requires_grad is not None:
                    parameter.requires_grad = True
            yield
        finally:
            for parameter, data, grad, requires_grad in before:
                parameter.data, parameter.grad = data, grad
                if requires_grad is not None:
                    parameter.requires_grad = requires_grad


def state_kept(target):
    """Restore a target's arrays, except parameters, after the `with` block."""
    return kept(_owner(target), parameters_of(target).values())


def describe(value):
    """Describe a value for error messages, as `a list` or `an array of int64`."""
    if value is None:
        return "None"
    if type(value) is np.ndarray:
        return f"an array of {value.dtype}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def refusals():
    """Return the module of error messages, imported only when needed."""
    from gradcheck import refusals

    return refusals


def _copy_array(value):
    return value.copy(order="K") if isinstance(value, np.ndarray) else value
