"""How far it is: lines on standard error, and below them a bar while something is counted.

The bar is tqdm's. It is drawn where somebody looks, on a terminal; in a file the lines are all there is.
"""

import sys
from contextlib import contextmanager, nullcontext

from minitransformer.system.extras import require
from minitransformer.system.printable import printable, to_the_letter

HOW_FAR = "{desc} {percentage:3.0f}% |{bar}| {n:,}/{total:,} [{elapsed}"
LAYOUT = HOW_FAR + ", {remaining} left, {rate_fmt}]"


def require_tqdm() -> None:
    """Raise MissingExtra, with the command that installs it and the option that does without, unless tqdm is there."""
    require("tqdm", otherwise="go without progress: --quiet")


class Narrator:
    """Says on standard error what a program is doing, with bars for what takes long; or, quiet, nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.above_bars = nullcontext

    def say(self, text: str, file=None, *, written: bool = False) -> None:
        """Write lines, above the bar if there is one, to `file` or standard error.

        What cannot be printed is escaped, in what a model has written only on a terminal.
        """
        if self.quiet:
            return
        file = file or sys.stderr
        with self.above_bars(file):
            print(to_the_letter(text, file) if written else printable(text), file=file, flush=True)

    @contextmanager
    def progress(self, description: str, unit: str, *, total: int | None = None, done: int = 0, even: bool = True):
        """Yield a function progress(done, total, description=…) that moves a bar, drawn on a terminal for as long.

        Total None: not known. The description stands before the bar until another is given. A bar that is `even`, each
        unit taking about as long as the next, shows rate and time left. Raises MissingExtra for a bar without tqdm.
        """
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total, description="": None
            return
        require_tqdm()
        from tqdm import tqdm

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
