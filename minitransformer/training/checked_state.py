"""Validation of a training state loaded from a file, section by section, before a run is changed.

See checkpoints.py for the sections. `kind` and `settings` are validated by Settings.
"""

import math
from functools import partial

import numpy as np

from minitransformer.system.archive import ArchiveError
from minitransformer.system.values import dictionary, number, text, texts, whole
from minitransformer.training.metrics import check_record


def check_state(training: dict, path, steps=math.inf) -> None:
    """Raise ArchiveError, which names the section, unless the state of a run is valid.

    path    the file, for the message
    steps   number of steps of the run
    """
    try:
        for name, check in PARTS.items():
            if name not in dictionary("training", training):
                raise ValueError(f"{name} is missing")
            check(name, training[name])
        whole("step", training["step"], most=steps)
        for name, t in training["optimizer_steps"].items():
            whole(f"optimizer_steps: {name}", t, least=1, most=training["step"])
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: its training state is damaged ({error})") from None


def check_last(name: str, record) -> None:
    """Raise TypeError or ValueError unless `record` is a record of metrics or empty."""
    if dictionary(name, record):
        check_record(name, record)


def check_data(name: str, described) -> None:
    """Raise TypeError unless `described` has the entries of describe_data."""
    for part in ("name", "sha256"):
        text(f"{name}: {part}", dictionary(name, described).get(part))


def check_generators(name: str, states) -> None:
    """Raise TypeError or ValueError unless the states of the generators are valid.

    An even increment is invalid: all numbers could be equal, so rejection sampling might never end.
    """
    for generator in ("batches", "dropout"):
        state, bits = dictionary(name, states).get(generator), np.random.PCG64()
        try:
            bits.state = state
            fits = bits.state == state and state["state"]["inc"] % 2 == 1
        except (KeyError, OverflowError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"{name}: {generator}: not a valid state of a PCG64 generator")


# {section: its check, as in values.py}
PARTS = {
    "step": partial(whole, least=0),
    "seconds": partial(number, least=0, below=math.inf),
    "last": check_last,
    "best": check_last,
    "trained": texts,
    "optimizer_steps": dictionary,
    "random": check_generators,
    "corpus": check_data,
    "own": dictionary,
    "environment": dictionary,
}
