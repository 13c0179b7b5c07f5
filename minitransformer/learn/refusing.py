"""What is looked at before anything runs: whether the file is a Python file, and whether it keeps to the task.

A forward pass that was changed would be another exercise, and a backward pass that asks a machine for the gradient is
none. Whoever means to get around this can; the point is that nobody does so without meaning to. Only the exercise's
function and the functions that it calls are examined. The file may also hold tests and experiments, with any imports.
"""

import ast
import importlib.util
import re
import symtable
import warnings

from minitransformer.learn.cutting import docstring_of, statements_of
from minitransformer.learn.untyped import untyped
from minitransformer.system.terminal import error_in_words

HEADER = re.compile(r"(\w+), level ([0-3]), cut from (?:minitransformer )?(\S+):")
ORACLES = {
    "gradcheck": "it is what your gradient is held against",
    "torch": "it derives gradients by itself",
    "jax": "it derives gradients by itself",
    "autograd": "it derives gradients by itself",
    "tensorflow": "it derives gradients by itself",
}


class Refusal(ValueError):  # noqa: N818
    """A file that is not graded; its message says why."""


def source_of(path) -> str:
    """Return the text of a Python file, decoded as Python does. Raises Refusal if it cannot be read."""
    try:
        return importlib.util.decode_source(path.read_bytes())
    except OSError as error:
        raise Refusal(f"{path.name} cannot be read: {error_in_words(error)}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise Refusal(f"{path.name} cannot be decoded ({error}): save it as UTF-8") from None


def parsed(text: str, name: str):
    """Return the syntax tree of a file. Raises Refusal, with the place, where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, name, "exec", dont_inherit=True)  # which refuses more than the grammar does
            return ast.parse(text)
    except SyntaxError as error:
        place = f", line {error.lineno}, column {error.offset}" if error.lineno else ""
        raise Refusal(f"{name}{place}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refusal(f"{name}: not Python: {error}") from None


def level_of(tree) -> tuple[int | None, str]:
    """Return the level and the version that the first line of an exercise's file tells, or (None, "")."""
    match = HEADER.match(ast.get_docstring(tree) or "")
    return (int(match[2]), match[3]) if match else (None, "")


def refuse_other_tasks(exercise, text, tree, given, level) -> None:
    """Raise Refusal unless a file keeps to the task. `given` is the tree of the exercise as it was cut."""
    functions = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if exercise.target not in functions:
        raise Refusal(f"there is no {exercise.target} in it any more, which is what is graded")
    known = {ast.dump(node) for node in given.body}
    used = [node for node in needed(exercise.target, text, tree) if ast.dump(node) not in known]
    refuse_imports(used)
    if not exercise.is_update:
        refuse_calls_of_forward(exercise, functions[exercise.target], used)
    if level == 3 or exercise.is_update:
        return
    mine = parts(tree)
    for name, code in parts(given).items():
        if mine.get(name) != code:
            raise Refusal(
                f"{name} was changed outside backward: its backward would be one of another function. "
                f"`minitransformer learn start` in an empty folder shows how it was; at level 3 forward is yours"
            )


def needed(target: str, text: str, tree) -> list:
    """Return the statements at module level that define a function and whatever it reads, directly or through others.

    Functions that nothing of this calls, and blocks that run only if the file is the main program, are left out.
    """
    scopes = {scope.get_name(): scope for scope in symtable.symtable(text, "", "exec").get_children()}
    binding = {}
    for node in tree.body:
        if not is_main_block(node):
            for name in names_bound(node):
                binding.setdefault(name, []).append(node)
    found, pending, seen = [], [target], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in binding.get(name, ()):
            found.append(node)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                pending += globals_read(scopes[node.name])
            else:
                pending += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return found


def is_main_block(node) -> bool:
    """Whether a statement is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}


def names_bound(node):
    """Yield the names that a statement at module level binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    for inner in ast.iter_child_nodes(node):
        yield from names_bound(inner)


def globals_read(scope):
    """Yield the global names that a function or class reads, and those within it."""
    for symbol in scope.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from globals_read(inner)


def parts(tree) -> dict:
    """Return {name: what it computes} of each function of a file, and of each method, without their backward."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = forward_text(node)
        elif isinstance(node, ast.ClassDef):
            methods = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            found |= {f"{node.name}.{method.name}": forward_text(method) for method in methods}
    return found


def refuse_imports(used):
    """Raise Refusal for an import of a library that derives gradients, among statements that the exercise uses."""
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
    """Raise Refusal if the exercise evaluates its forward pass again, for a difference quotient."""
    for node in (inner for statement in used for inner in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id == exercise.target and isinstance(node.ctx, ast.Load):
            raise Refusal(f"line {node.lineno} calls {exercise.target} itself: {ONE_PASS}")
        if isinstance(target, ast.ClassDef) and is_of_self(node):
            raise Refusal(f"line {node.lineno} calls forward again: {ONE_PASS}")


ONE_PASS = "backward works with what forward left, and evaluates no forward pass"


def is_of_self(node):
    """Whether a node is `self(…)`, `super()` or `self.forward`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("self", "super")
    return (
        isinstance(node, ast.Attribute) and node.attr in ("forward", "__class__") and ast.unparse(node.value) == "self"
    )


def forward_text(node) -> str:
    """Return a function as code that says what it computes: without docstrings, nor bodies of backward."""
    node = ast.parse(untyped(ast.unparse(node))).body[0]
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef):
            if inner.name == "backward":
                inner.body = [ast.Pass()]
            elif docstring_of(inner):
                inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def is_untouched(tree, given) -> bool:
    """Whether a file is the exercise as it was cut, but for docstrings and comments."""
    return [without_docstrings(node) for node in tree.body[1:]] == [without_docstrings(node) for node in given.body[1:]]


def without_docstrings(node) -> str:
    """Return a statement as code without docstrings and types."""
    node = ast.parse(untyped(ast.unparse(node))).body[0]
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef) and docstring_of(inner):
            inner.body = inner.body[1:]
    return ast.unparse(node)


def blanks(tree) -> list[tuple[int, str]]:
    """Return (line, name) of the blanks that are left; the name is "return", or "" where nothing is assigned."""
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
    """Return the name of a blank that the statement at a line reads, or nothing."""
    names = {name for _, targets in left for name in targets.split(", ")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.lineno == line and node.id in names and isinstance(node.ctx, ast.Load):
            return node.id
    return ""
