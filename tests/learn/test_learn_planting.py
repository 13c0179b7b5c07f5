"""A planted mistake changes a gradient, is found by its line, and is never shown."""

import re
from pathlib import Path

import pytest
from sampling import THOROUGH

from minitransformer import cli, learn
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.planting import NAME, of_museum, text_of, with_bug

QUICK = ("softmax",)
SLOW = [pytest.param(e.name, marks=pytest.mark.slow) for e in EXERCISES if not e.is_value and e.name not in QUICK]
EACH = [*QUICK, *(SLOW if THOROUGH else SLOW[::3])]


def names_in(text):
    """Return the names that the lines of a file assign, and "return"."""
    return ["return", *dict.fromkeys(re.findall(r"^ +([\w, .]+?) = ", text, re.MULTILINE)), "dweight", "np.add.at"]


@pytest.mark.parametrize("name", EACH)
def test_the_line_is_to_be_named_and_repaired(name, graded, grader):
    exercise = named_exercise(name)
    text = with_bug(exercise, 1, 0, grader)
    assert text == with_bug(exercise, 1, 0, grader)
    verdict = graded(name, text)
    assert verdict.status == "begun" and verdict.sentence.startswith(f"{NAME} is still blank; wrong gradients: ")
    right = text_of(exercise.source.read_text("utf-8"), exercise, 1)
    head, _, code = text.partition(f"{NAME} = ...\n\n")
    assert code != right
    repaired = f"{head}{NAME} = ...\n\n{right}"
    verdict = graded(name, repaired)
    assert verdict.sentence == f"the gradients are right, but {NAME} is still blank"
    answers = [n for n in names_in(right) if graded(name, repaired.replace("...", repr(n), 1)).is_solved]
    assert answers
    verdict = graded(name, text.replace("...", repr(answers[0]), 1))
    assert verdict.status == "not right yet" and verdict.sentence.startswith(f"{NAME} is the line")
    other = next(n for n in names_in(right) if n not in answers)
    assert graded(name, text.replace("...", repr(other), 1)).sentence.startswith(f"{NAME} is not the line")
    of_no_equation = graded(name, text.replace("...", "640", 1)).sentence
    assert of_no_equation.startswith(f"{NAME} is 640, and neither an equation nor a statement has this number")
    begins = [f"{answer} =" if answer != "return" else answer for answer in answers]
    at = [k for k, line in enumerate(repaired.split("\n"), 1) if line.strip().startswith(tuple(begins))]
    assert any(graded(name, repaired.replace("...", str(k), 1)).is_solved for k in at)


def test_seeds_plant_different_mistakes_and_levels_hide_the_equations(grader):
    norm = named_exercise("layer_norm")
    assert len({with_bug(norm, 1, seed, grader).partition("import")[2] for seed in range(5)}) >= 4
    assert "(7)\n" in with_bug(norm, 1, 0, grader) and "(7)\n" not in with_bug(norm, 3, 0, grader)
    with pytest.raises(ValueError, match="--bug: the level must be less than 4"):
        with_bug(norm, 4, 0, grader)


def test_the_museum_is_a_source_of_mistakes(tmp_path, monkeypatch, grader):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "start", "--set", "museum", "--bug", "1", "--out", "bugs"]) == 0
    for exercise in of_museum(1):
        path = tmp_path / f"bugs/{exercise.name}.py"
        assert grader.verdict(path.parent, exercise.name).status == "begun"
        answer = exercise.about["answer"]
        path.write_text(path.read_text("utf-8").replace("= ...", f"= {answer!r}"), "utf-8")
        verdict = grader.verdict(path.parent, exercise.name)
        assert verdict.status == "not right yet" and "is not the line" not in verdict.sentence
        assert (
            f'"{answer}"'
            not in (tmp_path / f"bugs/{exercise.name}.exercise").read_text("utf-8").partition('"given"')[0]
        )


def test_a_mistake_is_planted_in_an_exercise_of_a_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = Path(learn.__file__).parent / "example_set"
    assert cli.main(["learn", "start", "--set", str(example), "--bug", "3", "--out", "bugs"]) == 0
    path = tmp_path / "bugs/convolution.py"
    assert "WRONG_LINE is still blank; wrong gradients: dweight" in str(learn.check("convolution", "bugs"))
    text = path.read_text("utf-8").replace("WRONG_LINE = ...", 'WRONG_LINE = "return"')
    path.write_text(text.replace("return dx, -dweight", "return dx, dweight"), "utf-8")
    assert learn.check("convolution", "bugs").is_solved


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("points = 2", "point = 2", "there is no key 'point'; did you mean points?"),
        ("inputs = {x = [2, 7", "input = {x = [2, 7", "there is no key 'input'; did you mean inputs?"),
        (
            'function = "convolution"',
            'function = "convolutoin"',
            "no function 'convolutoin'; did you mean convolution?",
        ),
        ("convolution.py", "other.py", "source must be a file beside it, but there is no "),
        ("convolution.py", "broken.py", "invalid syntax"),
    ],
)
def test_a_slip_in_a_toml_file_is_named(old, new, words, tmp_path, capsys):
    for path in (Path(learn.__file__).parent / "example_set").glob("convolution.*"):
        text = path.read_text("utf-8")
        (tmp_path / path.name).write_text(text.replace(old, new) if path.suffix == ".toml" else text, "utf-8")
    (tmp_path / "broken.py").write_text("def (:", "utf-8")
    assert cli.main(["learn", "start", "--set", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert words in said and "convolution.toml: " in said and not (tmp_path / "out/convolution.py").exists()


def test_a_function_of_ones_own_has_a_handout_and_must_be_right_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path(learn.__file__).parent / "example_set").glob("convolution.*"):
        (tmp_path / path.name).write_text(path.read_text("utf-8").replace("[3, 4, 5]", "[3, 9, 5]"), "utf-8")
    assert cli.main(["learn", "handout", "convolution.toml"]) == 0
    page = (tmp_path / "handouts/convolution-handout.html").read_text("utf-8")
    assert "Fill in each gradient" in page and "receives the sum" in page
    assert cli.main(["learn", "start", "--set", ".", "--out", "out"]) == 1
    said = capsys.readouterr().err
    assert "convolution itself is not accepted: convolution.py, line " in said and not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    assert cli.main(["learn", "start", "--set", "empty", "--out", "out"]) == 1
    assert "empty: the folder of a set must contain TOML files" in capsys.readouterr().err
