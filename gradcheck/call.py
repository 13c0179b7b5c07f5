"""A function or module together with its inputs and options.

A check evaluates such a Call hundreds of times, at perturbed and at complex arguments. Random generators, dictionaries
and lists among the arguments are copied before each evaluation, so that dropout, for example, always uses the same
mask. The arrays of a module are restored after each complex evaluation, because a running mean would otherwise become
complex, and again at the end of the check.
"""

import copy
import functools
import inspect
import itertools
import pickle
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import numpy as np

Differentiable = Callable[..., tuple[Any, Callable[..., Any]]]  # returns its value and its backward pass

STATEFUL = (np.random.Generator, np.random.RandomState, dict, list)
STATELESS = frozenset({"numpy", *sys.stdlib_module_names})  # attributes of objects from these packages are not restored


class OutOfTime(BaseException):
    """The time limit of a check has passed. `except Exception` does not catch this."""


class Call:
    """A differentiable function or module together with its inputs and options.

        Call(layer_norm, x, gamma, beta, eps=1e-5)
        Call(LayerNorm(5), x)

    The target returns (y, backward). `inputs` are its positional arguments; each floating-point array among them has a
    gradient. `options` are its keyword arguments, which have no gradients. A target that has a method
    `named_parameters()`, or that is a method of such an object, is a module. Its parameters have gradients as well.
    """

    argnums: Any = None  # positions of the inputs that have gradients, or None for all floating-point arrays
    has_unit_dy: bool = False  # True if backward computes the gradient of a number, so that dy is 1
    deadline: float | None = None  # a value of time.monotonic(), after which `evaluate` raises OutOfTime
    type_of_y: Any = np.ndarray  # set by the first evaluation

    def __init__(self, target: Callable[..., Any], /, *inputs: Any, **options: Any):
        if not callable(target):
            hint = "; for an object with forward() and backward() see from_layer of gradcheck.adapters"
            more = hint if hasattr(target, "backward") else ""
            raise TypeError(f"{describe(target)} cannot be called, so there is no gradient to check{more}")
        function: Any = target
        while isinstance(function, functools.partial) and not function.args:
            function, options = function.func, {**function.keywords, **options}
        self.target = function
        self.inputs = inputs
        self.options = options
        self.random = GlobalRandom()

    def __repr__(self) -> str:
        return f"Call({self.name})"

    @property
    def name(self) -> str:
        target = self.target
        while isinstance(target, functools.partial):
            target = target.func
        return getattr(target, "__name__", type(target).__name__)

    def input_names(self) -> list[str]:
        """Return a name for each input, from the target's `names_of_inputs` or signature."""
        if len(getattr(self.target, "names_of_inputs", ())) == len(self.inputs) > 0:
            return list(self.target.names_of_inputs)
        try:
            signature = inspect.signature(getattr(self.target, "forward", self.target))
        except (TypeError, ValueError):  # some built-in functions have none
            signature = inspect.Signature()
        parameters = signature.parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        rest = next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), "input")
        numbered = (f"{rest}[{i}]" for i in itertools.count())
        return list(itertools.islice(itertools.chain(names, numbered), len(self.inputs)))

    def as_y(self, dy: Any) -> Any:
        return dy if issubclass(self.type_of_y, np.ndarray) else self.type_of_y(dy)

    def on(self, inputs: Iterable[Any], options: dict[str, Any] | None = None) -> Self:
        """Return a Call of the same target with other inputs and options."""
        other = copy.copy(self)
        other.inputs, other.options = tuple(inputs), self.options if options is None else options
        return other

    def copy(self) -> Self:
        """Return a Call on copies of the arrays (two copies of an array passed twice)."""
        options = {name: _copy_array(value) for name, value in self.options.items()}
        return self.on(map(_copy_array, self.inputs), options)

    def only(self, argnums: int | Collection[int] | None) -> Self:
        """Return a copy of this Call in which only the inputs at `argnums` have gradients.

        If `argnums` is None, all floating-point arrays have gradients. Raises ValueError if `argnums` is empty or
        contains the position of an input that is not a floating-point array.
        """
        other, count = copy.copy(self), len(self.inputs)
        if argnums is None:
            return other
        given: Any = tuple(argnums) if isinstance(argnums, Collection) else (argnums,)
        valid = [int(n) % count for n in given if type(n) is not bool and n in range(-count, count)]
        other.argnums = {*valid}
        if not given or len(valid) < len(given) or not other.argnums <= {*self._floating()}:
            must = f"must be positions of floating-point arrays among the {count} inputs"
            raise ValueError(f"{self.name}: argnums {must}, not {argnums!r}")
        return other

    def differentiable(self) -> list[int]:
        return [i for i in self._floating() if self.argnums is None or i in self.argnums]

    def _floating(self) -> list[int]:
        return [i for i, value in enumerate(self.inputs) if is_floating(value)]

    def selected(self, gradients: Any) -> Any:
        """Return only the gradients that `argnums` selects."""
        floating = self._floating()
        if self.argnums is None or not isinstance(gradients, tuple) or len(gradients) != len(floating):
            return gradients
        return tuple(gradient for i, gradient in zip(floating, gradients, strict=True) if i in self.argnums)

    def evaluate(self) -> Any:
        """Call the target and return its result. Each call starts from the same state."""
        self.keep_to_time()
        options = {name: _fresh(value) for name, value in self.options.items()}
        with self.random.repeated() if self.random.is_drawn else nullcontext():
            return self.target(*map(_fresh, self.inputs), **options)

    def keep_to_time(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime


# Modules and their parameters


def is_module(target):
    return hasattr(_owner(target), "named_parameters")


def parameters_of(target: Any) -> dict[str, Any]:
    """Return {dotted name: parameter} for a module, and {} for a function."""
    if not is_module(target):
        return {}
    unique = {}
    for name, parameter in _owner(target).named_parameters():
        unique.setdefault(id(parameter), (name, parameter))
    return dict(unique.values())


def _owner(target):
    return target if hasattr(target, "named_parameters") else getattr(target, "__self__", target)


def to_float64(module: Any) -> None:
    """Replace the data of every floating-point parameter with a float64 copy."""
    for parameter in parameters_of(module).values():
        if parameter.data.dtype.kind == "f":
            parameter.data = parameter.data.astype(np.float64)


def randomize_parameters(module: Any, rng: np.random.Generator) -> None:
    """Draw new values of every floating-point parameter from N(0, 1).

    Matrices (fan_in, ...) are divided by √fan_in, so that activations stay of order 1 at any depth. dtypes are kept.
    """
    for parameter in parameters_of(module).values():
        data = parameter.data
        if data.dtype.kind == "f":
            fan_in = data.shape[0] if data.ndim > 1 else 1
            values = rng.standard_normal(data.shape) / max(fan_in, 1) ** 0.5
            parameter.data = np.asarray(values, data.dtype)  # an array even if its shape is ()


def clear_gradients(module: Any) -> None:
    """Reset every gradient to None, or to zeros if it was an array."""
    for parameter in parameters_of(module).values():
        parameter.grad = None if parameter.grad is None else np.zeros(parameter.data.shape)


@contextmanager
def borrowed(module: Any) -> Iterator[None]:
    """Make every parameter require a gradient in a `with` block, then restore the module.

    Afterwards `data`, `grad` and `requires_grad` of each parameter are the same objects as before, and other arrays
    have the same values.
    """
    names = ("data", "grad", "requires_grad")
    before = [(p, {n: getattr(p, n) for n in names if hasattr(p, n)}) for p in parameters_of(module).values()]
    with state_kept(module):
        try:
            for parameter, was in before:
                if "requires_grad" in was:
                    parameter.requires_grad = True
            yield
        finally:
            for parameter, was in before:
                for name, value in was.items():
                    setattr(parameter, name, value)


@contextmanager
def prepared(call, seed=None):
    """Make the parameters float64 in a `with` block, and random if a seed is given."""
    with borrowed(call.target):
        to_float64(call.target)
        if seed is not None:
            randomize_parameters(call.target, stream(seed, "parameters"))
        yield


def stream(seed, purpose):
    """Return a random generator for one purpose, independent of default_rng(seed)."""
    return np.random.default_rng([seed, *purpose.encode()])


# State


class GlobalRandom:
    """Restores the state of NumPy's global random generator before each evaluation."""

    state = None
    is_drawn = True  # False if the first evaluation has not drawn from the global generator

    @contextmanager
    def repeated(self):
        before = np.random.get_state(legacy=False)  # noqa: NPY002 (others draw from it)
        is_first, self.state = self.state is None, self.state or before
        np.random.set_state(self.state)  # noqa: NPY002
        try:
            yield
        finally:
            if is_first:
                self.is_drawn = pickle.dumps(before) != pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
            np.random.set_state(before)  # noqa: NPY002


@contextmanager
def state_kept(target):
    """Restore the arrays of a target, except parameters, at the end of a `with` block."""
    seen = {id(value) for parameter in parameters_of(target).values() for value in (parameter, parameter.data)}
    before = [(holder, _entries(holder)) for holder in _containers(_owner(target), seen)]
    arrays = [a for _, was in before for a in was.values() if isinstance(a, np.ndarray) and id(a) not in seen]
    contents = [(array, array.copy()) for array in arrays if array.flags.writeable]
    try:
        yield
    finally:
        for holder, was in before:
            _restore_arrays(holder, was)
        for array, content in contents:
            array[...] = content


def _containers(owner, seen):
    """Yield all reachable dictionaries and lists, including the `__dict__` of objects."""
    pending = [owner]
    while pending:
        value = pending.pop()
        is_container = isinstance(value, (dict, list, tuple))
        if id(value) in seen or not (is_container or type(value).__module__.split(".")[0] not in STATELESS):
            continue
        seen.add(id(value))
        holder = value if is_container else getattr(value, "__dict__", {})
        pending.extend(holder.values() if isinstance(holder, dict) else holder)
        if not isinstance(holder, tuple):
            yield holder


def _restore_arrays(holder, was):
    """Restore the arrays in a dictionary or list to the values in `was`."""
    now = _entries(holder)
    for key in [*now, *(was.keys() - now.keys())]:
        if isinstance(now.get(key), np.ndarray) or isinstance(was.get(key), np.ndarray):
            if key in was and (key in now or isinstance(holder, dict)):
                holder[key] = was[key]
            elif isinstance(holder, dict):
                del holder[key]


def _entries(holder):
    return dict(holder) if isinstance(holder, dict) else dict(enumerate(holder))


def _fresh(value):
    if not isinstance(value, STATEFUL):
        return value
    if not isinstance(value, (dict, list)):
        return copy.deepcopy(value)
    copied = copy.copy(value)
    for key, entry in _entries(value).items():
        copied[key] = _copy_array(_fresh(entry))
    return copied


def _copy_array(value):
    if not isinstance(value, np.ndarray):
        return value
    native = value.dtype.newbyteorder("=") if value.dtype.kind in "fc" else value.dtype
    return value.astype(native, order="K", copy=True)


def is_floating(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def is_low_precision(value):
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.newbyteorder("=") in (np.float32, np.float16)


def describe(value):
    """Describe the type of a value, as in `a list of 2` or `an array of int64`."""
    if value is None:
        return "None"
    if type(value) is np.ndarray:
        return f"an array of {value.dtype}"
    name = type(value).__name__
    length = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}{length}"
