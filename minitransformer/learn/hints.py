"""Give hints in steps: a question, the place, the paths, the slopes. No hint shows the code of a line."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gradcheck.mistakes import KINDS
from minitransformer.learn.cutting import File, cut, functions_within, only_the_question
from minitransformer.learn.exercises import HINTS, SLOPES
from minitransformer.learn.explaining import IS_LIST
from minitransformer.learn.reading import read_regular
from minitransformer.learn.verdict import BEGUN, BLANK, FAILED, WRONG_LINE, Row, Verdict
from minitransformer.system.files import write_atomically

MOST_BYTES = 1_000_000
AFTER_AN_EXCEPTION = "print the shape of each part of the failing line: which one is not as you expect?"
BEFORE_A_RUN = "correct first what the verdict says: until then, the file is not run"
AFTER_A_VIOLATION = "print what backward returns, and dy before and after it: which of them is not as it should be?"
STATE = ".hints.json"  # the number of hints given for each line; without it, hints restart at the first


@dataclass(frozen=True)
class Line:
    number: str  # number of the equation
    name: str  # name that the line assigns
    mirrors: str = ""  # forward lines through which the gradient is propagated
    slopes: tuple = ()  # entries of the Jacobian that the derivation states

    def rungs(self, level, known) -> list[str]:
        """Return the hints on this line. `known` contains the names in the learner's file; no other is mentioned."""
        letters = [name[1:] for name in self.name.split(", ") if name.startswith("d")]
        read = [letter for letter in letters if letter in known]
        found = ["which values of forward does it depend on?"]
        if read:
            found = [f"which lines of the forward pass read {' or '.join(read)}? Each is one path of the gradient"]
        if level == SLOPES:
            return [*found, "multiply by the slope of each path, and sum over each index that the result does not have"]
        if self.mirrors:
            is_several = len(re.findall(r"\(\d+\)", self.mirrors)) > 1
            several = "; add the contributions of these paths" * is_several
            found.append(f"it goes back through {self.mirrors}{several}")
        if level is not None and level < SLOPES and self.number:
            found.append(f"compare each symbol of equation {self.number} in the docstring with the names of forward")
        else:
            own = [
                slope
                for slope in self.slopes
                if re.search(rf"/∂(?:{'|'.join(letters) or '.'})\b", slope.replace("_", " "))
            ]
            found += [f"one of the slopes that you need is {slope}" for slope in own or self.slopes]
        return found


@cache
def lines_of(exercise) -> list[Line]:
    source = exercise.given or exercise.source.read_text("utf-8")
    file, found = File(only_the_question(source, exercise)), []
    nodes = [file.nodes[name] for name in file.needed(exercise.target)]
    for function in (f for node in nodes if hasattr(node, "body") for f in functions_within(node)):
        if function.name == (exercise.target if exercise.is_value else "backward"):
            slopes = tuple(file.slopes(function))
            found += [Line(number, name, mirrors, slopes) for number, name, mirrors in file.written(function)]
    return sorted(found, key=lambda line: int(re.search(r"\d+", line.number)[0]))


def next_hint(folder, exercise, verdict: Verdict) -> str:
    """Return the next hint for the first wrong line or, if there is none, for the first blank.

    The number of hints given so far is stored in a file in `folder`, so each call returns a more specific hint.
    """
    blank = (row for row in verdict.rows if row.verdict == BLANK)
    row = verdict.first_wrong or (next(blank, None) if verdict.status == BEGUN else None)
    is_begun = row is not None and (row.verdict == BLANK or verdict.status == BEGUN)  # the sentence names a blank line
    is_list = row is not None and row.kind == IS_LIST
    is_known = exercise.is_value and row is not None and verdict.status != FAILED  # the sentence is on its values
    is_failure = bool(verdict.sentence) and not (is_begun or is_list or is_known)
    lines = lines_of(exercise)
    numbered = {name for line in lines for name in line.name.split(", ")}
    own = {name for name in verdict.about[:1] if name in numbered or (name.startswith("d") and name != "dy")}
    is_sure = bool(own) and own.issuperset(numbered.intersection(verdict.about))  # the operands may be wrong as well
    if is_failure:
        row = Row("", *own, "") if is_sure else None
    line = line_of(lines, row)
    is_unnamed = row is not None and row.verdict == WRONG_LINE and not row.kind
    assigned = verdict.about[0].split(", ") if verdict.about else []
    is_of_exception = is_unnamed and (not row.sentence or row.name in assigned)
    asked = [verdict.question] * bool(verdict.question and (is_failure or is_of_exception))
    if row is not None and row.verdict == WRONG_LINE:
        kind = "update changed" if exercise.is_value else row.kind
        if row.kind:
            asked.append(f"{place(verdict, line, row)}: {KINDS[kind].question}")
        asked += [hint for pattern, hint in HINTS.get(exercise.name, ()) if pattern and re.search(pattern, row.name)]
    if exercise.is_value:
        asked += [AFTER_AN_EXCEPTION] * (verdict.status == FAILED and not asked)
        rungs = [hint for pattern, hint in HINTS[exercise.name] if not asked or not pattern]
    elif is_list:
        rungs = []
    elif is_failure and row is None:
        rungs = [AFTER_AN_EXCEPTION if verdict.status == FAILED else AFTER_A_VIOLATION]
        rungs = [BEFORE_A_RUN] if verdict.level is None else rungs
    else:
        known = names_in_file(folder, exercise)
        rungs = [f"{place(verdict, line, row)}: {rung}" for rung in line.rungs(verdict.level, known)]
    rungs, climbed = [*asked, *rungs], remembered(folder)
    key = f"{exercise.name} {rungs[0] if is_failure else f'{line.number} {line.name} {row and row.sentence}'}"
    at = min(climbed.get(key, 0), len(rungs) - 1)
    state = json.dumps(climbed | {key: at + 1}, indent=0).encode()
    write_atomically(Path(folder) / STATE, lambda file: file.write(state))
    last = " (the last hint)" if at == len(rungs) - 1 else ""
    return f"hint {at + 1} of {len(rungs)}: {rungs[at]}{last}"


def place(verdict, line, row) -> str:
    if row is not None and row.verdict == WRONG_LINE:
        at = f"{row.equation} {row.name}".strip()
        is_other = row.name not in line.name.split(", ")
        at += f", on the way to {line.number} {line.name}".rstrip() * is_other
        return f"the first mistake is at {at}" if row.kind else f"the first wrong value that was found is {at}"
    where = line.name if verdict.level is not None and verdict.level >= SLOPES else f"{line.number} {line.name}".strip()
    return f"{where}, {row.sentence}" if row is not None and row.sentence else where


def line_of(lines, row) -> Line:
    if row is None or row.name == "backward" or not lines:
        return lines[0] if lines else Line("", "")
    for line in lines:
        if row.name in line.name.split(", ") and (not row.equation or row.equation == line.number):
            return line
    if row.verdict == BLANK and not row.equation:
        return Line("", row.name)
    return next((line for line in lines if line.number == row.equation), Line("", row.name))


def names_in_file(folder, exercise) -> set[str]:
    try:
        text = read_regular(Path(folder) / f"{exercise.name}.py", MOST_BYTES)[0].decode("utf-8", "replace")
    except ValueError:  # the exercise has not been begun
        text = cut(exercise, 1)
    return {*re.findall(r"\w+", text)}


def remembered(folder) -> dict:
    try:
        found = json.loads(read_regular(Path(folder) / STATE, MOST_BYTES)[0])
        return {str(key): int(value) for key, value in found.items() if int(value) >= 0}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
