"""Progress on standard error: lines always, bars on a terminal."""

import os
import re
import shutil
import sys

import pytest
from terminals import Terminal

from minitransformer.system.narrator import Narrator


def on_a_terminal(monkeypatch):
    """Make standard error a terminal until the end of the test, and return it."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def bars(terminal):
    """Return the lines drawn on a terminal, in their first form."""
    return [line.strip() for line in re.split(r"[\r\n]", terminal.getvalue()) if line.strip()]


def test_a_bar_shows_rate_and_time_left_and_lines_stay_above_it(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    narrator = Narrator()
    with narrator.progress("counting", "sheep", total=2_000) as progress:
        progress(1_500, 2_000)
        narrator.say("one\ntwo")
        progress(1_600, 2_000, "tired")
        narrator.say("three")
    shown = bars(terminal)
    assert re.match(r"counting   0% \|.*\| 0/2,000 \[00:00, \? left, \? sheep/s\]", shown[0])
    i = shown.index("one")
    assert shown[i + 1] == "two"
    assert re.match(r"counting  75% \|.*\| 1,500/2,000 \[\d\d:\d\d, \d\d:\d\d left, \S+ sheep/s\]", shown[i + 2])
    assert re.match(r"tired  80% \|", shown[shown.index("three") + 1])
    assert terminal.getvalue().endswith("\r")  # and the bar is gone


def test_a_bar_of_what_takes_longer_or_shorter_tells_no_time_left(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    with Narrator().progress("counting", "sheep", total=2, even=False):
        pass
    assert re.match(r"counting   0% \|.*\| 0/2 \[00:00\]", bars(terminal)[0])


@pytest.mark.parametrize("done, total", [(1_200_000, None), (1_200_000, 1_000_000)])
def test_what_is_counted_without_a_known_end_is_shown_all_the_same(monkeypatch, done, total):
    terminal = on_a_terminal(monkeypatch)
    narrator = Narrator()
    with narrator.progress("reading", "characters") as progress:
        progress(done, total)
        narrator.say("a line")
    assert any(re.match(r"reading: 1\.20M characters \[\d\d:\d\d, \S+ characters/s\]", line) for line in bars(terminal))


def test_where_nobody_looks_lines_are_all_there_is(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    narrator = Narrator()
    with narrator.progress("counting", "sheep", total=2) as progress:
        progress(1, 2)
        narrator.say("a line")
        narrator.say("a result", sys.stdout)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a result\n", "a line\n")


def test_quiet_it_says_nothing(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    narrator = Narrator(quiet=True)
    with narrator.progress("counting", "sheep", total=2) as progress:
        progress(1, 2, "tired")
        narrator.say("a line")
    assert terminal.getvalue() == ""


def without_tqdm(monkeypatch):
    """Hide tqdm, make standard error a terminal until the end of the test, and return it."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((40, 24)))
    return sys.stderr


def test_without_tqdm_a_plain_line_shows_the_count_and_lines_stay_above_it(monkeypatch):
    terminal = without_tqdm(monkeypatch)
    monkeypatch.setattr("minitransformer.system.narrator.EVERY", 0)
    narrator = Narrator()
    with narrator.progress("counting", "sheep", total=2_000) as progress:
        progress(1_500, 2_000)
        narrator.say("one\ntwo")
        progress(1_600, 2_000, "tired\n")
    assert bars(terminal) == [
        "counting: 0 of 2,000 sheep, 0:00",
        "counting: 1,500 of 2,000 sheep, 0:00",
        "one",
        "two",
        r"tired\n: 1,600 of 2,000 sheep, 0:00",
    ]
    assert terminal.getvalue().endswith("\r")  # and the line is gone


def test_a_plain_line_without_a_known_end_fits_the_terminal_and_covers_a_longer_one(monkeypatch):
    terminal = without_tqdm(monkeypatch)
    monkeypatch.setattr("minitransformer.system.narrator.EVERY", 0)
    with Narrator().progress("", "characters") as progress:
        progress(7, None, "a" * 50)
        progress(1_200_000, None)
    lines = terminal.getvalue().split("\r")[1:]
    assert [line.rstrip() for line in lines[:3]] == ["0 characters, 0:00", "a" * 39, "1,200,000 characters, 0:00"]
    assert [len(line) for line in lines[2:]] == [39, 26, 0]


def test_a_plain_line_is_not_written_at_every_count(monkeypatch):
    terminal = without_tqdm(monkeypatch)
    with Narrator().progress("counting", "sheep", total=10_000) as progress:
        for done in range(10_000):
            progress(done, 10_000)
    assert 1 <= len(bars(terminal)) < 1_000
