"""Insert probes into the source, so that every value can be recorded, perturbed or replaced.

`h = x @ w` is followed by `h = probe(7, h)`, in forward and in backward, and backward's returned values are passed
through probes. In forward, each part of an expression has a probe as well: every operand, argument, receiver and
occurrence of a name. If a single part is perturbed, the change of the output is the gradient along the paths through
this part. Line numbers and names do not change. The code of the live function is replaced within a `with` block.
"""

import ast
import copy
from contextlib import contextmanager
from dataclasses import dataclass

from gradcheck.lines.source import codes_of, holders_of
from gradcheck.mistakes.patterns import LIBRARIES
from gradcheck.mistakes.sources import OWN_SCOPE, argument_names, bound_names, first_line

PROBE = "__gradcheck_probe__"
SCATTERS = ("at", "put", "put_along_axis", "copyto", "place", "putmask")  # they write into their first argument
UNMOVED = (ast.Slice, ast.Compare, ast.Lambda, ast.JoinedStr, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Starred)
NOT_ENTERED = (*OWN_SCOPE, ast.comprehension, ast.keyword)


@dataclass(frozen=True)
class Site:
    """The place of a probe: after a `statement` that binds `name`, or around an expression.

    `kind` is "forward" or "backward" for a name, "return" for a value that backward returns, and "part" for a part of
    an expression. `value` is the expression whose value the probe receives, or None. If that is an element of a tuple,
    `position` is its index and `count` the length of the tuple (0 if unknown). `is_written` is True if the
    statement modifies an existing value.
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
        """Return True if the whole array is overwritten, for example by `dk[...] = ds @ q`."""
        target = self.statement.targets[0] if isinstance(self.statement, ast.Assign) else None
        return isinstance(target, ast.Subscript) and ast.unparse(target.slice) in ("...", ":")


def instrumented(source):
    """Return (tree of the file with probes, list of Sites)."""
    tree = copy.deepcopy(source.tree)
    pairs = list(zip(ast.walk(source.tree), ast.walk(tree), strict=True))
    twins = {id(node): twin for node, twin in pairs}
    probes = _Probes({id(twin): node for node, twin in pairs})
    outer, inner = twins[id(source.outer)], twins[id(source.inner)]
    if isinstance(inner, ast.Lambda):
        inner.body = probes.returned(inner.body, inner)
    else:
        inner.body = probes.body(inner.body, "backward", bound_names(inner))
    entry = [
        probes.assignment("forward", name, outer, outer.body[0])
        for name in argument_names(outer)
        if name not in ("self", "cls")
    ]
    start = 1 if ast.get_docstring(outer, clean=False) is not None else 0
    body = probes.body(outer.body, "forward", bound_names(outer))
    outer.body = [*body[:start], *entry, *body[start:]]
    return ast.fix_missing_locations(tree), probes.sites


@contextmanager
def planted(source, tree, probe):
    """Insert the probes into the live functions within the `with` block.

    Raises ValueError if no live function contains the backward pass.
    """
    codes = codes_of(tree, source.file)
    before = [(function, function.__code__) for function in holders_of(source)]
    scopes = [function.__globals__ for function, _ in before]
    if not before:
        raise ValueError(
            f"{source.name}: the function that contains its backward no longer exists, so its lines cannot be run"
        )
    try:
        for scope in scopes:
            scope[PROBE] = probe
        for function, code in before:
            function.__code__ = codes[code.co_firstlineno, code.co_name]
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        for scope in scopes:
            scope.pop(PROBE, None)


class _Probes(ast.NodeTransformer):
    """Inserts probes and lists their `sites`. `originals` maps the id of each copied node to the original node."""

    def __init__(self, originals):
        self.sites, self.originals, self.statement = [], originals, None

    def body(self, statements, kind, local):
        """Insert a probe after each statement that binds a name. `local` are the local names of the function."""
        new = []
        for statement in statements:
            if isinstance(statement, OWN_SCOPE):
                new.append(statement)
                continue
            behind = self._behind(statement, kind, local)
            walrus = [(n, n.value) for child in ast.iter_child_nodes(statement) for n in _walrus(child)]
            value = getattr(statement, "value", None)
            if kind == "forward" and value and not isinstance(statement, ast.Expr):
                self.statement = statement
                statement.value = self.visit(value)
            elif kind == "backward" and value and isinstance(statement, ast.Return):
                statement.value = self.returned(value, statement)
            for named, of in walrus:
                named.value = self._probe(kind, named.target.id, statement, named.value, of)
            for field in ("body", "orelse", "finalbody"):
                if getattr(statement, field, None):
                    setattr(statement, field, self.body(getattr(statement, field), kind, local))
            for handler in getattr(statement, "handlers", []):
                handler.body = self.body(handler.body, kind, local)
            if isinstance(statement, (ast.For, ast.With)):
                statement.body[:0] = behind
                behind = []
            new += [statement, *behind]
        return new

    def _behind(self, statement, kind, local):
        """Return the probes for the names that a statement binds or modifies."""
        names, is_written = _bound(statement)
        value = getattr(statement, "value", None)
        many = isinstance(value, ast.Tuple) and len(value.elts) == len(names) > 1
        probes = []
        for position, name in enumerate(names):
            part, count = (value.elts[position], 1) if many else (value, len(names))
            place = part, position, count, is_written
            probes.append(self.assignment(kind, name, statement, statement, name in local, *place))
        return probes

    def assignment(self, kind, name, statement, anchor, is_own=True, *place):
        """Return the statement of a probe for a name, at the line of `anchor`. Only local names are rebound."""
        probe = self._probe(kind, name, statement, ast.Name(name, ast.Load()), *place)
        node = ast.Assign([ast.Name(name, ast.Store())], probe) if is_own else ast.Expr(probe)
        for part in ast.walk(node):
            ast.copy_location(part, anchor)
        return node

    def returned(self, value, statement):
        """Insert a probe around a returned value, or around each element of a tuple."""
        if isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
            places = [(e, k, len(value.elts)) for k, e in enumerate(value.elts)]
            value.elts = [self._probe("return", "", statement, *place[:1], *place) for place in places]
            return value
        return self._probe("return", "", statement, value, value, 0, 0)

    def visit(self, node):
        """Return an expression of forward with a probe around it and each of its parts that can be perturbed."""
        if isinstance(node, NOT_ENTERED) or (isinstance(node, ast.Name) and node.id in LIBRARIES):
            return node
        if isinstance(node, ast.Subscript):
            node.value = self.visit(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
            node.args = [self.visit(argument) for argument in node.args]
        elif isinstance(node, ast.Call):
            node.func = self.visit(node.func) if isinstance(node.func, ast.Call) else node.func
            node.args = [self.visit(argument) for argument in node.args]
        else:
            self.generic_visit(node)
        is_value = isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if not is_value or isinstance(node, UNMOVED):
            return node
        return self._probe("part", "", self.statement, node, node)

    def _probe(self, kind, name, statement, argument, value=None, *place):
        """Append a Site, and return the call of its probe."""
        original = self.originals[id(statement)]
        value = None if value is None else self.originals[id(value)]
        line = first_line(original) if isinstance(original, OWN_SCOPE) else original.lineno
        self.sites.append(Site(kind, name, line, original, value, *place))
        probe = ast.Name(PROBE, ast.Load())
        probe = ast.Attribute(probe, "part", ast.Load()) if kind == "part" else probe
        return ast.copy_location(ast.Call(probe, [ast.Constant(len(self.sites) - 1), argument], []), argument)


def _bound(statement):
    """Return (names that a statement binds or modifies, True if it modifies them)."""
    if isinstance(statement, ast.Assign):
        is_written = any(isinstance(target, ast.Subscript) for target in statement.targets)
        return [name for target in statement.targets for name in _names(target, is_written)], is_written
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return _names(statement.target), False
    if isinstance(statement, ast.AugAssign):
        return _names(statement.target, True), True
    if isinstance(statement, ast.For):
        return _names(statement.target), False
    if isinstance(statement, ast.With):
        return [name for item in statement.items if item.optional_vars for name in _names(item.optional_vars)], False
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in SCATTERS and call.args:
        return _names(call.args[0], True), True
    return [], False


def _names(target, is_written=False):
    """Return the names in a target, including the arrays that it indexes if the statement writes into them."""
    while is_written and isinstance(target, ast.Subscript):
        target = target.value
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, ast.Starred):
        return _names(target.value)
    return [name for element in getattr(target, "elts", []) for name in _names(element, is_written)]


def _walrus(node):
    """Return the assignment expressions `name := value` in an expression."""
    nodes = ast.walk(node) if isinstance(node, ast.expr) else ()
    return [n for n in nodes if isinstance(n, ast.NamedExpr)]
