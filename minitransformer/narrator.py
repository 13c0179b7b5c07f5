"""How far it is: lines on standard error, and below them a bar while something is counted.

The bar is tqdm's. It is drawn where somebody looks, on a terminal; in a file the lines are all there is.
"""

import sys
from contextlib import contextmanager, nullcontext

from minitransformer.extras import require

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

    def say(self, text: str, file=None) -> None:
        """Write lines, above the bar if there is one, to `file` or standard error."""
        if not self.quiet:
            with self.above_bars(file or sys.stderr):
                print(text, file=file or sys.stderr, flush=True)

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
        with tqdm(desc=description, total=total, initial=done, **how) as bar:
            self.above_bars = tqdm.external_write_mode

            def progress(done, total, description=description):
                bar.set_description_str(description, refresh=False)
                bar.total, bar.bar_format = total, None if total is None or done > total else layout
                bar.update(done - bar.n)

            yield progress
