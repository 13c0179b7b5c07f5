"""The metrics of a run, as JSON lines: one object for each step, and one more if the run diverges.

    {"step": 250, "loss": 2.31, "lr": 0.00099, "grad_norm": 0.81, "val_loss": 2.35, "tokens": 192000, "seconds": 11.2}

step        number of steps taken; 0 in the first record, which precedes the first step
loss        the mean cross-entropy of the step's batches in nats, before the update, plus the loss that balances
            experts, if `balance_weight` is not 0
lr          the learning rate of the step
grad_norm   the norm of the gradient, before clipping
val_loss    the loss on the validation split after the update, if it was evaluated
tokens      number of tokens trained on so far
seconds     time spent so far, without interruptions
sample      the text that the model wrote after this step, if `sample_every` asks for one

Instead of val_loss, fine-tuning on pairs records the fields of an Evaluation, and that on a reward those of a
RewardEvaluation. Both count the tokens of responses.
Records of step 0, and of the step at which a run diverges, have no loss, lr or grad_norm. A killed process can leave an
incomplete last line, which readers ignore, and records after the last checkpoint. A resumed run removes both.
"""

import json
from pathlib import Path

from minitransformer.system.validation import check_int, dictionary, finite

METRICS_FILE = "metrics.jsonl"
NUMBERS = ("loss", "lr", "grad_norm", "val_loss", "tokens", "seconds")
NUMBERS_OR_NONE = ("safe", "unsafe", "margin", "preferred", "general_loss")  # None if not finite


def read_metrics(path, last_step=None) -> list[dict]:
    """Return the records in the file at `path`, or only those up to `last_step`.

    Raises OSError if the file cannot be read, and ValueError, with the line number, if a complete line is not a record.
    """
    return read_records(path, last_step)[0]


def read_records(path, last_step=None):
    """Return the records of read_metrics and the number of bytes that they occupy in the file."""
    records, size = [], 0
    for number, line in enumerate(Path(path).read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = json.loads(line)
            check_record("record", record)
        except (TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: line {number} must be a record of training metrics ({reason})") from None
        if last_step is not None and record["step"] > last_step:
            break
        records.append(record)
        size += len(line)
    return records, size


def check_record(name: str, record) -> None:
    """Raise TypeError or ValueError, with the key, if `record` is not a valid record of metrics."""
    check_int(f"{name}: step", dictionary(name, record).get("step"), minimum=0)
    for key, value in record.items():
        if key in NUMBERS or (key in NUMBERS_OR_NONE and value is not None) or isinstance(value, float):
            finite(f"{name}: {key}", value)
