"""Insert a probe after each assignment, so that every value can be recorded, perturbed or replaced.

`h = x @ w` is followed by `h = probe(7, h)`, in forward and in backward. Returned values are passed through a probe
too, and so are the arguments of a call that returns a backward pass. Line numbers and names do not change. The code of
the live function is replaced within a `with` block.
"""

import ast
import copy
import re
from contextlib import contextmanager
from dataclasses import dataclass

from gradcheck.lines.parts import PROBE, Marking
from gradcheck.lines.source import OWN_SCOPE, codes_of, first_line, holders_of, own_statements

EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
SCATTERS = (
    "at",
    "put",
    "put_along_axis",
    "copyto",
    "place",
    "putmask",
)  # NumPy functions that write into their first argument


@dataclass(frozen=True)
class Site:
    """The place of a probe: after a `statement` that binds `name`, or around an expression.

    The expression is a returned value or an argument. `kind` is "forward", "backward", "return" or "argument". `value`
    is the expression whose value the probe receives, or None. If that is an element of a tuple, `position` is its index
    and `count` the length of the tuple (0 if unknown). `is_written` is True if the name existed before.
    """

    kind: str
    name: str
    line: int
    statement: ast.AST
    value: ast.AST | None = None
    position: int = 0
    count: int = 1
    is_written: bool = False

    @property
    def is_overwritten(self):
        """Return True if the whole array is overwritten, as by `dk[...] = ds @ q`."""
        if not isinstance(self.statement, ast.Assign) or not isinstance(self.statement.targets[0], ast.Subscript):
            return False
        return ast.unparse(self.statement.targets[0].slice) in ("...", ":")


def instrumented(source):
    """Return (tree of the file with probes, list of Sites, list of Parts)."""
    tree = copy.deepcopy(source.tree)
    twins = dict(zip(map(id, ast.walk(source.tree)), ast.walk(tree), strict=True))
    sites = []
    outer, inner = twins[id(source.outer)], twins[id(source.inner)]
    originals = {id(twin): node for node, twin in zip(ast.walk(source.tree), ast.walk(tree), strict=True)}
    if isinstance(inner, ast.Lambda):
        inner.body = _Inserting(sites, originals).returned(inner.body, inner)
    else:
        inner.body = _Inserting(sites, originals, _local(inner)).body(inner.body, "backward")
    inserting = _Inserting(sites, originals, _local(outer))
    arguments = inserting.entry(outer)
    outer.body = inserting.body(outer.body, "forward")
    start = 1 if ast.get_docstring(outer, clean=False) is not None else 0
    parts = Marking(originals).mark(outer)
    outer.body[start:start] = arguments
    return ast.fix_missing_locations(tree), sites, parts


@contextmanager
def planted(source, target, tree, probe):
    """Insert the probes into the live functions within the `with` block.

    `target` is the callable that leads to them. Raises ValueError if none is found.
    """
    codes = codes_of(tree, source.file)
    functions = holders_of(source, target)
    before = [(function, function.__code__) for function in functions]
    scopes = {id(function.__globals__): function.__globals__ for function in functions}
    if not functions:
        raise ValueError(f"{source.name}: the function around its backward is no longer there")
    try:
        for scope in scopes.values():
            scope[PROBE] = probe
        for function, code in before:
            function.__code__ = codes[code.co_firstlineno, code.co_name]
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        for scope in scopes.values():
            scope.pop(PROBE, None)


def equation_at(source, statement):
    """Return the equation number in the comment at a statement, such as "(6)", or ""."""
    last = getattr(statement, "end_lineno", statement.lineno)
    for line in range(last, statement.lineno - 1, -1):
        found = EQUATION.search(source.lines[line - 1]) if line <= len(source.lines) else None
        if found:
            return found[1]
    return ""


class _Inserting:
    """Inserts probes into the body of a function.

    `local` are the local names of the function; `originals` has the original of each node.
    """

    def __init__(self, sites, originals, local=()):
        self.sites = sites
        self.originals = originals
        self.local = local

    def body(self, statements, kind):
        """Return a list of statements with a probe after each one that binds a name."""
        new = []
        for statement in statements:
            if isinstance(statement, OWN_SCOPE):
                new.append(statement)
                continue
            behind = self.behind(statement, kind)
            if kind == "forward":
                self.arguments(statement)
            if isinstance(statement, ast.Return) and kind == "backward" and statement.value is not None:
                statement.value = self.returned(statement.value, statement)
            for field in ("body", "orelse", "finalbody"):
                if getattr(statement, field, None):
                    setattr(statement, field, self.body(getattr(statement, field), kind))
            for handler in getattr(statement, "handlers", []):
                handler.body = self.body(handler.body, kind)
            if isinstance(statement, (ast.For, ast.With)):
                statement.body[:0] = behind
                new.append(statement)
            else:
                new += [statement, *behind]
        return new

    def behind(self, statement, kind):
        """Return the probes for the names that a statement binds or modifies."""
        names, is_written = _bound(statement)
        value = getattr(statement, "value", None)
        many = isinstance(value, ast.Tuple) and len(value.elts) == len(names) > 1
        probes = []
        for position, name in enumerate(names):
            part = value.elts[position] if many else value
            count = 1 if many else len(names)
            number = self.add(kind, name, statement, part, position, count, is_written)
            probes.append(_assignment(name, number, statement, is_own=name in self.local))
        return probes

    def entry(self, function):
        """Return the probes for the arguments of the forward pass."""
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        anchor = function.body[0]
        return [
            _assignment(a.arg, self.add("forward", a.arg, function), anchor)
            for a in arguments
            if a.arg not in ("self", "cls")
        ]

    def arguments(self, statement):
        """Insert a probe around each argument of a call that returns a tuple.

        Such a call may return (y, backward) of another function.
        """
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)):
            return
        if not isinstance(statement.targets[0], ast.Tuple):
            return
        call = statement.value
        for position, argument in enumerate(call.args):
            if not isinstance(argument, ast.Starred):
                call.args[position] = self.call("argument", "", statement, argument, position)

    def returned(self, value, statement):
        """Insert a probe around a returned value, or around each element of a tuple."""
        if isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
            count = len(value.elts)
            value.elts = [self.call("return", "", statement, e, k, count) for k, e in enumerate(value.elts)]
            return value
        return self.call("return", "", statement, value, 0, 0)

    def call(self, kind, name, statement, value, position, count=1):
        """Return a probe around an expression."""
        number = self.add(kind, name, statement, value, position, count)
        return ast.copy_location(_probe(number, value), value)

    def add(self, kind, name, statement, value=None, position=0, count=1, is_written=False):
        """Append a Site, and return its number."""
        original = self.originals[id(statement)]
        value = None if value is None else self.originals[id(value)]
        line = first_line(original) if isinstance(original, OWN_SCOPE) else original.lineno
        self.sites.append(Site(kind, name, line, original, value, position, count, is_written))
        return len(self.sites) - 1


def _bound(statement):
    """Return (names that a statement binds or modifies, True if it modifies them)."""
    if isinstance(statement, ast.Assign):
        targets, is_written = statement.targets, False
        if any(isinstance(t, ast.Subscript) for t in targets):
            targets, is_written = [_root(t) for t in targets], True
        return [name for target in targets for name in _names(target)], is_written
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return _names(statement.target), False
    if isinstance(statement, ast.AugAssign):
        return _names(_root(statement.target)), True
    if isinstance(statement, ast.For):
        return _names(statement.target), False
    if isinstance(statement, ast.With):
        return [name for item in statement.items if item.optional_vars for name in _names(item.optional_vars)], False
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in SCATTERS and call.args:
        return _names(_root(call.args[0])), True
    return [], False


def _root(target):
    """Return the node of the array that an expression indexes."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target


def _names(target):
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Starred):
        return _names(target.value)
    return [name for element in getattr(target, "elts", []) for name in _names(element)]


def _probe(number, value):
    return ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(number), value], [])


def _assignment(name, number, statement, is_own=True):
    """Return the statement of a probe after another statement.

    It does not bind names that are not local to the function.
    """
    probe = _probe(number, ast.Name(name, ast.Load()))
    node = ast.Assign([ast.Name(name, ast.Store())], probe) if is_own else ast.Expr(probe)
    for part in ast.walk(node):
        ast.copy_location(part, statement)
    return node


def _local(function):
    """Return the local names of a function: its arguments and the names that it binds."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    local = {argument.arg for argument in arguments}
    for statement in own_statements(function.body):
        names, is_written = _bound(statement)
        if not is_written or isinstance(getattr(statement, "target", None), ast.Name):
            local.update(names)
    return local
