"""Replace attributes of an object with local variables in the code of its methods.

A place is a path of attributes and keys from the object to a value, such as `self.x` or `self.params["W"]`. A place is
not replaced if a method that the code calls reads or writes it, or if it belongs to an object whose methods are called.
"""

import ast
import inspect
import textwrap

from gradcheck.adapters.layer_parameters import CONTAINERS, OBJECTS, exists, members_of, value_at
from gradcheck.mistakes.sources import argument_names
from gradcheck.names import FUNCTION, names_in

LITERALS = (ast.Dict, ast.List, ast.Tuple)


class Places(ast.NodeTransformer):
    """Replaces attributes and entries of an object with local names in the code of its methods.

    The place of a value is its path, such as `self.params["W"]`. `root` is the name of the object, usually `self`.
    `states` lists the object as it was at several points of a run, the latest first. `gradients` maps the place of each
    gradient to the place of its parameter. Each element of `shared` lists the places of one array, which receive the
    same name.
    """

    def __init__(self, root, states, functions, gradients, shared=()):
        self.root, self.states, self.gradients = root, states, gradients
        self.whole, self.opaque = set(), set()  # containers that are used as a whole; places that keep their form
        bodies = [function.body for function in functions]
        arguments = [argument for function in functions for argument in argument_names(function)]
        self.taken = {root, *arguments, *names_in(*(statement for body in bodies for statement in body))}
        self.names, self.helpers, self.is_kept = {}, set(), False
        paths = [path for body in bodies for statement in body for path in self._paths(statement)]
        for path, _ in paths:
            self._note(path)
        touched = [found for name in sorted(self.helpers) for found in self._touched(name, set())]
        stored = {path for path, node in paths if not isinstance(node.ctx, ast.Load)}
        for path, is_stored in touched:
            beside = {other for other in stored if other[: len(path)] == path or path[: len(other)] == other}
            self.opaque |= beside | ({path} if is_stored else set())
        leaves = list(dict.fromkeys(filter(None, (self._leaf(path) for path, _ in paths))))
        for places in shared:
            used = [place for place in leaves if place in places]
            self.names |= dict.fromkeys(used, self.name(used[0])) if used else {}

    def _paths(self, node):
        """Yield (path, node) for each expression in `node` that refers to a part of the object, such as `self.a.b`.

        The part `self.a` of this expression is not listed separately.
        """
        if isinstance(node, ast.Assign) and self._elements(node):
            nodes = [node.value] if self._elements(node)[0] is node.targets[0] else node.targets
            for child in ast.iter_child_nodes(nodes[0]):
                yield from self._paths(child)
            return
        path = path_of(node, self.root)
        if path is not None:
            yield path, node
            return
        for child in ast.iter_child_nodes(node):
            yield from self._paths(child)

    def _note(self, path):
        """Record whether the code uses a path as a value, as a whole container, as an object or as a method."""
        if not path:
            name = type(self.states[0]).__name__
            raise ValueError(f"{name}: its lines cannot be examined, because {self.root} is used as a whole")
        for n in range(1, len(path) + 1):
            value, is_last = self.value(path[:n]), n == len(path)
            if not any(exists(state, path[:n]) for state in self.states):
                if n == 1 and hasattr(type(self.states[0]), path[0]):
                    self.helpers.add(path[0])
                return
            key = None if is_last else path[n]
            if isinstance(value, (dict, list)):
                if is_last or not any(exists(state, path[: n + 1]) for state in self.states):
                    self.whole.add(path[:n])
                    return
            elif isinstance(value, tuple) or not members_of(value):
                return
            elif is_last or key not in members_of(value):
                self.opaque.add(path[:n])
                return

    def _touched(self, name, seen):
        """Yield (path, is_written) for each place that the method `name` uses. `seen` contains earlier methods."""
        function = inspect.getattr_static(type(self.states[0]), name)
        function = getattr(function, "fget", function)
        if name in seen or isinstance(function, staticmethod) or not inspect.isfunction(function):
            return
        seen.add(name)
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        own = node.args.args[0].arg if isinstance(node, FUNCTION) and node.args.args else ""
        for inner in ast.walk(node):
            path = path_of(inner, own)
            if path and hasattr(type(self.states[0]), path[0]) and not exists(self.states[0], path[:1]):
                yield from self._touched(path[0], seen)
            elif path:
                yield path, not isinstance(inner.ctx, ast.Load)

    def value(self, place):
        return next((value_at(state, place) for state in self.states if exists(state, place)), None)

    def _leaf(self, path):
        """Return the leading part of a path that is replaced with a local name, or None if no part is replaced."""
        for n in range(1, len(path) + 1):
            if path[:n] in self.opaque or (n == 1 and path[0] in self.helpers):
                return None
            value = self.value(path[:n])
            if path[:n] in self.whole or isinstance(value, tuple) or not members_of(value):
                return path[:n]
        return path

    def _elements(self, node):
        """Split an assignment such as `self.cache = [a, b]` into the container and its elements.

        The elements are a list of (key, expression). Returns None for any other assignment.
        """
        if len(node.targets) != 1:
            return None
        for container, other in ((node.targets[0], node.value), (node.value, node.targets[0])):
            path = path_of(container, self.root)
            kept = self.value(path) if path else None
            if not isinstance(kept, (dict, list)) or not isinstance(other, LITERALS) or path in self.whole:
                continue
            keys = [getattr(key, "value", None) for key in other.keys] if isinstance(other, ast.Dict) else None
            values = other.values if isinstance(other, ast.Dict) else other.elts
            keys = [*range(len(values))] if keys is None else keys
            if set(keys) == set(members_of(kept)) or (not values and container is node.targets[0]):
                return container, [(key, value) for key, value in zip(keys, values, strict=True)]
        return None

    # Rewriting

    def name(self, place):
        if place not in self.names:
            base = self._base(self.gradients[place]) if place in self.gradients else self._base(place)
            keys = [key for key in place if isinstance(key, str)]
            if place in self.gradients:
                base = keys[-1] if base in keys[-1] and base != keys[-1] else f"d{base}"
            self.names[place] = self.unused(base)
        return self.names[place]

    def unused(self, name):
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def _base(self, place):
        if place in self.names:
            return self.names[place]
        place = place[:-1] if len(place) > 1 and place[-1] in OBJECTS else place
        return place[-1] if isinstance(place[-1], str) else "_".join(map(str, place))

    def code(self, path, ctx=None):
        """Return the expression for the value at a path, with local names."""
        leaf = self._leaf(path)
        self.is_kept |= leaf is None
        node = self.spelled(path, leaf or ())
        node.ctx = ctx or ast.Load()
        return node

    def spelled(self, path, leaf=()):
        """Return the expression for the value at a path, with the local name of the place `leaf` if it is given."""
        node, value = ast.Name(self.name(leaf) if leaf else self.root, ast.Load()), self.states[0]
        for n, key in enumerate(path):
            is_key = isinstance(value, CONTAINERS)
            if n >= len(leaf):
                code = (node, ast.Constant(key)) if is_key else (node, key)
                node = (ast.Subscript if is_key else ast.Attribute)(*code, ast.Load())
            value = self.value(path[: n + 1])
        return node

    def visit(self, node):
        path = path_of(node, self.root)
        if path is not None:
            if path == self._leaf(path):
                return ast.copy_location(ast.Name(self.name(path), node.ctx), node)
            self.is_kept |= self._leaf(path) is None
            return node if self._leaf(path) is None else self.generic_visit(node)
        found = self._elements(node) if isinstance(node, ast.Assign) else None
        if found is None:
            return self.generic_visit(node)
        container, elements = found
        base, is_stored = path_of(container, self.root), container is node.targets[0]
        if not elements:
            return ast.copy_location(ast.Pass(), node)
        ctx = ast.Store() if is_stored else ast.Load()
        places = [self.code((*base, key), ctx) for key, _ in elements]
        others = [self.visit(value) for _, value in elements]
        targets, values = (places, others) if is_stored else (others, places)
        if len(elements) > 1:
            targets, values = [ast.Tuple(targets, ast.Store())], [ast.Tuple(values, ast.Load())]
        return ast.copy_location(ast.Assign(targets, values[0]), node)


def path_of(node, root):
    """Return the path in an expression such as `self.params["W"]`, or None if it does not start with `root`."""
    path = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            path.append(node.attr)
        elif isinstance(node, ast.Subscript) and type(getattr(node.slice, "value", None)) in (str, int):
            path.append(node.slice.value)
        else:
            return None
        node = node.value
    return tuple(reversed(path)) if node.id == root else None


def is_bound_first(statements, name):
    """Return True if the statements bind a name before they read it."""
    for statement in statements:
        nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.id == name]
        if nodes:
            is_plain = isinstance(statement, ast.Assign)
            return is_plain and all(isinstance(node.ctx, ast.Store) for node in nodes)
    return False
