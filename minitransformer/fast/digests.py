"""The registration of twins, and the check that the textbook still is the one they were verified against.

A twin must compute the same as its textbook function. Its tests compare the two, so they hold for the textbook function
as it was when they were run. Hence a twin is registered with a digest of that source: of the function, and of the
functions, classes, constants and imports of this package that it uses, directly or through others. The digest is taken
from the syntax tree without docstrings and annotations, so comments, formatting and types do not matter.

When a function is called for the first time, its digest is computed again. If it differs, somebody has edited the
textbook: the textbook function then runs instead of the twin, and one warning names it. Without source files, as in
an installation of compiled files alone, nothing can have been edited.
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
VERIFIED = {}  # {textbook function: (digest, further textbook classes that the twin imitates)}
EDITED = {}  # {textbook function that has been called: whether it has been edited}
CHECKING = threading.Lock()
UNIMPORTANT = ("annotation", "returns", "type_comment", "kind", "type_params")


def twin_of(function, digest: str, imitates=()):
    """Return a decorator that registers the engine's twin of a textbook function.

    function: the textbook function. digest: the digest of the source that the twin was verified against.
    imitates: classes that the textbook function calls through its arguments, and whose computation the twin repeats.
    """

    def register(twin):
        TWINS[function] = twin
        VERIFIED[function] = digest, imitates
        return twin

    return register


def is_edited(function) -> bool:
    """Return True if the source of a textbook function differs from the verified one, at first with a warning."""
    if function not in EDITED:
        with CHECKING:  # threads that call a function for the first time at once get one warning
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
    """Return the digest of a registered textbook function's present source; None if there is no source file."""
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
    """Return the statements at the top level of a module by the names that they bind; {} without a source file.

    Each is {name: [(text of the statement, (module, name) of everything in this package that it uses)]}. A name that
    several statements bind, as an import and a definition further down, has all of them.
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
    """Return the names that a statement binds, or whose attributes or items it assigns, also within `if` or `try`."""
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
    """Return the name that a part of an import statement binds: np for `numpy as np`, scipy for `scipy.special`."""
    return alias.asname or alias.name.partition(".")[0]


def text_and_names(definition) -> tuple[str, frozenset]:
    """Return a text of a syntax tree, the same in every version of Python, and the names that occur in it."""
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
    """Return the body of a definition without its docstring, or any other body as it is."""
    is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
    return body[1:] if is_definition and ast.get_docstring(node, clean=False) is not None else body
