"""Fixtures of the tests of learn: files graded in the process that the tests share."""

import threading

import pytest

from minitransformer.learn.grading_client import Grader


@pytest.fixture(scope="session")
def grader():
    with Grader() as grader:
        yield grader


@pytest.fixture(autouse=True)
def one_process(grader, monkeypatch):
    """Let all Graders with the usual limits of time share one process, because each takes a second to start."""
    ask, one_at_a_time = Grader.ask, threading.Lock()

    def ask_shared(self, *request):
        if (self.seconds, self.explanation) != (grader.seconds, grader.explanation):
            return ask(self, *request)
        with one_at_a_time:
            return ask(grader, *request)

    monkeypatch.setattr(Grader, "ask", ask_shared)


@pytest.fixture
def graded(grader, tmp_path):
    """Return a function that grades a text as the file of the exercise of that name and returns the Verdict."""

    def verdict(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return grader.verdict(tmp_path, name)

    return verdict
