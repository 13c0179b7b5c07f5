"""Observers of a training run. A run calls an Observer at each event and prints nothing itself."""

import math
from collections.abc import Callable
from contextlib import ExitStack, suppress
from statistics import fmean

from minitransformer.system.narrator import Narrator


class Observer:
    """An observer that ignores all events of a run. Subclasses override the methods that they need."""

    def start(self, step: int, steps: int) -> None:
        """Handle the start of a run of `steps` steps, or its resumption after `step`."""

    def extended(self, before: int, steps: int) -> None:
        """Handle a resumption with `steps` instead of `before` steps, directly after `start`."""

    def record(self, record: dict) -> None:
        """Handle the metrics of a step (see metrics.py)."""

    def sample(self, step: int, text: str) -> None:
        """Handle a sample that the model wrote after `step` steps."""

    def stopping(self, folder) -> None:
        """Handle Ctrl-C at any point of a step. The run stops after this step and saves to `folder` if it is given."""

    def stop(self) -> None:
        """Handle the end of the run, including an end by interruption or error."""


def evaluation_in_words(record: dict, loss: float | None) -> str:
    if "val_loss" in record:
        measured = f"validation loss {record['val_loss']:.4f}"
    elif None not in (record.get("margin"), record.get("general_loss")):
        perplexity = math.exp(min(record["general_loss"], 700))
        measured = f"margin {record['margin']:.3f}, perplexity on general text {perplexity:.4g}"
    elif "reward" in record:
        measured = f"reward {record['reward']:.3f}, divergence {record['divergence']:.3f} nats per token"
    else:
        return ""
    training = "" if loss is None else f"training loss {loss:.4f}, "
    return f"step {record['step']:>5}: {training}{measured}"


def sample_in_words(step: int, text: str) -> str:
    return "\n".join([f"step {step:>5}, a sample:", *(f"    {line}" for line in text.splitlines())])


class ProgressBar(Observer):
    """A progress bar on standard error with loss and time. Evaluations and samples appear above it.

    name         name of the run in the message that a resumed run prints, or "" for no message
    evaluation   function (record, running mean of the loss) that returns the text to print, or ""
    written      function (step, sample) that returns the text to print
    file         file to which this text is written (default: standard error)
    """

    SMOOTHING = 0.9  # weight of the past in the running mean of the loss

    def __init__(
        self,
        *,
        name: str = "",
        evaluation: Callable[[dict, float | None], str] = evaluation_in_words,
        written: Callable[[int, str], str] = sample_in_words,
        file=None,
        announcement=(),
    ):
        self.announcement = announcement
        self.name, self.evaluation, self.written, self.file = name, evaluation, written, file
        self.narrator, self.bar = Narrator(), ExitStack()
        self.loss, self.right = None, ""

    def start(self, step, steps):
        self.steps = steps
        for line in self.announcement:
            self.narrator.say(line)
        self.move = self.bar.enter_context(self.narrator.progress("", "steps", total=steps, done=step))
        if self.name and step:
            self.narrator.say(f"{self.name}: resuming after step {step} of {steps}")

    def extended(self, before, steps):
        name = f"{self.name}: " if self.name else ""
        schedule = f"the learning rate now follows the schedule of {steps} steps"
        self.narrator.say(f"{name}extended from {before} to {steps} steps; {schedule}")

    def record(self, record):
        if "accuracy" in record:
            self.right = f" right {fmean(record['accuracy'].values()):.0%}"
        if "loss" in record:
            before = record["loss"] if self.loss is None else self.loss
            self.loss = self.SMOOTHING * before + (1 - self.SMOOTHING) * record["loss"]
            self.move(record["step"], self.steps, f"loss {self.loss:.3f}{self.right}")
        if lines := self.evaluation(record, self.loss):
            self.narrator.say(lines, self.file)

    def sample(self, step, text):
        self.narrator.say(self.written(step, text), self.file, written=True)

    def stopping(self, folder):
        with suppress(OSError, RuntimeError):  # impossible while another line is being written
            saving = "" if folder is None else ", then saving"
            self.narrator.say(f"finishing the step{saving}; press Ctrl-C again to stop immediately")

    def stop(self):
        self.bar.close()
