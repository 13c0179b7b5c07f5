"""A probe behind each assignment: the same functions, of which every value can be seen, moved or replaced.

Behind `h = x @ w` comes `h = probe(7, h)`, in forward as in backward; what is returned goes through a probe of its own,
and so do the arguments of a call that gives a backward pass back. Lines and names stay what they were. The code of the
function that is already there is exchanged for as long as a `with` block runs.
"""

import ast
import copy
import re
from contextlib import contextmanager
from dataclasses import dataclass

from gradcheck.line_by_line.parts import PROBE, Marking
from gradcheck.line_by_line.source import OWN_SCOPE, codes_of, first_line, holders_of, own_statements

EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
SCATTERS = (
    "at",
    "put",
    "put_along_axis",
    "copyto",
    "place",
    "putmask",
)  # of NumPy: they write into their first argument


@dataclass(frozen=True)
class Site:
    """A place where a probe stands: behind a `statement` that binds `name`, or where a value is returned or given.

    `kind` is "forward", "backward", "return" or "argument"; `value` is the expression whose value it is, if there is
    one; `position` says which element of a tuple it is, and `count` of how many (0: it is not known); `is_written`
    that the name existed before.
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
        """Whether all that the name held is written over, as by `dk[...] = ds @ q`."""
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
    """Have the probes in the live functions for the `with` block. Raises ValueError if none is there.

    `target` is what calls them.
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
    """Return the number of the equation that a comment gives a statement, such as "(6)", or nothing."""
    last = getattr(statement, "end_lineno", statement.lineno)
    for line in range(last, statement.lineno - 1, -1):
        found = EQUATION.search(source.lines[line - 1]) if line <= len(source.lines) else None
        if found:
            return found[1]
    return ""


class _Inserting:
    """Puts probes into the body of a function, whose own names are `local`; `originals` has each node as it was."""

    def __init__(self, sites, originals, local=()):
        self.sites = sites
        self.originals = originals
        self.local = local

    def body(self, statements, kind):
        """Return a list of statements with a probe behind each that binds a name."""
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
        """Return the probes for what a statement binds or writes into."""
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
        """Put a probe around each argument of a call that returns a tuple: (y, backward) of another function."""
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)):
            return
        if not isinstance(statement.targets[0], ast.Tuple):
            return
        call = statement.value
        for position, argument in enumerate(call.args):
            if not isinstance(argument, ast.Starred):
                call.args[position] = self.call("argument", "", statement, argument, position)

    def returned(self, value, statement):
        """Return what is returned, with a probe around each element of a tuple."""
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
        """Note a Site, and return its number."""
        original = self.originals[id(statement)]
        value = None if value is None else self.originals[id(value)]
        line = first_line(original) if isinstance(original, OWN_SCOPE) else original.lineno
        self.sites.append(Site(kind, name, line, original, value, position, count, is_written))
        return len(self.sites) - 1


def _bound(statement):
    """Return (names that a statement binds or writes into, whether they had to exist before)."""
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
    """Return the name of which an expression is a part."""
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
    """Return the statement of a probe behind another one; a name that is not the function's own is not bound by it."""
    probe = _probe(number, ast.Name(name, ast.Load()))
    node = ast.Assign([ast.Name(name, ast.Store())], probe) if is_own else ast.Expr(probe)
    for part in ast.walk(node):
        ast.copy_location(part, statement)
    return node


def _local(function):
    """Return the names that a function binds itself: its arguments, and what its statements bind, not write into."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    local = {argument.arg for argument in arguments}
    for statement in own_statements(function.body):
        names, is_written = _bound(statement)
        if not is_written or isinstance(getattr(statement, "target", None), ast.Name):
            local.update(names)
    return local
