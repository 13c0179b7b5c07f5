"""Selection of the trainable parameters: the last blocks, parameters given by name, or low-rank adapters.

All other parameters are frozen and stay bit-identical. Activations below the lowest trained parameter are constants, so
their backward passes are skipped. With the last two of four blocks trained, a step takes about 0.7 times as long.
"""

import difflib
import numbers
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from minitransformer.layers.lora import add_adapters, merge_adapters
from minitransformer.module import Module
from minitransformer.system.validation import check_int, number, texts


@dataclass(frozen=True)
class LowRank:
    """Low-rank adapters (see layers/lora.py) for the Linears whose names match `targets`.

    rank      rank of each adapter
    alpha     numerator of the scale alpha / rank
    targets   names of Linears, in which * matches any characters (default: queries and values, as in Hu et al.)
    """

    rank: int = 4
    alpha: float = 8.0
    targets: tuple[str, ...] = ("*.attention.w_q", "*.attention.w_v")

    def __post_init__(self):
        targets = tuple(self.targets) if isinstance(self.targets, Iterable) else self.targets
        object.__setattr__(self, "targets", texts("LowRank: targets", targets))  # a list if read from JSON
        object.__setattr__(self, "rank", check_int("LowRank: rank", self.rank, minimum=1))
        object.__setattr__(self, "alpha", number("LowRank: alpha", self.alpha, above=0))


Trainable = int | tuple[str, ...] | LowRank  # number of last blocks, names of parameters, or adapters


def checked(name: str, trainable) -> Trainable:
    """Validate and normalise the option `trainable`.

    It is an int, a str, several str, a LowRank, or a dictionary of the fields of a LowRank. Raises TypeError for any
    other type, and ValueError for an empty selection.
    """
    if isinstance(trainable, dict):
        return LowRank(**trainable)
    if isinstance(trainable, LowRank):
        return trainable
    if isinstance(trainable, numbers.Integral):
        return check_int(f"{name} (a number of last blocks)", trainable, minimum=1)
    names = (trainable,) if isinstance(trainable, str) else trainable
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{name} must be a number of blocks, names of parameters, or a LowRank, not {trainable!r}")
    if not names:
        raise ValueError(f"{name} must contain at least one parameter, but it is empty")
    return tuple(names)


def in_words(trainable: Trainable) -> str:
    if isinstance(trainable, LowRank):
        return f"adapters of rank {trainable.rank} on {', '.join(trainable.targets)}"
    if isinstance(trainable, int):
        return "the last block" if trainable == 1 else f"the last {trainable} blocks"
    return ", ".join(trainable)


@contextmanager
def training_only(model: Module, trainable: Trainable, *, seed: int = 0, merge: bool = True):
    """Train only the selected parameters of a Transformer inside a `with` block.

    Yields the names of these parameters. `seed` determines the initial values of adapters. At the end, requires_grad of
    all parameters is restored, and adapters are merged unless `merge` is False. Existing gradients are discarded.
    Raises ValueError if the selection contains a block or a parameter that the model does not have.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    adapted = []
    if isinstance(trainable, LowRank):
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[2])  # Run uses the first two
        adapted = add_adapters(model, trainable.targets, trainable.rank, trainable.alpha, rng=rng)
    try:
        names = [f"{name}.{part}" for name in adapted for part in "ab"] or chosen_names(model, trainable)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in names
            parameter.grad = None
        with model.hooked(dict.fromkeys(modules_below(model, names), constant)):
            yield names
    finally:
        if adapted and merge:
            merge_adapters(model)
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad


def chosen_names(model: Module, trainable: int | tuple[str, ...]) -> list[str]:
    names = [name for name, _ in model.named_parameters()]
    if isinstance(trainable, int):
        blocks = len(model.blocks)
        if trainable > blocks:
            raise ValueError(f"trainable must be at most {blocks}, the number of blocks of the model, not {trainable}")
        last = tuple(f"blocks.{i}." for i in range(blocks - trainable, blocks))
        return [name for name in names if name.startswith(last)]
    for pattern in trainable:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"trainable: no parameter matches {pattern!r}; did you mean {near!r}?")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in trainable)]


def modules_below(model: Module, names) -> list[str]:
    """List the embeddings and blocks that precede all parameters in `names`."""
    embeddings = [name for name in ("embedding", "positional_embedding") if getattr(model, name) is not None]
    order = embeddings + [name for name, _ in model.children() if name.startswith("blocks.")]
    lowest = (i for i, module in enumerate(order) if any(name.startswith(f"{module}.") for name in names))
    return order[: next(lowest, len(order))]


def constant(y, backward):
    """Replace the backward pass of an activation with zeros. This function is a hook (see hooks.py)."""
    return y, np.zeros_like
