"""Fixtures of the tests of learn: files graded in the process that the tests share."""

import linecache
import sys
import threading
import warnings

import pytest

from minitransformer.learn import grading_server
from minitransformer.learn.grading_client import Grader
from minitransformer.module import plain


@pytest.fixture(scope="session")
def grader():
    with Grader() as grader:
        grader.begin()  # here, because a test may change the working directory
        yield grader


@pytest.fixture(autouse=True)
def sources():
    """Keep the sources of code that has no file: grading, which empties the cache, happens in a process of its own."""
    before = dict(linecache.cache)
    yield
    linecache.cache.update(before)


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
def graded(tmp_path, monkeypatch):
    """Return a function that grades a text as the file of the exercise of that name and returns the Verdict.

    It runs in this process, which is twice as fast as a process for each file.
    """
    monkeypatch.setattr(sys, "path", list(sys.path))
    here = str(tmp_path)

    def verdict(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        with plain(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as outside of a test, a warning is no error
            *_, found = grading_server.grade(tmp_path / f"{name}.py", name)
        for module in [name for name, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(here)]:
            del sys.modules[module]  # the file, and those that it imports from its folder
        return found

    return verdict


@pytest.fixture
def graded_apart(grader, tmp_path):
    """Return a function like `graded` for files that end or change the process: it runs each file in a child."""

    def verdict(name, text):
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return grader.verdict(tmp_path, name)

    return verdict
