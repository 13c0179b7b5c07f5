"""Report progress on standard error: lines of text, and a bar during long work. Only a terminal shows the bar."""

import shutil
import sys
import time
from contextlib import contextmanager

from gradcheck.front.streams import printable, to_the_letter

EVERY = 0.1  # seconds between two updates of a bar
WIDTH = 20  # characters of a bar


class Narrator:
    """A reporter of a program's progress on standard error. If `quiet` is True, nothing is written."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.bar: Bar | None = None

    def say(self, text: str, file=None, *, written: bool = False) -> None:
        """Write lines to `file` or standard error, above the bar. Text `written` by a model is escaped on terminals."""
        if self.quiet:
            return
        file = file or sys.stderr
        if self.bar is not None:
            self.bar.clear()
        print(to_the_letter(text, file) if written else printable(text), file=file, flush=True)

    @contextmanager
    def progress(self, description: str, unit: str, *, total: int | None = None, done: int = 0, even: bool = True):
        """Return a context manager that draws a bar. It yields progress(done, total, description=…) to update the bar.

        `total` may be unknown. If all units take about the same time (`even`), the bar shows the remaining time.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total, description="": None
            return
        outer, self.bar = self.bar, Bar(unit, done, even)
        bar = self.bar
        bar.show(done, total, description)
        try:
            yield lambda done, total, description=description: bar.show(done, total, description)
        finally:
            bar.clear()
            self.bar = outer


class Bar:
    """A line on the terminal that the next line overwrites. `first` is the initial number of completed units."""

    def __init__(self, unit: str, first: int, even: bool):
        self.unit, self.first, self.even, self.terminal = unit, first, even, sys.stderr
        self.start, self.shown, self.width = time.monotonic(), -EVERY, 0

    def show(self, done: int, total: int | None, description: str) -> None:
        """Write the line if EVERY seconds have passed since it was last written."""
        now = time.monotonic()
        if now - self.shown < EVERY:
            return
        self.shown, seconds = now, now - self.start
        rate = (done - self.first) / seconds if self.even and seconds > 0 else 0
        times = [clock(seconds)]
        if not total or done > total:
            counted = f"{done:,} {self.unit}"
        else:
            counted = f"{done / total:4.0%} |{'#' * (WIDTH * done // total):<{WIDTH}}| {done:,}/{total:,}"
            times += [f"{clock((total - done) / rate)} left"] if rate > 0 else []
        times += [f"{rate:,.1f} {self.unit}/s"] if rate > 0 else []
        text = f"{printable(description, keep='')} {counted} [{', '.join(times)}]".strip()
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self.width}}", end="", file=self.terminal, flush=True)
        self.width = len(text)

    def clear(self) -> None:
        if self.width:
            print(f"\r{'':{self.width}}\r", end="", file=self.terminal, flush=True)
            self.width, self.shown = 0, -EVERY


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
