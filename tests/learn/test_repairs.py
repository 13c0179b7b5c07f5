"""Wrong files, by typical mistakes and by near misses: each is named without the answer, and a named repair solves it.

A repair is written into the learner's file, which is graded on all cases. Each file is graded once for all tests.
"""

import ast
import functools
import hashlib
import itertools
import re
import tempfile
import textwrap
from pathlib import Path

import pytest
from sampling import THOROUGH
from solutions import right_hand_sides, solution
from typical_mistakes import MISTAKES

import gradcheck
from gradcheck.audit.mutations import mutate
from minitransformer.learn.cutting import File, cut, functions_within
from minitransformer.learn.exercises import EXERCISES, named_exercise
from minitransformer.learn.grading_server import grade

SAMPLE = MISTAKES if THOROUGH else MISTAKES[::3]
NEAR_MISSES = 40 if THOROUGH else 3  # of each exercise
QUICK = ("linear",)
WITH_REPAIRS = (
    "linear",
    "softmax",
    "dropout",
    "layer_norm",
    "attention",
    "multi_head_attention",
    "gelu",
    "block",
    "cross_entropy",
)
EACH = [e.name if e.name in QUICK else pytest.param(e.name, marks=pytest.mark.slow) for e in EXERCISES]


@functools.cache
def graded(name, text):
    """Return (Verdict, StepsReports) of a text as the file of an exercise, graded in this process."""
    reports, steps_of_call = [], gradcheck.steps_of_call

    def report(*arguments, **options):
        reports.append(steps_of_call(*arguments, **options))
        return reports[-1]

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradcheck, "steps_of_call", report)
        path = Path(folder, f"{name}.py")
        path.write_text(text, "utf-8")
        *_, verdict = grade(path, name)
    return verdict, reports


def typical(name):
    """Yield texts with one of the typical mistakes in an exercise."""
    text = solution(named_exercise(name), 1)
    for right, wrong in [(right, wrong) for exercise, right, wrong in SAMPLE if exercise == name]:
        assert right in text, (name, right)
        yield text.replace(right, wrong)


@functools.cache
def near_misses(name):
    """Return some texts with one mistake each, made by the audit in the backward pass of the textbook."""
    exercise = named_exercise(name)
    file = File(exercise.source.read_text("utf-8"))
    nodes = [file.nodes[needed] for needed in file.needed(exercise.target)]
    header = cut(exercise, 1).partition('"""\n')[0] + '"""\n'
    mutants = mutate(exercise.source, (exercise.target if exercise.is_value else "backward",))
    inside = [m for m in mutants if any(node.lineno <= m.line <= node.end_lineno for node in nodes)]
    inside.sort(key=lambda m: hashlib.sha256(m.replacement.encode() + bytes([m.start % 256])).digest())
    texts = (File(mutant.mutated_source).taken(exercise, None) for mutant in inside)
    changed = (text for text in texts if text != file.taken(exercise, None))  # not in a function that is imported
    return [header + "\n".join(text) + "\n" for text in itertools.islice(changed, NEAR_MISSES)]


@pytest.mark.parametrize("name", EACH)
def test_near_misses_are_wrong_and_each_has_a_sentence_that_holds_no_answer(name):
    texts = near_misses(name)
    verdicts = [graded(name, text)[0] for text in texts]
    wrong = [verdict for verdict in verdicts if not verdict.is_solved]
    assert all(verdict.mistake for verdict in wrong)
    assert len(wrong) >= int(0.8 * len(verdicts))  # the others change no number
    answers = [answer for answer in right_hand_sides(named_exercise(name)) if len(answer) > 8]
    for text, verdict in zip(texts, verdicts, strict=True):
        assert not any(answer in str(verdict) for answer in answers if answer not in text)


def names_of_code(text):
    """Return the names in the functions of a text, arguments included."""
    nodes = [node for function in functions_within(ast.parse(text)) for node in ast.walk(function)]
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.arg for n in nodes if isinstance(n, ast.arg)}


@pytest.mark.slow
def test_of_a_hundred_typical_mistakes_nearly_all_are_named():
    unnamed = []
    for name, text in ((exercise.name, text) for exercise in EXERCISES for text in typical(exercise.name)):
        verdict, _ = graded(name, text)
        row, words = verdict.first_wrong, verdict.mistake.partition(": ")[2]
        answer = names_of_code(solution(named_exercise(name), 1)) - names_of_code(text)
        assert not answer & set(re.findall(r"\w+", words)), verdict.mistake
        assert verdict.status in ("not right yet", "failed"), (name, text)
        if row is not None and row.kind in ("", "mistake within a call"):
            unnamed.append((name, verdict.mistake))
    assert len(unnamed) <= 0.03 * len(SAMPLE), unnamed


def with_statement(text, line, statement):
    """Return a text in which another statement replaces the one at a line."""
    (node,) = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt) and n.lineno == line]
    lines = text.splitlines()
    indented = textwrap.indent(statement, " " * node.col_offset)
    return "\n".join([*lines[: line - 1], indented, *lines[node.end_lineno :]]) + "\n"


@pytest.mark.parametrize("name", EACH)
def test_every_named_repair_of_a_typical_mistake_or_a_near_miss_solves_the_exercise(name):
    named, false = 0, []
    for text in [*typical(name), *near_misses(name)]:
        _, reports = graded(name, text)
        rows = [row for report in reports for row in report.rows if row.verdict == "WRONG" and row.repair]
        for row in rows:
            named += 1
            verdict, _ = graded(name, with_statement(text, row.line, row.repair))
            is_one_of_two = len(rows) > 1 and row.name in [r.name for r in verdict.rows if r.verdict == "right"]
            if not verdict.is_solved and not is_one_of_two:
                false.append((row.sentence, row.repair))
    assert not false
    assert named or name not in WITH_REPAIRS
