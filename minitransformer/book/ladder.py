"""Lay out a function's equations as a ladder: each gradient stands beside the equations that it mirrors.

A cell contains equations, the code that computes them, and the values of one call. Forward cells are read down,
backward cells up. The comments `# (6) ← γ · x̂ (5)` say which forward equations a backward line mirrors; equations that
share a mirror form one rung.
"""

import ast
import re
from dataclasses import dataclass, field, replace
from html import escape
from types import FunctionType

import numpy as np

from gradcheck.names import names_in
from minitransformer.book.derivations import fits
from minitransformer.book.live import chosen, example
from minitransformer.book.observation import RETURNED, functions, numbers_of_lines, statements
from minitransformer.book.pictures import LARGEST, matrix, sized, written
from minitransformer.book.run import BACKWARD, is_numeric
from minitransformer.book.symbols import names_given
from minitransformer.book.typesetting import name_set

LONGEST = 28  # characters of an equation that fits beside another cell on a screen
MIRRORS = re.compile(r"\((\d+)\)")


@dataclass
class Cell:
    function: str  # qualified name of the function whose code computes the equations
    numbers: list
    statements: list
    lines: list  # (number in the file, text) of the code
    arrays: dict  # {name in the code: value}
    mirrors: set = field(default_factory=set)  # numbers of the forward equations that a backward line names


@dataclass
class Ladder:
    function: str
    run: object
    inputs: dict  # {name: value} of the arguments and other values that the equations read
    dy: dict  # {name: value} of the arguments of backward
    forward: list
    backward: list
    rungs: list  # (forward cells, backward cells)

    def has(self, statement) -> bool:
        return any(statement is own for cell in self.forward + self.backward for own in cell.statements)


def ladder_of(function, derivations) -> Ladder | None:
    """Return the ladder of a function, or None if no specimen runs it or it has no numbered line of code."""
    runs = [run for run in derivations.runs if function in (run.specimen.function, *run.specimen.also)]
    run = next((run for run in runs if run.specimen.is_on_ladder), next(iter(runs), None))
    if run is None or function not in run.frames:
        return None
    forward, backward = (cells_of(name, run, derivations) for name in (function, function + BACKWARD))
    forward += elsewhere(function, run, derivations, forward)
    forward.sort(key=lambda cell: min(cell.numbers, default=0))
    if not any(cell.numbers for cell in forward + backward):
        return None
    for cells, name in ((forward, function), (backward, function + BACKWARD)):
        known = {id(statement) for cell in cells for statement in cell.statements}
        for s in derivations.statements:
            is_its_own = s.number is not None and not s.in_prose and s.function == name and id(s) not in known
            if is_its_own and s.number not in derivations.lines:
                cells.append(Cell(name, [s.number], [s], [], {}))
    arguments = arguments_of(function, run, derivations)
    frame = run.frames[function].names
    steps = {
        id(value)
        for name, value in frame.items()
        if isinstance(value, np.ndarray) and name not in parameters(function, derivations)
    }
    known = {id(value) for value in arguments.values()} | steps
    for text, value in run.given([s for cell in forward + backward for s in cell.statements]).items():
        if id(value) not in known and not text.startswith("d"):
            arguments[text] = value
    dy = arguments_of(function + BACKWARD, run, derivations) if function + BACKWARD in run.frames else {}
    return Ladder(function, run, arguments, dy, forward, backward, rungs_of(forward, backward))


def parameters(function, derivations, kinds=("posonlyargs", "args", "kwonlyargs")) -> list:
    code = dict(functions(derivations.source))[function].args
    return [argument.arg for kind in kinds for argument in getattr(code, kind)]


def arguments_of(function, run, derivations) -> dict:
    frame, names = run.frames[function], parameters(function, derivations, ("posonlyargs", "args"))
    return {name: frame.names[name] for name in names if is_shown(frame.names.get(name))}


def is_shown(value) -> bool:
    return is_numeric(value) and not isinstance(value, bool)


def cells_of(function, run, derivations) -> list[Cell]:
    """Return a cell for each numbered statement in the code of a function, in the order of the lines."""
    code, frame = dict(functions(derivations.source)).get(function), run.frames.get(function)
    if code is None or frame is None:
        return []
    numbers, source, found, waiting = numbers_of_lines(derivations.source), derivations.source.split("\n"), [], []
    for statement in statements(code):
        tags = numbers.get(statement.end_lineno, [])
        names = assigned_names(statement)
        if isinstance(statement, ast.Return) and not tags:
            continue
        lines = lines_of(statement, source)
        if not was_run(statement, names, frame):
            continue
        values = {name: frame.names[name] for name in names if is_shown(frame.names.get(name))}
        if isinstance(statement, ast.Return) and is_shown(frame.returned):
            values = {RETURNED: frame.returned}
        if not tags and isinstance(statement, ast.Expr):
            continue
        if not tags:
            waiting.append((names, lines, values))
            continue
        read, before = set(names_in(getattr(statement, "value", statement))), []
        for given, its_lines, made in reversed(waiting):
            if made and read & {*given}:
                before, read = its_lines + before, read | names_read(its_lines)
        waiting = []
        comment = source[statement.end_lineno - 1].partition("←")[2]
        found.append(Cell(function, tags, [], before + lines, values, set(map(int, MIRRORS.findall(comment)))))
    if not found and waiting:  # no line has a number
        lines = [line for _, its_lines, _ in waiting for line in its_lines]
        found = [Cell(function, [], [], lines, {name: value for *_, made in waiting for name, value in made.items()})]
    share_statements(found, function, run, derivations)
    return merged(found)


def was_run(statement, names, frame) -> bool:
    if isinstance(statement, ast.Return):
        return statement.lineno <= frame.line <= statement.end_lineno
    return not names or any(name in frame.names for name in names)


def assigned_names(statement) -> list:
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return names_in(*targets)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return names_in(*statement.value.args[:1])  # np.add.at(dweight, …)
    return []


def names_read(lines) -> set:
    return set(re.findall(r"\w+", " ".join(text.partition("=")[2] for _, text in lines)))


def lines_of(statement, source) -> list:
    """Return the numbered lines of a statement without the comment and the common indentation."""
    margin = statement.col_offset
    lines = [(at, source[at - 1][margin:]) for at in range(statement.lineno, statement.end_lineno + 1)]
    at, last = lines[-1]
    return [*lines[:-1], (at, re.split(r" +# ", last)[0])]


def share_statements(cells, function, run, derivations):
    """Give each cell the equations whose left sides its code assigns; the other equations go to the first cell."""
    displayed = [s for s in derivations.statements if s.number is not None and not s.in_prose]
    for number in dict.fromkeys(number for cell in cells for number in cell.numbers):
        group = [cell for cell in cells if number in cell.numbers]
        its_own = [s for s in displayed if s.number == number and fits(s.remarks, run.specimen)]
        for statement in [s for s in its_own if s.function == function] or its_own:
            left = names_given(statement.equation)
            assigns = [c for c in group if any(run.is_named(node, name) for node in left for name in c.arrays)]
            without = [c for c in group if not c.statements]
            (assigns or without or group)[0].statements.append(statement)


def merged(cells) -> list:
    """Join each cell without an equation to the one before it, or to the next if it is the first."""
    found: list = []
    for cell in cells:
        if found and not (cell.statements and found[-1].statements):
            last = found[-1]
            last.statements, last.numbers = last.statements + cell.statements, sorted({*last.numbers, *cell.numbers})
            last.lines, last.arrays, last.mirrors = (
                last.lines + cell.lines,
                last.arrays | cell.arrays,
                last.mirrors | cell.mirrors,
            )
        else:
            found.append(cell)
    return found


def elsewhere(function, run, derivations, cells) -> list:
    """Return the cells of the equations that other functions compute, which the specimen names."""
    known = {number for cell in cells for number in cell.numbers}
    found = []
    for other in run.specimen.also:
        its_own = cells_of(other, run, derivations)
        wanted = [c for c in its_own if any(s.function == function for s in c.statements) and not known & {*c.numbers}]
        found += wanted
    return found


def rungs_of(forward, backward) -> list:
    """Divide the forward cells into rungs: cells that one backward cell mirrors, and those between, stay together."""
    if not backward:
        return [(forward, [])]
    places = {number: k for k, cell in enumerate(forward) for number in cell.numbers}
    spans, last = [], len(forward) - 1
    for cell in backward:
        at = [places[number] for number in cell.mirrors if number in places] or [last]
        spans.append((min(at), max(at)))
        last = min(at)
    ends = [k for k in range(len(forward)) if not any(first <= k < behind for first, behind in spans)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [
        (forward[start : end + 1], [c for c, span in zip(backward, spans, strict=True) if start <= span[0] <= end])
        for start, end in zip(starts, ends, strict=True)
    ]


class Drawing:
    """The HTML of a ladder. `words` typesets its equations, those of the gradients perhaps with blanks."""

    def __init__(self, ladder, words):
        self.ladder, self.words = ladder, words

    def html(self) -> str:
        ladder, cells = self.ladder, []
        is_both = bool(ladder.backward)
        cells.append('<h3 class="way forward">Forward, read down ↓</h3>')
        cells += [self.rung("forward", k, some) for k, (some, _) in enumerate(ladder.rungs)]
        if is_both:
            cells.append(
                '<h3 class="way grad">Backward, read <span class="up">up ↑</span><span class="down">down ↓</span></h3>'
            )
            cells += [self.rung("grad", k, some) for k, (_, some) in enumerate(ladder.rungs)]
        name = escape(ladder.function)
        return (
            f'<section class="ladder" data-function="{name}" aria-label="{name}, line by line">{self.givens()}'
            f'<div class="rungs{"" if is_both else " forward-only"}">{"".join(cells)}</div>{self.example()}</section>'
        )

    def rung(self, way, k, cells):
        inside = "".join(self.cell(cell, way) for cell in cells)
        last = " last" * (k == len(self.ladder.rungs) - 1)
        return f'<div class="rung {way}{last}" style="--row:{k + 2}">{inside}</div>' if cells else ""

    def cell(self, cell, way):
        equations = "".join(map(self.words.equation, cell.statements))
        is_blank = self.words.blank is not None and way == "grad"
        if is_blank:
            cell = replace(cell, lines=[(at, self.blank_line(text)) for at, text in cell.lines[-1:]])
        widest = max((np.shape(value)[-1] for value in cell.arrays.values() if np.ndim(value)), default=0)
        longest = max((statement.length for statement in cell.statements), default=0)
        wide = " wide" * (widest > (4 if way == "forward" else 5)) + " broad" * (longest > LONGEST)
        return (
            f'<div class="cell{wide}">{equations}{self.words.code([cell], way)}'
            f"{'' if is_blank else self.arrays(cell, way)}</div>"
        )

    def blank_line(self, text):
        return re.match(r"[\w, ]+=|return|", text)[0]

    def arrays(self, cell, way):
        is_labelled = len(cell.arrays) > 1 or not cell.statements
        shown = ""
        for name, value in cell.arrays.items():
            is_local = cell.function.removesuffix(BACKWARD) == self.ladder.function and name != RETURNED
            shown += self.array(name, value, way, is_labelled, "" if is_local else f"{cell.function} {name}")
        return f'<div class="arrays">{shown}</div>' if shown else ""

    def array(self, name, value, way, is_labelled=True, qualified=""):
        """Return the HTML of a variable. A script finds those of other functions, and results, by `qualified`."""
        symbol = "" if name == RETURNED or not is_labelled else self.symbol(name)
        if np.size(value) > LARGEST:
            return f'<span class="given">{symbol or self.symbol(name)} {sized(value)}</span>'
        return matrix(symbol, value, way, qualified or name)

    def symbol(self, name):
        return name_set(self.ladder.run.symbol_for(name), self.words.names, after="=")

    def givens(self):
        ladder = self.ladder
        arrays = {name: value for name, value in ladder.inputs.items() if np.ndim(value)}
        scalars = {name: value for name, value in ladder.inputs.items() if not np.ndim(value)}
        shown = "".join(self.array(name, value, "forward") for name, value in arrays.items())
        shown += "".join(self.array(name, value, "grad") for name, value in ladder.dy.items())
        if scalars:
            written_as = {name: written(x, ".0f" if float(x).is_integer() else ".3g") for name, x in scalars.items()}
            each = ",&ensp;".join(f"{self.symbol(name)} {text}" for name, text in written_as.items())
            shown += f'<span class="given">{each}</span>'
        return f'<div class="givens arrays">{shown}</div>'

    def example(self):
        run, mistakes = self.ladder.run, self.words.mistakes
        specimen = run.specimen
        if mistakes is None or not isinstance(specimen.call, FunctionType):
            return ""
        shown = self.ladder.function
        some = chosen({shown}, mistakes)
        return example(specimen.call, specimen.inputs, specimen.options, run.dy, some, shown)
