"""What a training state must be that comes from a file, part by part: nothing of a run is changed before all is known.

What the parts are is told in checkpoints.py. `kind` and `settings` make a Settings, which checks itself.
"""

import math
from functools import partial

import numpy as np

from minitransformer.archive import ArchiveError
from minitransformer.training.metrics import check_record
from minitransformer.values import dictionary, number, text, texts, whole


def check_state(training: dict, path, steps=math.inf) -> None:
    """Raise ArchiveError, naming the part, unless each part of what `path` says of a run of `steps` is what it must."""
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
    """Raise TypeError or ValueError for what is neither a record of metrics nor empty, as it is before the first."""
    if dictionary(name, record):
        check_record(name, record)


def check_data(name: str, described) -> None:
    """Raise TypeError for what describe_data would not return."""
    for part in ("name", "sha256"):
        text(f"{name}: {part}", dictionary(name, described).get(part))


def check_generators(name: str, states) -> None:
    """Raise TypeError or ValueError unless these are states that the run's generators can have.

    An even increment is none: its numbers can be all the same, and what draws again until one fits never ends.
    """
    for generator in ("batches", "dropout"):
        state, bits = dictionary(name, states).get(generator), np.random.PCG64()
        try:
            bits.state = state
            fits = bits.state == state and state["state"]["inc"] % 2 == 1
        except (KeyError, OverflowError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"{name}: {generator}: its random state does not fit a generator of ours")


# The check of each part, as in values.py.
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
