"""No part compares the words of a sentence: with other words, verdicts, kinds, places and questions stay the same."""

import itertools
from pathlib import Path

import pytest
from solutions import filled, solution

import gradcheck.diagnosis
from gradcheck.mistakes import KINDS, ROWS
from gradcheck.report import Problem
from minitransformer.learn.exercises import named_exercise
from minitransformer.learn.grading_server import grade
from minitransformer.learn.hints import next_hint
from minitransformer.learn.vocabulary import OF_ANY_LINE, OF_EXERCISES

ROWS_OF_ALL = [*ROWS, *OF_ANY_LINE, *itertools.chain(*OF_EXERCISES.values())]
WRONG = {  # (exercise, right code, wrong code), of each part that says something
    "a typical mistake": ("softmax", "dx = y * (dy - weighted_sum)", "dx = y * dy"),
    "a repair of the line": ("linear", "rows(dy).sum(axis=0)", "rows(dy).mean(axis=0)"),
    "a diagnosis of the gradient": ("layer_norm", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    "no dependence on dy": ("relu", "dx = np.where(off, 0, dy)", "dx = (x > 0) * 1.0"),
    "a shape": ("linear", "dbias = rows(dy).sum(axis=0)", "dbias = rows(dy).sum(axis=0)[None]"),
    "a number of gradients": ("softmax", "return dx", "return dx, dx"),
    "an exception": ("softmax", "dx = y * (dy - weighted_sum)", "dx = y * (dy - weighted_sum) @ dy"),
}


@pytest.fixture
def in_other_words(monkeypatch):
    """Return a function that replaces every sentence of a table, a diagnosis, or a violation of the contract."""

    def replace():
        for k, row in enumerate(ROWS_OF_ALL):
            monkeypatch.setitem(row.__dict__, "sentence", f"§{k}")
        for kind, (_, question) in list(KINDS.items()):
            monkeypatch.setitem(KINDS, kind, type(KINDS[kind])("§", question))
        first, of = gradcheck.diagnosis._first, Problem.of.__func__
        monkeypatch.setattr(gradcheck.diagnosis, "_first", lambda evidence: first(evidence)._replace(sentence="§"))
        monkeypatch.setattr(
            Problem, "of", classmethod(lambda cls, sentence, *kind, **data: of(cls, "§", *kind, **data))
        )

    return replace


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, right, wrong", WRONG.values(), ids=WRONG)
def test_other_words_change_no_verdict_kind_place_or_question(name, right, wrong, in_other_words, tmp_path):
    text = solution(named_exercise(name), 1)
    assert right in text
    path = Path(tmp_path, f"{name}.py")
    path.write_text(text.replace(right, wrong), "utf-8")

    def told():
        *_, verdict = grade(path, name)
        (tmp_path / ".hints.json").unlink(missing_ok=True)
        hint = next_hint(tmp_path, named_exercise(name), verdict)
        rows = [(row.equation, row.name, row.verdict, row.kind, row.origins) for row in verdict.rows]
        return verdict.mistake, (verdict.status, rows, verdict.about, verdict.question, hint)

    sentence, before = told()
    in_other_words()
    other, after = told()
    assert after == before and (other != sentence or "Error" in sentence)


def test_every_kind_of_mistake_is_in_a_hint(tmp_path):
    verdicts = {kind: question for kind, (_, question) in KINDS.items()}
    assert all("?" in question for question in verdicts.values())
    path = Path(tmp_path, "softmax.py")
    path.write_text(filled("return y * dy"), "utf-8")
    *_, verdict = grade(path, "softmax")
    assert KINDS[verdict.first_wrong.kind].question in next_hint(tmp_path, named_exercise("softmax"), verdict)
