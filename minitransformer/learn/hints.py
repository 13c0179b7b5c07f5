"""Hints in steps: the place, then the paths, then the equation. No hint shows the line of code."""

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minitransformer.book.derivations import statements
from minitransformer.learn.cutting import File, functions_within, statements_of
from minitransformer.learn.reading import read_regular
from minitransformer.learn.verdict import Verdict
from minitransformer.system.files import write_atomically

MOST_BYTES = 1_000_000
STATE = ".hints.json"  # the number of hints given for each line; without it, hints restart at the first


@dataclass(frozen=True)
class Line:
    """A line to write: its number, the name that it assigns, the forward lines that it mirrors, and its equation."""

    number: str
    name: str
    mirrors: str = ""
    equation: str = ""

    def rungs(self) -> list[str]:
        found, letter = ["which values does it depend on?"], self.name[1:] if self.name.startswith("d") else ""
        if letter:
            found = [f"which lines of the forward pass read {letter}? Each is one path of the gradient"]
        if self.mirrors:
            found.append(f"it goes back through {self.mirrors}; add the contributions of all paths")
        return found + [f"the equation is {self.equation}"] * bool(self.equation)


@cache
def lines_of(exercise) -> list[Line]:
    source = exercise.given or exercise.source.read_text("utf-8")
    file, found = File(source), []
    equations = [s for s in statements(source, exercise.source.name) if s.number is not None]
    nodes = [file.nodes[name] for name in file.needed(exercise.target)]
    for function in (f for node in nodes if hasattr(node, "body") for f in functions_within(node)):
        if function.name != ("adamw" if exercise.is_update else "backward"):
            continue
        for statement in statements_of(function):
            number = file.number_of(statement)
            if number:
                comment = file.lines[statement.end_lineno - 1].rpartition("#")[2]
                name = ", ".join(ast.unparse(t).strip("()") for t in getattr(statement, "targets", ()))
                wanted = {int(n) for n in re.findall(r"\d+", number)}
                texts = dict.fromkeys(re.sub(r"\s+", " ", s.text) for s in equations if s.number in wanted)
                found.append(Line(number, name, comment.partition("←")[2].strip(), "; ".join(texts)))
    return sorted(found, key=lambda line: int(re.search(r"\d+", line.number)[0]))


def next_hint(folder, exercise, verdict: Verdict) -> str:
    if verdict.sentence and all(row.verdict != "blank" for row in verdict.rows):
        return verdict.sentence
    lines = lines_of(exercise)
    if not lines:
        return f"there are no hints for {exercise.name}, because its equations have no numbers"
    row = verdict.first_wrong or next((row for row in verdict.rows if row.verdict == "blank"), None)
    line = chosen(lines, row)
    where = f"{line.number} {line.name}".strip()
    if row is not None and row.verdict == "WRONG":
        where = f"the first mistake is at {row.equation} {row.name}".replace("  ", " ")
        if row.name not in line.name.split(", "):
            where += f", on the way to {line.number} {line.name}".rstrip()
    elif row is not None and row.sentence:
        where += f", {row.sentence}"
    rungs = line.rungs()
    climbed = remembered(folder)
    key = f"{exercise.name} {line.number} {line.name}"
    at = min(climbed.get(key, 0), len(rungs) - 1)
    state = json.dumps(climbed | {key: at + 1}, indent=0).encode()
    write_atomically(Path(folder) / STATE, lambda file: file.write(state))
    last = " (the last hint for this line)" if at == len(rungs) - 1 else ""
    return f"hint {at + 1} of {len(rungs)}: {where}: {rungs[at]}{last}"


def chosen(lines, row) -> Line:
    if row is None or row.name == "backward":
        return lines[0]
    for line in lines:
        if row.name in line.name.split(", ") and (not row.equation or row.equation == line.number):
            return line
    if row.verdict == "blank" and not row.equation:
        return Line("", row.name)
    return next((line for line in lines if line.number == row.equation), lines[-1])


def remembered(folder) -> dict:
    try:
        found = json.loads(read_regular(Path(folder) / STATE, MOST_BYTES)[0])
        return {str(key): int(value) for key, value in found.items() if int(value) >= 0}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
