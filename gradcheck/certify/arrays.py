"""Arrays of Numbers that behave like arrays of floats.

An `Array` is an object array that reports a floating dtype, so that a function accepts it as an argument. NumPy
computes with its entries through their operators. FUNCTIONS defines the ufuncs that NumPy does not support for objects.
Within `standing_in`, functions such as np.zeros return an Array instead of an array of floats.
"""

import sys
from contextlib import contextmanager
from fractions import Fraction
from functools import partial, wraps
from inspect import getclosurevars
from types import FunctionType, MethodType, ModuleType

import numpy as np
from numpy import array, asarray, empty_like  # `standing_in` replaces np

from gradcheck.certify.scalar import CannotTell, Number, lift

CREATORS = ("array", "asarray", "ascontiguousarray", "asanyarray", "zeros", "ones", "empty", "full", "eye", "identity")
KEPT = ("numpy.", "scipy.", "gradcheck.certify.")  # modules for which NumPy is not replaced
HALF = Fraction(1, 2)
FUNCTIONS = {
    "exp": Number.exp,
    "log": Number.log,
    "sqrt": Number.sqrt,
    "tanh": Number.tanh,
    "erf": Number.erf,
    "sin": Number.sin,
    "cos": Number.cos,
    "tan": lambda a: a.sin() / a.cos(),
    "erfc": lambda a: 1 - a.erf(),
    "ndtr": lambda a: HALF * (1 + (a * HALF**HALF).erf()),
    "exp2": lambda a: 2**a,
    "expm1": lambda a: a.exp() - 1,
    "log1p": lambda a: (1 + a).log(),
    "log2": lambda a: a.log() / lift(2).log(),
    "log10": lambda a: a.log() / lift(10).log(),
    "cbrt": lambda a: a ** Fraction(1, 3),
    "sinh": lambda a: (a.exp() - (-a).exp()) / 2,
    "cosh": lambda a: (a.exp() + (-a).exp()) / 2,
    "expit": lambda a: 1 / (1 + (-a).exp()),
    "log_expit": lambda a: -(1 + (-a).exp()).log(),
    "logit": lambda a: (a / (1 - a)).log(),
    "logaddexp": lambda a, b: (a.exp() + b.exp()).log(),
    "xlogy": lambda a, b: a * b.log(),
    "hypot": lambda a, b: (a * a + b * b).sqrt(),
    "power": lambda a, b: a**b,
    "float_power": lambda a, b: a**b,
}
TESTS = [lambda a: a.d.is_nan(), lambda a: a.d.is_finite(), lambda a: a.d.is_infinite()]
FUNCTIONS |= zip(("isnan", "isfinite", "isinf"), TESTS, strict=True)


class Dtype:
    """The dtype that an Array reports: it behaves like float64 in Python code and like object in NumPy."""

    dtype = np.dtype(object)

    def __getattr__(self, name):
        return getattr(np.dtype(np.float64), name)

    def __eq__(self, other):
        return other is self or np.dtype(np.float64) == other

    def __hash__(self):
        return hash(Dtype)


DTYPE = Dtype()


class Array(np.ndarray):
    """An array of Numbers. A single entry, or a sum over all entries, is an Array of shape ()."""

    dtype = property(lambda self: DTYPE)
    real = property(lambda self: self)
    imag = property(lambda self: np.zeros_like(self))

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        function = FUNCTIONS.get(ufunc.__name__)
        if function is None and not any("O" in types for types in ufunc.types):
            raise CannotTell(f"certificates do not support the operation {ufunc.__name__}")
        if function is not None and method == "__call__":
            ufunc = np.frompyfunc(lambda *values: function(*map(lift, values)), ufunc.nin, 1)
        if out and out[0].ndim:  # a result of shape () is a new number, as in NumPy
            options["out"] = tuple(map(bare, out))
        result = getattr(ufunc, method)(*map(bare, inputs), **options)
        if function in TESTS:
            return asarray(result, dtype=bool)
        return out[0] if "out" in options else dressed(result)

    def __array_function__(self, function, types, inputs, options):
        if function.__module__ in ("numpy.linalg", "numpy.fft"):
            raise CannotTell(f"certificates do not support the operation {function.__module__}.{function.__name__}")
        return dressed(super().__array_function__(function, types, inputs, options))

    def __getitem__(self, key):
        return dressed(super().__getitem__(key))

    def __setitem__(self, key, value):
        super().__setitem__(key, dressed(array(bare(value), object)))

    def astype(self, dtype, **options):
        if is_floating(dtype):
            return self.copy()
        raise CannotTell(f"the function converts values to {np.dtype(dtype)}")


def bare(value):
    """Return an Array as a plain array of objects, and any other value unchanged."""
    return value.view(np.ndarray) if isinstance(value, Array) else value


def entries(value):
    """Return a list of the entries of an array, as Numbers."""
    return [lift(a) for a in array(value, dtype=object).flat]


lift_entries = np.frompyfunc(lift, 1, 1)


def dressed(value):
    """Convert Numbers and object arrays, also in a tuple or list, to Arrays. Return other values unchanged."""
    if type(value) in (tuple, list):
        return type(value)(map(dressed, value))
    if type(value) is Number:
        value = array(value, object)
    value = bare(value)
    if not isinstance(value, np.ndarray) or value.dtype != object:
        return value
    if value.flags.writeable:
        value[...] = lift_entries(value)
        return value.view(Array)
    return asarray(lift_entries(value), object).view(Array)


def is_floating(dtype):
    """Return True for a floating dtype, for object, and for the Dtype of an Array."""
    return dtype is DTYPE or (isinstance(dtype, (type, np.dtype, str)) and np.dtype(dtype).kind in "fO")


def creator(create):
    """Wrap a function such as np.zeros so that it returns an Array instead of an array of floats."""

    @wraps(create)
    def creates(*inputs, **options):
        inputs = [*inputs[:1], *(object if is_floating(value) else value for value in inputs[1:])]
        options = {name: object if is_floating(value) else value for name, value in options.items()}
        created = create(*inputs, **options)
        if created.dtype.kind == "f":
            created = created.astype(object) if create is not np.empty else empty_like(created, object)
        return dressed(created)

    return creates


class StandIn(ModuleType):
    """NumPy with the creators replaced."""

    def __getattr__(self, name):
        return getattr(np, name)


numpy_of_arrays = StandIn("numpy")
vars(numpy_of_arrays).update((name, creator(getattr(np, name))) for name in CREATORS)


def globals_of(target):
    """Return the `__globals__` of the target and of the functions in its closures, partials, lists and layers."""
    found, pending, seen = [], [target], set()
    while pending:
        thing = pending.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionType):
            found.append(thing.__globals__)
            pending += getclosurevars(thing).nonlocals.values()
        elif isinstance(thing, partial):
            pending.append(thing.func)
        elif isinstance(thing, MethodType):
            pending += [thing.__func__, thing.__self__]
        elif isinstance(thing, list):
            pending += thing
        elif hasattr(thing, "forward") or hasattr(thing, "named_parameters"):
            pending += [method for kind in type(thing).__mro__[:-1] for method in vars(kind).values()]
            pending += getattr(thing, "__dict__", {}).values()
    return found


@contextmanager
def standing_in(target):
    """Replace NumPy with `numpy_of_arrays` within the `with` block.

    The names `np` and `numpy` are replaced in Python modules and in the globals of the target's functions. Compiled
    modules still use NumPy, because they write floats into the memory of new arrays.
    """
    others = [module for name, module in sys.modules.items() if not f"{name}.".startswith(KEPT)]
    spaces = [getattr(module, "__dict__", {}) for module in others] + globals_of(target)
    replaced = [(space, name) for space in spaces for name in ("np", "numpy") if space.get(name) is np]
    try:
        for space, name in replaced:
            space[name] = numpy_of_arrays
        yield
    finally:
        for space, name in replaced:
            space[name] = np
