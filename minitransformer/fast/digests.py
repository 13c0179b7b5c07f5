"""The registration of twins, and the check that the textbook has not changed since they were verified.

A twin must give the same results as its textbook function. Tests compare the two, so they are valid only for the source
of the textbook function at that time. Therefore a twin is registered with a digest of that source. The digest includes
the function, and all functions, classes, constants and imports of this package that it uses, directly or indirectly. It
is computed from the syntax tree without docstrings and annotations, so comments, formatting and types do not matter.

When a function is called for the first time, its digest is computed again. If it differs, somebody has edited the
textbook. Then the textbook function runs instead of the twin, and one warning names it. If there are no source files,
as in an installation of compiled files alone, the textbook counts as not edited.
"""

import ast
import hashlib
import threading
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from minitransformer.module import TWINS, EditedTextbook

PACKAGE = "minitransformer"
VERIFIED = {}  # {textbook function: (digest, classes of the textbook whose computation the twin repeats)}
EDITED = {}  # {textbook function that has been called: True if it has been edited}
CHECKING = threading.Lock()
UNIMPORTANT = ("annotation", "returns", "type_comment", "kind", "type_params")


def twin_of(function, digest: str, imitates=()):
    """Return a decorator that registers the engine's twin of a textbook function.

    function   the textbook function
    digest     digest of the source of the textbook function for which the twin was verified
    imitates   classes that the textbook function calls through its arguments, and whose computation the twin repeats
    """

    def register(twin):
        TWINS[function] = twin
        VERIFIED[function] = digest, imitates
        return twin

    return register


def is_edited(function) -> bool:
    """Return True if the source of a textbook function differs from the verified one. Warn the first time."""
    if function not in EDITED:
        with CHECKING:  # only one warning if several threads call a function for the first time
            if function not in EDITED:
                edited = function in VERIFIED and digest_of(function) not in (None, VERIFIED[function][0])
                if edited:
                    warnings.warn(
                        f"{function.__name__} in {function.__module__}, or a function that it uses, has been edited: "
                        "the edited code runs, without its faster twin",
                        EditedTextbook,
                        stacklevel=2,
                    )
                EDITED[function] = edited
    return EDITED[function]


def digest_of(function) -> str | None:
    """Return the digest of the current source of a registered textbook function, or None without a source file."""
    starts = [function, *VERIFIED[function][1]]
    if not source_of(function.__module__):
        return None
    todo, parts = [(start.__module__, start.__name__) for start in starts], {}
    while todo:
        module, name = todo.pop()
        statements = source_of(module).get(name)
        if statements and (module, name) not in parts:
            parts[module, name] = [text for text, _ in statements]
            todo += [other for _, used in statements for other in used]
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:12]


@cache
def source_of(module: str) -> dict:
    """Return the statements at the top level of a module, by the names that they bind. {} without a source file.

    The result is {name: [(text of a statement, {(module, name) of each object of this package that it uses})]}. The
    list of a name contains all statements that bind it, for example an import and a later definition.
    """
    file = Path(find_spec(module).origin)
    found = {}
    for node in ast.parse(file.read_bytes() if file.suffix == ".py" and file.exists() else b"").body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = node.module if isinstance(node, ast.ImportFrom) else None
            ours = f"{origin}.".startswith(f"{PACKAGE}.")
            for alias in node.names:
                used = {(origin, alias.name)} if ours else set()
                found.setdefault(bound_by(alias), []).append((f"{origin} {alias.name}", used))
        else:
            text, names = text_and_names(node)
            used = {(module, name) for name in names}
            for name in bound(node):
                found.setdefault(name, []).append((text, used))
    return found


def bound(statement) -> set:
    """Return the names that a statement binds, or to whose attributes or items it assigns, also in `if` or `try`."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(bound_by(node))
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            while isinstance(node, ast.Attribute | ast.Subscript):
                node = node.value
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names


def bound_by(alias) -> str:
    """Return the name that an alias in an import binds, such as np for `numpy as np` or scipy for `scipy.special`."""
    return alias.asname or alias.name.partition(".")[0]


def text_and_names(definition) -> tuple[str, frozenset]:
    """Convert a syntax tree to a text that does not depend on the version of Python. Return (text, names in it)."""
    words, names = [], set()

    def visit(node):
        if isinstance(node, list):
            words.append("[")
            for item in node:
                visit(item)
            words.append("]")
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                visit(ast.Assign(targets=[node.target], value=node.value))
        elif isinstance(node, ast.AST):
            words.append(type(node).__name__)
            if isinstance(node, ast.Name):
                names.add(node.id)
            for field, value in ast.iter_fields(node):
                if field not in UNIMPORTANT and value not in (None, []):
                    words.append(field)
                    visit(without_docstring(node, value) if field == "body" else value)
        else:
            words.append(repr(node))

    visit(definition)
    return " ".join(words), frozenset(names)


def without_docstring(node, body):
    """Return the body of a definition without its docstring, or any other body unchanged."""
    is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
    return body[1:] if is_definition and ast.get_docstring(node, clean=False) is not None else body
