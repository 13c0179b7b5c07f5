"""The learner's folder: a file an exercise, a test, and a page of instructions. What is there is never overwritten."""

import ast
from pathlib import Path

from minitransformer.files import write_atomically
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import EXERCISES, LEVELS, Exercise, looked_up
from minitransformer.learn.own import ENDING, OwnExercise, graded_by, own_exercises
from minitransformer.learn.refusing import Refusal, is_untouched, level_of, parsed, source_of

FOLDER = Path("learn")
TEST, PAGE = "test_learn.py", "README.md"
TEST_TEXT = '''\
"""Your exercises as tests, for plain `pytest`: what is not begun is skipped."""

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
PAGE_TEXT = """\
# Derive it yourself

Each file here is a function of the textbook, with its backward pass left out. Write it where `...` stands, in any
style; the forward pass stays as it is. Begin with {first}.

    minitransformer learn               where you are, and what comes next
    minitransformer learn check NAME    is it right? Each line of backward, and in words what is wrong
    minitransformer learn watch         the same whenever you save a file
    minitransformer learn hint NAME     a little help, then a little more; never the answer
    minitransformer learn progress      all exercises
    minitransformer learn run           trains a model with your functions in it

Give these commands in the folder above, or here. `pytest` works here as well, and in a notebook

    from minitransformer.learn import check
    check("{first}")

The exercises, in order:

{listed}

A level says what is left out:

{levels}

`minitransformer learn start --level 2 --out another` makes another folder. How a check works: your backward pass is
compared with derivatives of the forward pass beside it, measured by the complex step and by central differences; no
answer is asked for. The package that is installed contains the answers, of course: these files are its own source.
Here nobody meets one by accident.
"""


def start(folder, exercises, level: int) -> tuple[list[str], list[str]]:
    """Write what is missing in a folder. Returns the names of files (that were added, that were there already).

    Raises OSError, naming it, for a file that cannot be written, and ValueError for an exercise of one's own at level
    3, where something must tell what its forward pass computes.
    """
    own = [exercise for exercise in exercises if isinstance(exercise, OwnExercise)]
    if own and level == 3:
        raise ValueError(f"{own[0].name}: an exercise of one's own has levels 0 to 2")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    listed = "\n".join(f"- `{exercise.name}.py`: {exercise.title}" for exercise in exercises)
    levels = "\n".join(f"- {number}: {words}" for number, words in LEVELS.items())
    texts = {f"{exercise.name}.py": cut(exercise, level) for exercise in exercises}
    texts |= {f"{exercise.name}{ENDING}": graded_by(exercise, level) for exercise in own}
    texts[TEST] = TEST_TEXT
    texts[PAGE] = PAGE_TEXT.format(first=exercises[0].name, listed=listed, levels=levels)
    added, kept = [], []
    for name, text in texts.items():
        if (folder / name).exists():
            kept.append(name)
        else:
            write_atomically(folder / name, lambda file, text=text: file.write(text.encode()))
            added.append(name)
    return added, kept


def found_folder(folder=None) -> Path:
    """Return the folder of a learner: the one given, `learn` in this one, or this one itself.

    Raises FileNotFoundError where there is no exercise.
    """
    places = [Path(folder)] if folder is not None else [FOLDER, Path()]
    for place in places:
        if exercises_in(place):
            return place
    raise FileNotFoundError(
        f"there is no exercise in {places[0]}: `minitransformer learn start` makes a folder of them"
        + (", and --in names one that is elsewhere" if folder is None else "")
    )


def exercises_in(folder) -> list[str]:
    """Return the names of the exercises that a folder has files of, in the order of the map, a teacher's own last."""
    return [name for name in known_in(folder) if (Path(folder) / f"{name}.py").is_file()]


def exercise_in(folder, name: str) -> Exercise:
    """Return the exercise of that name. Raises ValueError, with the nearest, where there is none."""
    return looked_up(name, known_in(folder), "exercise")


def known_in(folder) -> dict:
    """Return {name: Exercise} of the package's, and of those of a teacher's own in a folder."""
    return {exercise.name: exercise for exercise in (*EXERCISES, *own_exercises(folder))}


def is_begun(folder, exercise) -> bool:
    """Whether a file is other than the exercise as it was cut; also if it is no Python."""
    try:
        tree = parsed(source_of(Path(folder) / f"{exercise.name}.py"), exercise.name)
    except Refusal:
        return True
    level, _ = level_of(tree)
    return level is None or not is_untouched(tree, ast.parse(cut(exercise, level)))
