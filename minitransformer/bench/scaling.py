"""What `bench --scaling` measures: one cost against one size, all else fixed, and how fast theory lets it grow.

Per token, a model of width C, depth L and T positions multiplies with weights of ∝ L C² numbers, and meets T others in
each block's attention. So a training step should take time

    ∝ batch,  ∝ depth,  ∝ width² where products outweigh the rest,  ∝ T, tending to T² where attention outweighs it

and memory for activations ∝ batch, depth, T and width (tending to width², when the gradients of the weights outweigh
them); attention that keeps its weights (T × T) has T² of memory too, attention in blocks has not. Decoding with a
cache costs the same for each token, plus what attention takes to read the cached positions; without one, each token
costs what the whole text does. Byte-pair encoding should grow as the text, in training and in use.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minitransformer.bench.growth import Exponent
from minitransformer.bench.memory import peak_above
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.timing import fastest, seconds_of, token_times
from minitransformer.config import Config
from minitransformer.generation import stream
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.module import apply, faster
from minitransformer.text import BPETokenizer, TextFiles, default_corpus
from minitransformer.transformer import Transformer

ENOUGH = 0.3  # seconds spent on a point
FEWEST = 3  # times it is measured
SLACK = 0.15  # an exponent this far outside its range still passes for it
UNCERTAIN = 0.4  # an exponent with a wider margin says nothing
VOCABULARY = 2000  # of the tokenizer


@dataclass(frozen=True)
class Series:
    """A cost against a size.

    title, variable   for people
    low, high         the range in which theory puts the exponent
    measure           measure(n) returns the cost at n; where reads_text, measure(text) that of the first n bytes
    sizes, quick      the values of n, and those of a quick run
    unit              of the cost: "s" or "bytes"
    """

    title: str
    variable: str
    low: float
    high: float
    measure: Callable
    sizes: tuple
    quick: tuple
    unit: str = "s"
    reads_text: bool = False

    @property
    def expected(self) -> str:
        """The range in words."""
        if self.low == self.high:
            return f"{self.high}"
        return f"{self.low} to {self.high}" if self.low else f"at most {self.high}"


def step_of(batch=4, length=64, width=128, depth=2):
    """Return a function that takes one training step of a model of these sizes, with heads of 32 channels."""
    config = Config(64, context=length, d_model=width, n_heads=max(width // 32, 1), n_layers=depth)
    engine = NumPyEngine(config)
    ids, targets = np.random.default_rng(0).integers(0, 64, (2, batch, length))

    def step():
        engine.training_step(ids, targets)

    step()
    return step


def step_seconds(**sizes) -> float:
    """Return the time of a training step."""
    return fastest(step_of(**sizes), FEWEST, ENOUGH)


def step_memory(**sizes) -> int:
    """Return the peak of memory of a training step above the level before it. Raises OSError where no one knows it."""
    peak = peak_above(step_of(**sizes))
    if peak is None:
        raise OSError("the memory of a step is not measured on this system: it needs Linux's /proc")
    return peak


def attention_seconds(T: int) -> float:
    """Return the time of causal attention over T positions, forward and backward."""
    q, k, v, dy = np.random.default_rng(0).normal(size=(4, 1, 4, T, 32)).astype(np.float32)
    mask = faster(causal_mask)(T, T)

    def both_passes():
        apply(attention, q, k, v, mask=mask)[1](dy)

    return fastest(both_passes, FEWEST, ENOUGH)


def token_seconds(T: int, use_cache: bool = True) -> float:
    """Return the time of a new token after T others, the fastest of some."""
    new = 8
    model = Transformer(Config(64, context=T + new, d_model=256, n_heads=8, n_layers=4))
    return min(token_times(stream(model, np.zeros(T, int), new, temperature=0, use_cache=use_cache))[1:])


def bpe_training_seconds(text: str) -> float:
    """Return the time to learn a vocabulary from a text."""
    return fastest(lambda: BPETokenizer.train(text, VOCABULARY), FEWEST, ENOUGH)


def bpe_encoding_seconds(text: str) -> float:
    """Return the time to encode a text with a vocabulary learned from the beginning of it, no word seen before."""
    trained = BPETokenizer.train(text[:100_000], VOCABULARY)
    fresh = [BPETokenizer(trained.tokens, trained.merges) for _ in range(FEWEST)]  # a used one remembers words
    return min(seconds_of(tokenizer.encode, text) for tokenizer in fresh)


def doubling(first: int, last: int) -> tuple:
    """Return first, 2 · first, 4 · first … up to last."""
    return tuple(first << i for i in range((last // first).bit_length()))


TEXT_SIZES, QUICK_TEXT_SIZES = doubling(2**14, 2**24), doubling(2**13, 2**16)
STEP, MEMORY, CACHED, UNCACHED = "training step", "memory of a step", "new token, with cache", "new token, no cache"
SERIES = {
    "attention-length": Series(
        title="attention, both ways",
        variable="T",
        low=2,
        high=2,
        measure=attention_seconds,
        sizes=doubling(64, 8192),
        quick=doubling(32, 256),
    ),
    "step-length": Series(
        title=STEP,
        variable="T",
        low=1,
        high=2,
        measure=lambda n: step_seconds(batch=1, length=n),
        sizes=doubling(64, 8192),
        quick=doubling(32, 256),
    ),
    "step-batch": Series(
        title=STEP,
        variable="batch",
        low=1,
        high=1,
        measure=lambda n: step_seconds(batch=n),
        sizes=doubling(1, 64),
        quick=doubling(1, 8),
    ),
    "step-width": Series(
        title=STEP,
        variable="width",
        low=1,
        high=2,
        measure=lambda n: step_seconds(width=n),
        sizes=doubling(64, 2048),
        quick=doubling(32, 256),
    ),
    "step-depth": Series(
        title=STEP,
        variable="depth",
        low=1,
        high=1,
        measure=lambda n: step_seconds(depth=n),
        sizes=doubling(1, 32),
        quick=doubling(1, 8),
    ),
    "memory-length": Series(
        title=MEMORY,
        variable="T",
        unit="bytes",
        low=1,
        high=1,
        measure=lambda n: step_memory(batch=1, length=n),
        sizes=doubling(512, 16384),
        quick=doubling(128, 1024),
    ),
    "memory-batch": Series(
        title=MEMORY,
        variable="batch",
        unit="bytes",
        low=1,
        high=1,
        measure=lambda n: step_memory(batch=n),
        sizes=doubling(4, 128),
        quick=doubling(4, 32),
    ),
    "memory-width": Series(
        title=MEMORY,
        variable="width",
        unit="bytes",
        low=1,
        high=2,
        measure=lambda n: step_memory(width=n),
        sizes=doubling(64, 2048),
        quick=doubling(64, 512),
    ),
    "memory-depth": Series(
        title=MEMORY,
        variable="depth",
        unit="bytes",
        low=1,
        high=1,
        measure=lambda n: step_memory(depth=n),
        sizes=doubling(1, 32),
        quick=doubling(2, 16),
    ),
    "token-cached": Series(
        title=CACHED,
        variable="T",
        low=0,
        high=1,
        measure=token_seconds,
        sizes=doubling(64, 4096),
        quick=doubling(32, 256),
    ),
    "token-uncached": Series(
        title=UNCACHED,
        variable="T",
        low=1,
        high=2,
        measure=lambda n: token_seconds(n, use_cache=False),
        sizes=doubling(64, 2048),
        quick=doubling(32, 256),
    ),
    "bpe-training": Series(
        title="BPE training",
        variable="bytes",
        low=0,
        high=1,
        measure=bpe_training_seconds,
        sizes=TEXT_SIZES,
        quick=QUICK_TEXT_SIZES,
        reads_text=True,
    ),
    "bpe-encoding": Series(
        title="BPE encoding",
        variable="bytes",
        low=0,
        high=1,
        measure=bpe_encoding_seconds,
        sizes=TEXT_SIZES,
        quick=QUICK_TEXT_SIZES,
        reads_text=True,
    ),
}


def measure_series(name: str, quick: bool, text: str | None = None) -> list:
    """Return [(n, cost), …] of a series, as far as the text goes: that of the file `text`, or the default corpus."""
    series = SERIES[name]
    sizes = series.quick if quick else series.sizes
    if not series.reads_text:
        return [(n, series.measure(n)) for n in sizes]
    corpus = "".join(default_corpus() if text is None else TextFiles([text]))
    data = corpus.encode("utf-8")
    return [(n, series.measure(data[:n].decode("utf-8", "ignore"))) for n in sizes if n <= len(data)]


def verdict(series: Series, fit: Exponent) -> str:
    """Say how a measured exponent compares with the range that theory gives, as far as its interval lets one say."""
    if fit.exponent - fit.margin > series.high + SLACK:
        return "faster than it should"
    if fit.exponent + fit.margin < series.low - SLACK:
        return "slower: fixed costs still weigh"
    if fit.margin > UNCERTAIN:
        return "not known: too much scatter"
    return "as it should"
