"""Lower a gradient of another form to a function that defines `backward`, whose lines can be examined.

The syntax tree of a layer's `forward` gets that of its `backward` inside. Each place of the layer, such as `self.x`,
becomes a local name (places.py), and each parameter an argument, whose gradient backward returns. Line numbers do not
change. The lowered function must return the same numbers, to the last bit, as the code that it is made from.
"""

import ast
import copy
import inspect
import linecache
import types

import numpy as np

from gradcheck.adapters.layer_parameters import exists, put_at, value_at
from gradcheck.adapters.layers import forward_of, run_backward, run_forward, takes_dy
from gradcheck.lines.places import Places, is_bound_first
from gradcheck.lines.source import NOT_WITHIN, Source, contents, node_of, require_unchanged
from gradcheck.mistakes.planter import codes_of
from gradcheck.names import OWN_SCOPE, names_in

SCALES = (1.0, 0.83)  # of the inputs on which the lowered function must return the same numbers
NUMPY = "__gradcheck_numpy__"  # the name of NumPy in lowered code


def lowered(call):
    """Return (Call, Source) of the lowered function, or None if the target of a `Call` has another form.

    Raises ValueError if the code cannot be lowered.
    """
    is_layer = type(call.target).__module__ == "gradcheck.adapters.layers"
    found = _of_layer(call) if is_layer else None
    if found is not None:
        _require_same(call, found[0])
    return found


def _require_same(call, other):
    """Raise ValueError unless a lowered Call returns the numbers of the original Call."""
    parameters, arrays = [*call.target.parameters.values()], other.inputs[len(call.inputs) :]
    for scale in SCALES:
        inputs = [scale * x if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in call.inputs]
        try:
            for parameter, array in zip(parameters, arrays, strict=True):
                parameter.data, parameter.grad = scale * array, None
            y, backward = call.on(inputs).evaluate()
            dy = np.cos(np.arange(np.size(y))).reshape(np.shape(y)) if not other.has_unit_dy else np.ones(np.shape(y))
            given = [*_listed(backward(call.as_y(dy))), *(parameter.grad for parameter in parameters)]
        finally:
            for parameter, array in zip(parameters, arrays, strict=True):
                parameter.data, parameter.grad = array, None
        y_too, backward = other.on([*inputs, *(scale * array for array in arrays)]).evaluate()
        pairs = [(y, y_too), *zip(given, _listed(backward(call.as_y(dy))), strict=True)]
        if not all(a is b or np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            raise ValueError(f"{call.name}: its lines cannot be examined, which depend on other states of the object")


def _listed(gradients):
    return [] if gradients is None else [*gradients] if isinstance(gradients, (tuple, list)) else [gradients]


class _Lowered:
    """A lowered function of the inputs and of the parameters of a layer.

    `state` maps its further arguments to places of the layer, or to () for the layer itself.
    """

    def __init__(self, function, layer, parameters, names, state):
        self.function, self.layer, self.state, self.names_of_inputs = function, layer, state, names
        self.parameters, self.count = parameters, len(names) - len(parameters)
        self.__name__ = function.__name__

    def __call__(self, *arrays, **options):
        layer = copy.deepcopy(self.layer)
        for parameter, array in zip(self.parameters, arrays[self.count :], strict=True):
            for place in parameter.places:
                put_at(layer, place, array)
        state = {name: value_at(layer, place) for name, place in self.state.items()}
        y, backward = self.function(*arrays[: self.count], **options, **state)
        return y, lambda *dy: _with_copied_contents(backward)(*dy)


def _with_copied_contents(function):
    """Return a function with copies of the captured values, so that it may be called again if it modifies them."""
    held = copy.deepcopy(contents(function))
    cells = [types.CellType(*[held[n]][: n in held] if n in held else ()) for n in function.__code__.co_freevars]
    copied = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _built(call, methods, nodes, arguments, forward, backward):
    """Return (function, tree, its FunctionDef) for a forward body with a backward body inside."""
    name, (given, dy) = call.name, arguments
    inner = ast.FunctionDef("backward", dy, backward, [], type_params=[])
    outer = ast.FunctionDef(name, given, [inner, *forward], [], type_params=[])
    for function, node in ((inner, nodes[1]), (outer, nodes[0])):
        ast.copy_location(function, node)
        for argument in ast.walk(function.args):
            ast.copy_location(argument, node)
            if isinstance(argument, ast.arg):
                argument.annotation = None
    tree = ast.fix_missing_locations(ast.Module([outer], []))
    scope = methods[0].__globals__ | contents(methods[0]) | contents(methods[1]) | {NUMPY: np}
    function = types.FunctionType(codes_of(tree, methods[0].__code__.co_filename)[outer.lineno, name], scope)
    return function, tree, outer


def _nodes(name, functions):
    """Return the syntax trees of two functions of one file."""
    file, found = functions[0].__code__.co_filename, []
    linecache.checkcache(file)
    for function in functions:
        tree, _, node = node_of(function, linecache.getlines(file))
        if function.__code__.co_filename != file or node is None:
            raise ValueError(f"{name}: {NOT_WITHIN}")
        require_unchanged(name, tree, file, [function])
        found.append(node)
    return found


# Layers


def _of_layer(call):
    target, layer = call.target, copy.deepcopy(call.target.layer)
    methods = [inspect.unwrap(getattr(m, "__func__", m)) for m in (forward_of(layer), layer.backward)]
    if not all(isinstance(method, types.FunctionType) for method in methods):
        return None
    nodes = _nodes(call.name, methods)
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
    for parameter in parameters:
        there = [place for place in parameter.gradients if value_at(last, place) is not None]
        gradients[(there or parameter.gradients)[0]] = parameter.places[0]
    places = Places(root, [last, after, layer], nodes, gradients, [parameter.places for parameter in parameters])
    forward, backward = ([places.visit(statement) for statement in copy.deepcopy(node.body)] for node in nodes)
    results = [_without_copy(backward, places.code(place)) for place in gradients]
    output, dinputs = (places.code((name,)) for name in ("output", "dinputs"))
    count = len(call.differentiable())
    forward = _returning(forward, output, lambda y: ast.Tuple([y, _name("backward")], ast.Load()))
    backward = _returning(backward, dinputs, lambda dx: _joined(dx, count, results))
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
    function, tree, outer = _built(call, methods, nodes, (given, dy), forward, backward)
    function.__defaults__, function.__kwdefaults__ = methods[0].__defaults__, methods[0].__kwdefaults__
    own = [places.names.get(parameter.places[0], ".".join(map(str, parameter.places[0]))) for parameter in parameters]
    names = [*call.input_names(), *own]
    other = call.on([*call.inputs, *(parameter.data for parameter in parameters)])
    other.target, other.has_unit_dy = _Lowered(function, layer, parameters, names, state), has_unit_dy
    if call.argnums is not None:
        other.argnums = {*call.argnums, *range(len(call.inputs), len(names))}
    inner = contents(other.evaluate()[1])["backward"]
    file = inner.__code__.co_filename
    spelling = {local: ast.unparse(places.spelled(place)) for place, local in places.names.items()}
    for name, place in zip(own, gradients, strict=True):
        spelling.setdefault(f"d{name}", ast.unparse(places.spelled(place)))
    return other, Source(
        file,
        tree,
        outer,
        outer.body[0],
        inner,
        linecache.getlines(file),
        is_whole=True,
        spelling=spelling,
        added=len(results),
    )


def _apart(places, layer, forward, backward):
    """Rename the places in forward that backward binds. Return both bodies, and {argument of forward: place}."""
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
    """Return the statement that gives a name in backward its value before the pass."""
    is_zero = isinstance(value, np.ndarray) and not value.any()
    zeros = ast.Call(ast.Attribute(_name(NUMPY), "zeros_like", ast.Load()), [_name(before)], [])
    return ast.Assign([ast.Name(name, ast.Store())], zeros if is_zero else _name(before))


def _is_stored(node):
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _name(name):
    return ast.Name(name, ast.Load())


def _returning(body, stored, form):
    """Replace the value of each `return` by form(value), and None by the expression `stored`."""
    body = [part for statement in body if (part := _Returns(stored, form).visit(statement)) is not None]
    if not isinstance(body[-1], ast.Return):
        body.append(ast.copy_location(ast.Return(form(stored)), body[-1]))
        ast.fix_missing_locations(body[-1])
    return body


class _Returns(ast.NodeTransformer):
    def __init__(self, stored, form):
        self.stored, self.form = stored, form

    def visit(self, node):
        if isinstance(node, OWN_SCOPE):
            return node
        if not isinstance(node, ast.Return):
            return self.generic_visit(node)
        is_none = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        node.value = self.form(copy.deepcopy(self.stored) if is_none else node.value)
        return node


def _joined(dx, count, results):
    """Return the expression for the gradients of `count` inputs, followed by those of the parameters."""
    if isinstance(dx, (ast.Tuple, ast.List)):
        own = dx.elts[:count]
    else:
        own = [dx] if count == 1 else [ast.Starred(dx, ast.Load())] if count else []
    every = [*own, *copy.deepcopy(results)]
    return every[0] if len(every) == 1 and not isinstance(every[0], ast.Starred) else ast.Tuple(every, ast.Load())


def _without_copy(backward, code):
    """Return the name of a local variable that is only copied to the place of a gradient, or else the place."""
    name = getattr(code, "id", "")
    bindings = {}
    for statement in backward:
        for node in ast.walk(statement):
            if _is_stored(node):
                bindings.setdefault(node.id, []).append(statement)
    if len(bindings.get(name, ())) == 1 and isinstance(bindings[name][0], ast.Assign):
        local = getattr(bindings[name][0].value, "id", "")
        if len(bindings[name][0].targets) == 1 and len(bindings.get(local, ())) == 1:
            return _name(local)
    return code
