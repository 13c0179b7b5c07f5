"""Cut exercises from the current source, so that they agree with the textbook.

The file of an exercise contains the function, and the imports and helper functions that it needs, without argument
checks and types. Functions that are exercises themselves are imported. Of a class, only the methods whose backward pass
is to be written are kept.
"""

import ast
import copy
import re
import symtable
import textwrap
from collections import namedtuple
from functools import cache

from gradcheck.front.streams import joined
from gradcheck.names import names_bound, names_in
from minitransformer.learn.exercises import EXERCISES, FORWARD, LEVELS, NOTHING, PACKAGE, SLOPES, Exercise
from minitransformer.learn.variants import said, varied
from minitransformer.system.version import __version__

NUMBERS = re.compile(r"#\s*((?:\(\d+\)[, ]*)+)")
RAISES = re.compile(r"\s*Raises:? [^\n]*(?:\n(?!\s*\n)[^\n]*?)*?(?=\s*Saved for backward|\s*\n\s*\n|\s*\"\"\")")
SLOPE = re.compile(r"(?:∂[^\s/]+/∂[^\s=]+|\w′) = .+?(?=\s{3,}|, | and |[.;:](?: |$)| so | \(see|$)")
WRITTEN = re.compile(r"def backward\(.*?# \(\d", re.DOTALL)  # a numbered line of a backward pass
GRADIENT = re.compile(r"\bd[^\W\d]")
MIRROR = re.compile(r"( +)([\w, ]+?) = (.+?) +# ← (\d[\d, ]*?)  .*")  # a line of one_page.py's backward
FIRST_NUMBER = 32  # of the equations of this backward; forward has 31
SYMBOLS = {
    r"\b(np|math)\.": "",
    r" \* ": " · ",
    r" - ": " − ",
    r"\*\*2": "²",
    r"\.T\b|\.swapaxes\(2, 3\)": "ᵀ",
    r" @ ": " ",
    r"\(?(\w[\w ·]*)\)?(\.reshape\([^)]*\))?\.sum\([^)]*\)": r"Σ (\1)",
}
BLANK = "..."
OF_MODULES = """ Forward calls each part of the module as a function, such as `y, f_backward = self.f(x)`. Call each of
these backward functions in yours: f_backward(dy) returns dx alone, and the part keeps the gradients of its weights."""
LONGEST = 120  # characters in a line
CHECKS = ("check_", "require_")  # prefixes of the functions that check arguments
Edit = namedtuple("Edit", "first last lines")


@cache
def cut(exercise: Exercise, level: int) -> str:
    if exercise.given:
        return exercise.given
    file = File(only_the_question(exercise.source.read_text("utf-8"), exercise))
    text = "\n".join([*header(exercise, level, file), *file.taken(exercise, level)]).rstrip() + "\n"
    kept = set(re.findall(r" {2}\((\d+)\) *$", text, re.MULTILINE))

    def cited(match):  # an equation that was cut out cannot be cited by its number
        return match[0] if match[2] in kept else f"{match[1]} the equations of backward"

    return re.sub(r"\b(by|in|from|From) \((\d+)\)", cited, text)


def title(exercise, level) -> str:
    source = f"minitransformer {__version__}" if exercise.source.is_relative_to(PACKAGE) else exercise.source.name
    student = f", student {exercise.student}" if exercise.student else ""
    return f'"""{exercise.name}, level {level}{student}, cut from {source}: {exercise.title}.'


def header(exercise, level, file) -> list[str]:
    task, words = LEVELS[level], said(exercise) if exercise.is_varied else ""
    if exercise.is_value:
        aim = "Your function is compared with the package's."
        task = LEVELS[NOTHING if level >= NOTHING else min(level, 1)].replace("backward", "the function")
        if exercise.name != "adamw":
            task = f"the docstring states the result; write {task.rpartition(' write ')[2]}"
    else:
        aim = "Do not change forward: your backward is compared with its derivatives."
        node = file.nodes[exercise.target]
        function = next(function for function in functions_within(node) if function.name == "backward")
        if level < SLOPES:
            task += f". {file.result_of(function, node)}".removesuffix(".")
        elif level == FORWARD:
            aim = "Your backward is compared with derivatives of your forward, and your y with the package's."
        words += OF_MODULES * isinstance(exercise.reference, type)
    what = textwrap.fill(f"Replace each `{BLANK}`: {task}. {aim}{words}", 110, break_on_hyphens=False)
    return [title(exercise, level), "", what, '"""', ""]


def only_the_question(source: str, exercise) -> str:
    """Return the source of an exercise without the parts that it imports.

    These are functions that are exercises themselves, and methods that the class inherits.
    """
    source = with_equations(source) if exercise.name == "one_page" else source
    source = varied(source, exercise) if exercise.is_varied else source
    tree, edits, imported = ast.parse(source), [], []
    others = {other.target for other in EXERCISES if other.source == exercise.source} - {exercise.target}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in others:
            edits.append(Edit(node.lineno, node.end_lineno, []))
            imported.append(node.name)
        elif isinstance(node, ast.ClassDef) and node.name == exercise.target:
            edits.append(Edit(node.lineno, node.lineno, [f"class {node.name}(Original):"]))
            imported.append(f"{node.name} as Original")
            summary = (ast.get_docstring(node) or "").split("\n\n")[0]
            rest = node.body[bool(docstring_of(node)) :]
            gone = [method for method in rest if not WRITTEN.search(ast.get_source_segment(source, method))]
            edits += [Edit(method.lineno, method.end_lineno + 1, []) for method in gone]  # with the blank line below
            edits.append(Edit(node.body[0].lineno, rest[0].lineno - 1, [*f'    """{summary}"""'.split("\n"), ""]))
    if imported:
        last = max(node.end_lineno for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))
        edits.append(Edit(last + 1, last, [f"from {exercise.module} import {', '.join(imported)}"]))
    return "\n".join(edited(source.split("\n"), edits))


def with_equations(source: str) -> str:
    """Number the lines of the backward pass in one_page.py, and add their equations.

    The logits, which an exercise does not need, are removed from the results.
    """
    equations, lines = [], []
    for line in source.split("\n"):
        if match := MIRROR.fullmatch(line):
            indent, names, code, mirrors = match.groups()
            number = f"({FIRST_NUMBER + len(equations)})"
            equation = f"{names} = {code}"
            for pattern, symbol in SYMBOLS.items():
                equation = re.sub(pattern, symbol, equation)
            equations.append(f"{indent}    {equation:<70}  {number}")
            line = f"{indent}{names} = {code}  # {number} ← line{'s' * (',' in mirrors)} {mirrors}"
        lines.append(line)
    head = "Return the gradients of all weights, in the order of gpt."
    rest = "Σ is a sum over the rows, for dscores over the keys, and for dP over the sequences."
    docstring = "\n".join([head, "", *equations, "", f"        {rest}", "        "])
    changes = {
        f'{head}"""': f'{docstring}"""',
        "the logits (N, V), and": "and",
        "return loss, logits, backward": "return loss, backward",
    }
    text = "\n".join(lines)
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def edited(lines, edits) -> list[str]:
    lines = list(lines)
    for edit in sorted(edits, key=lambda e: e.first, reverse=True):
        lines[edit.first - 1 : edit.last] = edit.lines
    return lines


@cache
def bare(source: str) -> str:
    """Remove types and argument checks from source code. A block that consists only of checks is kept."""
    edits = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno > node.lineno:
            parameters = [inner.annotation for inner in ast.walk(node.args) if isinstance(inner, ast.arg)]
            if any((*parameters, node.returns)):
                edits.append(Edit(node.lineno, node.body[0].lineno - 1, signature(node, source)))
        block = node.body if isinstance(getattr(node, "body", None), list) else []
        checks = [Edit(statement.lineno, statement.end_lineno, []) for statement in block if is_check(statement)]
        edits += checks if len(checks) < len(block) else []
    return "\n".join(edited(source.split("\n"), edits))


def is_check(node) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith(CHECKS)


def signature(function, source: str) -> list[str]:
    arguments, indent = copy.deepcopy(function.args), " " * function.col_offset
    for parameter in ast.walk(arguments):
        if isinstance(parameter, ast.arg):
            parameter.annotation = None
    for defaults in (arguments.defaults, arguments.kw_defaults):  # keep the text of the source
        defaults[:] = [value and ast.Name(ast.get_source_segment(source, value)) for value in defaults]
    return [f"{indent}def {function.name}({ast.unparse(arguments)}):"]


class File:
    """A source file without types and argument checks. The code of backward passes is kept only if `is_complete`."""

    def __init__(self, source: str, *, is_complete=False):
        self.source, self.is_complete = bare(source), is_complete
        self.lines = self.source.split("\n")
        self.body = ast.parse(self.source).body
        self.nodes = {name: node for node in self.body for name in names_bound(node)}

    def needed(self, target) -> set:
        return names_needed(self.source, self.body, target)

    def taken(self, exercise, level) -> list[str]:
        """Return the lines of an exercise: its function, and the definitions that the function needs."""
        names = self.needed(exercise.target) | {"np"}
        if exercise.is_value and level is not None:  # the helpers are part of the answer
            names -= {name for name in self.nodes if name != exercise.target} - {"np", "math"}
        imports, constants, functions = [], [], []
        for node in self.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                node.names = [alias for alias in node.names if (alias.asname or alias.name) in names]
                imports += ast.unparse(node).split("\n") if node.names else []
            elif names.isdisjoint(names_bound(node)):
                continue
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                lines = edited(self.lines, self.edits(node, exercise, level) if level is not None else ())
                functions += ["", "", *lines[node.lineno - 1 : node.end_lineno + len(lines) - len(self.lines)]]
            else:
                constants += self.lines[node.lineno - 1 : node.end_lineno]
        return [*imports, *([""] * bool(constants)), *constants, *functions]

    def edits(self, node, exercise, level) -> list[Edit]:
        if exercise.is_value and node.name == exercise.target:
            is_derived = exercise.name == "adamw" and level >= NOTHING  # docstrings specify the others
            summary = ast.get_docstring(node).split("\n\n")[0]
            found = self.hollow(node, level if is_derived else min(level, 1), f"{summary}\n\nYou derive the equations.")
            return [*found, *(self.without_raises(node) if level < NOTHING or not is_derived else ())]
        found = []
        for function in functions_within(node):
            if function.name == "backward" and any(map(self.number_of, statements_of(function))):
                result = textwrap.fill(self.result_of(function, node), LONGEST - 12)
                found += self.hollow(function, level, f"{result}\n\nDerive it from the equations of the forward pass.")
            elif docstring_of(function):
                found += self.without_raises(function)
        if level == FORWARD and node.name == exercise.target:  # blank the forward pass up to the definition of backward
            function = next((f for f in node.body if getattr(f, "name", "") == "forward"), node)
            last = next(s for s in function.body if isinstance(s, ast.FunctionDef)).lineno - 1
            first = function.body[1] if docstring_of(function) else function.body[0]
            found = [edit for edit in found if not first.lineno <= edit.first <= edit.last <= last]
            found.append(Edit(first.lineno, last, [" " * first.col_offset + BLANK, ""]))
        return found

    def result_of(self, function, node) -> str:
        """Return a sentence that lists the gradients that a backward function returns.

        `node` is the function or class that contains it.
        """
        gradients = []  # the names in the longest return statement
        for statement in statements_of(function):
            if isinstance(statement, ast.Return):
                names = [part.id for part in parts_of(statement.value) if isinstance(part, ast.Name)]
                gradients = max(gradients, names, key=len)
        given = joined([argument.arg for argument in function.args.args])
        has_batches = any("(..." in line for line in self.lines[node.lineno - 1 : node.end_lineno])
        return (
            f"Return {joined(gradients or ['dx'])} for {given}, where dX denotes ∂L/∂X and has the shape of X."
            f"{' There may be any number of leading axes.' * has_batches}"
        )

    def number_of(self, node) -> str:
        match = NUMBERS.search(self.lines[node.end_lineno - 1][node.end_col_offset - 1 :])
        return match[1].strip(", ") if match else ""

    def hollow(self, function, level, task) -> list[Edit]:
        if level == 0 and not self.is_complete:
            return [Edit(s.lineno, s.end_lineno, self.blanked(s)) for s in statements_of(function) if is_an_answer(s)]
        docstring, body = function.body[0], function.body[bool(docstring_of(function)) :]
        indent = " " * docstring.col_offset
        gone = [] if self.is_complete else [Edit(body[0].lineno, body[-1].end_lineno, [indent + BLANK])]
        if level >= SLOPES and docstring_of(function):
            task = f'"""{task}\n"""' if level >= NOTHING else f'"""{task}\n\n{self.slopes_and_paths(function)}\n"""'
            task = textwrap.indent(task, indent)
            gone.append(Edit(docstring.lineno, docstring.end_lineno, task.split("\n")))
        return gone

    def slopes_and_paths(self, function) -> str:
        """Return a hint for a backward pass: the derivatives that it needs, and the forward line of each line."""
        paths = [f"{number} {name} ← {mirrors}" for number, name, mirrors in self.written(function) if mirrors]
        parts = (
            ("The slopes that you need:", self.slopes(function)),
            ("One way back through the lines of forward:", paths),
        )
        return "\n\n".join("\n".join([head, "", *(f"    {line}" for line in lines)]) for head, lines in parts if lines)

    def slopes(self, function) -> list[str]:
        blocks = [block.split("\n") for block in (ast.get_docstring(function) or "").split("\n\n")]
        texts = [text for block in blocks for text in (block if block[0].startswith("    ") else [" ".join(block)])]
        found = dict.fromkeys(s.removesuffix(" and").rstrip(",") for text in texts for s in SLOPE.findall(text))
        return [slope for slope in found if not GRADIENT.search(slope)]

    def written(self, function) -> list[tuple[str, str, str]]:
        """Return (number, name, text) for each numbered statement of a function.

        `name` is the assigned name. `text` follows ← in the comment, and names the forward line.
        """
        found = []
        for statement in statements_of(function):
            if number := self.number_of(statement):
                written_into = statement.value.args[0] if isinstance(statement, ast.Expr) else None
                name = ast.unparse(written_into) if written_into else target_of(statement)
                mirrors = self.lines[statement.end_lineno - 1].rpartition("#")[2].partition("←")[2]
                found.append((number, name, mirrors.strip()))
        return found

    def blanked(self, statement):
        left = "return " if isinstance(statement, ast.Return) else f"{target_of(statement)} = ".removeprefix(" = ")
        comment = self.lines[statement.end_lineno - 1].encode()[statement.end_col_offset :].decode().partition("#")[2]
        words = self.number_of(statement) or comment.strip()
        return [" " * statement.col_offset + left + BLANK + (f"  # {words}" if words else "")]

    def without_raises(self, function) -> list[Edit]:
        """Return the edits that remove "Raises …" from a docstring, because exercises have no argument checks."""
        node = function.body[0]
        text = "\n".join(self.lines[node.lineno - 1 : node.end_lineno])
        shorter = re.sub(r"(?<=\S)\s*(Saved for backward)", rf"\n\n{' ' * node.col_offset}\1", RAISES.sub("", text))
        return [Edit(node.lineno, node.end_lineno, shorter.split("\n"))] if shorter != text else []


def names_needed(source: str, body, target: str) -> set:
    """Return the module-level names that a function needs, directly or indirectly, including its own name."""
    scopes = {scope.get_name(): scope for scope in symtable.symtable(source, "", "exec").get_children()}
    binding = {}
    for node in body:
        for name in names_bound(node) if not is_main_block(node) else ():
            binding.setdefault(name, []).append(node)
    found, todo = set(), [target]
    while todo:
        name = todo.pop()
        if name not in found and name in binding:
            found.add(name)
            todo += [read for node in binding[name] for read in needed_by(node, scopes)]
    return found


def is_main_block(node) -> bool:
    return isinstance(node, ast.If) and "__name__" in names_in(node.test)


def needed_by(node, scopes) -> set:
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {*names_in(node)}
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
    """Yield the simple statements of a function in order, without those of nested functions."""
    todo = function.body[1:] if docstring_of(function) else list(function.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, (ast.If, ast.For)):
            todo = [*node.body, *node.orelse, *todo]
        elif not isinstance(node, ast.FunctionDef):
            yield node


def parts_of(value) -> list:
    return value.elts if isinstance(value, ast.Tuple) else [value]


def target_of(statement) -> str:
    return ", ".join(ast.unparse(target).strip("()") for target in getattr(statement, "targets", ()))


def blanks(tree) -> list[tuple[int, str]]:
    """Return the line and the assigned name of each blank. For a return statement, the name is "return"."""
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in statements_of(function):
                if is_blank(statement):
                    name = "return" if isinstance(statement, ast.Return) else target_of(statement)
                    found.append((statement.lineno, name))
    return sorted(found)


def completed(exercise: Exercise, text: str) -> str | None:
    """Return a learner's file whose blanks are filled with the lines of the textbook, or None if one is unknown."""
    file = File(only_the_question(exercise.source.read_text("utf-8"), exercise))
    right, own = by_target("\n".join(file.taken(exercise, None))), by_target(text)
    lines = text.split("\n")
    for key, statements in own.items():
        for k, statement in enumerate(statements):
            if is_blank(statement):
                if len(right.get(key, ())) != len(statements):
                    return None
                lines[statement.lineno - 1] = " " * statement.col_offset + ast.unparse(right[key][k])
    return "\n".join(lines)


def by_target(text: str) -> dict[tuple, list]:
    """Return the statements of all functions in a file by the name of the function and the names that they assign."""
    found: dict = {}
    for function in functions_within(ast.parse(text)):
        for statement in statements_of(function):
            kind = "return" if isinstance(statement, ast.Return) else target_of(statement)
            found.setdefault((function.name, kind), []).append(statement)
    return found


def is_blank(statement) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Constant) and value.value is ...


def is_an_answer(statement) -> bool:
    if not isinstance(statement, (ast.Assign, ast.Expr, ast.Return)) or statement.value is None:
        return False
    return not all(isinstance(part, (ast.Name, ast.Constant)) for part in parts_of(statement.value))
