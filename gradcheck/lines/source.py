"""Find the source of a backward pass, and of its forward pass, as syntax trees.

The search starts from the function that the target returned. If this function only calls another function, as `apply`
of a framework does, the function that computes the gradients is sought in its closure.
"""

import ast
import copy
import functools
import gc
import inspect
import linecache
import types
from collections.abc import Callable
from dataclasses import dataclass, field

from gradcheck.adapters.frameworks import Rule
from gradcheck.mistakes.planter import codes_of, key_of
from gradcheck.mistakes.sources import FUNCTION, first_line
from gradcheck.names import names_bound, names_read, nodes_of

NOT_WITHIN = "no function `backward` is defined within its forward pass, so there are no lines to examine"
ADDED = "__gradcheck_"  # the beginning of names that a lowered function adds
PREFIXES, SUFFIXES = ("d", "d_", "grad_"), ("_grad", "_bar")  # of the names of gradients


@dataclass(frozen=True)
class Source:
    """The code of a backward pass and of its forward pass, with the file that contains it."""

    file: str
    tree: ast.Module  # the imports, and the top-level statements that contain the two passes
    outer: ast.FunctionDef  # the forward pass in the tree
    inner: ast.AST  # the backward pass in the tree
    function: types.FunctionType  # the backward pass
    lines: list  # the lines of the file
    is_whole: bool  # False if another function of the target calls the backward pass
    forward: types.FunctionType | None = None  # the forward pass, if it is a separate function
    rule: Rule | None = None  # of PyTorch or JAX
    # Of a lowered function (lowering.py): {local name: the user's code for it}, and a function from the expression that
    # it returns to the user's
    spelling: dict = field(default_factory=dict)
    returned: Callable | None = None

    @property
    def name(self):
        """The name of the rule or of the forward pass, or that of the class for a method `forward`."""
        if self.rule is not None:
            return self.rule.name
        if self.forward is not None:
            return self.forward.__name__
        owner, _, name = self.function.__qualname__.rpartition(".<locals>.")[0].rpartition(".")
        return owner.rpartition(".")[2] if name in ("forward", "__call__") and owner else name

    def shown(self, name):
        """Return the code that the user wrote for a name, which may have been replaced with a local name."""
        return self.spelling.get(name, name)

    def code(self, node):
        """Return the code that the user wrote for an expression or statement."""
        if self.returned is None:
            return ast.unparse(node)
        if isinstance(node, ast.Return):
            node = ast.Return(self.returned(node.value))
        return ast.unparse(_Spelled(self.spelling).visit(copy.deepcopy(node)))

    @property
    def framework(self):
        return self.rule.framework if self.rule else ""

    @property
    def parameter(self):
        """The name of the argument of backward that receives dy, or ""."""
        names = ["", *(a.arg for a in (*self.inner.args.posonlyargs, *self.inner.args.args))]
        if self.rule is None:
            return [*names, ""][1]
        return names[2] if self.framework == "torch" else names[-1]  # behind `ctx`, or behind the residuals of JAX


class _Spelled(ast.NodeTransformer):
    def __init__(self, spelling):
        self.spelling = spelling

    def visit_Call(self, node):
        is_added = ADDED in ast.unparse(node.func)
        return self.visit(node.args[0]) if is_added else self.generic_visit(node)

    def visit_Name(self, node):
        return ast.parse(self.spelling[node.id], mode="eval").body if node.id in self.spelling else node


def source_of(backward, target, name, only=""):
    """Find the source of a backward pass.

    `target` is the function that returned it, and `name` is used in error messages. With `only`, the source is in the
    file of that path. Raises ValueError if there is no source, or if the file was changed after it was loaded.
    """
    forward, *functions = _pair_within(target) or [None, *closures(backward)]
    is_lambda = getattr(forward, "__name__", "") == "<lambda>"
    obstacle = "its forward pass is a lambda: write it with def, so that it has lines" if is_lambda else NOT_WITHIN
    reason, candidates = f"{name}: {obstacle}", []
    for function in functions:
        if str(function.__module__).startswith("gradcheck.adapters."):  # exec may define functions without a module
            continue
        file = function.__code__.co_filename
        if only not in ("", file):
            continue
        linecache.checkcache(file)
        lines = linecache.getlines(file)
        if not lines:
            reason = f"{name}: the source of its backward cannot be read: there is no file {file}"
            continue
        tree, outer, inner = node_of(function, lines)
        if forward is not None and forward.__code__.co_filename == file:
            other, _, outer = node_of(forward, lines)
            tree = ast.Module([s for part in (tree, other) if part for s in part.body], [])
        if inner is not None and isinstance(outer, FUNCTION):
            is_whole = forward is not None or function is backward
            candidates.append(Source(file, tree, outer, inner, function, lines, is_whole, forward, _rule_of(target)))
    for source in sorted(candidates, key=_names_a_gradient, reverse=True):
        if only or _names_a_gradient(source) or _computes(source):
            require_unchanged(name, source.tree, source.file, filter(None, (source.function, forward)))
            return source
    raise ValueError(reason)


def require_unchanged(name, tree, file, functions):
    """Raise ValueError if the syntax tree of a file does not have the code of the `functions` in memory."""
    codes = codes_of(tree, file)
    for function in functions:
        if codes.get(key_of(function.__code__)) != function.__code__:
            changed = f"{file} was changed after it was loaded"
            raise ValueError(f"{name}: {changed}, so it is not the source of the running code")


def _pair_within(target):
    """Return the forward and backward functions of a from_pair target or of a rule of a framework, or ()."""
    rule = _rule_of(target)
    if rule is not None:
        return tuple(inspect.unwrap(function) for function in (rule.forward, rule.backward))
    if not isinstance(target, types.FunctionType) or target.__globals__.get("__name__") != "gradcheck.adapters.pairs":
        return ()
    held = contents(target)
    pair = held.get("forward"), held.get("backward")
    return pair if all(isinstance(function, types.FunctionType) for function in pair) else ()


def _rule_of(target):
    return getattr(target, "rule", None) if type(target).__module__ == "gradcheck.adapters.frameworks" else None


def node_of(function, lines):
    """Find a function in the lines of its file. Return (tree, enclosing function, its own node), or three Nones."""
    found = _functions_of("".join(lines)).get(key_of(function.__code__), [])
    return found[0] if len(found) == 1 else (None, None, None)


def closures(function):
    """Yield a function and, recursively, the functions in its closure, nearest first."""
    pending, seen = [function], set()
    while pending:
        value = pending.pop(0)
        value = value.func if isinstance(value, functools.partial) else value
        value = getattr(value, "__func__", value)
        if isinstance(value, types.FunctionType) and id(value) not in seen:
            seen.add(id(value))
            yield value
            pending.extend(contents(value).values())


def contents(function):
    held = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # an empty cell
            continue
    return held


def holders_of(source):
    """Return the functions in memory whose code contains a backward pass."""
    if source.forward is not None:
        return [source.forward, source.function]
    key = key_of(source.function.__code__)
    of_file = [f for f in gc.get_referrers(source.function.__globals__) if type(f) is types.FunctionType]
    inside = [(f, c) for f in of_file for c in f.__code__.co_consts if isinstance(c, types.CodeType)]
    return [f for f, code in inside if key_of(code) == key and f.__code__.co_filename == source.file]


def is_gradient(name):
    return bool(gradient_of(name))


def gradient_of(name, prefixes=PREFIXES):
    """Return each X whose gradient a variable `name` may hold: `dX`, `d_X`, `grad_X`, `X_grad` or `X_bar`."""
    found = [name[len(prefix) :] for prefix in prefixes if name.startswith(prefix)]
    return [x for x in (*found, *(name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix))) if x]


def _names_a_gradient(source):
    if isinstance(source.inner, ast.Lambda):
        return any(map(is_gradient, names_read(source.inner.body)))
    returned = [node for node in nodes_of(*source.inner.body, enters_scopes=False) if isinstance(node, ast.Return)]
    return any(map(is_gradient, [*names_bound(*source.inner.body), *names_read(*returned)]))


def _computes(source):
    """Return True if a backward pass computes something, rather than only calling a function."""
    return any(
        isinstance(node, (ast.BinOp, ast.UnaryOp))
        or (isinstance(node, ast.Call) and hasattr(node.func, "attr") and source.parameter in names_read(node))
        for node in ast.walk(source.inner)
    )


@functools.lru_cache(maxsize=32)
def _functions_of(text):
    """Find the functions in a source text. Return {(first line, name): [(tree, enclosing function, node)]}.

    `tree` contains the top-level statement that defines the function, and the imports of the file. The imports are
    needed because Python compiles a call of an imported name differently.
    """
    try:
        module = ast.parse(text)
    except SyntaxError:
        return {}
    imports = [s for s in module.body if isinstance(s, (ast.Import, ast.ImportFrom))]
    found = {}
    for statement in module.body:
        tree = ast.Module([*imports, statement], [])
        pending = [(None, statement)]
        while pending:
            outer, node = pending.pop()
            if isinstance(node, (*FUNCTION, ast.Lambda)):
                found.setdefault((first_line(node), getattr(node, "name", "<lambda>")), []).append((tree, outer, node))
                outer = node if isinstance(node, FUNCTION) else outer
            pending.extend((outer, child) for child in ast.iter_child_nodes(node))
    return found
