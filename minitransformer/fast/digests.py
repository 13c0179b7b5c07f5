"""The registration of twins, and the check that the textbook has not changed since they were verified.

A twin must give the same results as its textbook function. Tests compare the two, so they are valid only for the source
of the textbook function at that time. Therefore a twin is registered with a digest of that source. The digest includes
the function, and all functions, classes, constants and imports of this package that it uses, directly or indirectly.
Comments, docstrings, formatting and annotations do not matter.

When a function is called for the first time, its digest is computed again. If it differs, somebody has edited the
textbook. Then the textbook function runs instead of the twin, and one warning names it. If there are no source files,
as in an installation of compiled files only, the textbook is considered unedited.
"""

import ast
import hashlib
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from minitransformer.module import TWINS, EditedTextbook

VERIFIED = {}  # {textbook function: (digest, classes of the textbook whose computation the twin repeats)}
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def twin_of(function, digest: str, imitates=()):
    """Return a decorator that registers a twin of a textbook function with this digest.

    `imitates` lists classes whose instances the textbook function calls, and whose computation the twin contains.
    """

    def register(twin):
        TWINS[function] = twin
        VERIFIED[function] = digest, imitates
        return twin

    return register


@cache
def is_edited(function) -> bool:
    """Return True if the source of a textbook function differs from the verified one. Warn once per function."""
    edited = function in VERIFIED and digest_of(function) not in (None, VERIFIED[function][0])
    if edited:
        warnings.warn(
            f"{function.__name__} in {function.__module__}, or a function that it uses, has been edited: "
            "the edited code runs instead of its faster twin",
            EditedTextbook,
            stacklevel=2,
        )
    return edited


def digest_of(function) -> str | None:
    """Return the digest of the current source of a registered textbook function, or None without a source file."""
    if not source_of(function.__module__):
        return None
    todo = [(start.__module__, start.__name__) for start in (function, *VERIFIED[function][1])]
    parts = {}
    while todo:
        module, name = todo.pop()
        statements = source_of(module).get(name)
        if statements and (module, name) not in parts:
            parts[module, name] = [text for text, _ in statements]
            todo += [other for _, used in statements for other in used]
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:12]


@cache
def source_of(module: str) -> dict:
    """Return the top-level statements of a module by the names that they bind, or {} without a source file.

    The result maps each name to a list of all statements that bind it, for example an import and a later definition.
    An entry of the list is (text, {(module, name) of each object of this package that the statement uses}).
    """
    file = Path(find_spec(module).origin)
    found = {}
    for node in ast.parse(file.read_bytes() if file.suffix == ".py" and file.exists() else b"").body:
        if isinstance(node, ast.ImportFrom):
            ours = f"{node.module}.".startswith("minitransformer.")
            for alias in node.names:
                used = {(node.module, alias.name)} if ours else set()
                found.setdefault(alias.asname or alias.name, []).append((f"{node.module} {alias.name}", used))
        else:
            node = WithoutTypes().visit(node)
            used = {(module, name.id) for name in ast.walk(node) if isinstance(name, ast.Name)}
            text = ast.unparse(node).replace('"', "'")  # the quotes of f-strings depend on the version of Python
            for name in bound(node):
                found.setdefault(name, []).append((text, used))
    return found


def bound(statement) -> set:
    """Return the names that a statement binds, or whose attributes or items it sets, also within `if` or `try`."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            while isinstance(node, ast.Attribute | ast.Subscript):
                node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names


class WithoutTypes(ast.NodeTransformer):
    """A transformer that removes docstrings and annotations from a syntax tree."""

    def generic_visit(self, node):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        for field in ("annotation", "returns"):
            if hasattr(node, field):
                setattr(node, field, None)
        return super().generic_visit(node)

    def visit_AnnAssign(self, node):
        return node.value and ast.copy_location(ast.Assign([self.visit(node.target)], self.visit(node.value)), node)
