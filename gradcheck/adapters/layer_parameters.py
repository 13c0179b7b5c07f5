"""Find the parameters of a layer, and their gradients.

The search covers the attributes of the layer and, recursively, the layers, lists, tuples and dictionaries among them.
An array is a parameter if it has a gradient by one of these conventions:

    layer.W, layer.dW                                       also grad_W, W_grad, Wg and the like
    layer.params["W"], layer.grads["W"] (or "dW")           dictionaries; also parameters / gradients
    layer.params[0], layer.grads[0]                         lists
    layer.W, layer.grads["W"]
    layer.W.data, layer.W.grad                              a parameter object; also value

An array without a gradient raises an error that names it, since the report would not show that it was left unchecked.
It is ignored only if the layer lists its parameters and the array is not in the list. The list is `params` or
`parameters`: a dictionary, a list, or a method that returns one. Every parameter in it must be found by the search.
"""

import copy
import inspect
import re
from dataclasses import dataclass
from functools import reduce
from types import GeneratorType

import numpy as np

from gradcheck.call import describe
from gradcheck.state import ELSEWHERE, GlobalRandom

GRADIENTS = {"params": "grads", "parameters": "gradients", "_params": "_grads", "_parameters": "_gradients"}
PATTERNS = ("d{}", "{}_grad", "grad_{}", "d_{}", "{}grad", "grad{}", "{}_gradient", "gradient_{}", "{}g", "{}_g")
OBJECTS = {"data": ("grad", "gradient"), "value": ("grad", "gradient")}
CONTAINERS = (dict, list, tuple)
UNMADE = "if the layer creates its parameters in its first forward pass, run it first"
HINT = "name the parameters and their gradients, as in from_layer(layer, {'W': 'dW'}), or pass {} if there are none"


@dataclass(frozen=True)
class Place:
    """The path to a value in a layer.

    Each step is (".", name of an attribute) or ("[", key of an entry).
    """

    steps: tuple

    def get(self, layer):
        """Return the value at this place, or None."""
        return reduce(_after, self.steps, layer)

    def set(self, layer, value):
        _put(layer, self.steps, value)


@dataclass(frozen=True)
class Parameter:
    """An array with a gradient.

    `places` are the places of the array, and `gradients` the candidate places of its gradient.
    """

    places: tuple
    gradients: tuple

    def gradient(self, layer):
        """Return the gradient, or None."""
        return next((g for place in self.gradients if (g := place.get(layer)) is not None), None)


def find(layer):
    """Return {name: Parameter} for a layer, by the conventions described above.

    Raises ValueError, with the name, for an array that has no gradient or two, and for a listed parameter that is not
    found.
    """
    places_of, arrays, objects = _searched(layer)
    listed = {steps: _listed(value) for steps, value in objects.items()}
    beside = {steps: _gradients(layer, arrays[i], steps) for i, places in places_of.items() for steps in places}
    gradients = {steps for several in beside.values() for steps in several}
    found = {}
    for i, places in places_of.items():
        paired = sorted((steps for steps in places if beside[steps]), key=len, reverse=True)  # the innermost first
        if paired:
            found[_name(paired[0])] = _parameter(layer, places, {steps: beside[steps] for steps in paired})
        elif not all(steps in gradients or _is_passed_over(steps, i, listed, places_of) for steps in places):
            raise _refusal(
                layer,
                f"{_shown(places[0])} looks like a parameter, but has no gradient; {HINT}. "
                "If it is left over from an earlier call, clear it, or pass a layer that has not run",
            )
    known = {id(parameter.places[0].get(layer)) for parameter in found.values()}
    for label, array in (pair for several in listed.values() for pair in several):
        if id(array) not in known:
            raise _refusal(
                layer, f"{label} is listed as a parameter, but no attribute holds it with a gradient; {HINT}"
            )
    return found


def named(layer, parameters):
    """Return {name: Parameter} for names given by the caller.

    `parameters` is a dictionary such as {"W": "dW", "attention.w_q.W": "dW"}. A gradient's name without a dot refers to
    the object that holds the parameter. Raises ValueError if a name does not refer to an array.
    """
    places_of, *_ = _searched(layer)
    found = {}
    for name, gradient in parameters.items():
        steps = _resolved(layer, name)
        array = Place(steps).get(layer)
        if not _is_real_array(array):
            raise _refusal(layer, f"{name} is {describe(array)}, not a floating-point array")
        if "." in gradient:
            there = _resolved(layer, gradient)
        else:
            *before, (kind, _) = steps
            there = (*((k, GRADIENTS.get(key, key)) for k, key in before), (kind, gradient))
        found[name] = Parameter(tuple(map(Place, places_of[id(array)])), (Place(there),))
    return found


def refuse_late(layer, inputs, options):
    """Raise ValueError if forward creates a parameter.

    It is recognised as an array with a gradient whose values do not depend on the inputs. Forward and backward run on
    copies. If they raise, this function returns; the check will raise the same error.
    """
    runs, random = [], GlobalRandom()
    for factor in (1.0, 0.75):
        run, given, named = copy.deepcopy((layer, inputs, options))
        with random.repeated():
            try:
                y = run.forward(*(factor * value if _is_real_array(value) else value for value in given), **named)
                run.backward(np.ones_like(y))
            except Exception:
                return
        runs.append(run)
    places_of, arrays, _ = _searched(runs[0])
    for i, (steps, *_) in places_of.items():
        beside = Parameter((), tuple(map(Place, _gradients(runs[0], arrays[i], steps)))).gradient(runs[0])
        is_new = not _is_real_array(Place(steps).get(layer))
        if is_new and isinstance(beside, np.ndarray) and np.array_equal(arrays[i], Place(steps).get(runs[1])):
            raise _refusal(
                layer,
                f"forward creates {_shown(steps)}, which has a gradient; run it once before the check, and {HINT}",
            )


def _searched(layer):
    """Search a layer for arrays and objects.

    Returns ({id: the steps to each place of an array}, {id: the array}, {steps: an object}).
    """
    places_of, arrays, objects, seen, pending = {}, {}, {}, set(), [((), layer)]
    while pending:
        steps, value = pending.pop(0)
        if _is_real_array(value):
            arrays[id(value)] = value
            places_of.setdefault(id(value), []).append(steps)
        elif id(value) not in seen:
            seen.add(id(value))
            members = _members(value)
            if members and not isinstance(value, CONTAINERS):
                objects[steps] = value
            pending[:0] = [((*steps, step), member) for step, member in members.items()]
    return places_of, arrays, objects


def _members(value):
    """Return {step: value} for the entries of a container or attributes of an object."""
    if isinstance(value, dict):
        return {("[", key): member for key, member in value.items()}
    if isinstance(value, CONTAINERS):
        return {("[", i): member for i, member in enumerate(value)}
    if type(value).__module__.split(".")[0] in ELSEWHERE:
        return {}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = [name for name in [*getattr(value, "__dict__", ()), *slots] if hasattr(value, name)]
    return {(".", name): getattr(value, name) for name in names}


def _after(value, step):
    """Return the value that a step leads to, or None."""
    kind, key = step
    return getattr(value, key, None) if kind == "." else _members(value).get(step)


def _put(holder, steps, value):
    """Store a value at the end of the steps, and return the holder.

    A tuple is replaced by a new one.
    """
    (kind, key), *rest = steps
    if rest:
        value = _put(_after(holder, steps[0]), rest, value)
    if isinstance(holder, tuple):
        return (*holder[:key], value, *holder[key + 1 :])
    if kind == "[":
        holder[key] = value
    elif getattr(holder, key, None) is not value:
        setattr(holder, key, value)
    return holder


def _listed(value):
    """Return [(label, array)] of the parameters that a layer lists."""
    for name in GRADIENTS:
        try:
            parameters = getattr(value, name, None)
            if callable(parameters):
                inspect.signature(parameters).bind()  # raises TypeError if it needs arguments
                parameters = parameters()
        except TypeError:
            continue
        except Exception as error:
            raise _refusal(value, f"{name} raises {type(error).__name__}: {error}; {UNMADE}") from error
        if isinstance(parameters, (*CONTAINERS, GeneratorType)):
            return list(_flattened(value, name, parameters))
    return []


def _flattened(layer, label, value):
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flattened(layer, f"{label}[{key!r}]", entry)
    elif isinstance(value, (*CONTAINERS, GeneratorType)):
        for i, entry in enumerate(value):
            yield from _flattened(layer, f"{label}[{i}]", entry)
    elif _is_real_array(value):
        yield label, value
    elif not _members(value):
        raise _refusal(layer, f"{label} is {describe(value)}, not a floating-point array; {UNMADE}")
    else:
        yield from ((label, value.__dict__[name]) for name in OBJECTS if _is_real_array(getattr(value, name, None)))


def _gradients(layer, array, steps):
    """Return the steps to each place where the gradient of an array may be."""
    *before, (kind, key) = steps
    if any(name in GRADIENTS.values() for _, name in before):
        return []  # the array is a gradient
    keys = [key, f"d{key}"] if isinstance(key, str) else [key]
    patterns = [*(OBJECTS.get(key, ()) if kind == "." else ()), *(PATTERNS if isinstance(key, str) else ())]
    candidates = [[(*before, (kind, pattern.format(key)))] for pattern in patterns]
    if kind == ".":
        candidates += [[(*before, (".", name), ("[", k)) for k in keys] for name in GRADIENTS.values()]
    for i, (_, name) in enumerate(before):
        for mirror in [GRADIENTS[name]] if name in GRADIENTS else [p.format(name) for p in PATTERNS]:
            there = (*before[:i], (".", mirror), *before[i + 1 :])
            candidates.append([(*there, (kind, k)) for k in keys])
            if name in GRADIENTS and not Place(there).get(layer):  # backward creates it
                return candidates[-1]
    return next((several for several in candidates if any(_may_be_gradient(layer, array, s) for s in several)), [])


def _may_be_gradient(layer, array, steps):
    """Return True if the steps lead to None, 0, or a value of the array's shape."""
    members = _members(Place(steps[:-1]).get(layer))
    if steps[-1] not in members:
        return False
    there = members[steps[-1]]
    return there is None or np.shape(there) == array.shape or (np.isscalar(there) and there == 0)


def _parameter(layer, places, gradients):
    """Return the Parameter at these places.

    `gradients` is {steps: steps to its gradient} for some of them, the innermost first. A layer may keep a list of the
    parameters of the layers within it. But if two layers share an array and each has a gradient for it, the true
    gradient is one of them or their sum, so ValueError is raised.
    """
    (first, beside), *others = gradients.items()
    parameter = Parameter(tuple(map(Place, places)), tuple(map(Place, beside)))
    for other, its in others:
        is_around = _owner(first)[: len(_owner(other))] == _owner(other) != _owner(first)
        theirs = Parameter((), tuple(map(Place, its))).gradient(layer)
        if not is_around and (theirs is None or theirs is not parameter.gradient(layer)):
            raise _refusal(
                layer, f"{_shown(first)} and {_shown(other)} are the same array, but have two gradients; {HINT}"
            )
    return parameter


def _is_passed_over(steps, i, listed, places_of):
    """Return True if an enclosing layer lists its parameters without this array.

    The list counts only if the layer holds the array itself, or if the list includes parameters of layers within it.
    Arrays in a Python list never count as excluded, since forward may append to the same list.
    """
    owner = _owner(steps)
    if any(kind == "[" and isinstance(key, int) for kind, key in steps[len(owner) :]):
        return False
    for n in range(len(owner) + 1):
        ids = {id(array) for _, array in listed.get(owner[:n], ())}
        speaks = n == len(owner) or any(_owner(s) != owner[:n] for j in ids for s in places_of.get(j, ()))
        if ids and speaks and i not in ids:
            return True
    return False


def _owner(steps):
    """Return the steps to the object whose attribute holds the array."""
    return steps[: max((i for i, (kind, _) in enumerate(steps) if kind == "."), default=0)]


def _name(steps):
    """Return the name of a parameter: `attention.w_q.W`, or `W` for layer.params["W"]."""
    if isinstance(steps[-1][1], str):
        steps = [*(step for step in steps[:-1] if step[1] not in GRADIENTS), steps[-1]]
    if len(steps) > 1 and steps[-1][0] == "." and steps[-1][1] in OBJECTS:
        steps = steps[:-1]
    return _shown(steps)


def _shown(steps):
    """Return steps as text, such as `attention.w_q.W`, `params[0]` or `cache['x']`."""
    n = len(_owner(steps)) + 1
    inside = "".join(f"[{key!r}]" for _, key in steps[n:])
    return ".".join(str(key) for _, key in steps[:n]) + inside


def _resolved(layer, name):
    """Return the steps of a dotted name.

    Entries of a layer's dictionary of parameters may be named by their keys alone.
    """
    steps = []
    for key in re.split(r"[.\[\]]+", name.rstrip("]")):
        here = Place(tuple(steps)).get(layer)
        container = next((c for c in (*GRADIENTS, *GRADIENTS.values()) if key in (_mapping(here, c) or ())), None)
        if isinstance(here, CONTAINERS):
            steps.append(("[", key if isinstance(here, dict) else int(key)))
        elif container and not hasattr(here, key):
            steps += [(".", container), ("[", key)]
        else:
            steps.append((".", key))
    return tuple(steps)


def _mapping(value, name):
    there = getattr(value, name, None)
    return there if isinstance(there, dict) else None


def _is_real_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _refusal(layer, problem):
    return ValueError(f"{type(layer).__name__}: {problem}")
