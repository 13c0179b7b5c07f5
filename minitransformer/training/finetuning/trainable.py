"""Selection of the trainable parameters: the last blocks, or low-rank adapters.

All other parameters are frozen and stay bit-identical. Activations below the lowest trained parameter are constants, so
their backward passes are skipped. With the last two of four blocks trained, a step takes about 0.7 times as long.
"""

import numbers
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from minitransformer.layers.lora import add_adapters, merge_adapters
from minitransformer.module import Module
from minitransformer.system.validation import brief, check_int, number, texts


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


Trainable = int | LowRank  # number of last blocks, or adapters


def checked(name: str, trainable) -> Trainable:
    """Validate and normalise the option `trainable`.

    It is an int, a LowRank, or a dictionary of the fields of a LowRank. Raises TypeError for any other type.
    """
    if isinstance(trainable, dict):
        return LowRank(**trainable)
    if isinstance(trainable, LowRank):
        return trainable
    if isinstance(trainable, numbers.Integral):
        return check_int(f"{name} (a number of last blocks)", trainable, minimum=1)
    raise TypeError(f"{name} must be a number of last blocks or a LowRank, not {brief(trainable)}")


def in_words(trainable: Trainable) -> str:
    if isinstance(trainable, LowRank):
        return f"adapters of rank {trainable.rank} on {', '.join(trainable.targets)}"
    return "the last block" if trainable == 1 else f"the last {trainable} blocks"


@contextmanager
def training_only(model: Module, trainable: Trainable, *, seed: int = 0):
    """Train only the selected parameters of a Transformer inside a `with` block.

    Yields the names of these parameters. `seed` determines the initial values of adapters. At the end, requires_grad of
    all parameters is restored, and adapters are merged. Existing gradients are discarded. Raises ValueError if the
    model has fewer blocks.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    adapted = []
    if isinstance(trainable, LowRank):
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[2])  # Run uses the first two
        adapted = add_adapters(model, trainable.targets, trainable.rank, trainable.alpha, rng=rng)
    try:
        names = [f"{name}.{part}" for name in adapted for part in "ab"] or names_in_last_blocks(model, trainable)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in names
            parameter.grad = None
        with model.hooked(dict.fromkeys(modules_below(model, names), constant)):
            yield names
    finally:
        if adapted:
            merge_adapters(model)
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad


def names_in_last_blocks(model: Module, number: int) -> list[str]:
    blocks = len(model.blocks)
    if number > blocks:
        raise ValueError(f"trainable must be at most {blocks}, the number of blocks of the model, not {number}")
    last = tuple(f"blocks.{i}." for i in range(blocks - number, blocks))
    return [name for name, _ in model.named_parameters() if name.startswith(last)]


def modules_below(model: Module, names) -> list[str]:
    """List the embeddings and blocks that precede all parameters in `names`."""
    embeddings = [name for name in ("embedding", "positional_embedding") if getattr(model, name) is not None]
    order = embeddings + [name for name, _ in model.children() if name.startswith("blocks.")]
    lowest = (i for i, module in enumerate(order) if any(name.startswith(f"{module}.") for name in names))
    return order[: next(lowest, len(order))]


def constant(y, backward):
    """Replace the backward pass of an activation with zeros. This function is a hook (see hooks.py)."""
    return y, np.zeros_like
