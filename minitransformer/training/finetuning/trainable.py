"""What of a model may move: its last blocks, parameters by name, or low-rank adapters beside its weights.

The rest is frozen, and stays as it is to the bit. Whatever is trained, the gradient is needed only from there upwards:
below the lowest parameter that moves, activations are constants, and their backward passes are not run. With the last
two of four blocks trained, a step takes 0.7 of the time.
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
from minitransformer.values import number, texts, whole


@dataclass(frozen=True)
class LowRank:
    """Low-rank adapters (see layers/lora.py): of a `rank`, scaled by `alpha` / rank, beside the maps named `targets`.

    The default adapts the maps of queries and values, as Hu et al. do; * in a name stands for anything.
    """

    rank: int = 4
    alpha: float = 8.0
    targets: tuple[str, ...] = ("*.attention.w_q", "*.attention.w_v")

    def __post_init__(self):
        targets = tuple(self.targets) if isinstance(self.targets, Iterable) else self.targets
        object.__setattr__(self, "targets", texts("LowRank: targets", targets))  # JSON, which stores them, has lists
        object.__setattr__(self, "rank", whole("LowRank: rank", self.rank, least=1))
        object.__setattr__(self, "alpha", number("LowRank: alpha", self.alpha, above=0))


Trainable = int | tuple[str, ...] | LowRank  # how many of the last blocks, names of parameters, or adapters


def checked(name: str, trainable) -> Trainable:
    """Return what a user gave as `trainable`, called `name`, in one of its three forms.

    An int is a number of last blocks; a str or several are names of parameters, in which * stands for anything; a
    LowRank, or the dictionary of its fields, asks for adapters. Raises TypeError for another type, ValueError for none.
    """
    if isinstance(trainable, dict):
        return LowRank(**trainable)
    if isinstance(trainable, LowRank):
        return trainable
    if isinstance(trainable, numbers.Integral):
        return whole(f"{name} (a number of last blocks)", trainable, least=1)
    names = (trainable,) if isinstance(trainable, str) else trainable
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{name} must be a number of blocks, names of parameters, or a LowRank, not {trainable!r}")
    if not names:
        raise ValueError(f"{name}: no parameter is named, so there is nothing to train")
    return tuple(names)


def in_words(trainable: Trainable) -> str:
    """Return what is trained, for people."""
    if isinstance(trainable, LowRank):
        return f"adapters of rank {trainable.rank} on {', '.join(trainable.targets)}"
    if isinstance(trainable, int):
        return "the last block" if trainable == 1 else f"the last {trainable} blocks"
    return ", ".join(trainable)


@contextmanager
def training_only(model: Module, trainable: Trainable, *, seed: int = 0, merge: bool = True):
    """Within the block, let nothing of a Transformer move but `trainable`; yields the names of those parameters.

    Afterwards every parameter is frozen, or not, as it was found, and adapters, which are drawn by `seed`, are merged
    unless `merge` is False. Forgets gradients that were there before. Raises ValueError for what the model does not
    have.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    adapted = []
    if isinstance(trainable, LowRank):
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[2])  # the first two are the run's own
        adapted = add_adapters(model, trainable.targets, trainable.rank, trainable.alpha, rng=rng)
    try:
        names = [f"{name}.{part}" for name in adapted for part in "ab"] or chosen_names(model, trainable)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in names
            parameter.grad = None
        with model.hooked(dict.fromkeys(below(model, names), constant)):
            yield names
    finally:
        if adapted and merge:
            merge_adapters(model)
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad


def chosen_names(model: Module, trainable: int | tuple[str, ...]) -> list[str]:
    """Return the names of the parameters of the last blocks, or those that match names in which * is anything."""
    names = [name for name, _ in model.named_parameters()]
    if isinstance(trainable, int):
        blocks = len(model.blocks)
        if trainable > blocks:
            raise ValueError(f"trainable: the model has {blocks} blocks, not {trainable}")
        last = tuple(f"blocks.{i}." for i in range(blocks - trainable, blocks))
        return [name for name in names if name.startswith(last)]
    for pattern in trainable:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"trainable: no parameter is named {pattern!r}; the nearest is {near!r}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in trainable)]


def below(model: Module, names) -> list[str]:
    """Return the names of the modules, from the bottom, that lie below the lowest of the named parameters."""
    order = [name for name, child in model.children() if name.startswith("blocks.")]
    embeddings = [name for name in ("embedding", "positional_embedding") if getattr(model, name) is not None]
    if any(name.startswith(tuple(f"{embedding}." for embedding in embeddings)) for name in names):
        return []
    heights = [order.index(block) for name in names for block in order if name.startswith(f"{block}.")]
    return [*embeddings, *order[: min(heights, default=len(order))]]


def constant(y, backward):
    """A hook: the activation is a constant. Its backward, and all that it saved, are dropped: nothing below moves."""
    return y, no_gradient


def no_gradient(dy):
    """The backward of a constant."""
    return np.zeros_like(dy)
