"""Find the parameters of a layer, and their gradients.

The search covers the attributes of the layer and, recursively, the layers, lists, tuples and dictionaries among them.
An array is a parameter if it has a gradient by one of these conventions:

    layer.W, layer.dW                                       also d_W, grad_W, W_grad, gradient_W, W_gradient, ...
    layer.params["W"], layer.grads["W"] (or "dW")           dictionaries; also parameters / gradients
    layer.params[0], layer.grads[0]                         lists
    layer.W, layer.grads["W"]
    layer.W.data, layer.W.grad                              a parameter object; also value
    layer.W, which backward(dy, learning_rate) updates      the gradient is the value before minus the value after

An array that several layers share, such as a tied weight, has the sum of the gradients that they store. An array
without a gradient, such as a running mean, raises an error that names the array. The array is ignored only if
the layer lists its parameters and the list does not contain the array. The list is `params` or `parameters`, which is a
dictionary, a list, or a method that returns one of them.

Each convention has been met in several public layers (tests/gradcheck/test_layers.py). The first call looks up every
gradient after a backward pass, and refuses a name that is not there.

A place is the path from the layer to an array or object, as a tuple of names of attributes, keys and indices.
"""

import copy
import itertools
from types import GeneratorType

import numpy as np

from gradcheck.call import STATELESS, GlobalRandom, describe, is_floating

GRADIENTS = {"params": "grads", "parameters": "gradients", "_params": "_grads", "_parameters": "_gradients"}
PATTERNS = ("d{}", "{}_grad", "grad_{}", "d_{}", "{}grad", "grad{}", "{}_gradient", "gradient_{}")
OBJECTS, GRADIENT_OF_OBJECT = ("data", "value"), ("grad", "gradient")  # attributes of a parameter object
CONTAINERS = (dict, list, tuple)
HINT = "name the parameters and their gradients, as in from_layer(layer, {'W': 'dW'}), or pass {} if there are none"


class Parameter:
    """A parameter of a layer, and the places where its array and its gradients are stored.

    `gradients` has a list of places for each gradient, which is stored at one of them. It is empty if backward updates
    the array with a learning rate of 1.
    """

    def __init__(self, layer, places, gradients):
        self.layer, self.places, self.gradients = layer, places, gradients
        self.grad = None

    @property
    def data(self):
        return value_at(self.layer, self.places[0])

    @data.setter
    def data(self, array):
        for place in self.places:
            put_at(self.layer, place, array)

    def gradient_in(self, layer):
        if not self.gradients:
            return self.data - value_at(layer, self.places[0])
        found = {id(gradient): gradient for places in self.gradients for gradient in [_first(layer, places)]}
        return None if {*found} == {id(None)} else sum(g for g in found.values() if g is not None)

    def clear_in(self, layer):
        """Set the gradient in `layer`, a copy of the layer, to zeros, because backward may add to it."""
        for place in itertools.chain(*self.gradients):
            if isinstance(value_at(layer, place), np.ndarray):
                put_at(layer, place, np.zeros_like(value_at(layer, self.places[0])))


def find(layer, has_updates=False):
    """Find the parameters of a layer by the conventions above, and return {name: Parameter}.

    `has_updates` is True if backward has a learning rate. Otherwise ValueError is raised if an array has no gradient.
    """
    places_of, objects = _searched(layer)
    listed = {place: _listed(value) for place, value in objects.items()}
    beside = {place: _gradients(layer, place) for places in places_of.values() for place in places}
    if has_updates:  # a gradient that backward would create is then the change of the array
        beside = {place: several if any(exists(layer, p) for p in several) else [] for place, several in beside.items()}
    gradients = {place for several in beside.values() for place in several}
    found = {}
    for i, places in places_of.items():
        paired = sorted((place for place in places if beside[place]), key=len, reverse=True)  # the innermost first
        if paired:
            owners = [_owner(layer, place) for place in paired]
            # A list in a layer may repeat the gradients of the layers within it.
            inner = [all(o[: len(own)] != own or o == own for o in owners) for own in owners]
            several = [beside[place] for place, is_inner in zip(paired, inner, strict=True) if is_inner]
            found[_name(paired[0])] = Parameter(layer, places, several)
        elif not all(place in gradients or _is_passed_over(layer, place, i, listed, places_of) for place in places):
            if not has_updates:
                raise _no_gradient(layer, places[0])
            found[_name(places[0])] = Parameter(layer, places, [])
    return found


def named(layer, parameters):
    """Return {name: Parameter} for the parameters that the user has named.

    `parameters` maps the name of a parameter to that of its gradient. The gradient is in the same object as the
    parameter if its name has no dot. The name of the parameter itself stands for an array that backward updates.
    """
    places_of, _ = _searched(layer)
    found = {}
    for name, gradient in parameters.items():
        *before, _ = place = _resolved(layer, name)
        array = value_at(layer, place)
        if not is_floating(array):
            found = f"{name} is {describe(array)}, not" if exists(layer, place) else f"{name} is not there as"
            raise _refusal(layer, f"{found} a floating-point array; {_names_beside(layer, place)}")
        there = (*(GRADIENTS.get(key, key) for key in before), gradient)
        there = _resolved(layer, gradient) if "." in gradient else there
        found[name] = Parameter(layer, places_of.get(id(array), [place]), [[there]] if there != place else [])
    return found


def look_up(layer, parameters, is_complete, inputs, options, passes):
    """Run a layer on copies, and raise ValueError if the gradient of a parameter does not exist afterwards.

    `passes` are functions that run the forward and the backward pass. Unless `is_complete` is True, ValueError is also
    raised if forward creates an array that has a gradient and does not depend on the inputs, because it may be a
    parameter. Exceptions of the layer are ignored here, because the check will raise them again.
    """
    runs, random, (forward, backward) = [], GlobalRandom(), passes
    for factor in (1.0,) if is_complete else (1.0, 0.75):
        run, given, keywords = copy.deepcopy((layer, inputs, options))
        with random.repeated():
            try:
                y = forward(run, [factor * value if is_floating(value) else value for value in given], keywords)
                backward(run, np.random.default_rng(0).normal(size=np.shape(y)))
            except Exception:
                return
        runs.append(run)
    for name, places in ((name, places) for name, parameter in parameters.items() for places in parameter.gradients):
        place = places[0]
        if not any(exists(runs[0], place) for place in places):
            beside = _names_beside(runs[0], place)
            raise _refusal(layer, f"{_shown(place)}, the gradient of {name}, is not there after backward; {beside}")
    for parameter in () if is_complete else parameters.values():
        if not parameter.gradients and np.array_equal(parameter.gradient_in(runs[0]), np.zeros_like(parameter.data)):
            raise _no_gradient(layer, parameter.places[0])
    for place, *_ in [] if is_complete else _searched(runs[0])[0].values():
        is_new = not is_floating(value_at(layer, place)) and np.array_equal(
            value_at(runs[0], place), value_at(runs[1], place)
        )
        if is_new and isinstance(_first(runs[0], _gradients(runs[0], place)), np.ndarray):
            shown = _shown(place)
            raise _refusal(
                layer, f"forward creates {shown}, which has a gradient; run it once before the check, and {HINT}"
            )


# Places


def _searched(layer):
    """Search a layer, and return {id of a floating-point array: list of its places} and {place: object}.

    The objects are those with attributes, such as the layers within the layer.
    """
    places_of, objects, seen, pending = {}, {}, set(), [((), layer)]
    while pending:
        place, value = pending.pop(0)
        if is_floating(value):
            places_of.setdefault(id(value), []).append(place)
        elif id(value) not in seen:
            seen.add(id(value))
            members = members_of(value)
            if members and not isinstance(value, CONTAINERS):
                objects[place] = value
            pending[:0] = [((*place, key), member) for key, member in members.items()]
    return places_of, objects


def members_of(value):
    if isinstance(value, CONTAINERS):
        return dict(value) if isinstance(value, dict) else dict(enumerate(value))
    if type(value).__module__.split(".")[0] in STATELESS:
        return {}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = [name for name in [*getattr(value, "__dict__", ()), *slots] if hasattr(value, name)]
    return {name: getattr(value, name) for name in names}


def value_at(layer, place):
    """Return the value at a place, or None if there is no such place."""
    for key in place:
        layer = members_of(layer).get(key)
    return layer


def exists(layer, place):
    return place[-1] in members_of(value_at(layer, place[:-1]))


def _names_beside(layer, place):
    """Return the names that the object at a place contains, as text for an error message."""
    names, where = members_of(value_at(layer, place[:-1])), _shown(place[:-1]) or type(layer).__name__
    return f"{where} has {', '.join(map(str, names)) or 'nothing'}"


def _first(layer, places):
    return next((value for place in places if (value := value_at(layer, place)) is not None), None)


def put_at(holder, place, value):
    """Store a value at a place in `holder`, and return the holder.

    A tuple is replaced with a new one.
    """
    key, *rest = place
    if rest:
        value = put_at(value_at(holder, place[:1]), rest, value)
    if isinstance(holder, tuple):
        return (*holder[:key], value, *holder[key + 1 :])
    if isinstance(holder, CONTAINERS):
        holder[key] = value
    else:
        setattr(holder, key, value)
    return holder


def _owner(layer, place):
    """Return the place of the object that contains the array at `place`.

    Dictionaries, lists and tuples around the array are not objects in this sense.
    """
    return next(
        place[:n] for n in range(len(place) - 1, -1, -1) if not isinstance(value_at(layer, place[:n]), CONTAINERS)
    )


def _name(place):
    """Return the name of a parameter, such as `W` for layer.params["W"]."""
    place = place[:-1] if len(place) > 1 and place[-1] in OBJECTS else place
    names = [key for key in place[:-1] if key not in GRADIENTS] if isinstance(place[-1], str) else place[:-1]
    return _shown((*names, place[-1]))


def _shown(place):
    return ".".join(map(str, place))


def _resolved(layer, name):
    """Return the place to which a dotted name such as `first.W` refers.

    The name of a dictionary such as `params` may be omitted.
    """
    place = ()
    for key in name.split("."):
        here = value_at(layer, place)
        members = members_of(here)
        dictionaries = (c for c in (*GRADIENTS, *GRADIENTS.values()) if isinstance(members.get(c), dict))
        container = next((c for c in dictionaries if key in members[c]), None)
        if container and key not in members and not isinstance(here, CONTAINERS):
            place += (container,)
        place += (int(key) if isinstance(here, (list, tuple)) else key,)
    return place


# Gradients


def _gradients(layer, place):
    """Return the places where the gradient of the array at `place` may be stored."""
    *before, key = place
    beside, is_object = members_of(value_at(layer, before)), not isinstance(value_at(layer, before), CONTAINERS)
    own = [name for name in GRADIENT_OF_OBJECT if is_object and name in beside and {*OBJECTS} & {*beside}]
    if key in own or any(name in GRADIENTS.values() for name in before):
        return []  # the array is a gradient
    if own and key in OBJECTS:
        return [(*before, name) for name in own]
    keys = [key, f"d{key}"]
    candidates = [[(*before, pattern.format(key))] for pattern in PATTERNS]
    candidates += [[(*before, name, k) for k in keys] for name in GRADIENTS.values()]
    for i, name in enumerate(before):
        for mirror in [GRADIENTS[name]] if name in GRADIENTS else [p.format(name) for p in PATTERNS]:
            there = (*before[:i], mirror, *before[i + 1 :])
            candidates.append([(*there, k) for k in keys])
            if name in GRADIENTS and not value_at(layer, there):  # only backward creates the gradient
                return candidates[-1]
    shape = value_at(layer, place).shape
    return next((several for several in candidates if any(_may_be_gradient(layer, shape, p) for p in several)), [])


def _may_be_gradient(layer, shape, place):
    """Return True if `place` exists and contains None, 0, or an array of the given shape."""
    there = value_at(layer, place)
    is_zero = np.isscalar(there) and there == 0
    return exists(layer, place) and (there is None or np.shape(there) == shape or is_zero)


def _listed(value):
    """Return the ids of the arrays in the list of parameters of an object, or an empty set if it has no list."""
    for name in GRADIENTS:
        parameters = getattr(value, name, None)
        try:
            parameters = parameters() if callable(parameters) else parameters
        except Exception:  # the method needs arguments, or the parameters do not exist yet
            continue
        parameters = list(parameters) if isinstance(parameters, GeneratorType) else parameters
        if isinstance(parameters, CONTAINERS):
            return set(_searched(parameters)[0])
    return set()


def _is_passed_over(layer, place, i, listed, places_of):
    """Return True if the layer lists its parameters, but not the array with the id `i` at `place`.

    `listed` maps the place of each object to the ids that it lists, and `places_of` maps ids to places. The list of an
    outer layer counts only if it includes parameters of inner layers.
    """
    owner = _owner(layer, place)
    for n in range(len(owner) + 1):
        ids = listed.get(owner[:n], set())
        speaks = n == len(owner) or any(_owner(layer, p) != owner[:n] for j in ids for p in places_of.get(j, ()))
        if ids and speaks and i not in ids:
            return True
    return False


def _no_gradient(layer, place):
    return _refusal(
        layer,
        f"{_shown(place)} looks like a parameter, but has no gradient; {HINT}. "
        "If it is left over from an earlier call, clear it, or pass a layer that has not run",
    )


def _refusal(layer, problem):
    return ValueError(f"{type(layer).__name__}: {problem}")
