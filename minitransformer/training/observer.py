"""Who watches a training run.

`pretrain` tells an Observer what happens, as it happens, and writes nothing to the screen itself. Observer
itself says nothing; ProgressBar draws.
"""

import math
import sys

from minitransformer.extras import require


class Observer:
    """Watches a run in silence. Override what is of interest."""

    def start(self, step: int, steps: int) -> None:
        """The run of `steps` steps begins, or goes on after `step` of them."""

    def record(self, record: dict) -> None:
        """A step is done: its metrics (see metrics.py). Evaluations have a "val_loss", or a "margin"."""

    def sample(self, step: int, text: str) -> None:
        """The model, after `step` steps, wrote `text`."""

    def stop(self) -> None:
        """The run is over: finished, interrupted or failed."""


class ProgressBar(Observer):
    """A tqdm bar on standard error with rate, loss and time left; evaluations and samples stay above it.

    Where standard error is no terminal, evaluations and samples are all there is. Raises MissingExtra without tqdm.
    """

    SMOOTHING = 0.9  # of the loss that is shown

    def __init__(self):
        require("tqdm", otherwise="go without progress: --quiet")
        self.bar = None
        self.loss = None

    def start(self, step, steps):
        """Draw the bar."""
        from tqdm import tqdm

        layout = "{desc}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left, {rate_fmt}]"
        self.bar = tqdm(
            total=steps,
            initial=step,
            unit=" steps",
            bar_format=layout,
            dynamic_ncols=True,
            leave=False,
            file=sys.stderr,
            disable=None,
        )

    def record(self, record):
        """Move the bar; write an evaluation above it."""
        if "loss" in record:
            before = self.loss if self.loss is not None else record["loss"]
            self.loss = self.SMOOTHING * before + (1 - self.SMOOTHING) * record["loss"]
            self.bar.set_description_str(self.description(), refresh=False)
            self.bar.update()
        measured = self.in_words(record)
        if measured:
            training = f"training loss {self.loss:.4f}, " if self.loss is not None else ""
            self.write(f"step {record['step']:>5}: {training}{measured}")

    @staticmethod
    def in_words(record):
        """Return what an evaluation measured, of a run on a text or on pairs; "" where there was none."""
        if "val_loss" in record:
            return f"validation loss {record['val_loss']:.4f}"
        if None not in (record.get("margin"), record.get("general_loss")):
            perplexity = math.exp(min(record["general_loss"], 700))
            return f"margin {record['margin']:.3f}, perplexity on general text {perplexity:.4g}"
        return ""

    def description(self):
        """Return what stands before the bar."""
        return f"loss {self.loss:.3f} "

    def sample(self, step, text):
        """Write the sample above the bar, indented."""
        self.write("\n".join([f"step {step:>5}, a sample:", *(f"    {line}" for line in text.splitlines())]))

    def stop(self):
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()

    def write(self, text):
        """Write lines above the bar."""
        self.bar.write(text, file=sys.stderr)
