"""What is said on standard error while a program is at work: lines always, bars where somebody looks."""

import io
import re
import sys

import pytest

from minitransformer.system.extras import MissingExtra
from minitransformer.system.narrator import Narrator


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


def on_a_terminal(monkeypatch):
    """Make standard error a terminal until the end of the test, and return it."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def bars(terminal):
    """Return what was drawn on a terminal or written to it, line by line, as it first stood there."""
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


def test_a_bar_without_tqdm_is_one_clear_error(monkeypatch):
    on_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    words = (
        r'tqdm is not installed: install it with pip install "minitransformer\[app\]", or go without progress: --quiet'
    )
    with pytest.raises(MissingExtra, match=words), Narrator().progress("counting", "sheep"):
        pass
