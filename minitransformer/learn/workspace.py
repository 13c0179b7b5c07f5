"""Write the learner's folder: exercises, a test file, and a page of instructions.

Existing files are never overwritten.
"""

import ast
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from gradcheck.front.program import started_as
from minitransformer.book.observation import parsed
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, FORWARD, LEVELS, Exercise
from minitransformer.learn.notebooks import otter_test_of
from minitransformer.learn.own import ENDING, OwnExercise, graded_by, own_exercises
from minitransformer.learn.refusing import Refusal, is_untouched, of_header, source_of
from minitransformer.system.files import write_atomically
from minitransformer.system.validation import looked_up

FOLDER = Path("learn")
PAUSE = 0.3  # seconds between two polls of the files
TEST, PAGE = "test_learn.py", "README.md"
TEST_TEXT = '''\
"""Run your exercises as tests with `pytest`. Exercises that are not begun are skipped."""

from pathlib import Path

import pytest

from minitransformer.learn import check, exercises_in

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", exercises_in(FOLDER))
def test_its_gradients_are_right(name):
    verdict = check(name, FOLDER)
    if verdict.status == "not begun":
        pytest.skip(verdict.status)
    if not verdict.is_solved:
        pytest.fail(str(verdict), pytrace=False)
'''
TASK = """\
Each file in this folder is a function of the textbook without its backward pass. Replace each `...` with your code, in
any style, and do not change the forward pass.
"""
PAGE_TEXT = Path(__file__).with_name("page.md").read_text("utf-8")
LEVEL_TEXT = "The level is the part that you write (`learn start --level 2 --out another` writes level 2):\n\n"


def start(folder, exercises, level: int, text=cut, ending=".py", task=TASK) -> tuple[list[str], list[str]]:
    """Write the missing files of a learner's folder. Return the names of the new and of the existing files.

    `text(exercise, level)` returns the content of an exercise file. `task` is the first paragraph of the instructions.
    """
    own = [exercise for exercise in exercises if isinstance(exercise, OwnExercise)]
    if own and level == FORWARD:
        raise ValueError(f"{own[0].name}: an exercise from a TOML file has the levels 0 to {FORWARD - 1}, not {level}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    listed = "\n".join(f"- `{exercise.name}{ending}`: {exercise.title}" for exercise in exercises)
    levels = LEVEL_TEXT + "".join(f"- {number}: {words}\n" for number, words in LEVELS.items())
    words = {"task": task, "levels": levels if task == TASK else ""}
    texts = {f"{exercise.name}{ending}": partial(text, exercise, level) for exercise in exercises}
    texts |= {f"{exercise.name}{ENDING}": partial(graded_by, exercise, level) for exercise in own}
    if ending == ".ipynb":
        texts |= {f"tests/{exercise.name}.py": partial(otter_test_of, exercise) for exercise in exercises}
    texts[TEST] = TEST_TEXT.format
    texts[PAGE] = partial(PAGE_TEXT.format, first=exercises[0].name, listed=listed, **words)
    added, kept = [], []
    for name, make in texts.items():
        if (folder / name).exists():
            kept.append(name)
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            write_atomically(folder / name, lambda file, make=make: file.write(make().encode()))
            added.append(name)
    return added, kept


def found_folder(folder=None) -> Path:
    """Return the learner's folder (default: ./learn, else the current folder)."""
    places = [Path(folder)] if folder is not None else [FOLDER, Path()]
    for place in places:
        if exercises_in(place):
            return place
    command = f"{started_as('minitransformer')} learn start"
    raise FileNotFoundError(
        f"there is no exercise in {places[0]}: `{command}` writes a folder of exercises"
        + (", and --in DIR selects another folder" if folder is None else "")
    )


def exercises_in(folder) -> list[str]:
    return [name for name in known_in(folder) if (Path(folder) / f"{name}.py").is_file()]


def exercise_in(folder, name: str) -> Exercise:
    return looked_up(name, known_in(folder), "exercise")


def known_in(folder) -> dict:
    return {exercise.name: exercise for exercise in (*EXERCISES, *own_exercises(folder))}


def begun_in(folder) -> list[str]:
    return [name for name in exercises_in(folder) if is_begun(folder, exercise_in(folder, name))]


def is_begun(folder, exercise) -> bool:
    try:
        text = source_of(Path(folder) / f"{exercise.name}.py")
    except Refusal:
        return True
    exercise, level, _ = of_header(exercise, text)
    return level is None or not is_untouched(parsed(text), ast.parse(cut(exercise, level)))


def saved_files(folder, look=time.sleep):
    """Poll a folder forever. Yield the name of each exercise that has changed, once two polls agree."""
    known = last = times(folder)
    while True:
        look(PAUSE)
        now = times(folder)
        saved = [name for name, at in now.items() if at == last.get(name) != known.get(name)]
        known = known | {name: now[name] for name in saved}
        last = now
        yield from saved


def times(folder) -> dict:
    found = {}
    for name in exercises_in(folder):
        with suppress(OSError):  # an editor is replacing the file
            status = (folder / f"{name}.py").stat()
            if status.st_size:  # an empty file is still being written
                found[name] = status.st_mtime_ns, status.st_size
    return found
