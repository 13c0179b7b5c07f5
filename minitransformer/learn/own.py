"""Read a teacher's exercises: functions, each with a TOML file of test cases, or with cases in the same Python file.

`learn start --exercise swish.toml` writes two files. `swish.py` is the exercise. `swish.exercise` contains the test
cases and the original text of the exercise, but not the solution. example_set/README.md describes the TOML file.
"""

import ast
import inspect
import json
import tempfile
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from gradcheck import Call, Case, load_cases
from minitransformer.learn.cutting import File, cut, title
from minitransformer.learn.exercises import SETS, Exercise, exercise_set
from minitransformer.learn.reading import read_regular
from minitransformer.system.validation import looked_up

ENDING, MOST_BYTES = ".exercise", 1_000_000
KEYS, KEYS_OF_CASE = ("name", "title", "source", "function", "points", "cases"), ("name", "inputs", "options")
FORMS = {
    "name": "a Python identifier",
    "points": "a positive number",
    "cases": "a list of tables with a name and inputs such as {x = [2, 3, 5]}",
}


@dataclass(frozen=True)
class OwnExercise(Exercise):
    """An exercise that a teacher has added. `reference` is a placeholder, because the solution is not distributed."""

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


def read_own(path) -> list[OwnExercise]:
    """Read the exercise of a TOML file, or those of a Python file with CASES. Raises ValueError if one is invalid."""
    return of_cases(Path(path)) if Path(path).suffix == ".py" else [read_toml(path)]


def of_cases(path: Path) -> list[OwnExercise]:
    """Return an exercise for each function of a Python file that is called in one of its CASES."""
    tables: dict[str, dict] = {}
    for case in load_cases(str(path)):
        call = case.draw(np.random.default_rng(0))
        name = getattr(call.target, "__name__", case.name)
        arguments = list(inspect.signature(call.target).parameters)
        if not all(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in call.inputs):
            raise ValueError(f"{path}: the inputs of the case {case.name!r} must be floating-point arrays")
        title = (inspect.getdoc(call.target) or name).partition("\n")[0].removesuffix(".")
        table = {"name": name, "title": title, "source": path.name, "function": name, "cases": []}
        shapes = {argument: list(x.shape) for argument, x in zip(arguments, call.inputs, strict=False)}
        entry = {"name": case.name, "inputs": shapes, "options": call.options}
        tables.setdefault(name, table)["cases"].append(entry)
    return [own_exercise(path, about) for about in tables.values()]


def read_toml(path) -> OwnExercise:
    """Read an exercise from a TOML file. Raises ValueError if the file is invalid."""
    path = Path(path)
    try:
        about = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: invalid TOML: {error}") from None
    return own_exercise(path, about)


def own_exercise(path: Path, about: dict) -> OwnExercise:
    refuse(path, about)
    source = path.parent / about["source"]
    try:
        tree = ast.parse(source.read_text("utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        looked_up(about["function"], functions, "function")
    except FileNotFoundError:
        raise ValueError(f"{path}: source must be a file beside it, but there is no {source}") from None
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return OwnExercise(about["name"], about["title"], source, about["function"], about["name"], about=about)


def exercises_of(name: str) -> list[Exercise]:
    """Return the exercises in a folder of TOML files, or those of a named set (see SETS)."""
    paths = sorted(Path(name).glob("*.toml"))
    if Path(name).is_dir() and name not in SETS and not paths:
        raise ValueError(f"{name}: the folder of a set must contain TOML files, and this one has none")
    return [read_toml(path) for path in paths] or exercise_set(name)


def require_right(exercise: OwnExercise, grader) -> None:
    """Raise ValueError if the teacher's own function is not accepted on the cases of its TOML file."""
    with tempfile.TemporaryDirectory() as folder:
        code = File(exercise.source.read_text("utf-8"), is_complete=True).taken(exercise, 1)
        text = "\n".join([title(exercise, 1), '"""', "", *code, ""])
        (Path(folder) / f"{exercise.name}.py").write_text(text, "utf-8")
        (Path(folder) / f"{exercise.name}{ENDING}").write_text(graded_by(exercise, 1), "utf-8")
        verdict = grader.verdict(folder, exercise.name)
    if not verdict.is_solved:
        raise ValueError(f"{exercise.source}: {exercise.target} itself is not accepted: {verdict.mistake}")


def refuse(path, about):
    """Raise ValueError if an entry of a TOML file is missing or invalid."""
    cases = [each for each in about["cases"] if isinstance(each, dict)] if isinstance(about.get("cases"), list) else []
    for table, keys in ((about, KEYS), *((case, KEYS_OF_CASE) for case in cases)):
        for key in table:
            try:
                looked_up(key, dict.fromkeys(keys), "key")
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    points = about.get("points", 1)
    right = {key: isinstance(about.get(key), str) for key in ("name", "title", "source", "function")}
    right["name"] = right["name"] and about["name"].isidentifier()
    right["points"] = type(points) in (int, float) and 0 < points < float("inf")
    right["cases"] = isinstance(about.get("cases"), list) and all(map(is_case, about["cases"]))
    for key, is_right in right.items():
        if not is_right:
            raise ValueError(f"{path}: {key} must be {FORMS.get(key, 'a string')}, not {about.get(key)!r}")


def is_case(entry) -> bool:
    shapes = entry.get("inputs") if isinstance(entry, dict) and isinstance(entry.get("name"), str) else None
    shapes = shapes.values() if isinstance(shapes, dict) else [None]
    return all(isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape) for shape in shapes)


def graded_by(exercise, level) -> str:
    about = {key: exercise.about[key] for key in ("name", "title", "function", "cases")}
    try:
        return json.dumps({"about": about, "given": cut(exercise, level)}, indent=1, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise ValueError(f"{exercise.name}: the options of its cases must be numbers or strings ({error})") from None


def own_exercises(folder) -> list[OwnExercise]:
    found = []
    for path in sorted(Path(folder).glob(f"*{ENDING}")):
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            read = json.loads(read_regular(path, MOST_BYTES)[0])
            about, given, name = read["about"], read["given"], read["about"]["name"]
            refuse(path, about | {"source": ""})
            found.append(OwnExercise(name, about["title"], path, about["function"], name, about=about, given=given))
    return found
