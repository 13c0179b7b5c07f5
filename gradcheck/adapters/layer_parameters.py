"""Find the parameters of a layer, and their gradients.

The search covers the attributes of the layer and, recursively, the layers, lists, tuples and dictionaries among them.
An array is a parameter if it has a gradient by one of these conventions:

    layer.W, layer.dW                                       also grad_W, W_grad, Wg and the like
    layer.params["W"], layer.grads["W"] (or "dW")           dictionaries; also parameters / gradients
    layer.params[0], layer.grads[0]                         lists
    layer.W, layer.grads["W"]
    layer.W.data, layer.W.grad                              a parameter object; also value

An array without a gradient, such as a running mean, raises an error that names the array. The array is ignored only if
the layer lists its parameters and the list does not contain the array. The list is `params` or `parameters`, which is a
dictionary, a list, or a method that returns one of them. The search must find every parameter in the list.

A place is the path from the layer to an array or object, as a tuple of (".", name of an attribute) and ("[", key).
"""

import copy
import re
from types import GeneratorType

import numpy as np

from gradcheck.call import STATELESS, GlobalRandom, describe, is_real

GRADIENTS = {"params": "grads", "parameters": "gradients", "_params": "_grads", "_parameters": "_gradients"}
PATTERNS = ("d{}", "{}_grad", "grad_{}", "d_{}", "{}grad", "grad{}", "{}_gradient", "gradient_{}", "{}g", "{}_g")
OBJECTS = {"data": ("grad", "gradient"), "value": ("grad", "gradient")}
CONTAINERS = (dict, list, tuple)
UNMADE = "if the layer creates its parameters in its first forward pass, run it first"
HINT = "name the parameters and their gradients, as in from_layer(layer, {'W': 'dW'}), or pass {} if there are none"


class Parameter:
    """A parameter of a layer, with the places of its array, and the places where its gradient may be stored."""

    def __init__(self, layer, places, gradients):
        self.layer, self.places, self.gradients = layer, places, gradients
        self.grad = None

    @property
    def data(self):
        return _get(self.layer, self.places[0])

    @data.setter
    def data(self, array):
        for place in self.places:
            _put(self.layer, place, array)

    def gradient_in(self, layer):
        return _first(layer, self.gradients)

    def clear_in(self, layer):
        """Set the gradient in a copy of the layer to zeros, since backward might add to it."""
        for place in self.gradients:
            if isinstance(_get(layer, place), np.ndarray):
                _put(layer, place, np.zeros_like(_get(layer, self.places[0])))


def find(layer):
    """Return {name: Parameter}. Raises ValueError for an array without a gradient, or with more than one."""
    places_of, objects = _searched(layer)
    listed = {place: _listed(value) for place, value in objects.items()}
    beside = {place: _gradients(layer, place) for places in places_of.values() for place in places}
    gradients = {place for several in beside.values() for place in several}
    found = {}
    for i, places in places_of.items():
        paired = sorted((place for place in places if beside[place]), key=len, reverse=True)  # the innermost first
        if paired:
            _refuse_two_gradients(layer, paired, beside)
            found[_name(paired[0])] = Parameter(layer, places, beside[paired[0]])
        elif not all(place in gradients or _is_passed_over(place, i, listed, places_of) for place in places):
            raise _refusal(
                layer,
                f"{_shown(places[0])} looks like a parameter, but has no gradient; {HINT}. "
                "If it is left over from an earlier call, clear it, or pass a layer that has not run",
            )
    known = {id(parameter.data) for parameter in found.values()}
    for label in (label for several in listed.values() for label, array in several if id(array) not in known):
        raise _refusal(layer, f"{label} is listed as a parameter, but no attribute holds it with a gradient; {HINT}")
    return found


def named(layer, parameters):
    """Return {name: Parameter} for parameters that the caller names, as in {"W": "dW", "attention.w_q.W": "dW"}.

    A gradient's name without a dot refers to the object that has the parameter.
    """
    places_of, _ = _searched(layer)
    found = {}
    for name, gradient in parameters.items():
        *before, (kind, _) = place = _resolved(layer, name)
        array = _get(layer, place)
        if not is_real(array):
            raise _refusal(layer, f"{name} is {describe(array)}, not a floating-point array")
        there = (*((k, GRADIENTS.get(key, key)) for k, key in before), (kind, gradient))
        there = _resolved(layer, gradient) if "." in gradient else there
        found[name] = Parameter(layer, places_of.get(id(array), [place]), [there])
    return found


def refuse_late(layer, inputs, options):
    """Raise ValueError if forward creates a parameter.

    An array counts as a parameter if it has a gradient and is the same for two different inputs. Forward and backward
    run on copies. Their exceptions are ignored here, because the check will raise them again.
    """
    runs, random = [], GlobalRandom()
    for factor in (1.0, 0.75):
        run, given, keywords = copy.deepcopy((layer, inputs, options))
        with random.repeated():
            try:
                y = run.forward(*(factor * value if is_real(value) else value for value in given), **keywords)
                run.backward(np.ones_like(y))
            except Exception:
                return
        runs.append(run)
    for place, *_ in _searched(runs[0])[0].values():
        is_new = not is_real(_get(layer, place)) and np.array_equal(_get(runs[0], place), _get(runs[1], place))
        if is_new and isinstance(_first(runs[0], _gradients(runs[0], place)), np.ndarray):
            problem = f"forward creates {_shown(place)}, which has a gradient; run it once before the check, and {HINT}"
            raise _refusal(layer, problem)


# Places


def _searched(layer):
    """Return {id of a floating-point array: list of its places} and {place: object with attributes}."""
    places_of, objects, seen, pending = {}, {}, set(), [((), layer)]
    while pending:
        place, value = pending.pop(0)
        if is_real(value):
            places_of.setdefault(id(value), []).append(place)
        elif id(value) not in seen:
            seen.add(id(value))
            members = _members(value)
            if members and not isinstance(value, CONTAINERS):
                objects[place] = value
            pending[:0] = [((*place, step), member) for step, member in members.items()]
    return places_of, objects


def _members(value):
    if isinstance(value, dict):
        return {("[", key): member for key, member in value.items()}
    if isinstance(value, CONTAINERS):
        return {("[", i): member for i, member in enumerate(value)}
    if type(value).__module__.split(".")[0] in STATELESS:
        return {}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = [name for name in [*getattr(value, "__dict__", ()), *slots] if hasattr(value, name)]
    return {(".", name): getattr(value, name) for name in names}


def _get(layer, place):
    """Return the value at a place, or None if the place does not exist."""
    for kind, key in place:
        layer = getattr(layer, key, None) if kind == "." else _members(layer).get((kind, key))
    return layer


def _first(layer, places):
    return next((value for place in places if (value := _get(layer, place)) is not None), None)


def _put(holder, place, value):
    """Store a value at a place, relative to `holder`. Returns the holder, or a new tuple if the holder is a tuple."""
    (kind, key), *rest = place
    if rest:
        value = _put(_get(holder, place[:1]), rest, value)
    if isinstance(holder, tuple):
        return (*holder[:key], value, *holder[key + 1 :])
    if kind == "[":
        holder[key] = value
    elif getattr(holder, key, None) is not value:
        setattr(holder, key, value)
    return holder


def _owner(place):
    """Return the place of the innermost object that contains the array at a place."""
    return place[: max((i for i, (kind, _) in enumerate(place) if kind == "."), default=0)]


def _name(place):
    """Return a place as text, without dictionaries such as `params`: `W` for layer.params["W"]."""
    if isinstance(place[-1][1], str):
        place = [*(step for step in place[:-1] if step[1] not in GRADIENTS), place[-1]]
    if len(place) > 1 and place[-1][0] == "." and place[-1][1] in OBJECTS:
        place = place[:-1]
    return _shown(place)


def _shown(place):
    """Return a place as text, such as `attention.w_q.W`, `params[0]` or `cache['x']`."""
    n = len(_owner(place)) + 1
    inside = "".join(f"[{key!r}]" for _, key in place[n:])
    return ".".join(str(key) for _, key in place[:n]) + inside


def _resolved(layer, name):
    """Return the place to which a dotted name refers. An entry of `params` may be named by its key alone."""
    place = ()
    for key in re.split(r"[.\[\]]+", name.rstrip("]")):
        here = _get(layer, place)
        dictionaries = {c: getattr(here, c, None) for c in (*GRADIENTS, *GRADIENTS.values())}
        container = next((c for c, held in dictionaries.items() if isinstance(held, dict) and key in held), None)
        if isinstance(here, CONTAINERS):
            place += (("[", key if isinstance(here, dict) else int(key)),)
        elif container and not hasattr(here, key):
            place += (".", container), ("[", key)
        else:
            place += ((".", key),)
    return place


# Gradients


def _gradients(layer, place):
    """Return the places at which the gradient of the array at a place may be stored."""
    *before, (kind, key) = place
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
            if name in GRADIENTS and not _get(layer, there):  # only backward creates the gradient
                return candidates[-1]
    shape = _get(layer, place).shape
    return next((several for several in candidates if any(_may_be_gradient(layer, shape, p) for p in several)), [])


def _may_be_gradient(layer, shape, place):
    """Return True if the place exists and contains None, 0, or an array of this shape."""
    members = _members(_get(layer, place[:-1]))
    there = members.get(place[-1])
    is_zero = np.isscalar(there) and there == 0
    return place[-1] in members and (there is None or np.shape(there) == shape or is_zero)


def _refuse_two_gradients(layer, places, gradients):
    """Raise ValueError if an array has two gradients, unless an outer layer also lists the parameters of inner ones."""
    first, *others = places
    own = _first(layer, gradients[first])
    for other in others:
        is_around = _owner(first)[: len(_owner(other))] == _owner(other) != _owner(first)
        if not is_around and (own is None or own is not _first(layer, gradients[other])):
            both = f"{_shown(first)} and {_shown(other)}"
            raise _refusal(layer, f"{both} are the same array, but have two gradients; {HINT}")


# Lists of parameters


def _listed(value):
    """Return the pairs (label, array) of an object's list of parameters, or [] if it has none."""
    for name in GRADIENTS:
        try:
            parameters = getattr(value, name, None)
            parameters = parameters() if callable(parameters) else parameters
            parameters = list(parameters) if isinstance(parameters, GeneratorType) else parameters
        except TypeError:  # the method needs arguments
            continue
        except Exception as error:
            raise _refusal(value, f"{name} raises {type(error).__name__}: {error}; {UNMADE}") from error
        if isinstance(parameters, CONTAINERS):
            return list(_flattened(value, name, parameters))
    return []


def _flattened(layer, label, value):
    if is_real(value):
        yield label, value
    elif isinstance(value, CONTAINERS):
        for (_, key), entry in _members(value).items():
            yield from _flattened(layer, f"{label}[{key!r}]", entry)
    elif not _members(value):
        raise _refusal(layer, f"{label} is {describe(value)}, not a floating-point array; {UNMADE}")
    else:
        yield from ((label, getattr(value, name)) for name in OBJECTS if is_real(getattr(value, name, None)))


def _is_passed_over(place, i, listed, places_of):
    """Return True if a layer around an array lists its parameters, but not the array.

    The array is at `place` and has the id `i`. The list of an outer layer counts only if it includes parameters of
    inner layers.
    """
    owner = _owner(place)
    for n in range(len(owner) + 1):
        ids = {id(array) for _, array in listed.get(owner[:n], ())}
        speaks = n == len(owner) or any(_owner(other) != owner[:n] for j in ids for other in places_of.get(j, ()))
        if ids and speaks and i not in ids:
            return True
    return False


def _refusal(layer, problem):
    return ValueError(f"{type(layer).__name__}: {problem}")
