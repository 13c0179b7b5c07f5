"""The process that measures one engine: it reads questions as lines of JSON and answers each with a line of JSON.

Between questions it sleeps, so that the other engine has the processor. All values are in seconds and bytes.
"""

import json
import os
import sys
from statistics import mean, median

import numpy as np

from minitransformer.bench import memory, scaling
from minitransformer.bench.components import ComponentClock, by_component
from minitransformer.bench.load import watched
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.sizes import SHORT_PROMPT, Size
from minitransformer.bench.timing import machine_limits, seconds_of, token_times
from minitransformer.system.cores import THREAD_VARIABLES
from minitransformer.training.environment import environment

WARM_UP = 3  # steps, which allocate memory, create the optimizer's state and run compilers
FEWEST = 2  # steps of a turn
OURS, ENGINE = "minitransformer", "engine"
# This package in one process, without replicas, and the environment variables of that process.
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
    """Answers questions about one engine.

    Each public method answers the question of its name. All methods except `prepare` and `growth` require an earlier
    call of `prepare`.
    """

    def __init__(self, engine: str):
        self.name = engine

    def prepare(self, size: dict, seed: int = 0) -> dict:
        """Build the model and warm up. Return the losses of the first steps and the versions."""
        self.size = Size.from_dict(size)
        self.rng = np.random.default_rng(seed)  # every engine draws the same batches in the same order
        self.engine = build(self.name, self.size.config, seed)
        losses = [self.engine.training_step(*self._batch()) for _ in range(WARM_UP)]
        self.decode(seconds=0.0)
        return {"losses": losses, "versions": versions()}

    def steps(self, seconds: float) -> dict:
        """Take training steps for about `seconds`, and at least FEWEST. Return their times and the load."""
        return self._timed_steps(self.engine.training_step, seconds)

    def decode(self, seconds: float) -> dict:
        """Decode after a short prompt, repeatedly for about `seconds`. Return the time of each token but the first."""
        ids = self._ids(SHORT_PROMPT)
        times = []
        with watched() as load:
            while not times or sum(times) < seconds:
                times += token_times(self.engine.stream(ids, self.size.decoded))[1:]
        return {"times": times, "load": load}

    def prompt(self) -> dict:
        """Read the long prompt. Return the time to the first new token and the load."""
        ids = self._ids(self.size.prompt)
        with watched() as load:
            times = token_times(self.engine.stream(ids, 1))
        return {"times": times, "load": load}

    def memory(self) -> int | None:
        """Return the peak of memory in a training step above the level before it, or None if it is unknown."""
        batch = self._batch()
        self.engine.restart_replicas()
        return memory.peak_above(lambda: self.engine.training_step(*batch))

    def limits(self) -> dict:
        """Return the highest FLOP/s and bytes/s of the engine's library on this machine."""
        return machine_limits(self.engine)

    def facts(self) -> dict:
        """Return the number of parameters, the FLOP of a training step, and the bytes read to decode a token.

        The engine must be one of this package.
        """
        model, config = self.engine.model, self.size.config
        cached = 2 * config.n_layers * config.kv_heads * config.head_width * 4
        # A token reads one row of an embedding table, but all of it if the table is tied to the unembedding.
        tables = ("positional_embedding",) if config.tie_embeddings else ("positional_embedding", "embedding")
        read = sum(p.data.nbytes for name, p in model.named_parameters() if not name.startswith(tables))
        return {
            "parameters": model.n_parameters(),
            "flops": model.flops_per_token(self.size.length) * self.size.tokens,
            "bytes_per_token": read + cached * (SHORT_PROMPT + self.size.decoded // 2),
        }

    def profile(self, seconds: float) -> dict:
        """Return the time of each file in a training step, and the time of a step with and without the profiler.

        The profiler follows one thread, so the step runs without replicas.
        """
        self.engine.threads = 1
        without = self.steps(seconds)
        clocks = []

        def profiled_step(ids, targets):
            with ComponentClock() as clock:
                self.engine.training_step(ids, targets)
            clocks.append(clock.seconds)

        profiled = self._timed_steps(profiled_step, seconds)
        means = {key: mean(clock.get(key, 0.0) for clock in clocks) for key in set().union(*clocks)}
        return {
            "rows": by_component(means),
            "with_profiler": median(profiled["times"]),
            "without": median(without["times"]),
            "load": without["load"],
        }

    def growth(self, name: str, quick: bool, text: str | None = None) -> dict:
        with watched() as load:
            points = scaling.measure_series(name, quick, text)
        return {"points": points, "load": load, "versions": versions()}

    def _ids(self, *shape):
        return self.rng.integers(0, self.size.config.vocab_size, shape)

    def _batch(self):
        return self._ids(2, self.size.batch, self.size.length)

    def _timed_steps(self, step, seconds: float) -> dict:
        times = []
        with watched() as load:
            while len(times) < FEWEST or sum(times) < seconds:
                times.append(seconds_of(step, *self._batch()))
        return {"times": times, "load": load}


def build(name: str, config, seed: int):
    if name == OURS:
        return NumPyEngine(config, seed, threads=int(os.environ.get(THREAD_VARIABLES[0], 1)))
    if name in BARE:
        return NumPyEngine(config, seed)
    from minitransformer.bench.torch_engine import TorchEngine

    return TorchEngine(config, seed, **TORCH[name])


def versions() -> dict:
    """Return the versions of NumPy, of its matrix library and, if it is loaded, of PyTorch."""
    version_of = {"NumPy": np.__version__, "BLAS": environment()["BLAS"]}
    if "torch" in sys.modules:
        version_of["PyTorch"] = sys.modules["torch"].__version__
    return version_of


def main(engine: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the output of libraries apart from the answers
    worker = Worker(engine)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"answer": getattr(worker, question["ask"])(**question["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
