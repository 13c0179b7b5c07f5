"""Exercises that a teacher adds: a function in the textbook's style, and a TOML file with its test cases.

    name = "swish"
    title = "a product rule, with a slope to learn"
    points = 5                 # in the marks of `learn collect`; default: one for each numbered line of backward
    source = "swish.py"        # relative to this file
    function = "swish"

    [[cases]]
    name = "swish"
    inputs = {x = [2, 3, 5], beta = [5]}

    [[cases]]
    name = "swish, steep"
    inputs = {x = [2, 3, 5], beta = [5]}
    options = {scale = 2.5}

Inputs are shapes, in the order of the arguments; the arrays are drawn from the standard normal distribution. Options
are passed as given. `learn start --exercise swish.toml` writes two files: the exercise `swish.py`, and
`swish.exercise`, which contains the test cases and the original text of the exercise, but not the solution.
"""

import json
import tomllib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gradcheck import Call, Case
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import Exercise, exercise_set
from minitransformer.learn.reading import read_regular

ENDING, MOST_BYTES = ".exercise", 1_000_000
NEEDED = {"name": str, "title": str, "source": str, "function": str, "cases": list}


@dataclass(frozen=True)
class OwnExercise(Exercise):
    """An exercise that a teacher has added. `about` is the content of its TOML file.

    A learner does not have the original function, so the reference is a placeholder.
    """

    about: dict = field(default_factory=dict, compare=False)

    @property
    def reference(self):
        def missing(*inputs, **options):
            raise NotImplementedError(f"the source of {self.target} is not available")

        missing.__name__ = self.target
        return missing

    def cases(self):
        return [Case(entry["name"], partial(self.drawn, entry)) for entry in self.about["cases"]]

    def drawn(self, entry, rng):
        inputs = [rng.normal(size=shape) for shape in entry["inputs"].values()]
        return Call(self.reference, *inputs, **entry.get("options", {}))


def read_toml(path) -> OwnExercise:
    """Read an exercise from a TOML file. Raises ValueError if the file is invalid."""
    path = Path(path)
    try:
        about = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: invalid TOML: {error}") from None
    refuse(path, about)
    source = path.parent / about["source"]
    return OwnExercise(about["name"], about["title"], source, about["function"], about["name"], about=about)


def exercises_of(name: str) -> list[Exercise]:
    """Return the exercises of a set.

    `name` is that of one of SETS, or a folder with TOML files. Raises ValueError if there is no such set.
    """
    paths = sorted(Path(name).glob("*.toml"))
    return [read_toml(path) for path in paths] or exercise_set(name)


def refuse(path, about):
    for key, kind in NEEDED.items():
        if not isinstance(about.get(key), kind):
            raise ValueError(f"{path}: {key} must be {'a list of tables' if kind is list else 'a string'}")
    points = about.get("points", 1)
    if isinstance(points, bool) or not isinstance(points, (int, float)) or not 0 < points < float("inf"):
        raise ValueError(f"{path}: points must be a positive number, not {points!r}")
    if not about["name"].isidentifier():
        raise ValueError(f"{path}: name must be a Python identifier, not {about['name']!r}")
    for entry in about["cases"]:
        shapes = entry.get("inputs") if isinstance(entry, dict) else None
        if not isinstance(shapes, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"{path}: each case must have a name and inputs such as {{x = [2, 3, 5]}}")
        for name, shape in shapes.items():
            if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
                raise ValueError(f"{path}: the shape of {name} must be a list of positive integers, not {shape!r}")


def graded_by(exercise, level) -> str:
    about = {key: exercise.about[key] for key in ("name", "title", "function", "cases")}
    return json.dumps({"about": about, "given": cut(exercise, level)}, indent=1, ensure_ascii=False) + "\n"


def own_exercises(folder) -> list[OwnExercise]:
    found = []
    for path in sorted(Path(folder).glob(f"*{ENDING}")):
        try:
            read = json.loads(read_regular(path, MOST_BYTES)[0])
            about, given = read["about"], read["given"]
            refuse(path, about | {"source": ""})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        name = about["name"]
        found.append(OwnExercise(name, about["title"], path, about["function"], name, about=about, given=given))
    return found
