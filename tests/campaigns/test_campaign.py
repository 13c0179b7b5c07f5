"""The campaigns can fail: each mistake that is planted here makes one of them red."""

import os
import subprocess
import time

import forked
import pytest
from forked import Forked, Limits, complaints_about_line

slow = pytest.mark.slow


# Messages.


@pytest.mark.parametrize(
    "line, words",
    [
        ("", "says nothing"),
        ("internal error, please report it: KeyError: 'x'", "an internal error"),
        ("model.npz: one\nand two", "more than one line"),
        ("model.npz: the tensor \x1b]0;owned\x07 is missing", "not printable"),
        ("model.npz: damaged (KeyError('x'))", "as Python says it"),
        ("model.npz: 'str' object has no attribute 'get'", "as Python says it"),
        ("the file is damaged", "names no file"),
    ],
)
def test_a_line_that_tells_nothing_is_complained_of(line, words):
    (complaint,) = complaints_about_line(line, ["model.npz"])
    assert complaint.startswith(words)


# Processes.


def endless():
    """Work for ever."""
    while True:
        time.process_time()


@slow
@pytest.mark.parametrize(
    "work, limits, words",
    [
        (lambda: [len(b"x" * 50_000_000)], {"memory": 20 * forked.MEGABYTE}, "too much memory: 4"),
        (
            endless,
            {"seconds": 1},
            "too much time: 1 s of a core, the last of them in endless of campaigns/test_campaign.py",
        ),
        (os.abort, {}, "ended by SIGABRT"),
        (lambda: [subprocess.Popen(["sleep", "100"]).pid], {}, "a process left behind"),
    ],
    ids=["memory", "time", "crash", "orphan"],
)
def test_a_process_that_takes_too_much_or_leaves_others_behind_is_complained_of(monkeypatch, work, limits, words):
    b"x" * 100_000_000  # noqa: B018  memory that is free again in this process, and might be at hand for the other
    process = Forked(work, limits=Limits(**limits))
    assert process.is_over(forked.PATIENCE)
    monkeypatch.setattr(forked, "PATIENCE", 1)  # with those who are left behind
    complaints = process.wait().complaints()
    assert any(complaint.startswith(words) for complaint in complaints), complaints
