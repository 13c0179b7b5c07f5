"""The process that measures one engine: it reads questions as lines of JSON, and answers each with a line of JSON.

It stays silent between questions, so that while it waits the processor belongs to the engine whose turn it is. Numbers
come in seconds and bytes, unless a name says otherwise.
"""

import json
import os
import sys
from dataclasses import asdict
from statistics import median

import numpy as np

from minitransformer.bench import components, memory, peak, scaling
from minitransformer.bench.load import watched
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.sizes import SHORT_PROMPT, Size
from minitransformer.bench.timing import seconds_of, token_times
from minitransformer.cores import THREAD_VARIABLES
from minitransformer.training.environment import environment

WARM_UP = 3  # steps: memory is there, the optimiser has its state, compilers have compiled
FEWEST = 2  # steps of a turn, however long they take
OURS, ENGINE = "minitransformer", "engine"
# This package in one process, without replicas: with its engine and without, and the environment that makes it so.
BARE = {ENGINE: {"MINITRANSFORMER_PLAIN": "0"}, "textbook": {"MINITRANSFORMER_PLAIN": "1"}}
TORCH = {"torch": {}, "torch-fused": {"fused": True}, "torch-compile": {"fused": True, "compiled": True}}
ABOUT = {
    OURS: "this package as train runs it: processes share a batch",
    ENGINE: "this package in one process",
    "textbook": "this package in one process, without its engine (MINITRANSFORMER_PLAIN=1)",
    "torch": "PyTorch, eager, everything at its defaults",
    "torch-fused": "PyTorch, eager, with AdamW(fused=True)",
    "torch-compile": "PyTorch, the model compiled, with AdamW(fused=True)",
}


class Worker:
    """Answers the questions: each public method but `batch` is one. All but `prepare` and `growth` need a `prepare`."""

    def __init__(self, engine: str):
        self.name = engine
        self.engine = self.size = None

    def prepare(self, size: dict, seed: int = 0) -> dict:
        """Build the model and warm up. Returns the losses of the first steps, and versions."""
        self.size = Size.from_dict(size)
        self.rng = np.random.default_rng(seed)
        self.engine = build(self.name, self.size.config, seed)
        losses = [self.engine.training_step(*self.batch()) for _ in range(WARM_UP)]
        self.decode(seconds=0.0)
        return {"losses": losses, "versions": versions()}

    def batch(self):
        """Return new random ids and targets (B, T): the same ones, in the same order, in every engine."""
        shape = 2, self.size.batch, self.size.length
        return self.rng.integers(0, self.size.config.vocab_size, shape)

    def steps(self, seconds: float) -> dict:
        """Take training steps for about `seconds`. Returns their times and the load."""
        return timed(self.engine.training_step, self.batch, seconds)

    def losses(self, seconds: float) -> dict:
        """Work out losses alone for about `seconds`. Returns their times and the load."""
        return timed(self.engine.loss, self.batch, seconds)

    def decode(self, seconds: float) -> dict:
        """Decode after a short prompt, again and again for about `seconds`, at least once.

        Returns the time of each new token but those that begin with a prompt, and the load.
        """
        ids = self.rng.integers(0, self.size.config.vocab_size, SHORT_PROMPT)
        times = []
        with watched() as load:
            while not times or sum(times) < seconds:
                times += token_times(self.engine.stream(ids, self.size.decoded))[1:]
        return {"times": times, "load": asdict(load)}

    def token(self) -> float | None:
        """Return what share of the time of a token its products take alone; None where the engine hides them."""
        return self.engine.share_of_products(self.rng.integers(0, self.size.config.vocab_size, SHORT_PROMPT))

    def prompt(self) -> dict:
        """Read the long prompt. Returns the time to the first new token, and the load."""
        ids = self.rng.integers(0, self.size.config.vocab_size, self.size.prompt)
        with watched() as load:
            times = token_times(self.engine.stream(ids, 1))
        return {"times": times, "load": asdict(load)}

    def memory(self) -> int | None:
        """Return the peak of a training step above the level before it."""
        batch = self.batch()
        self.engine.begin_anew()
        return memory.peak_above(lambda: self.engine.training_step(*batch))

    def products(self, steps: int = 3) -> dict | None:
        """Return what share of a step matrix products take, and their FLOP; None where the engine hides them.

        Before each step whose products are timed, one that is not watched is timed as a whole: the share is the median
        of the quotients.
        """
        shares = []
        for _ in range(steps):
            counting = self.engine.counting_products()
            if counting is None:
                return None
            whole = timed(self.engine.training_step, self.batch, 0.0, fewest=1)["times"][0]
            batch = self.batch()
            with counting as products:
                self.engine.training_step(*batch)
            shares.append(products.seconds / whole)
        return {"share": median(shares), "flops": products.flops}

    def limits(self) -> dict:
        """Return what the machine can do, with this engine's library: FLOP/s, bytes/s."""
        return {"flops": peak.product_peak(self.engine), "bandwidth": peak.read_bandwidth(self.engine)}

    def facts(self) -> dict:
        """Return what of a model of this package is known without measuring."""
        model, config = self.engine.model, self.size.config
        cached = 2 * config.n_layers * config.kv_heads * config.head_width * 4
        # Of a table, a token reads one row; but of a tied one all, as the unembedding.
        tables = ("positional_embedding",) if config.tie_embeddings else ("positional_embedding", "embedding")
        read = sum(p.data.nbytes for name, p in model.named_parameters() if not name.startswith(tables))
        return {
            "parameters": model.n_parameters(),
            "flops": model.flops_per_token(self.size.length) * self.size.tokens,
            "bytes_per_token": read + cached * (SHORT_PROMPT + self.size.decoded // 2),
        }

    def profile(self, seconds: float) -> dict:
        """Return the time in each file in a training step, and the step's with and without the profiler.

        The profiler follows one thread, so this is a step without replicas.
        """
        self.engine.threads = 1
        without = timed(self.engine.training_step, self.batch, seconds)
        clocks = []

        def profiled_step(ids, targets):
            with components.ComponentClock() as clock:
                self.engine.training_step(ids, targets)
            clocks.append(clock.seconds)

        profiled = timed(profiled_step, self.batch, seconds)
        keys = set().union(*clocks)
        mean = {key: sum(clock.get(key, 0.0) for clock in clocks) / len(clocks) for key in keys}
        return {
            "rows": components.by_component(mean),
            "with_profiler": median(profiled["times"]),
            "without": median(without["times"]),
            "load": without["load"],
        }

    def growth(self, name: str, quick: bool, text: str | None = None) -> dict:
        """Measure one of scaling.py's series."""
        with watched() as load:
            points = scaling.measure_series(name, quick, text)
        return {"points": points, "load": asdict(load), "versions": versions()}


def build(name: str, config, seed: int):
    """Return the engine of this name."""
    if name == OURS:
        return NumPyEngine(config, seed, threads=int(os.environ.get(THREAD_VARIABLES[0], 1)))
    if name in BARE:
        return NumPyEngine(config, seed)
    from minitransformer.bench.torch_engine import TorchEngine

    return TorchEngine(config, seed, **TORCH[name])


def timed(step, batch, seconds: float, fewest: int = FEWEST) -> dict:
    """Take steps for about `seconds`, at least `fewest`. The steps themselves are timed, not the making of batches."""
    times = []
    with watched() as load:
        while len(times) < fewest or sum(times) < seconds:
            times.append(seconds_of(step, *batch()))
    return {"times": times, "load": asdict(load)}


def versions() -> dict:
    """Return the versions of what computes."""
    version_of = {"NumPy": np.__version__, "BLAS": environment()["BLAS"]}
    if "torch" in sys.modules:
        version_of["PyTorch"] = sys.modules["torch"].__version__
    return version_of


def main(engine: str) -> None:
    """Answer questions until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    worker = Worker(engine)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"answer": getattr(worker, question["ask"])(**question["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
