"""Who watches a training run.

`pretrain` tells an Observer what happens, as it happens, and writes nothing to the screen itself. Observer
itself says nothing; ProgressBar draws.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack, suppress
from statistics import fmean

from minitransformer.system.narrator import Narrator


class Observer:
    """Watches a run in silence. Override what is of interest."""

    def start(self, step: int, steps: int) -> None:
        """The run of `steps` steps begins, or goes on after `step` of them."""

    def record(self, record: dict) -> None:
        """A step is done: its metrics (see metrics.py). Evaluations have a "val_loss", or a "margin"."""

    def sample(self, step: int, text: str) -> None:
        """The model, after `step` steps, wrote `text`."""

    def stopping(self, folder) -> None:
        """Ctrl-C came: the run stops when the step is finished, and saved in `folder` unless that is None.

        Called wherever in the step that was.
        """

    def stop(self) -> None:
        """The run is over: finished, interrupted or failed."""


def evaluation_in_words(record: dict, loss: float | None) -> str:
    """Return what an evaluation measured, of a run on a text or on pairs, and the loss; "" where there was none."""
    if "val_loss" in record:
        measured = f"validation loss {record['val_loss']:.4f}"
    elif None not in (record.get("margin"), record.get("general_loss")):
        perplexity = math.exp(min(record["general_loss"], 700))
        measured = f"margin {record['margin']:.3f}, perplexity on general text {perplexity:.4g}"
    else:
        return ""
    training = "" if loss is None else f"training loss {loss:.4f}, "
    return f"step {record['step']:>5}: {training}{measured}"


def sample_in_words(step: int, text: str) -> str:
    """Return a sample, indented."""
    return "\n".join([f"step {step:>5}, a sample:", *(f"    {line}" for line in text.splitlines())])


class ProgressBar(Observer):
    """A bar on standard error with the loss and the time; evaluations and samples stay above it.

    Where standard error is no terminal, evaluations and samples are all there is. Where an evaluation has an
    "accuracy", by task, its mean stands beside the loss.

    name             says which run it is where that goes on after an interruption; "": nothing is said
    evaluation       makes lines of a record and the loss, a running mean; "" for a record that calls for none
    written          makes lines of a step and the sample that the model wrote after it
    file             where these lines go; None: to standard error
    """

    SMOOTHING = 0.9  # of the loss that is shown

    def __init__(
        self,
        *,
        name: str = "",
        evaluation: Callable[[dict, float | None], str] = evaluation_in_words,
        written: Callable[[int, str], str] = sample_in_words,
        file=None,
    ):
        self.name, self.evaluation, self.written, self.file = name, evaluation, written, file
        self.narrator, self.bar = Narrator(), ExitStack()
        self.loss = self.right = None

    def start(self, step, steps):
        """Draw the bar."""
        self.steps = steps
        self.move = self.bar.enter_context(self.narrator.progress("", "steps", total=steps, done=step))
        if self.name and step:
            self.narrator.say(f"{self.name}: resuming after step {step} of {steps}")

    def record(self, record):
        """Move the bar; write an evaluation above it."""
        if "accuracy" in record:
            self.right = fmean(record["accuracy"].values())
        if "loss" in record:
            before = self.loss if self.loss is not None else record["loss"]
            self.loss = self.SMOOTHING * before + (1 - self.SMOOTHING) * record["loss"]
            right = "" if self.right is None else f" right {self.right:.0%}"
            self.move(record["step"], self.steps, f"loss {self.loss:.3f}{right}")
        lines = self.evaluation(record, self.loss)
        if lines:
            self.narrator.say(lines, self.file)

    def sample(self, step, text):
        """Write the sample above the bar."""
        self.narrator.say(self.written(step, text), self.file, written=True)

    def stopping(self, folder):
        """Say so above the bar."""
        with suppress(OSError, RuntimeError):  # in the midst of another line there is no saying one
            saving = "" if folder is None else ", then saving"
            self.narrator.say(f"finishing the step{saving}; Ctrl-C once more stops at once")

    def stop(self):
        """Take the bar away."""
        self.bar.close()
