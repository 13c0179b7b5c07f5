"""Cut exercises from the current source, so that an exercise and the textbook cannot differ.

The file includes the imports and the small functions that the function needs, such as `rows`. It omits argument
checks, types, and the part that the student writes. The level selects this part:

    0  the right-hand side of every line of backward; names and numbers stay
    1  the body of backward; its derivation stays
    2  the derivation as well
    3  the body of forward as well; its docstring defines the result

AdamW has no backward pass. Its exercise is the update.
"""

import ast
import re
import symtable
import textwrap
from dataclasses import dataclass
from functools import cache

from minitransformer.learn.exercises import LEVELS, PACKAGE, Exercise
from minitransformer.learn.untyped import untyped, without_checks
from minitransformer.system.version import __version__

NUMBERS = re.compile(r"#\s*((?:\(\d+\)[, ]*)+)")
RAISES = re.compile(r"\s*Raises [^\n]*(?:\n(?!\s*\n)[^\n]*?)*?(?=\s*Saved for backward|\s*\n\s*\n|\s*\"\"\")")
BLANK = "..."


@cache
def cut(exercise: Exercise, level: int) -> str:
    if exercise.given:
        return exercise.given
    source = exercise.source.read_text("utf-8")
    text = "\n".join([header(exercise, level), *File(source).taken(exercise, level)]).rstrip() + "\n"
    return without_citations(text)


def without_citations(text):
    """Replace references to equations that were cut out, such as `(6)`, with "the equations of backward"."""
    kept = {number for line in text.split("\n") for number in re.findall(r" {2}\((\d+)\) *$", line)}

    def cited(match):
        return match[0] if match[2] in kept else f"{match[1]} the equations of backward"

    return re.sub(r"\b(by|in|from|From) \((\d+)\)", cited, text)


def header(exercise, level):
    """Return the docstring of the file. Its first line is parsed by `refusing.py`."""
    aim = "Do not change forward: your backward is compared with its derivatives."
    if exercise.is_update:
        aim = "AdamW has no backward pass: you write the update."
    elif level == 3:
        aim = "Your backward is compared with derivatives of your forward, and your y with the package's."
    what = textwrap.fill(f"Replace each `{BLANK}`: write {LEVELS[level]}. {aim}", 110)
    source = f"minitransformer {__version__}" if exercise.source.is_relative_to(PACKAGE) else exercise.source.name
    first = f"{exercise.name}, level {level}, cut from {source}: {exercise.title}."
    return f'"""{first}\n\n{what}\n"""\n'


@dataclass(frozen=True)
class Edit:
    """Replace lines `first` to `last` of a file with `lines`."""

    first: int
    last: int
    lines: list


class File:
    """A source file without types and argument checks. `nodes` maps names to the statements that bind them."""

    def __init__(self, source: str):
        self.source = without_checks(untyped(source))
        self.lines = self.source.split("\n")
        self.body = ast.parse(self.source).body
        self.nodes = {name: node for node in self.body for name in names_bound(node)}

    def needed(self, target) -> set:
        """Return the names that a function needs directly or indirectly, including its own."""
        return names_needed(self.source, self.body, target)

    def taken(self, exercise, level) -> list[str]:
        """Return the lines of an exercise: its function, and everything that it needs.

        Level None gives the solution, which is never written to a file.
        """
        names = self.needed(exercise.target) | {"np"}
        imports, constants, functions = [], [], []
        for node in self.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imports += self.import_of(node, names)
            elif names.isdisjoint(names_bound(node)):
                continue
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                functions += ["", "", *self.edited(node, self.edits(node, exercise, level))]
            else:
                constants += self.lines[node.lineno - 1 : node.end_lineno]
        return [*imports, *([""] * bool(constants)), *constants, *functions]

    def import_of(self, node, names):
        kept = [alias for alias in node.names if (alias.asname or alias.name) in names]
        if not kept:
            return []
        return ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), "names": kept})).split("\n")

    def edits(self, node, exercise, level):
        """Return the Edits that turn a function or class into the exercise's version."""
        found, is_target = [], node.name == exercise.target
        if level is None:
            return found
        if exercise.is_update and is_target:
            return self.hollow(node, level, summary_of(node))
        for function in functions_within(node):
            if function.name == "backward" and self.is_numbered(function):
                found += self.hollow(function, level, [*task_of(node, function)])
            elif docstring_of(function):
                found += self.without_raises(function)
        if level == 3 and is_target:
            found = [e for e in found if not any(inside(e, gone) for gone in self.forward_gone(node))]
            found += self.forward_gone(node)
        return found

    def is_numbered(self, function):
        return any(self.number_of(node) for node in statements_of(function))

    def number_of(self, node) -> str:
        """Return the equation numbers in the comment after a statement, or ""."""
        match = NUMBERS.search(self.lines[node.end_lineno - 1][node.end_col_offset - 1 :])
        return match[1].strip(", ") if match else ""

    def hollow(self, function, level, task):
        """Return the Edits that blank a function at a level. `task` replaces a derivation."""
        if level == 0:
            return [Edit(s.lineno, s.end_lineno, self.blanked(s)) for s in statements_of(function) if is_an_answer(s)]
        body = function.body[1:] if docstring_of(function) else function.body
        indent = " " * function.body[0].col_offset
        gone = [Edit(body[0].lineno, body[-1].end_lineno, [indent + BLANK])]
        if level >= 2 and docstring_of(function):
            text = textwrap.indent("\n".join(task), indent).split("\n")
            gone.append(Edit(function.body[0].lineno, function.body[0].end_lineno, [line.rstrip() for line in text]))
        return gone

    def blanked(self, statement):
        number = self.number_of(statement)
        left = {
            ast.Assign: lambda: f"{ast.unparse(statement.targets[0]).strip('()')} = ",
            ast.Return: lambda: "return ",
            ast.Expr: lambda: "",
        }[type(statement)]()
        return [" " * statement.col_offset + left + BLANK + (f"  # {number}" if number else "")]

    def forward_gone(self, node):
        """Return the Edit that blanks the forward pass up to the definition of backward."""
        function = next((f for f in node.body if getattr(f, "name", "") == "forward"), node)
        inner = next(s for s in function.body if isinstance(s, ast.FunctionDef))
        first = function.body[1] if docstring_of(function) else function.body[0]
        return [Edit(first.lineno, inner.lineno - 1, [" " * first.col_offset + BLANK, ""])]

    def without_raises(self, function):
        """Return the Edit that removes the exceptions from a docstring.

        An exercise has no checks, so it does not raise them.
        """
        node = function.body[0]
        lines = self.lines[node.lineno - 1 : node.end_lineno]
        text = "\n".join(lines)
        shorter = RAISES.sub("", text)
        indent = " " * function.body[0].col_offset
        shorter = re.sub(r"(?<=\S)\s*(Saved for backward)", rf"\n\n{indent}\1", shorter)
        return [Edit(node.lineno, node.end_lineno, shorter.split("\n"))] if shorter != text else []

    def edited(self, node, edits):
        lines = list(self.lines)
        for edit in sorted(edits, key=lambda e: e.first, reverse=True):
            lines[edit.first - 1 : edit.last] = edit.lines or []
        return lines[node.lineno - 1 : node.end_lineno + len(lines) - len(self.lines)]


def inside(edit, other):
    return other.first <= edit.first and edit.last <= other.last


def names_needed(source: str, body, target: str) -> set:
    """Return the names of a module that a function needs directly or indirectly, including its own.

    Blocks that run only if the file is the main program are ignored.
    """
    scopes = {scope.get_name(): scope for scope in symtable.symtable(source, "", "exec").get_children()}
    binding = {}
    for node in body:
        if not is_main_block(node):
            for name in names_bound(node):
                binding.setdefault(name, []).append(node)
    found, todo = set(), [target]
    while todo:
        name = todo.pop()
        if name not in found and name in binding:
            found.add(name)
            todo += [read for node in binding[name] for read in names_read(node, scopes)]
    return found


def is_main_block(node) -> bool:
    return isinstance(node, ast.If) and "__name__" in names_in(node.test)


def names_in(node) -> set:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def names_bound(node):
    """Yield the names that a module-level statement binds, including those in its branches."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    for inner in ast.iter_child_nodes(node):
        yield from names_bound(inner)


def names_read(node, scopes) -> set:
    """Return the names of the module that a statement reads. `scopes` are the symbol tables of its functions."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return names_in(node)
    outside = [*node.decorator_list, node.args if isinstance(node, ast.FunctionDef) else ast.Tuple(node.bases)]
    return set().union(globals_read(scopes[node.name]), *map(names_in, outside))


def globals_read(scope):
    for symbol in scope.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from globals_read(inner)


def functions_within(node):
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef))


def docstring_of(function) -> str:
    return ast.get_docstring(function, clean=False) or ""


def statements_of(function):
    """Yield the simple statements of a function in order.

    Statements in branches and loops are included; the docstring and nested functions are not.
    """
    todo = function.body[1:] if docstring_of(function) else list(function.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, (ast.If, ast.For)):
            todo = [*node.body, *node.orelse, *todo]
        elif not isinstance(node, ast.FunctionDef):
            yield node


def is_an_answer(statement) -> bool:
    """Return True if the right-hand side of a statement contains more than names and constants."""
    if not isinstance(statement, (ast.Assign, ast.Expr, ast.Return)) or statement.value is None:
        return False
    parts = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
    return not all(isinstance(part, (ast.Name, ast.Constant)) for part in parts)


def summary_of(function):
    """Return a docstring with the first paragraph of the function's docstring."""
    return f'"""{ast.get_docstring(function).split(chr(10) * 2)[0]}\n\nYou derive the equations.\n"""'.split("\n")


def task_of(node, function):
    """Yield the lines of the docstring that replaces the derivation and states the task."""
    (dy, *others) = [argument.arg for argument in function.args.args]
    given = listed([dy, *others])
    gradients = gradients_of(node, function)
    yield f'"""Return {listed(gradients)} for {given}, where dX denotes ∂L/∂X and has the shape of X.'
    yield ""
    yield "Derive it from the equations of the forward pass. There may be any number of leading axes."
    yield '"""'


def gradients_of(node, function):
    """Return the names in the longest return statement of a backward pass, or ["dx"]."""
    found = []
    for statement in statements_of(function):
        if isinstance(statement, ast.Return):
            parts = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
            found = max(found, [p.id for p in parts if isinstance(p, ast.Name)], key=len)
    return found or ["dx"]


def listed(names):
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
