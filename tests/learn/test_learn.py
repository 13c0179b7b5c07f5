"""Exercises: the solution and another style are right, and nothing handed out is an answer."""

import ast
import re

import pytest
from other_styles import BODIES
from solutions import blank_filled, right_hand_sides, solution

from minitransformer import cli
from minitransformer.book.derivations import statements
from minitransformer.commands import exercises as verbs, learn as command
from minitransformer.learn.cutting import (
    bare,
    cut,
    docstring_of,
    functions_within,
)
from minitransformer.learn.exercises import EXERCISES, LEVELS, NOTHING, SETS, SLOPES, named_exercise
from minitransformer.learn.workspace import begun_in, exercises_in, start


def slow(parameters):
    """Return parameters of a test that takes long."""
    return pytest.param(*parameters.values, id=parameters.id, marks=pytest.mark.slow)


def test_an_untouched_file_is_told_what_to_write(graded):
    said = str(graded("relu", cut(named_exercise("relu"), 0)))
    assert said.splitlines() == [
        "relu: not begun",
        "   write what `...` stands for in relu.py: lines are judged even if others are blank",
    ]


BOTH = [pytest.param(e, level, id=f"{e.name}-{level}") for e in EXERCISES for level in LEVELS]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("exercise, level", [p if p.values[1] == 1 else slow(p) for p in BOTH])
def test_a_file_as_it_is_cut_is_not_begun_and_its_solution_is_right(exercise, level, graded):
    assert graded(exercise.name, cut(exercise, level)).status == "not begun"
    verdict = graded(exercise.name, solution(exercise, level))
    assert str(verdict) == f"{exercise.name}: right (level {level})"


@pytest.mark.one_in(4)
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
@pytest.mark.parametrize("level", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_right_solution_in_another_style_is_right(exercise, level, graded):
    text = cut(exercise, level)
    for body in BODIES[exercise.name]:
        text = blank_filled(text, body)
    verdict = graded(exercise.name, text)
    assert verdict.is_solved, str(verdict)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("exercise, level", BOTH)
def test_a_file_as_it_is_cut_holds_no_line_of_a_solution(exercise, level):
    text = cut(exercise, level)
    handed_out = {
        ast.unparse(node)
        for function in functions_within(ast.parse(text))
        if function.name == "backward" or exercise.is_value
        for node in ast.walk(function)
        if isinstance(node, ast.expr)
    }
    answers = right_hand_sides(exercise)
    assert answers and (not answers & handed_out or exercise.name == "multi_head_attention")
    assert not any(answer in text for answer in answers if len(answer) > 20)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_an_exercise_withholds_equations_and_types_and_cites_no_equation_that_it_lacks(exercise):
    statements_of_backward = [s for s in statements(exercise.source.read_text("utf-8"), "") if "backward" in s.function]
    equations = {re.sub(r"\s+", " ", s.text.partition("(")[0]).strip() for s in statements_of_backward}
    for level in LEVELS:
        text = cut(exercise, level)
        known = set(re.findall(r" {2}\((\d+)\) *$", text, re.MULTILINE))
        assert set(re.findall(r"\b(?:by|in|from|From) \((\d+)\)", text)) <= known
        if level >= SLOPES:
            flat = re.sub(r"\s+", " ", text)
            shown = [e for e in equations if "=" in e and e in flat]
            assert not shown if level >= NOTHING else not any(re.match(r"d[^\W\d]", e) for e in shown)
        nodes = list(ast.walk(ast.parse(text)))
        assert not any(getattr(node, "annotation", None) or getattr(node, "returns", None) for node in nodes)
        of_forward = [
            n
            for n in nodes
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name in ("forward", exercise.target)
        ]
        assert all(docstring_of(function) for function in of_forward)


def test_an_untouched_folder_solves_nothing(tmp_path):
    start(tmp_path, EXERCISES, 0)
    assert exercises_in(tmp_path) == [exercise.name for exercise in EXERCISES]
    assert begun_in(tmp_path) == []


def test_start_never_overwrites_what_is_there(tmp_path):
    start(tmp_path, EXERCISES[:2], 0)
    mine = tmp_path / "fork.py"
    mine.write_text("mine\n", "utf-8")
    added, kept = start(tmp_path, EXERCISES[:3], 1)
    assert added == ["sum_and_share.py"]
    assert "fork.py" in kept
    assert mine.read_text("utf-8") == "mine\n"


def test_the_command_knows_the_sets_and_the_levels():
    assert ", ".join(SETS) == command.SETS
    assert list(command.LEVELS) == list(LEVELS)
    assert all(callable(getattr(verbs, verb)) for verb in command.VERBS)


@pytest.mark.parametrize("verb", ["start", "collect x", "handout softmax", "derive softmax"])
def test_a_verb_that_reads_no_exercises_refuses_a_folder_of_exercises(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["learn", "--in", "mine", *verb.split()]) == 1
    assert "has no option --in" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_line_of_the_one_page_is_numbered_and_has_its_equation():
    text, numbers = cut(named_exercise("one_page"), 0), [str(n) for n in range(32, 62)]
    assert re.findall(r"^ +d[\w, ]+ = [^#\n]* +\((\d+)\)$", text, re.MULTILINE) == numbers
    assert re.findall(r"= \.\.\.  # \((\d+)\)$", text, re.MULTILINE) == numbers


def test_a_training_step_may_import_the_functions_of_the_students_other_files(graded):
    imports = "from one_page import gpt\nfrom adamw import adamw\n"
    text = solution(named_exercise("training_step"), 1).replace("loss, _, backward", "loss, backward")
    text = re.sub(r"^from minitransformer.*\n", "", text, flags=re.MULTILINE).replace(
        "import numpy", f"{imports}import numpy"
    )
    for name in ("one_page", "adamw"):
        assert graded(name, solution(named_exercise(name), 1)).is_solved
    assert graded("training_step", text).is_solved
    wrong = graded("training_step", text.replace("*moved", "*moved[::-1]"))
    assert wrong.status == "not right yet"


def test_a_file_that_still_has_types_from_an_earlier_version_is_graded_like_one_without(graded):
    exercise = named_exercise("multi_head_attention")
    text = solution(exercise, 1)
    typed = text.replace("d_model,\n", "d_model: int,\n").replace("rotary=None,", "rotary: Rotary | None = None,")
    typed = typed.replace("import numpy", "from minitransformer.layers.positions import Rotary\nimport numpy", 1)
    assert typed.count("Rotary") > text.count("Rotary")
    assert graded(exercise.name, text).is_solved and graded(exercise.name, typed).is_solved


def test_types_are_left_out_of_signatures_and_nothing_else_is():
    typed = 'def f(\n    a: int, /, b: "str" = "x: int", *rest: float, eps: float = 1e-5\n) -> tuple[int]:\n'
    untyped = 'def f(a, /, b="x: int", *rest, eps=1e-5):\n'
    typed, untyped = (f"{head}    return a  # kept\n" for head in (typed, untyped))
    assert bare(typed) == bare(untyped) == untyped


def test_level_1_says_which_gradients_backward_returns_and_what_the_parts_of_a_module_return():
    text = cut(named_exercise("linear"), 1).replace("\n", " ")
    assert "Return dx, dweight and dbias for dy, where dX denotes ∂L/∂X and has the shape of X." in text
    assert "f_backward(dy) returns dx alone" in cut(named_exercise("feed_forward"), 1)


@pytest.mark.parametrize(
    "options, words", [([], "without its backward pass"), (["--bug", "1"], "one line of backward has a mistake")]
)
def test_start_names_the_folder_in_its_command_and_the_task_on_its_page(options, words, tmp_path, capsys):
    folder = tmp_path / "two words"
    cli.main(["learn", "start", "--set", "norms", *options, "--out", str(folder)])
    assert f"minitransformer learn check layer_norm --in '{folder}'" in capsys.readouterr().out
    page = (folder / "README.md").read_text("utf-8")
    assert words in page and ("The level" in page) == (not options)
