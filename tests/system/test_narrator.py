"""Progress on standard error: lines always, bars on a terminal."""

import re
import sys

from terminals import Terminal

from minitransformer.system import narrator
from minitransformer.system.narrator import Narrator


def on_a_terminal(monkeypatch):
    """Make standard error a terminal of 60 columns, with a clock that `after` advances, and return it."""
    terminal, now = Terminal(), [0.0]
    terminal.after = lambda seconds: now.__setitem__(0, now[0] + seconds)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(narrator.time, "monotonic", lambda: now[0])
    return terminal


def shown(terminal):
    return [line.strip() for line in re.split(r"[\r\n]", terminal.getvalue()) if line.strip()]


def test_a_bar_shows_rate_and_time_left_and_lines_stay_above_it(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    narrator = Narrator()
    with narrator.progress("counting", "sheep", total=2_000) as progress:
        terminal.after(15)
        progress(1_500, 2_000)
        narrator.say("one\ntwo")
        terminal.after(5)
        progress(1_600, 2_000, "tired\n")
    assert shown(terminal) == [
        "counting   0% |                    | 0/2,000 [00:00]",
        "counting  75% |###############     | 1,500/2,000 [00:15, 00",
        "one",
        "two",
        r"tired\n  80% |################    | 1,600/2,000 [00:20, 00:",
    ]
    assert terminal.getvalue().endswith("\r")  # and the bar is gone


def test_rate_and_time_left_count_from_the_beginning_of_this_run(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    with Narrator().progress("", "steps", total=10_000, done=9_000) as progress:
        terminal.after(2)
        progress(9_004, 10_000)
    assert shown(terminal)[1] == "90% |##################  | 9,004/10,000 [00:02, 08:18 left,"


def test_a_bar_of_uneven_work_tells_no_time_left_and_one_without_a_known_end_counts(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    with Narrator().progress("counting", "sheep", total=2, even=False) as progress:
        terminal.after(4000)
        progress(1, 2)
    with Narrator().progress("reading", "characters") as progress:
        terminal.after(1)
        progress(1_200_000, None)
        terminal.after(1)
        progress(1_200_000, 1_000_000)
    lines = shown(terminal)
    assert lines[1] == "counting  50% |##########          | 1/2 [1:06:40]"
    assert lines[3] == "reading 1,200,000 characters [00:01, 1,200,000.0 characters"
    assert lines[4].startswith("reading 1,200,000 characters [00:02, 600,000.0")


def test_a_bar_is_not_written_at_every_count(monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    with Narrator().progress("counting", "sheep", total=1_000) as progress:
        for done in range(1_000):
            terminal.after(0.001)
            progress(done, 1_000)
    assert len(shown(terminal)) in (10, 11)


def test_where_nobody_looks_lines_are_all_there_is_and_quiet_says_nothing(capsys, monkeypatch):
    terminal = on_a_terminal(monkeypatch)
    narrator = Narrator(quiet=True)
    with narrator.progress("counting", "sheep", total=2) as progress:
        progress(1, 2, "tired")
        narrator.say("a line")
    assert terminal.getvalue() == ""
    monkeypatch.undo()
    narrator = Narrator()
    with narrator.progress("counting", "sheep", total=2) as progress:
        progress(1, 2)
        narrator.say("a line")
        narrator.say("a result", sys.stdout)
    assert capsys.readouterr() == ("a result\n", "a line\n")
