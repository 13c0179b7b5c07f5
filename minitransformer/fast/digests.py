"""The registration of twins, and the check that the textbook still is the one they were verified against.

A twin must compute the same as its textbook function. Its tests compare the two, so they hold for the textbook function
as it was when they were run. Hence a twin is registered with a digest of that source: of the function, and of the
functions, classes and constants of this package that it uses, directly or through others. The digest is taken from the
syntax tree without docstrings and annotations, so comments, formatting and types do not matter.

When a function is called for the first time, its digest is computed again. If it differs, somebody has edited the
textbook: the textbook function then runs instead of the twin, and one warning names it. Without source files, as in
an installation of compiled files alone, nothing can have been edited.
"""

import ast
import hashlib
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from minitransformer.module import TWINS, EditedTextbook

PACKAGE = "minitransformer"
VERIFIED = {}  # {textbook function: (digest, further textbook classes that the twin imitates)}
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


@cache
def is_edited(function) -> bool:
    """Return True, with a warning, if the source of a textbook function differs from the verified one."""
    if function not in VERIFIED or digest_of(function) in (None, VERIFIED[function][0]):
        return False
    warnings.warn(
        f"{function.__name__} in {function.__module__}, or a function that it uses, has been edited: "
        "the edited code runs, without its faster twin",
        EditedTextbook,
        stacklevel=2,
    )
    return True


def digest_of(function) -> str | None:
    """Return the digest of a registered textbook function's present source; None if there is no source file."""
    starts = [function, *VERIFIED[function][1]]
    if source_of(function.__module__) == ({}, {}):
        return None
    todo, parts = [(start.__module__, start.__name__) for start in starts], {}
    while todo:
        module, name = todo.pop()
        definitions, imports = source_of(module)
        if name in imports:
            todo.append(imports[name])
        elif name in definitions and (module, name) not in parts:
            parts[module, name], used = definitions[name]
            todo += [(module, other) for other in used]
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:12]


@cache
def source_of(module: str) -> tuple[dict, dict]:
    """Return the definitions and the imports at the top level of a module of this package.

    Definitions are {name: (text of its syntax tree, names that it uses)}, imports {name: (module, name there)}. Both
    are empty if the module has no source file.
    """
    file = Path(find_spec(module).origin)
    definitions, imports = {}, {}
    for node in ast.parse(file.read_bytes() if file.suffix == ".py" and file.exists() else b"").body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE}."):
            imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = text_and_names(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = text_and_names(node)
            for part in (part for target in targets for part in ast.walk(target)):
                if isinstance(part, ast.Name):
                    definitions[part.id] = assigned
    return definitions, imports


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
