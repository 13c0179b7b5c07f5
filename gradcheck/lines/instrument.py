"""Insert probes into the source to record, perturb or replace every value.

In both passes, `h = x @ w` is followed by `h = probe(7, h)`, and returned values pass through probes. In the forward
pass, each part of an expression has a probe too. If only this part is perturbed, the change of the output gives the
gradient along the paths through it. Line numbers and names do not change.
"""

import ast
import builtins
import copy
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gradcheck.lines.source import holders_of
from gradcheck.mistakes.patterns import LIBRARIES
from gradcheck.mistakes.planter import codes_of, key_of, planted
from gradcheck.mistakes.sources import argument_names, bound_names, first_line
from gradcheck.names import OWN_SCOPE

PROBE = "__gradcheck_probe__"
OUTPUT = "<output>"  # the site of the output of forward, if no name is bound to it
SCATTERS = ("at", "put", "put_along_axis", "copyto", "place", "putmask")  # functions that modify the first argument
UNMOVED = (ast.Slice, ast.Compare, ast.Lambda, ast.JoinedStr, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred)
NOT_ENTERED = (*OWN_SCOPE, ast.comprehension, ast.keyword)


@dataclass(frozen=True)
class Site:
    """The location of a probe in the source: after a statement, or around an expression."""

    # "forward" or "backward" for a name, "argument" for an argument of backward, "return" for a returned value,
    # "part" for a part of an expression
    kind: str
    name: str  # the name that the statement binds, or ""
    line: int
    statement: ast.AST
    value: ast.AST | None = None  # the expression whose value the probe receives
    is_written: bool = False  # True if the statement modifies an existing value
    position: int | None = None  # index of a value in a tuple that is returned


@dataclass(frozen=True, eq=False)
class Event:
    """The record of one value that a probe has received."""

    site: int  # index of the Site
    nth: int  # number of earlier calls of the probe at this Site
    value: object  # copy of the value; an array of NumPy if the value is a tensor
    live: object  # the value itself
    left: object = None  # result of `witness` (see Probe.running) at this time

    @property
    def key(self):
        return self.site, self.nth

    @property
    def is_untouched(self):
        live = as_array(self.live)
        return not isinstance(live, np.ndarray) or np.array_equal(self.value, live, equal_nan=True)


class Probe:
    """A function probe(site, value) that records the value and returns it.

    In a loop, it also receives the local variables. Within `running`, it may return another value. A tensor of PyTorch
    or an array of JAX is recorded and changed as an array of NumPy.
    """

    locals = staticmethod(builtins.locals)  # of the frame that calls it

    def __init__(self):
        self.names = {}  # the local names of the last call in a loop
        self.changes, self.events, self.counts, self.witness = {}, None, {}, None
        self.changed = {}  # {key of an Event: copy of the new value}
        self.moved = set()  # sites of the parts that are recorded, or None for all sites

    def __call__(self, site, value, names=None):
        self.names = names or {}
        nth, array = self.counts.get(site, -1) + 1, as_array(value)
        self.counts[site] = nth
        if self.events is not None:
            copied = array.copy() if isinstance(array, np.ndarray) else array
            self.events.append(Event(site, nth, copied, value, self.witness and self.witness()))
        change = self.changes.get((site, nth))
        if change is None:
            return value
        changed = change(array)
        self.changed[site, nth] = changed.copy() if isinstance(changed, np.ndarray) else changed
        framework = "torch" if hasattr(value, "detach") else "jax"
        return value if changed is array else as_tensor(changed, framework) if array is not value else changed

    def part(self, site, value):
        return self(site, value) if self.moved is None or site in self.moved else value

    @contextmanager
    def running(self, changes, witness=None, with_parts=False, is_recorded=True):
        """Record and change values within a `with` block, and yield the Events, the list of recorded values.

        `changes` maps the key of an Event to a function from the computed value to the new one. Parts of expressions
        are recorded only if they are changed or `with_parts` is True. The result of `witness()` is stored in
        `Event.left`. If `is_recorded` is False, nothing is recorded.
        """
        before = vars(self).copy()
        self.changes, self.events, self.counts, self.witness = changes, [] if is_recorded else None, {}, witness
        self.changed = {}
        self.moved = None if with_parts else {site for site, _ in changes}
        try:
            yield self.events
        finally:
            vars(self).update(before)


def as_array(value):
    """Return a tensor, or an array of JAX, as an array of NumPy that shares its memory, and other values unchanged."""
    if hasattr(value, "detach"):
        return value.detach().numpy()
    return np.asarray(value) if hasattr(type(value), "addressable_shards") else value


def as_tensor(value, framework):
    """Convert an array to a tensor of "torch" or to an array of "jax", and return other values unchanged."""
    if not isinstance(value, np.ndarray):
        return value
    if framework == "jax":
        import jax

        return jax.numpy.asarray(value)
    import torch

    return torch.from_numpy(np.ascontiguousarray(value))


def is_real_array(value):
    return isinstance(value, (np.ndarray, np.floating, float)) and np.asarray(value).dtype.kind == "f"


def close(a, b, resolution, floor=0.0):
    """Return True if two real arrays differ by at most `resolution` times their largest entry, plus `floor`."""
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        return False
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    size = max(np.max(np.abs(a), initial=0.0), np.max(np.abs(b), initial=0.0))
    return bool(np.max(np.abs(a - b), initial=0.0) <= resolution * size + floor)


def instrumented(source):
    """Insert probes into a copy of the syntax tree of a Source, and return the copy and a list of the Sites.

    A Site is the location of a probe.
    """
    tree = copy.deepcopy(source.tree)
    pairs = list(zip(ast.walk(source.tree), ast.walk(tree), strict=True))
    twins = {id(node): twin for node, twin in pairs}
    probes = _Probes({id(twin): node for node, twin in pairs})
    outer, inner = twins[id(source.outer)], twins[id(source.inner)]
    if isinstance(inner, ast.Lambda):
        inner.body = probes.returned(inner.body, inner)
    else:
        probes.function(inner, "argument", "backward")
    probes.function(outer, "forward", "forward")
    return ast.fix_missing_locations(tree), probes.sites


@contextmanager
def modified(source, tree, probe=None):
    """Run a modified version of the user's code within a `with` block.

    `tree` is the modified syntax tree of `source`, and `probe` the function that its probes call.
    """
    codes, functions = codes_of(tree, source.file), holders_of(source)
    if not functions:
        raise ValueError(
            f"{source.name}: the function that contains its backward no longer exists, so its lines cannot be run"
        )
    try:
        for function in functions:
            function.__globals__[PROBE] = probe
        with planted((function, codes[key_of(function.__code__)]) for function in functions):
            yield
    finally:
        for function in functions:
            function.__globals__.pop(PROBE, None)


class _Probes(ast.NodeTransformer):
    """Inserts probes into a copy of a syntax tree.

    `originals` maps the id of each node to the original node.
    """

    def __init__(self, originals):
        self.sites, self.originals, self.statement, self.loops = [], originals, None, 0

    def function(self, node, of_argument, kind):
        """Insert probes for the arguments of a function, and in its body.

        `of_argument` and `kind` are the kinds of these probes, as stored in a Site.
        """
        arguments = [name for name in argument_names(node) if name not in ("self", "cls", "ctx")]
        entry = [self.assignment(of_argument, name, node, node.body[0]) for name in arguments]
        start = 1 if ast.get_docstring(node, clean=False) is not None else 0
        body = self.body(node.body, kind, bound_names(node))
        node.body = [*body[:start], *entry, *body[start:]]

    def body(self, statements, kind, local):
        new = []
        for statement in statements:
            if isinstance(statement, OWN_SCOPE):
                new.append(statement)
                continue
            behind = self._behind(statement, kind, local)
            nodes = [n for n in ast.iter_child_nodes(statement) if isinstance(n, ast.expr)]
            walrus = [(n, n.value) for child in nodes for n in ast.walk(child) if isinstance(n, ast.NamedExpr)]
            value = getattr(statement, "value", None)
            if kind == "forward" and value:
                self.statement = statement
                statement.value = self.visit(value)
            elif kind == "backward" and value and isinstance(statement, ast.Return):
                statement.value = self.returned(value, statement)
            for named, of in walrus:
                named.value = self._probe(kind, named.target.id, statement, named.value, of)
            self.loops += isinstance(statement, (ast.For, ast.While))
            for owner in (statement, *getattr(statement, "handlers", ())):
                for field in ("body", "orelse", "finalbody"):
                    if getattr(owner, field, None):
                        setattr(owner, field, self.body(getattr(owner, field), kind, local))
            self.loops -= isinstance(statement, (ast.For, ast.While))
            if isinstance(statement, (ast.For, ast.With)):
                statement.body[:0] = behind
                behind = []
            new += [statement, *behind]
        return new

    def _behind(self, statement, kind, local):
        names, is_written = bound(statement)
        value = getattr(statement, "value", None)
        is_many = isinstance(value, ast.Tuple) and len(value.elts) == len(names) > 1
        return [
            self.assignment(kind, name, statement, statement, name in local, part, is_written)
            for name, part in zip(names, value.elts if is_many else [value] * len(names), strict=True)
        ]

    def assignment(self, kind, name, statement, anchor, is_own=True, *place):
        """Return the statement `name = probe(name)`, or only the call of the probe if `is_own` is False."""
        probe = self._probe(kind, name, statement, ast.Name(name, ast.Load()), *place)
        node = ast.Assign([ast.Name(name, ast.Store())], probe) if is_own else ast.Expr(probe)
        for part in ast.walk(node):
            ast.copy_location(part, anchor)
        return node

    def returned(self, value, statement):
        if isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
            elements = enumerate(value.elts)
            value.elts = [self._probe("return", "", statement, e, e, position=k) for k, e in elements]
            return value
        return self._probe("return", "", statement, value, value)

    def visit(self, node):
        """Return an expression of the forward pass in which each part is wrapped in a probe."""
        if isinstance(node, NOT_ENTERED) or (isinstance(node, ast.Name) and node.id in LIBRARIES):
            return node
        if isinstance(node, ast.Subscript):
            node.value = self.visit(node.value)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                node.func.value = self.visit(node.func.value)
            elif isinstance(node.func, ast.Call):
                node.func = self.visit(node.func)
            node.args = [self.visit(argument) for argument in node.args]
        else:
            self.generic_visit(node)
        is_value = isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if not is_value or isinstance(node, UNMOVED):
            return node
        return self._probe("part", "", self.statement, node, node)

    def _probe(self, kind, name, statement, argument, value=None, is_written=False, position=None):
        original = self.originals[id(statement)]
        value = None if value is None else self.originals[id(value)]
        line = first_line(original) if isinstance(original, OWN_SCOPE) else original.lineno
        self.sites.append(Site(kind, name, line, original, value, is_written, position))
        probe = ast.Name(PROBE, ast.Load())
        names = [ast.Call(ast.Attribute(probe, "locals", ast.Load()), [], [])] if self.loops and kind != "part" else []
        probe = ast.Attribute(probe, "part", ast.Load()) if kind == "part" else probe
        return ast.copy_location(ast.Call(probe, [ast.Constant(len(self.sites) - 1), argument, *names], []), argument)


def bound(statement):
    """Return (names, is_written) for a statement: the names to which it assigns or whose values it modifies.

    `is_written` is True if it modifies the values, as in `a[i] = x`.
    """
    if isinstance(statement, ast.Assign):
        is_written = any(isinstance(target, ast.Subscript) for target in statement.targets)
        return [name for target in statement.targets for name in _names(target, is_written)], is_written
    if isinstance(statement, (ast.AnnAssign, ast.AugAssign, ast.For)):
        is_written = isinstance(statement, ast.AugAssign)
        return _names(statement.target, is_written) if getattr(statement, "value", statement) else [], is_written
    if isinstance(statement, ast.With):
        return [name for item in statement.items if item.optional_vars for name in _names(item.optional_vars)], False
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        if call.func.attr in SCATTERS and call.args:
            return _names(call.args[0], True), True
        if call.func.attr.endswith("_"):  # a method of PyTorch that works in place, such as `index_add_`
            return _names(call.func.value, True), True
    return [], False


def _names(target, is_written=False):
    """Return the names in the target of an assignment. With `is_written`, the name in `a[i]` is `a`."""
    while isinstance(target, ast.Starred) or (is_written and isinstance(target, ast.Subscript)):
        target = target.value
    if isinstance(target, ast.Name):
        return [target.id]
    return [name for element in getattr(target, "elts", []) for name in _names(element, is_written)]
