"""Progress on standard error: lines of text, and below them a bar during long work.

The bar is drawn only on a terminal. It is tqdm's, or without tqdm a plain line with the count and the time.
"""

import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext

from minitransformer.system.printable import printable, to_the_letter

HOW_FAR = "{desc} {percentage:3.0f}% |{bar}| {n:,}/{total:,} [{elapsed}"
LAYOUT = HOW_FAR + ", {remaining} left, {rate_fmt}]"
EVERY = 0.1  # seconds between two plain lines


class Narrator:
    """Report the progress of a program on standard error, with a bar during long work. `quiet` turns it off."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.above_bars: Callable[..., AbstractContextManager] = nullcontext

    def say(self, text: str, file=None, *, written: bool = False) -> None:
        """Write lines to `file` or standard error, above the bar if there is one.

        Control characters are escaped. In text that a model has `written`, they are escaped only on a terminal.
        """
        if self.quiet:
            return
        file = file or sys.stderr
        with self.above_bars(file):
            print(to_the_letter(text, file) if written else printable(text), file=file, flush=True)

    @contextmanager
    def progress(self, description: str, unit: str, *, total: int | None = None, done: int = 0, even: bool = True):
        """Draw a bar within the block, and yield the function progress(done, total, description=…) that updates it.

        None means that the total is unknown. The default of `description` is the one given here. If `even` is True, all
        units take about the same time, so the bar also shows the rate and the remaining time.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total, description="": None
            return
        try:
            from tqdm import tqdm
        except ImportError:
            line = PlainLine(unit)
            self.above_bars = line.hidden
            line.show(description, done, total)
            try:
                yield lambda done, total, description=description: line.show(description, done, total)
            finally:
                line.clear()
            return
        layout = LAYOUT if even else HOW_FAR + "]"
        how = {"unit": f" {unit}", "unit_scale": True, "dynamic_ncols": True, "leave": False, "file": sys.stderr}
        how["bar_format"] = None if total is None else layout
        with tqdm(desc=printable(description, keep=""), total=total, initial=done, **how) as bar:
            self.above_bars = tqdm.external_write_mode

            def progress(done, total, description=description):
                bar.set_description_str(printable(description, keep=""), refresh=False)
                bar.total, bar.bar_format = total, None if total is None or done > total else layout
                bar.update(done - bar.n)

            yield progress


class PlainLine:
    """A line on the terminal with a count and the elapsed time, which the next line overwrites."""

    def __init__(self, unit: str):
        self.unit, self.terminal = unit, sys.stderr
        self.start, self.shown, self.width = time.monotonic(), -EVERY, 0

    def show(self, description: str, done: int, total: int | None) -> None:
        """Write the line, unless less than EVERY seconds have passed since the previous one."""
        now = time.monotonic()
        if now - self.shown < EVERY:
            return
        self.shown = now
        counted = f"{done:,} {self.unit}" if total is None else f"{done:,} of {total:,} {self.unit}"
        minutes, seconds = divmod(int(now - self.start), 60)
        text = printable(f"{description}: " if description else "", keep="") + f"{counted}, {minutes}:{seconds:02d}"
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text:<{self.width}}", end="", file=self.terminal, flush=True)
        self.width = len(text)

    def clear(self) -> None:
        if self.width:
            print(f"\r{'':{self.width}}\r", end="", file=self.terminal, flush=True)
            self.width, self.shown = 0, -EVERY

    @contextmanager
    def hidden(self, file):
        """Clear the line, so that other lines can be written within the block. `file` is not used."""
        self.clear()
        yield
