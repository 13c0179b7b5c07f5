"""The museum: on each exhibit its authors' check passes, gradcheck fails, and the right version passes."""

import re

import numpy as np
import pytest

from gradcheck import steps
from gradcheck.__main__ import main
from gradcheck.museum import CASES, EXHIBITS, RIGHTS, corpus, find, numeric_gradient, outcome, url
from gradcheck.museum.exhibit import missed, right, wrong_lines

every_exhibit = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)

# The faults of these are found before gradients are compared.
FAULTS = {
    "softmax-in-place": "backward changed dy in place",
    "backward-twice": "a second backward(dy) returns another gradient",
    "bias-broadcast": "dbias has shape (4, 2), but bias has (2,)",
}

# Diagnoses of some of them, beyond the numbers.
DIAGNOSES = {
    "batch-norm-ones": "dx is zero everywhere",
    "dy-ignored": "does not depend on dy",
    "squared-error": "is 1/2 times",
    "relu-zero": "differs only where x is negative",
    "embedding-repeated": "the ids equal to 2",
    "bugged-sigmoid": "dx equals dy * x * (1 - x), and the correct gradient is dy * y * (1 - y)",
    "bias-past-tanh": "dbias equals dy.sum(axis=0)",
    "motion-commented": "dstate differs only at index 3 of axis 0, where the truth is zero",
}


@every_exhibit
def test_gradcheck_fails_the_wrong_version_in_the_arguments_that_are_wrong(exhibit):
    report = exhibit.examine(wrong=True, seed=1, explain=False)  # seed 0 is that of the pages
    assert not report.is_right
    if exhibit.name in FAULTS:
        assert FAULTS[exhibit.name] in report.problems[0]
    else:
        assert any(argument.verdict == "WRONG" for argument in report.arguments)


@every_exhibit
def test_gradcheck_passes_the_right_version_which_has_the_same_forward_pass(exhibit):
    report = exhibit.examine(wrong=False, seed=1)
    assert report.is_right, report
    inputs, options = exhibit.draw(np.random.default_rng(1))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(*(exhibit.version(wrong)(*inputs, **options)[0] for wrong in (True, False)))


def test_what_has_no_simple_shape_as_a_whole_is_named_by_its_line():
    exhibit = find("dish-at-input")
    inputs, options = exhibit.draw(np.random.default_rng(0))
    first = steps(exhibit.version(wrong=True), *inputs, **options).first_wrong
    assert (first.name, first.sentence) == ("dz", "x stands where z belongs")


@every_exhibit
def test_a_check_is_able_to_fail(exhibit):
    # Several of them pass zeros, or any gradient of the right sign. NaN passes none.
    def spoilt(*inputs, **options):
        y, backward = exhibit.version(wrong=True)(*inputs, **options)

        def spoilt_backward(dy):
            gradients = backward(dy)
            if isinstance(gradients, tuple):
                return tuple(gradient * np.nan for gradient in gradients)
            return gradients * np.nan

        return y, spoilt_backward

    with pytest.raises(AssertionError):
        exhibit.run_check(spoilt)


@pytest.mark.slow
def test_each_page_shows_the_story_both_lines_and_both_outcomes_in_a_hundred_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert main(["museum", "--all"]) == 0
    pages = re.split(r"\n\n(?=\d+\. .*\n═)", capsys.readouterr().out)
    for number, (exhibit, text) in enumerate(zip(EXHIBITS, pages, strict=True), 1):
        assert text.startswith(f"{number}. {exhibit.title}\n")
        for source in exhibit.sources:
            assert url(source) in text
            text = text.replace(url(source), "an address").replace(source, "a file")  # which are as long as they are
        assert len(exhibit.title) > 8 and len(exhibit.story) > 60 and len(exhibit.reason) > 30
        assert re.search(r"^  − ", text, re.M) and re.search(r"^  \+ ", text, re.M)
        assert "→ it passes on the wrong version" in text
        assert DIAGNOSES.get(exhibit.name, "") in " ".join(text.split())
        wrong, right = text.split("The report of gradcheck on the right version")
        assert FAULTS.get(exhibit.name, "WRONG") in wrong
        assert "right" in right and "WRONG" not in right
        assert max(map(len, text.splitlines())) <= 100


def fails(function):
    raise AssertionError("0.5 is not 0.7")


@right((3,))
@missed("square", fails)
def cube(x):
    """square: a/b, issue 1
        dx = dy * factor * x
    The power is not reduced. Hidden at 1.
    """
    factor = 3

    def backward(dy):
        dx = dy * factor * x * x
        return dx

    return x**3, backward


def test_a_case_is_a_statement_in_place_of_the_one_with_its_target():
    (case,) = cube.cases
    assert [line for mark, line in case.lines if mark == "−"] == ["        dx = dy * factor * x"]
    assert [line for mark, line in case.lines if mark == "+"] == ["        dx = dy * factor * x * x"]
    assert case.lines[0] == (" ", "def cube(x):") and (case.title, case.story) == (
        "The power is not reduced",
        "Hidden at 1.",
    )
    with pytest.raises(ValueError):  # no statement assigns it
        wrong_lines(cube, "y = 1")


@pytest.mark.parametrize("function", dict.fromkeys(case.function for case in CASES), ids=lambda f: f.__name__)
def test_each_check_belongs_to_a_case(function):
    assert getattr(function, "check_of", {}).keys() == {case.name for case in function.cases if case.check}


def test_a_check_that_fails_is_not_reported_as_passing():
    assert outcome(cube.cases[0]) == "it fails: 0.5 is not 0.7"


def test_the_check_is_shown_as_a_definition_or_as_a_call():
    assert cube.cases[0].check_lines[0] == "def fails(function):"
    assert find("dy-ignored").check_lines == ["check_numerically(log_sum_exp, (6,), dy=1.0)"]


def test_the_command_lists_all_and_shows_one(capsys):
    assert main(["museum"]) == 0
    catalogue = capsys.readouterr().out
    assert catalogue.startswith("Wrong gradients")
    names = [(str(i), case.name) for i, case in enumerate(CASES, 1)]
    assert re.findall(r"^ +(\d+)  ([\w-]+)", catalogue, re.M) == names
    assert main(["museum", "2"]) == 0
    by_number = capsys.readouterr().out
    assert main(["museum", EXHIBITS[1].name]) == 0
    assert capsys.readouterr().out == by_number
    assert by_number.startswith(f"2. {EXHIBITS[1].title}\n")


@pytest.mark.parametrize("key", ["0", str(len(CASES) + 1), "9" * 5000, "rotory"])
def test_an_exhibit_that_does_not_exist_is_answered_in_one_line(key, capsys):
    assert main(["museum", key]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"gradcheck museum: there is no exhibit {key[:500]}") and err.count("\n") == 1
    assert f"from 1 to {len(CASES)}" in err and ("rotary" in err or key != "rotory")


FURTHER = [case for case in CASES if case not in EXHIBITS]
LOST = {"rounded", "fixed-point", "median-of-equals"}  # gradcheck cannot tell if they are right


@pytest.mark.slow
def test_the_corpus_is_large_most_of_it_comes_from_public_code_and_each_variant_is_rejected():
    assert len(corpus()) >= 200 and len({case.name for case in corpus()}) == len(corpus())
    variants = corpus()[len(CASES) :]
    further = len(FURTHER) + len(variants)
    assert sum(bool(case.sources) for case in FURTHER) >= further / 2 - 4  # four more are at the limits
    for case in variants:
        is_rejected_with_the_right_forward_pass(case)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", FURTHER, ids=lambda case: case.name)
def test_gradcheck_rejects_each_wrong_version_whose_forward_pass_is_the_right_one(case):
    is_rejected_with_the_right_forward_pass(case)


def is_rejected_with_the_right_forward_pass(case):
    inputs, options = case.draw(np.random.default_rng(0))
    with np.errstate(all="ignore"):
        values = [case.version(wrong)(*inputs, **options)[0] for wrong in (True, False)]
    np.testing.assert_array_equal(*values)
    assert not case.examine(wrong=True, explain=False).is_right, case.name
    assert {mark for mark, _ in case.lines} >= {"−", "+"}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("case", RIGHTS, ids=lambda case: case.name)
def test_gradcheck_confirms_each_right_version(case):
    report = case.examine(wrong=False)
    verdicts = {argument.verdict for argument in report.arguments}
    assert report.is_right or (case.name in LOST and verdicts == {"CANNOT TELL"}), report


def test_a_page_of_a_case_shows_its_words_its_code_and_both_reports(capsys):
    assert main(["museum", "elu-precedence"]) == 0
    text = capsys.readouterr().out
    assert "https://github.com/borgwang/tinynn/blob/0fb0f94/tinynn/core/layer.py" in text
    assert "  −         return dy * (x > 0.0 + (x < 0.0) * alpha * np.exp(x))" in text
    wrong, right = text.split("The report of gradcheck on the right version")
    assert "WRONG" in wrong and "WRONG" not in right


def test_a_source_has_the_address_of_its_kind():
    assert url("a/b, issue 1") == "https://github.com/a/b/issues/1"
    assert url("a/b, pull request 2") == "https://github.com/a/b/pull/2"
    assert url("a/b, file c.py at 0123abc") == "https://github.com/a/b/blob/0123abc/c.py"
    for source in (source for case in CASES for source in case.sources):
        assert re.fullmatch(r"https://github.com/\S+/(issues|pull|blob)/\S+", url(source))


def test_the_classroom_gradient_is_right():
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(numeric_gradient(lambda x: (x**3).sum(), x), 3 * x**2, rtol=1e-8)
