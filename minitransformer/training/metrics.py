"""What happened in a run, as JSON lines: one object for each step, written as it goes, and one where a run diverges.

    {"step": 250, "loss": 2.31, "lr": 0.00099, "grad_norm": 0.81, "val_loss": 2.35, "tokens": 192000, "seconds": 11.2}

step        steps done; the first record, 0, comes before any
loss        the mean cross-entropy in nats of the step's batches, before the weights moved
lr          the learning rate of the step
grad_norm   the norm of the gradient, before clipping
val_loss    the loss of the validation split, after the weights moved; only where it was evaluated
tokens      tokens trained on so far
seconds     time spent so far, without interruptions

Fine-tuning on pairs of responses has the objective's loss, and in place of val_loss

safe, unsafe   the mean log-likelihood in nats of the held-out responses of each kind
margin         the difference of the two
preferred      the fraction of prompts whose safe response is the likelier one
general_loss   the mean cross-entropy in nats of a general text
tokens         counts those of responses

Step 0, and the step at which a run diverges, has no loss, lr or grad_norm. A process that is killed can leave a last
line without an end, or records of steps that no checkpoint remembers: a reader ignores the first, and a run that is
resumed cuts both off.
"""

import json
import os
from pathlib import Path

from minitransformer.files import naming
from minitransformer.values import dictionary, finite, whole

METRICS_FILE = "metrics.jsonl"
NUMBERS = ("loss", "lr", "grad_norm", "val_loss", "tokens", "seconds")
NUMBERS_OR_NONE = ("safe", "unsafe", "margin", "preferred", "general_loss")  # None where it was not finite


def read_metrics(path, last_step=None) -> list[dict]:
    """Return the records in the file at `path`, or those up to `last_step`. A line without an end is no record yet.

    Raises OSError for a file that cannot be read, ValueError for a line that is no record, naming it.
    """
    return read_records(path, last_step)[0]


def check_record(name: str, record) -> None:
    """Raise TypeError or ValueError, naming the key, for what is no record."""
    whole(f"{name}: step", dictionary(name, record).get("step"), least=0)
    for key, value in record.items():
        if key in NUMBERS or (key in NUMBERS_OR_NONE and value is not None) or isinstance(value, float):
            finite(f"{name}: {key}", value)


def read_records(path, last_step=None):
    """Return (records, size): the records as read_metrics does, and the bytes that they take up in the file."""
    records, size = [], 0
    for number, line in enumerate(Path(path).read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            check_record("it", record)
        except (TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: line {number} is not a record of training metrics ({reason})") from None
        if last_step is not None and record["step"] > last_step:
            break
        records.append(record)
        size += len(line)
    return records, size


class MetricsFile:
    """The metrics of a run that is going on; with path None they are only kept in `records`.

    `last_step` is the step to resume after: later records are cut off. With None the file begins anew.
    """

    def __init__(self, path=None, last_step=None):
        self.path, self.records, self.file = path, [], None
        if path is None:
            return
        size = 0
        if last_step is not None and Path(path).exists():
            self.records, size = read_records(path, last_step)
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115
        self.file.truncate(size)

    def append(self, record: dict) -> None:
        """Add a record. It is the operating system's at once, so that even a killed process leaves it."""
        self.records.append(record)
        if self.file is not None:
            with naming(self.path):
                self.file.write(json.dumps(record).encode() + b"\n")

    def sync(self) -> None:
        """Force the records to the disk, before a checkpoint says that they are there."""
        if self.file is not None:
            with naming(self.path):
                os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
