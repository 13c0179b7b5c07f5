"""Lower a layer to a function that defines `backward` inside its forward pass.

Each place of the layer, such as `self.x`, becomes a local name (places.py), and each parameter an argument, whose
gradient backward returns.
"""

import ast
import copy
import inspect
import types

import numpy as np

from gradcheck.adapters.layer_parameters import exists, put_at, value_at
from gradcheck.adapters.layers import backward_of, forward_of, learning_rates, run_backward, run_forward, takes_dy
from gradcheck.lines.enclosed import NUMPY, Enclosed, definitions, enclosed, name_of, returning
from gradcheck.lines.places import Places, is_bound_first, path_of
from gradcheck.names import names_in


def of_layer(call):
    target, layer = call.target, copy.deepcopy(call.target.layer)
    methods = [inspect.unwrap(getattr(m, "__func__", m)) for m in (forward_of(layer), backward_of(layer))]
    if not all(isinstance(method, types.FunctionType) for method in methods):
        return None
    nodes = definitions(call.name, methods)
    if "super" in names_in(*nodes):
        raise ValueError(f"{call.name}: its lines cannot be examined, because super() is called")
    root, *other = {node.args.args[0].arg for node in nodes}
    if other:
        raise ValueError(f"{call.name}: forward and backward have different names for the object")
    parameters = [*target.parameters.values()]
    for parameter in parameters:
        parameter.clear_in(layer)
    after, once = copy.deepcopy(layer), call.copy()
    y = run_forward(after, once.inputs, once.options)
    last = copy.deepcopy(after)
    run_backward(last, np.ones(np.shape(y)))
    gradients = {}
    if rates := learning_rates(layer):
        nodes[1] = _with_gradients(call.name, nodes[1], rates, parameters, (last, after, layer))
    for parameter in parameters:
        places, *others = parameter.gradients or [[_gradient_of(parameter)]]
        if others:
            raise ValueError(f"{call.name}: layers share an array, of which each stores a part of the gradient")
        there = [place for place in places if value_at(last, place) is not None]
        gradients[(there or places)[0]] = parameter.places[0]
    places = Places(root, [last, after, layer], nodes, gradients, [parameter.places for parameter in parameters])
    forward, backward = ([places.visit(statement) for statement in copy.deepcopy(node.body)] for node in nodes)
    results = [_without_copy(backward, places.code(place)) for place in gradients]
    output, dinputs = (places.code((name,)) for name in ("output", "dinputs"))
    count = len(call.differentiable())
    forward = returning(forward, output, lambda y: ast.Tuple([y, name_of("backward")], ast.Load()))
    backward = returning(backward, dinputs, lambda dx: _joined(dx, count, results))
    forward, backward, state = _apart(places, layer, forward, backward)
    state |= {root: ()} if places.is_kept else {}
    given, dy = (copy.deepcopy(node.args) for node in nodes)
    for arguments in (given, dy):
        del arguments.args[0]
        arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    given.kwonlyargs += [ast.arg(name) for name in state]
    given.kw_defaults += [None] * len(state)
    has_unit_dy = not takes_dy(layer)
    dy = ast.arguments([], [], ast.arg("dy"), [], [], None, []) if has_unit_dy else dy
    function, outer = enclosed(call.name, methods, nodes, (given, dy), (forward, backward))
    function.__defaults__, function.__kwdefaults__ = methods[0].__defaults__, methods[0].__kwdefaults__
    own = [places.names.get(parameter.places[0], ".".join(map(str, parameter.places[0]))) for parameter in parameters]

    def arguments(arrays):
        fresh, n = copy.deepcopy(layer), len(arrays) - len(parameters)
        for parameter, array in zip(parameters, arrays[n:], strict=True):
            for place in parameter.places:
                put_at(fresh, place, array)
        return arrays[:n], {name: value_at(fresh, place) for name, place in state.items()}

    other = call.on([*call.inputs, *(parameter.data for parameter in parameters)])
    other.target, other.has_unit_dy = Enclosed(function, [*call.input_names(), *own], arguments), has_unit_dy
    if call.argnums is not None:
        other.argnums = {*call.argnums, *range(len(call.inputs), len(other.inputs))}
    there = {place: name for place, name in places.names.items() if any(exists(s, place) for s in (last, after, layer))}
    spelling = {local: ast.unparse(places.spelled(place)) for place, local in there.items()}
    for name, place, parameter in zip(own, gradients, parameters, strict=True):
        shown = ast.unparse(places.spelled(place))
        if not parameter.gradients:
            shown = spelling[places.names[place]] = f"{ast.unparse(places.spelled(parameter.places[0]))}.grad"
        spelling.setdefault(f"d{name}", shown)

    def returned(value):
        inputs = value.elts[: len(value.elts) - len(results)] if isinstance(value, ast.Tuple) else []
        return inputs[0] if len(inputs) == 1 else ast.Tuple(inputs, ast.Load())

    return other, other.target.source(other, outer, spelling, returned)


def _gradient_of(parameter):
    """Return the place that stands for the gradient of a parameter that backward updates."""
    *owner, key = parameter.places[0]
    return (*owner, f"gradient_of_{key}")


def _with_gradients(name, backward, rates, parameters, states):
    """Return a backward pass in which a gradient is stored for each update of a parameter.

    The learning rates in `rates` are 1. `states` are the layer after backward, after forward and before. They are
    changed as if the parameters had never been updated.
    """
    last, after, _ = states
    gradients = {parameter.places[0]: _gradient_of(parameter) for parameter in parameters if not parameter.gradients}
    for place, gradient in gradients.items():
        change = value_at(after, place) - value_at(last, place)
        for state in states:
            put_at(state, gradient, change if state is last else np.zeros_like(change))
        put_at(last, place, value_at(after, place))
    updates = _Updates(backward.args.args[0].arg, rates, gradients)
    backward = updates.visit(copy.deepcopy(backward))
    if sorted(updates.found) != sorted(gradients):
        raise ValueError(f"{name}: its lines cannot be examined, because a parameter is not updated by one statement")
    backward.args.args = [argument for argument in backward.args.args if argument.arg not in rates]
    return backward


class _Updates(ast.NodeTransformer):
    """Replaces `self.W -= learning_rate * dW` by `self.gradient_of_W = dW`.

    `root` is the name of the object, and `gradients` maps the place of a parameter to that of its gradient. `found`
    lists the places of the updated parameters.
    """

    def __init__(self, root, rates, gradients):
        self.root, self.rates, self.gradients, self.found = root, rates, gradients, []

    def visit_AugAssign(self, node):
        return self._stored(node, node.target, node.value if isinstance(node.op, ast.Sub) else None)

    def visit_Assign(self, node):
        is_update = isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Sub)
        is_update = is_update and path_of(node.value.left, self.root) == path_of(node.targets[0], self.root)
        return self._stored(node, node.targets[0], node.value.right if is_update else None)

    def _stored(self, node, target, change):
        place = path_of(target, self.root)
        if change is None or place not in self.gradients:
            return self.generic_visit(node)
        self.found.append(place)
        there, key = copy.deepcopy(target), self.gradients[place][-1]
        if isinstance(there, ast.Attribute):
            there.attr = key
        else:
            there.slice = ast.Constant(key)
        there.ctx = ast.Store()
        return ast.copy_location(ast.Assign([there], self.visit(change)), node)

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.Mult):
            for rate, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(rate, ast.Name) and rate.id in self.rates:
                    return self.visit(other)
        return self.generic_visit(node)

    def visit_Name(self, node):
        return ast.copy_location(ast.Constant(1.0), node) if node.id in self.rates else node


def _apart(places, layer, forward, backward):
    """Rename variables in forward to which backward assigns too, so that both passes can be in one function.

    `forward` and `backward` are lists of statements. Returns both, and {argument that forward then needs: place in the
    layer}.
    """
    stored = {node.id for statement in backward for node in ast.walk(statement) if _is_stored(node)}
    state, starts, first = {}, [], set(names_in(*forward))
    for name, place in {name: place for place, name in places.names.items()}.items():
        is_there, own = exists(layer, place), name
        is_started = name in stored and is_there and not is_bound_first(backward, name)
        if name in stored and (is_started or name in first):
            own = places.unused(f"{name}_before")
            forward = [_Renamed(name, own).visit(statement) for statement in forward]
        if is_started:
            starts.append(_start(name, own, value_at(layer, place)))
        is_read = is_started or name in first or (name not in stored and name in names_in(*backward))
        if is_there and is_read and not is_bound_first(forward, own):
            state[own] = place
    return forward, starts + backward, state


class _Renamed(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit_Name(self, node):
        return ast.copy_location(ast.Name(self.new, node.ctx), node) if node.id == self.old else node


def _start(name, before, value):
    """Return the statement by which backward starts with the value that a variable has before the pass.

    `before` is the name of this value. An array of zeros is replaced with a new one.
    """
    is_zero = isinstance(value, np.ndarray) and not value.any()
    zeros = ast.Call(ast.Attribute(name_of(NUMPY), "zeros_like", ast.Load()), [name_of(before)], [])
    return ast.Assign([ast.Name(name, ast.Store())], zeros if is_zero else name_of(before))


def _is_stored(node):
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _joined(dx, count, results):
    """Return the expression for all gradients: those of `count` inputs in `dx`, and those of parameters (`results`)."""
    if isinstance(dx, (ast.Tuple, ast.List)):
        own = dx.elts[:count]
    else:
        own = [dx] if count == 1 else [ast.Starred(dx, ast.Load())] if count else []
    every = [*own, *copy.deepcopy(results)]
    return every[0] if len(every) == 1 and not isinstance(every[0], ast.Starred) else ast.Tuple(every, ast.Load())


def _without_copy(backward, code):
    """Return the variable whose value is copied to `code`, the place of a gradient, or `code` if nothing is copied."""
    name = getattr(code, "id", "")
    bindings = {}
    for statement in backward:
        for node in ast.walk(statement):
            if _is_stored(node):
                bindings.setdefault(node.id, []).append(statement)
    if len(bindings.get(name, ())) == 1 and isinstance(bindings[name][0], ast.Assign):
        local = getattr(bindings[name][0].value, "id", "")
        if len(bindings[name][0].targets) == 1 and len(bindings.get(local, ())) == 1:
            return name_of(local)
    return code
