"""Examine the source of an exercise before it runs: is it valid Python, and does it keep to the task?

The forward pass must be unchanged, because the equations to derive depend on it, and backward must not call a library
that computes gradients. This prevents accidents, not cheating: a determined student can circumvent it. Only the
exercise's function and the functions that it calls are examined. The file may also contain tests and experiments, with
any imports.
"""

import ast
import re

from minitransformer.book.observation import read_python
from minitransformer.learn.cutting import docstring_of, is_main_block, names_bound, names_needed, statements_of
from minitransformer.learn.untyped import untyped
from minitransformer.system.terminal import error_in_words

HEADER = re.compile(r"(\w+), level ([0-3]), cut from (?:minitransformer )?(\S+):")
ORACLES = {
    "gradcheck": "your gradient is compared with its results",
    "torch": "it computes gradients automatically",
    "jax": "it computes gradients automatically",
    "autograd": "it computes gradients automatically",
    "tensorflow": "it computes gradients automatically",
}


class Refusal(ValueError):  # noqa: N818
    """A file is not graded. The message gives the reason."""


def source_of(path) -> str:
    """Read a Python file in its declared encoding. Raises Refusal if it cannot be read or is not valid Python."""
    try:
        return read_python(path, path.name)
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error_in_words(error)}") from None
    except ValueError as error:
        raise Refusal(str(error)) from None


def level_of(tree) -> tuple[int | None, str]:
    """Return (level, version) from the first line of an exercise, or (None, "") if it does not give them."""
    match = HEADER.match(ast.get_docstring(tree) or "")
    return (int(match[2]), match[3]) if match else (None, "")


def refuse_other_tasks(exercise, text, tree, given, level) -> None:
    """Raise Refusal unless a file keeps to the task.

    `given` is the syntax tree of the original exercise.
    """
    functions = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if exercise.target not in functions:
        raise Refusal(f"the file does not define {exercise.target}, the function that is graded")
    known = {ast.dump(node) for node in given.body}
    names = names_needed(text, tree.body, exercise.target)
    used = [n for n in tree.body if names & {*names_bound(n)} and not is_main_block(n) and ast.dump(n) not in known]
    refuse_imports(used)
    if not exercise.is_update:
        refuse_calls_of_forward(exercise, functions[exercise.target], used)
    if level == 3 or exercise.is_update:
        return
    mine = parts(tree)
    for name, code in parts(given).items():
        if mine.get(name) != code:
            raise Refusal(
                f"{name} was changed outside backward, so the equations no longer apply. Restore it from a new copy "
                f"(`minitransformer learn start --out another`); you write forward only at level 3"
            )


def parts(tree) -> dict:
    """Return {name: source of the forward pass} of each function and method of a file."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = plain_text(node, without_backward=True)
        elif isinstance(node, ast.ClassDef):
            for method in (inner for inner in node.body if isinstance(inner, ast.FunctionDef)):
                found[f"{node.name}.{method.name}"] = plain_text(method, without_backward=True)
    return found


def refuse_imports(used):
    for node in used:
        for line, module in imported(node):
            library = module.partition(".")[0]
            if library in ORACLES:
                raise Refusal(f"line {line} imports {module}: {ORACLES[library]}")


def imported(tree):
    """Yield (line, dotted name) of each import in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def refuse_calls_of_forward(exercise, target, used):
    """Raise Refusal if the exercise calls its own forward pass, as a difference quotient would."""
    for node in (inner for statement in used for inner in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id == exercise.target and isinstance(node.ctx, ast.Load):
            raise Refusal(f"line {node.lineno} calls {exercise.target} itself: {ONE_PASS}")
        if isinstance(target, ast.ClassDef) and is_of_self(node):
            raise Refusal(f"line {node.lineno} calls forward again: {ONE_PASS}")


ONE_PASS = "backward must use the values saved by forward, and not evaluate a forward pass"


def is_of_self(node):
    """Return True for `self(…)`, `super()`, `self.forward` and `self.__class__`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("self", "super")
    return (
        isinstance(node, ast.Attribute) and node.attr in ("forward", "__class__") and ast.unparse(node.value) == "self"
    )


def plain_text(node, *, without_backward=False) -> str:
    """Return the source of a statement without types and docstrings.

    With `without_backward`, the body of backward is also removed.
    """
    node = ast.parse(untyped(ast.unparse(node))).body[0]
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef):
            if inner.name == "backward" and without_backward:
                inner.body = [ast.Pass()]
            elif docstring_of(inner):
                inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def is_untouched(tree, given) -> bool:
    """Return True if only docstrings and comments differ from the original exercise."""
    return [*map(plain_text, tree.body[1:])] == [*map(plain_text, given.body[1:])]


def blanks(tree) -> list[tuple[int, str]]:
    """Return (line, name) of each remaining blank.

    The name is "return" in a return statement, and "" in an expression statement.
    """
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in statements_of(function):
                value = getattr(statement, "value", None)
                if isinstance(value, ast.Constant) and value.value is ...:
                    targets = ", ".join(ast.unparse(t).strip("()") for t in getattr(statement, "targets", ()))
                    found.append((statement.lineno, "return" if isinstance(statement, ast.Return) else targets))
    return sorted(found)


def read_while_blank(tree, line, left) -> str:
    """Return the name of a blank whose value a line reads, or ""."""
    names = {name for _, targets in left for name in targets.split(", ")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.lineno == line and node.id in names and isinstance(node.ctx, ast.Load):
            return node.id
    return ""
