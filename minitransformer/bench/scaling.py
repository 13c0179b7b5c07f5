"""The series of `bench --scaling`: a cost against a size, with the exponent that theory predicts.

For each token, a model of width C, depth L and T positions multiplies by a number of weights ∝ L C² and attends to T
positions in each block. The time of a training step is therefore

    ∝ batch,  ∝ depth,  ∝ C² if products dominate,  ∝ T, and ∝ T² if attention dominates,
    and a constant plus a term ∝ V with the vocabulary

The memory of the step's activations is ∝ batch, depth, T and C, and ∝ C² if the gradients of the weights dominate.
Attention that keeps its T × T weights requires memory ∝ T², unlike attention in blocks. Decoding a token with a cache
has a constant cost plus the cost of reading the cached positions. Without a cache, each token costs as much as the
whole text.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.timing import fastest, peak_above, token_times
from minitransformer.config import Config
from minitransformer.generation import stream
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.module import apply, faster
from minitransformer.transformer import Transformer

ENOUGH = 0.3  # seconds spent on a point
FEWEST = 3  # measurements of a point
SLACK = 0.15  # accepted distance from the expected range
UNCERTAIN = 0.4  # an exponent with a wider margin has no verdict


@dataclass(frozen=True)
class Series:
    """A cost as a function of a size n, with the expected range of its exponent.

    title        name of the cost
    variable     name of the size
    low, high    ends of the expected range of the exponent
    measure      measure(n) returns the cost
    sizes        values of n
    quick        values of n in a quick run
    unit         unit of the cost, "s" or "bytes"
    """

    title: str
    variable: str
    low: float
    high: float
    measure: Callable
    sizes: tuple
    quick: tuple
    unit: str = "s"

    @property
    def expected(self) -> str:
        if self.low == self.high:
            return f"{self.high}"
        return f"{self.low} to {self.high}" if self.low else f"at most {self.high}"


def step_of(batch=4, length=64, width=128, depth=2, vocabulary=64):
    """Return a function that takes one training step of a model of these sizes.

    Each head has 32 channels.
    """
    config = Config(vocabulary, context=length, d_model=width, n_heads=max(width // 32, 1), n_layers=depth)
    engine = NumPyEngine(config)
    ids, targets = np.random.default_rng(0).integers(0, vocabulary, (2, batch, length))
    engine.training_step(ids, targets)
    return lambda: engine.training_step(ids, targets)


def step_seconds(**sizes) -> float:
    return fastest(step_of(**sizes), FEWEST, ENOUGH)


def step_memory(**sizes) -> int:
    """Return the peak memory of a training step.

    Raises OSError if the system does not record it.
    """
    peak = peak_above(step_of(**sizes))
    if peak is None:
        raise OSError(f"the memory of a step can only be measured on Linux, not on {sys.platform}")
    return peak


def attention_seconds(T: int) -> float:
    q, k, v, dy = np.random.default_rng(0).normal(size=(4, 1, 4, T, 32)).astype(np.float32)
    mask = faster(causal_mask)(T, T)
    return fastest(lambda: apply(attention, q, k, v, mask=mask)[1](dy), FEWEST, ENOUGH)


def token_seconds(T: int, use_cache: bool = True) -> float:
    new = 8
    model = Transformer(Config(64, context=T + new, d_model=256, n_heads=8, n_layers=4))
    return min(token_times(stream(model, np.zeros(T, int), new, temperature=0, use_cache=use_cache))[1:])


def doubling(first: int, last: int) -> tuple:
    """Return first, 2 · first, 4 · first … up to last."""
    return tuple(first << i for i in range((last // first).bit_length()))


def of_step(title, measure, variable, low, high, sizes, quick, unit="s", **fixed) -> Series:
    """Return the Series of a training step against one argument of step_of.

    `fixed` contains the other arguments.
    """
    name = "T" if variable == "length" else variable
    return Series(title, name, low, high, lambda n: measure(**{variable: n}, **fixed), sizes, quick, unit)


step_time = partial(of_step, "training step", step_seconds)
memory = partial(of_step, "memory of a step", step_memory, unit="bytes")
uncached = partial(token_seconds, use_cache=False)
LONG, SHORT = doubling(64, 8192), doubling(32, 256)
SERIES = {
    "attention-length": Series("attention, both ways", "T", 2, 2, attention_seconds, LONG, SHORT),
    "step-length": step_time("length", 1, 2, LONG, SHORT, batch=1),
    "step-batch": step_time("batch", 1, 1, doubling(1, 64), doubling(1, 8)),
    "step-width": step_time("width", 1, 2, doubling(64, 2048), SHORT),
    "step-depth": step_time("depth", 1, 1, doubling(1, 32), doubling(1, 8)),
    "step-vocabulary": step_time("vocabulary", 0, 1, doubling(256, 32768), doubling(64, 512)),
    "memory-length": memory("length", 1, 1, doubling(512, 16384), doubling(128, 1024), batch=1),
    "memory-batch": memory("batch", 1, 1, doubling(4, 128), doubling(4, 32)),
    "memory-width": memory("width", 1, 2, doubling(64, 2048), doubling(64, 512)),
    "memory-depth": memory("depth", 1, 1, doubling(1, 32), doubling(2, 16)),
    "token-cached": Series("new token, with cache", "T", 0, 1, token_seconds, doubling(64, 4096), SHORT),
    "token-uncached": Series("new token, no cache", "T", 1, 2, uncached, doubling(64, 2048), SHORT),
}


def verdict(series: Series, fit: dict) -> str:
    """Compare a fitted exponent and its interval with the expected range."""
    exponent, margin = fit["exponent"], fit["margin"]
    if exponent - margin > series.high + SLACK:
        return "faster than expected"
    if exponent + margin < series.low - SLACK:
        return "slower than expected, due to fixed costs"
    return "unknown, due to scatter" if margin > UNCERTAIN else "as expected"
