"""The variant for a student: its own code is right in it, and the code of another student or of the textbook is not."""

import csv
from dataclasses import replace

import pytest
from solutions import solution

from minitransformer import cli
from minitransformer.learn.cutting import File, cut, only_the_question
from minitransformer.learn.exercises import EXERCISES, named_exercise

QUICK = ("softmax", "layer_norm", "neuron", "feed_forward")
EACH = [pytest.param(e, marks=() if e.name in QUICK else pytest.mark.slow) for e in EXERCISES if not e.is_value]


def variant(exercise, student, level=1):
    """Return (the exercise's file as it is cut, the same with a right backward) for a student."""
    exercise = replace(exercise, student=student)
    text, source = cut(exercise, level), only_the_question(exercise.source.read_text("utf-8"), exercise)
    return text, text.partition('"""\n')[0] + '"""\n' + "\n".join(File(source).taken(exercise, None)) + "\n"


@pytest.mark.one_in(4)
@pytest.mark.parametrize("exercise", EACH, ids=lambda exercise: exercise.name)
def test_a_variant_accepts_its_own_code_alone(exercise, graded):
    for level in (0, 1, 4):
        (text, ada), (_, bob) = (variant(exercise, student, level) for student in ("ada", "bob@x.org"))
        assert "student ada" in text and graded(exercise.name, text).status == "not begun"
        verdict = graded(exercise.name, ada)
        assert verdict.is_solved and verdict.student == "ada", str(verdict)
        its_header = text.partition('"""\n')[0] + '"""\n'
        for other in (bob, solution(exercise, level)):
            assert not graded(exercise.name, its_header + other.partition('"""\n')[2]).is_solved


def test_a_mistake_in_a_variant_is_named(graded):
    _, text = variant(named_exercise("softmax"), "ada", 1)
    assert "the sum over" in graded("softmax", text.replace("* (dy - weighted_sum)", "* dy")).mistake


def test_a_class_has_variants_and_the_marks_name_the_student(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for student in ("ada", "bob"):
        start = ["learn", "start", "--set", "norms", "--student", student, "--out", f"class/{student}"]
        assert cli.main(start) == 0
    for folder in ("ada", "bob"):  # bob has copied the file of ada
        (tmp_path / f"class/{folder}/rms_norm.py").write_text(variant(named_exercise("rms_norm"), "ada")[1], "utf-8")
    assert cli.main(["learn", "collect", "class", "--csv", "marks.csv", "--quiet"]) == 0
    with open(tmp_path / "marks.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rms_norm"] for row in rows] == ["solved"] * 2
    own, foreign = "the same code as bob", "the same code as ada; the variant of ada"
    assert [row["rms_norm: remarks"] for row in rows] == [f"to look at: {own}", f"to look at: {foreign}"]
    assert rows[1]["layer_norm: remarks"] == ""
    assert cli.main(["learn", "start", "--student", "a, b"]) == 1
