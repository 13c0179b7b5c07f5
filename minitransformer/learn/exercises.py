"""Read exercises.md, the list of the exercises, and find the cases on which they are graded."""

import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from gradcheck import Case
from minitransformer.system.validation import looked_up

PACKAGE = Path(__file__).parents[1]
LEVELS = {  # for each level, the given part of backward and the task
    0: "the equations and the names of all lines are given; write the right-hand side of each line",
    1: "the equations are given; write the body of backward",
    2: "slopes (entries of the Jacobian), if any, and the way back are given; sum over the paths, and write backward",
    3: "nothing is given; derive the equations, and write the body of backward",
    4: "the docstring of forward is given; write forward and backward",
}
SLOPES, NOTHING, FORWARD = 2, 3, 4


@dataclass(frozen=True)
class Exercise:
    """A function, or a class with a `forward`, whose backward pass the student writes."""

    name: str  # name of the exercise and of its file
    title: str  # short description
    source: Path  # file from which the exercise is cut
    target: str  # name of the function or class in this file
    prefix: str  # first part of the case names in cases.py or lessons.py
    given: str = ""  # text of the exercise if the source is not available
    student: str = ""  # student who gets this variant, or ""

    @property
    def reference(self):
        return getattr(import_module(self.module), self.target)

    @property
    def module(self) -> str:
        return ".".join((PACKAGE.name, *self.source.relative_to(PACKAGE).with_suffix("").parts))

    @property
    def is_value(self) -> bool:
        return self.name in HINTS

    @property
    def is_varied(self) -> bool:
        return bool(self.student) and not self.given and not self.is_value

    def cases(self) -> list[Case]:
        from minitransformer.cases import FUNCTIONS, MODULES
        from minitransformer.learn.lessons import CASES
        from minitransformer.learn.watched import unwatched

        found = [case for case in (*FUNCTIONS, *MODULES, *CASES) if f"{case.name},".startswith(f"{self.prefix},")]
        has_axes = not self.is_value and not isinstance(self.reference, type)
        with unwatched():
            ends = dict.fromkeys((found[0], found[-1])) if has_axes else ()  # the last case may have options
            return [*found, *(one for case in ends for one in with_another_axis(case, self.reference))]


def with_another_axis(case, reference) -> list[Case]:
    """Return a list with a variant of `case`, in which the inputs have another leading axis.

    The list is empty if the function `reference` rejects such inputs.
    """

    def draw(rng):
        call = case.draw(rng)
        length = np.shape(call.inputs[0])[:1]

        def widened(value):
            has_axis = isinstance(value, np.ndarray) and value.ndim > 1 and value.shape[:1] == length
            return value[None] if has_axis else value

        return call.on(map(widened, call.inputs), {name: widened(value) for name, value in call.options.items()})

    call = draw(np.random.default_rng(0))
    with suppress(ValueError, IndexError):
        reference(*call.inputs, **call.options)
        return [Case(f"{case.name}, another leading axis", draw)] if np.ndim(call.inputs[0]) > 1 else []
    return []


def read(name: str, entry: str) -> Exercise:
    title, place, *prefix = entry.split(" | ")
    file, _, target = place.partition(": ")
    prefix = prefix or [target if target[:1].isupper() else name]
    return Exercise(name, title, PACKAGE / file, target or name, *prefix)


*LISTS, MAP = re.split("^# .*", Path(__file__).with_name("exercises.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
LISTED, IN_SETS, HINTED = (re.findall("^- (.*?): (.*)$", text, flags=re.MULTILINE) for text in LISTS)
EXERCISES = tuple(read(name, entry) for name, entry in LISTED)
SETS = {"all": tuple(exercise.name for exercise in EXERCISES)}
SETS |= {name: tuple(members.split()) for name, members in IN_SETS}
# {exercise without a backward pass: [(pattern of the names of the cases that a hint is about, hint)]}
HINTS: dict[str, list] = {}
for about, hint in HINTED:
    HINTS.setdefault(about.partition(" | ")[0], []).append((about.partition(" | ")[2], hint))


def named_exercise(name: str) -> Exercise:
    return looked_up(name, {exercise.name: exercise for exercise in EXERCISES}, "exercise")


def names_by_file() -> dict[str, list[str]]:
    found = {}
    for exercise in EXERCISES:
        found.setdefault(exercise.source.relative_to(PACKAGE).as_posix(), []).append(exercise.name)
    return found


def exercise_set(name: str) -> list[Exercise]:
    return [named_exercise(member) for member in looked_up(name, SETS, "set of exercises")]
