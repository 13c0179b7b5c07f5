"""Refuse a file before it runs if it is not Python or does not keep to the task.

This prevents accidents, not cheating. Only the exercise's function and the functions that it calls are examined. The
file may also contain tests and experiments, with any imports.
"""

import ast
import re
from dataclasses import replace

from gradcheck.front.streams import error_in_words
from gradcheck.names import names_bound
from minitransformer.book.observation import read_python
from minitransformer.learn.cutting import bare, docstring_of, is_main_block, names_needed
from minitransformer.learn.exercises import FORWARD

HEADER = re.compile(
    r"\w+, level (?P<level>[0-4])(?:, student (?P<student>[\w.@-]+))?(?:, bug (?P<seed>\d+) (?P<answer>\w+))?, "
    r"cut from (?:minitransformer )?(?P<version>\S+):"
)
ORACLES = dict.fromkeys(("torch", "jax", "autograd", "tensorflow"), "it computes gradients automatically")
ORACLES["gradcheck"] = "your gradient is compared with its results"

ANEW = "`minitransformer learn start --out another` writes a new copy"


class Refusal(ValueError):  # noqa: N818
    """Raised if a file is not graded. The message gives the reason."""


def source_of(path) -> str:
    try:
        return read_python(path, path.name)
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error_in_words(error)}") from None
    except ValueError as error:
        raise Refusal(str(error)) from None


def of_header(exercise, text: str):
    """Parse the header of a file. Return the exercise, the level or None, and the entries of the header.

    The returned exercise is the variant of the student whom the header names.
    """
    match = HEADER.search(text[:1000])
    entries = {name: entry for name, entry in match.groupdict().items() if entry} if match else {}
    level = int(entries["level"]) if entries else None
    return replace(exercise, student=entries.get("student", "")), level, entries


def refuse_other_tasks(exercise, text, tree, given, level) -> None:
    """Raise Refusal if a file changes more than the task allows.

    `given` is the syntax tree of the original exercise.
    """
    functions = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if exercise.target not in functions:
        raise Refusal(f"the file does not define {exercise.target}, the function that is graded. {ANEW}")
    known = {ast.dump(node) for node in given.body}
    names = names_needed(text, tree.body, exercise.target)
    used = [n for n in tree.body if names & {*names_bound(n)} and not is_main_block(n) and ast.dump(n) not in known]
    is_class = isinstance(functions[exercise.target], ast.ClassDef)
    backwards = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "backward")
    upstream = {argument.arg for node in backwards for argument in node.args.args}
    on_dy = set()
    for node in (inner for statement in used for inner in ast.walk(statement)):
        module = getattr(node, "module", None) or ""
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            dotted = f"{module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            if reason := ORACLES.get(dotted.partition(".")[0]):
                raise Refusal(f"line {node.lineno} imports {dotted}: {reason}")
        if exercise.is_value:
            continue
        if isinstance(node, ast.Call) and node.args and getattr(node.args[0], "id", "") in upstream:
            on_dy.add(node.func)  # a linear function may be applied to dy: the backward pass of a rotation is one
        is_itself = isinstance(node, ast.Name) and node.id == exercise.target and isinstance(node.ctx, ast.Load)
        if is_itself and node not in on_dy:
            raise Refusal(f"line {node.lineno} calls {exercise.target} itself: {ONE_PASS}")
        if is_class and is_of_self(node):
            raise Refusal(f"line {node.lineno} calls forward again: {ONE_PASS}")
    mine = forward_passes(tree)
    for name, code in forward_passes(given).items() if level < FORWARD and not exercise.is_value else ():
        if mine.get(name) != code:
            raise Refusal(
                f"{name} was changed outside backward, so the equations no longer apply, and you write forward only at "
                f"level {FORWARD}. {ANEW}"
            )


ONE_PASS = "backward must use the values saved by forward, and not evaluate a forward pass"


def forward_passes(tree) -> dict:
    found = {n.name: plain_text(n, without_backward=True) for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for method in (inner for inner in node.body if isinstance(inner, ast.FunctionDef)):
            found[f"{node.name}.{method.name}"] = plain_text(method, without_backward=True)
    return found


def is_of_self(node):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("self", "super")
    is_attribute = isinstance(node, ast.Attribute) and node.attr in ("forward", "__class__")
    return is_attribute and ast.unparse(node.value) == "self"


def plain_text(node, *, without_backward=False) -> str:
    """Return the source of a statement without types, argument checks and docstrings."""
    node = ast.parse(bare(ast.unparse(node))).body[0]
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef):
            if inner.name == "backward" and without_backward:
                inner.body = [ast.Pass()]
            elif docstring_of(inner):
                inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def is_untouched(tree, given) -> bool:
    return [*map(plain_text, tree.body[1:])] == [*map(plain_text, given.body[1:])]
