"""What a command says while it works."""

import sys
from contextlib import contextmanager


class Narrator:
    """Says on standard error what the command is doing, with bars for what takes long; or, quiet, nothing."""

    def __init__(self, quiet: bool):
        self.quiet = quiet

    def say(self, line: str) -> None:
        """Write a line."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, description: str, unit: str):
        """Yield a function progress(done, total) that draws a bar while the block lasts; None when quiet."""
        if self.quiet:
            yield None
            return
        from tqdm import tqdm

        with tqdm(desc=description, unit=unit, unit_scale=True, leave=False, disable=None, file=sys.stderr) as bar:

            def progress(done, total):
                bar.total = total
                bar.update(done - bar.n)

            yield progress
