"""Arrays of exact numbers that behave like arrays of floats.

An `Array` is an object array whose entries are Numbers (scalar.py) and which reports a floating dtype, so that a
function accepts it as an argument. NumPy computes with the entries through the operators of Number, and FUNCTIONS
defines the ufuncs that NumPy does not support for objects. Within the context `numpy_replaced`, functions such as
np.zeros return an Array instead of an array of floats.
"""

import gc
import operator
import sys
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from types import ModuleType

import numpy as np

from gradcheck.certify.scalar import CannotTell, Number, arcsin, arctan, cos, erf, exp, lift, log, sin

CREATORS = ("array", "asarray", "ascontiguousarray", "asanyarray", "zeros", "ones", "empty", "full", "eye", "identity")
KEPT = ("numpy.", "scipy.", "gradcheck.certify.")  # modules for which NumPy is not replaced
HALF = Fraction(1, 2)
FUNCTIONS = {
    "exp": exp,
    "log": log,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "tanh": lambda a: 1 - 2 / (exp(2 * a) + 1),
    "sqrt": lambda a: a**HALF,
    "tan": lambda a: sin(a) / cos(a),
    "erfc": lambda a: 1 - erf(a),
    "ndtr": lambda a: HALF * (1 + erf(a * HALF**HALF)),
    "exp2": lambda a: 2**a,
    "expm1": lambda a: exp(a) - 1,
    "log1p": lambda a: log(1 + a),
    "log2": lambda a: log(a) / log(lift(2)),
    "log10": lambda a: log(a) / log(lift(10)),
    "cbrt": lambda a: -((-a) ** Fraction(1, 3)) if a < 0 else a ** Fraction(1, 3),
    "sinh": lambda a: (exp(a) - exp(-a)) / 2,
    "cosh": lambda a: (exp(a) + exp(-a)) / 2,
    "arcsinh": lambda a: log(a + (a * a + 1) ** HALF),
    "arccosh": lambda a: log(a + (a * a - 1) ** HALF),
    "arctanh": lambda a: log((1 + a) / (1 - a)) / 2,
    "arctan": arctan,
    "arctan2": lambda a, b: arctan(a / b) + (0 if b > 0 else np.pi if a >= 0 else -np.pi),
    "arcsin": arcsin,
    "arccos": lambda a: np.pi / 2 - arcsin(a),
    "expit": lambda a: 1 / (1 + exp(-a)),
    "log_expit": lambda a: -log(1 + exp(-a)),
    "logit": lambda a: log(a / (1 - a)),
    "logaddexp": lambda a, b: log(exp(a) + exp(b)),
    "xlogy": lambda a, b: a * log(b),
    "hypot": lambda a, b: (a * a + b * b) ** HALF,
    "power": operator.pow,
    "float_power": operator.pow,
    "isnan": lambda a: a.d.is_nan(),
    "isinf": lambda a: a.d.is_infinite(),
    "isfinite": lambda a: a.d.is_finite(),
}


class Dtype:
    """The dtype of an Array: float64 for Python code, object for NumPy."""

    dtype = np.dtype(object)
    __hash__ = object.__hash__

    def __getattr__(self, name):
        return getattr(np.dtype(np.float64), name)

    def __eq__(self, other):
        return other is self or np.dtype(np.float64) == other


DTYPE = Dtype()


class Array(np.ndarray):
    """An array of exact numbers. A single entry is an Array of shape ()."""

    dtype = property(lambda self: DTYPE)
    real = property(lambda self: self)
    imag = property(lambda self: np.zeros_like(self))

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        name, function = ufunc.__name__, FUNCTIONS.get(ufunc.__name__)
        if function is None and not any("O" in types for types in ufunc.types):
            raise CannotTell(f"certificates do not support the operation {name}")
        if function is not None:
            ufunc = np.frompyfunc(lambda *values: function(*map(lift, values)), ufunc.nin, 1)
        if out and out[0].ndim:  # a result of shape () is a new number, as in NumPy
            options["out"] = tuple(map(as_objects, out))
        result = getattr(ufunc, method)(*map(as_objects, inputs), **options)
        return out[0] if "out" in options else np.asarray(result, bool) if name.startswith("is") else as_array(result)

    def __array_function__(self, function, types, inputs, options):
        if function in OF_MATRICES:
            return OF_MATRICES[function](*inputs, **options)
        return as_array(super().__array_function__(function, types, inputs, options))

    def __getitem__(self, key):
        return as_array(super().__getitem__(key))

    def __setitem__(self, key, value):
        super().__setitem__(key, lift_entries(as_objects(value)))

    def astype(self, dtype, **options):
        if is_floating(dtype):
            return self.copy()
        raise CannotTell(f"the function converts values to {np.dtype(dtype)}")


def as_objects(value):
    return value.view(np.ndarray) if isinstance(value, Array) else value


def entries(value):
    return [lift(a) for a in np.array(value, dtype=object).flat]


lift_entries = np.frompyfunc(lift, 1, 1)


def as_array(value):
    """Convert Numbers and object arrays to Arrays, and return other values unchanged."""
    value = as_objects(np.array(value, object) if type(value) is Number else value)
    if not isinstance(value, np.ndarray) or value.dtype != object:
        return value
    if value.flags.writeable:
        value[...] = lift_entries(value)
    return value.view(Array)


def is_floating(dtype):
    return dtype is DTYPE or (isinstance(dtype, (type, np.dtype, str)) and np.dtype(dtype).kind in "fO")


def creator(create):
    """Wrap a function such as np.zeros so that it returns an Array."""

    @wraps(create)
    def creates(*inputs, **options):
        inputs = [*inputs[:1], *(object if is_floating(value) else value for value in inputs[1:])]
        options = {name: object if is_floating(value) else value for name, value in options.items()}
        created = create(*inputs, **options)
        if created.dtype.kind == "f":
            created = np.empty_like(created, object) if create is np.empty else created.astype(object)
        return as_array(created)

    return creates


def norm(x, ord=None, axis=None, keepdims=False):
    if ord not in (None, "fro") and (ord != 2 or (axis is None and x.ndim > 1) or np.ndim(axis)):
        raise CannotTell(f"certificates do not support the norm with ord={ord!r}")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def gauss_jordan(a, b):
    """Compute a⁻¹ b and the determinant of a.

    The pivot is the largest entry of the column. No decision depends on this choice, because the order of the rows does
    not change the result.
    """
    rows, width, determinant = np.concatenate([as_objects(a), as_objects(b)], axis=1), len(a), lift(1)
    for i in range(width):
        pivot = max(range(i, width), key=lambda j: abs(lift(rows[j, i]).d))
        if pivot != i:
            rows[[i, pivot]], determinant = rows[[pivot, i]], -determinant
        determinant = determinant * rows[i, i]
        rows[i] = rows[i] / rows[i, i]
        for j in (j for j in range(width) if j != i):
            rows[j] = rows[j] - rows[j, i] * rows[i]
    return rows[:, width:], determinant


def inv(a):
    return as_array(np.array([gauss_jordan(m, lift_entries(np.eye(len(m))))[0] for m in matrices(a)]).reshape(a.shape))


def det(a):
    return as_array(np.array([gauss_jordan(m, m[:, :0])[1] for m in matrices(a)], object).reshape(a.shape[:-2]))


def matrices(a):
    return as_objects(a).reshape(-1, *a.shape[-2:])


def solve(a, b):
    b = np.asarray(b)
    return inv(as_array(np.asarray(a, object))) @ b


def slogdet(a):
    d = det(a)
    return np.where(d > 0, 1.0, -1.0), np.log(np.abs(d))


OF_MATRICES = {getattr(np.linalg, f.__name__): f for f in (norm, inv, det, solve, slogdet)}


def logsumexp(a, axis=None, b=None, keepdims=False):
    return np.log(np.sum(np.exp(a) if b is None else b * np.exp(a), axis=axis, keepdims=keepdims))


def softmax(x, axis=None):
    return np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)


def log_softmax(x, axis=None):
    return x - logsumexp(x, axis=axis, keepdims=True)


numpy_of_arrays = ModuleType("numpy")
vars(numpy_of_arrays).update(vars(np) | {name: creator(getattr(np, name)) for name in CREATORS})


def numpy_replaced(root):
    """Return a context manager that replaces NumPy in Python modules, and in the functions that `root` refers to.

    The replacement is `numpy_of_arrays`. Three functions of scipy.special are replaced as well. Compiled modules keep
    NumPy, because they write floats into the memory of new arrays.
    """
    special = sys.modules.get("scipy.special")
    ours = (logsumexp, softmax, log_softmax) if special else ()
    functions = [(getattr(special, f.__name__), f, ("gradcheck.certify.",)) for f in ours]
    return replaced([(np, numpy_of_arrays, KEPT), *functions], root)


@contextmanager
def replaced(objects, root):
    """Replace objects in the namespaces of modules within a `with` block.

    `objects` is a list of (old, new, prefixes). A module whose name begins with one of the prefixes keeps the old
    object. `root` leads to functions whose namespace is not that of an imported module.
    """
    exchanged, places = {id(old): (new, kept) for old, new, kept in objects}, []
    for space in namespaces(root):
        if not exchanged.keys().isdisjoint(map(id, space.values())):
            own_name = f"{space.get('__name__')}."
            for name, old in space.items():
                new, kept = exchanged.get(id(old), (old, ""))
                if new is not old and not own_name.startswith(kept):
                    places.append((space, name, old, new))
    try:
        for space, name, _, new in places:
            space[name] = new
        yield
    finally:
        for space, name, old, _ in places:
            space[name] = old


def namespaces(root):
    """Return the namespaces of all imported modules, and others that an object refers to, directly or indirectly."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    found = {id(space): space for space in map(vars, modules)}
    seen, pending = {*found, *map(id, modules), id(sys.modules)}, [root]
    while pending:
        thing = pending.pop()
        if id(thing) not in seen and type(thing).__module__ not in ("typing", "types"):  # annotations
            seen.add(id(thing))
            pending += gc.get_referents(thing)
            if type(thing) is dict and "__builtins__" in thing:
                found[id(thing)] = thing
    return list(found.values())
