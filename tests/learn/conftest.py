"""Fixtures of the tests of learn: files graded in the process that the tests share."""

import pytest

from minitransformer.learn.grading_client import Grader


@pytest.fixture(scope="session")
def grader():
    with Grader() as grader:
        yield grader


@pytest.fixture
def graded(grader, tmp_path):
    """Return a function that grades a text as the file of the exercise of that name and returns the Verdict."""

    def verdict(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return grader.verdict(tmp_path, name)

    return verdict
