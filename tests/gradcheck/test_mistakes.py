"""The grammar of mistakes: a row is matched, made and undone, and its sentence shows a student no answer."""

import ast
from types import SimpleNamespace

import numpy as np
import pytest

from gradcheck.mistakes import Reader, Student, mistake
from gradcheck.mistakes.patterns import build, match, parsed
from gradcheck.mistakes.repairing import Names, repairs

GLOSSARY = {"gamma": "the gain γ"}


class Anything:
    """A scope in which any code fits any hole, and gamma is the one thing that may fill an empty one."""

    def admits(self, kind, code, place):
        return True

    def members(self, kind, bound, place):
        return [ast.Name("gamma")]


def expression(text):
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    "pattern, code",
    [
        *(("A * B", "dy * gamma"), ("A - A", "x - x"), ("F(A, *R)", "np.sum(x, axis=0)"), ("A[I]", "x[..., None]")),
        *(("F(*R, axis=K)", "x.sum(keepdims=True, axis=-1, where=m)"), ("A.M(*R)", "x.reshape(2, 3)")),
        *(("np.exp(A)", "numpy.exp(x)"), ("A += B", "x[i] += 2 * y"), ("for A in B: ...", "for i in x:\n    y = 1")),
    ],
)
def test_a_pattern_matches_code_and_builds_the_same_code_again(pattern, code):
    node = ast.parse(code).body[0]
    node = node.value if isinstance(node, ast.Expr) else node
    bound = match(parsed(pattern), node, {})
    assert bound is not None
    if not pattern.startswith("for"):
        assert ast.unparse(build(parsed(pattern), bound)) == code


@pytest.mark.parametrize(
    "pattern, code",
    [
        *(("A * B", "a + b"), ("A - A", "x - y"), ("A - A", "1 - True"), ("True", "1"), ("np.exp(A)", "self.exp(x)")),
        *(("A.T", "x.size"), ("F(A)", "f(x, y)"), ("F(A)", "f(x, axis=0)"), ("F(*R, axis=K)", "f(x)")),
    ],
)
def test_a_pattern_does_not_match_other_code(pattern, code):
    assert match(parsed(pattern), expression(code), {}) is None


def test_one_row_makes_a_mistake_and_its_repair():
    row = mistake("factor dropped", "A * B", "A", "{B:factor} is missing[ from {A}]", B="factors")
    (made,) = row.mistakes(expression("dy * gamma"), Anything(), None)
    assert ast.unparse(made.new) == "dy"
    (undone,) = row.repairs(expression("dy"), Anything(), None)
    assert ast.unparse(undone.new) == "dy * gamma"


def test_a_hole_without_a_class_is_not_filled():
    row = mistake("call dropped", "F(A)", "A", "{F:a function} is not applied to {A}")
    assert list(row.repairs(expression("x"), Anything(), None)) == []


@pytest.mark.parametrize(
    "reader, is_whole, said",
    [
        (Reader(), True, "the factor gamma is missing"),
        (Reader(), False, "the factor gamma is missing from dy"),
        (Student("dx = dy", {}), True, "a factor is missing"),
        (Student("dx = dy", {}), False, "a factor is missing from dy"),
        (Student("dx = g", {}), False, "a factor is missing"),
        (Student("dx = dy * gamma", GLOSSARY), False, "the gain γ is missing from dy"),
    ],
)
def test_a_sentence_shows_the_answer_to_those_alone_who_may_see_it(reader, is_whole, said):
    row = mistake("factor dropped", "A * B", "A", "{B:factor} is missing[ from {A}]", B="factors")
    (made,) = row.mistakes(expression("dy * gamma"), Anything(), SimpleNamespace(is_whole=is_whole))
    assert made.sentence(reader) == said


def test_a_sentence_that_has_to_quote_what_a_student_did_not_write_is_not_said():
    row = mistake("transpose lost", "A.T", "A", "{A} is not transposed")
    (made,) = row.mistakes(expression("weight.T"), Anything(), None)
    assert made.sentence(Student("dx = dy @ w", {})) is None
    assert made.sentence(Student("dx = dy @ w", {"weight": "the matrix W"})) == "the matrix W is not transposed"


@pytest.mark.parametrize(
    "sentence, message",
    [
        ("the factor {B} is missing", "shows the answer B; add a noun"),
        ("the factor {C:factor} is missing", "refers to the placeholder C, which is in neither pattern"),
    ],
)
def test_a_row_whose_sentence_would_show_an_answer_is_refused(sentence, message):
    with pytest.raises(ValueError, match=message):
        mistake("factor dropped", "A * B", "A", sentence)


VALUES = {"dy": np.ones((2, 3)), "x": np.ones((2, 3)), "gamma": np.ones(3), "keep": np.ones((2, 3), bool), "n": 3}
REPAIRED = [
    ("dy", "dy * gamma", "the factor gamma is missing"),
    ("dy", "dy / n", "by n is missing"),
    ("dy", "np.where(keep, dy, 0.0)", "should be 0 where keep is False"),
    ("dy.sum()", "dy.sum(axis=0)", "the sum runs over all axes where it should run over axis 0"),
    ("dy.sum(axis=1)", "dy.sum(axis=0)", "over axis 1 where it should run over 0"),
    ("dy @ x", "dy @ x.swapaxes(-1, -2)", "x is not transposed"),
    ("dy * x[0]", "dy * gamma[0]", "x stands where gamma belongs"),
    ("2 * dy", "3 * dy", "2 stands where 3 belongs"),
    ("np.sin(x)", "np.cos(x)", "sin stands where cos belongs"),
]


@pytest.mark.parametrize("wrong, right, sentence", REPAIRED)
def test_a_wrong_line_is_repaired_with_the_names_in_scope(wrong, right, sentence):
    names = Names(VALUES, ["dy"], (), lambda name: name == "dy")
    made = [repair for rank in (1, 2, 3, 4) for repair in repairs(expression(wrong), names, rank)]
    assert sentence in {ast.unparse(new): edit.sentence(Reader()) for edit, new in reversed(made)}[right]


def test_methods_that_do_not_reduce_and_parts_of_an_index_are_not_repaired():
    names = Names(VALUES, ["dy"], (), lambda name: name == "dy")
    made = {ast.unparse(new) for _, new in repairs(expression("x.copy()[0]"), names, 1)}
    assert "x.copy(axis=0)[0]" not in made and "x.copy()[1]" not in made and "dy.copy()[0]" in made
