"""A repair that is named solves the exercise: it is written into the learner's file, and graded on all cases."""

import ast
import itertools
import textwrap

import pytest
from sampling import THOROUGH
from test_learn import near_misses, solution
from typical_mistakes import MISTAKES

import gradcheck
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.grading import grade


@pytest.fixture
def reported(monkeypatch):
    """Collect the StepsReports of a grading."""
    reports, steps_of_call = [], gradcheck.steps_of_call

    def report(*arguments, **options):
        reports.append(steps_of_call(*arguments, **options))
        return reports[-1]

    monkeypatch.setattr(gradcheck, "steps_of_call", report)
    return reports


def with_statement(text, line, statement):
    """Return a text in which another statement replaces the one at a line."""
    (node,) = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt) and n.lineno == line]
    lines = text.splitlines()
    indented = textwrap.indent(statement, " " * node.col_offset)
    return "\n".join([*lines[: line - 1], indented, *lines[node.end_lineno :]]) + "\n"


def repairs_that_do_not_solve(name, texts, folder, reported):
    """Return (number of named repairs, those that leave a file wrong) of wrong files of an exercise."""
    named, false = 0, []
    path = folder / f"{name}.py"
    for text in texts:
        path.write_text(text, "utf-8")
        reported.clear()
        list(grade(path, name))
        rows = [row for report in reported for row in report.rows if row.verdict == "WRONG" and row.repair]
        for row in rows:
            named += 1
            path.write_text(with_statement(text, row.line, row.repair), "utf-8")
            *_, verdict = grade(path, name)
            is_one_of_two = len(rows) > 1 and row.name in [r.name for r in verdict.rows if r.verdict == "right"]
            if not verdict.is_solved and not is_one_of_two:
                false.append((name, row.sentence, row.repair))
    return named, false


QUICK = ("linear", "softmax", "dropout")
MUTANTS = 40 if THOROUGH else 4  # of each exercise
EACH = [e.name if e.name in QUICK else pytest.param(e.name, marks=pytest.mark.slow) for e in EXERCISES]


@pytest.mark.parametrize("name", EACH)
def test_every_named_repair_of_a_typical_mistake_or_a_mutant_solves_the_exercise(name, tmp_path, reported):
    text = solution(named_exercise(name), 1)
    texts = [text.replace(right, wrong) for exercise, right, wrong in MISTAKES if exercise == name]
    texts += itertools.islice(near_misses(named_exercise(name)), MUTANTS)
    named, false = repairs_that_do_not_solve(name, texts, tmp_path, reported)
    assert not false
    assert named or name == "adamw"
