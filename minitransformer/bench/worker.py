"""An engine in a separate process, and the questions that it answers.

Between questions the process is idle, so that the other engine can use the processor. Values are in seconds and bytes.
"""

import os
import sys

import numpy as np

from gradcheck.front.processes import THREAD_VARIABLES
from gradcheck.front.streams import error_in_words
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.sizes import SHORT_PROMPT, Size
from minitransformer.bench.timing import machine_limits, peak_above, seconds_of, token_times
from minitransformer.system.extras import MissingExtra
from minitransformer.system.processes import Lost, Process
from minitransformer.system.tuning import tune_process
from minitransformer.training.environment import environment
from minitransformer.training.replicas import replicas_that_pay

WARM_UP = 3  # first steps, in which memory is allocated and compilers run
FEWEST = 2  # steps of a turn
PATIENCE = 10.0  # seconds to wait for the end of a process
OURS, ENGINE = "minitransformer", "engine"
# {engine of this package without replicas: environment variables of its process}
BARE = {ENGINE: {"MINITRANSFORMER_PLAIN": "0"}, "textbook": {"MINITRANSFORMER_PLAIN": "1"}}
TORCH, JAX = "torch", "jax"
FRAMEWORKS = (TORCH, "torch-fused", "torch-compile", JAX)
ABOUT = {
    OURS: "this package, with replicas in several processes, as in train",
    ENGINE: "this package in one process",
    "textbook": "this package in one process, without its engine (MINITRANSFORMER_PLAIN=1)",
    TORCH: "PyTorch, eager, with its defaults",
    "torch-fused": "PyTorch, eager, with AdamW(fused=True)",
    "torch-compile": "PyTorch, the model compiled, with AdamW(fused=True)",
    JAX: "JAX, one compiled function for a step, on all cores",
}


class EngineError(ChildProcessError):
    """Raised if the process of an engine fails to answer a question. The message contains the question."""


class EngineProcess(Process):
    """An engine in a separate process, which ends with the `with` block."""

    def __init__(self, engine: str, threads: int):
        self.engine = engine
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | BARE.get(engine, {})
        # Libraries free their semaphores if the process is not killed.
        super().__init__(Worker, engine, variables=variables, patience=PATIENCE)

    def ask(self, question: str, **arguments):
        """Call the Worker method `question` in the process. Raises EngineError or MissingExtra if it fails."""
        try:
            return super().ask(question, **arguments)
        except MissingExtra:
            raise
        except Lost as lost:
            advice = " (perhaps there was not enough memory)" if "SIGKILL" in str(lost) else ""
            how = f"{lost}{advice} while answering {question!r}"
            raise EngineError(f"the process that runs {self.engine} {how}") from None
        except Exception as error:
            raise EngineError(
                f"the engine {self.engine} failed to answer {question!r}: {error_in_words(error)}"
            ) from None


class Worker:
    """An engine in its process. A method answers the question of the same name. `prepare` must be called first."""

    def __init__(self, engine: str):
        if engine not in FRAMEWORKS:  # their processes have their own settings
            tune_process()
        os.dup2(2, 1)  # keeps the output of libraries apart from the results of the command
        self.name = engine

    def prepare(self, size: Size, seed: int = 0) -> dict:
        """Build the model, take WARM_UP training steps, and decode once. Return the losses and the library versions."""
        self.size = size
        self.rng = np.random.default_rng(seed)  # every engine draws the same batches in the same order
        self.engine = build(self.name, size.config, seed)
        losses = [self.engine.training_step(*self._batch()) for _ in range(WARM_UP)]
        self.decode(seconds=0.0)
        if size.prompt is not None:
            self.prompt()
        versions = {"NumPy": np.__version__, "BLAS": environment()["BLAS"]}
        names = {"PyTorch": "torch", "JAX": "jax"}
        versions |= {name: sys.modules[key].__version__ for name, key in names.items() if key in sys.modules}
        return {"losses": losses, "versions": versions}

    def steps(self, seconds: float) -> list[float]:
        """Take at least FEWEST training steps, for about `seconds`. Return the time of each."""
        times = []
        while len(times) < FEWEST or sum(times) < seconds:
            times.append(seconds_of(self.engine.training_step, *self._batch()))
        return times

    def decode(self, seconds: float) -> list[float]:
        """Decode for about `seconds`. Return the times of the new tokens except the first one after each prompt."""
        ids, times = self._ids(SHORT_PROMPT), []
        while not times or sum(times) < seconds:
            times += token_times(self.engine.stream(ids, self.size.decoded))[1:]
        return times

    def prompt(self) -> list[float]:
        return token_times(self.engine.stream(self._ids(self.size.prompt), 1))

    def memory(self) -> int | None:
        """Return the increase of the peak memory in a training step, or None if the system does not record it."""
        batch = self._batch()
        self.engine.restart_replicas()
        return peak_above(lambda: self.engine.training_step(*batch))

    def course(self, **run) -> dict:
        """Train with a recipe (see course.py). Does not need `prepare`."""
        if self.name in FRAMEWORKS:
            from minitransformer.bench import torch_course

            return torch_course.course(**run)
        from minitransformer.bench.course import course

        threads = int(os.environ.get(THREAD_VARIABLES[0], 1)) if self.name == OURS else 1
        return course(**run, replicas=lambda batch_size: replicas_that_pay(batch_size, threads))

    def limits(self) -> dict:
        return machine_limits(self.engine)

    def facts(self) -> dict:
        """Return the parameters, FLOP per step, and bytes per decoded token of an engine of this package."""
        model, config = self.engine.model, self.size.config
        cached = 2 * config.n_layers * config.kv_heads * config.head_width * 4
        # A token reads one row of an embedding table, or the whole table if it is tied to the unembedding.
        tables = ("positional_embedding",) if config.tie_embeddings else ("positional_embedding", "embedding")
        read = sum(p.data.nbytes for name, p in model.named_parameters() if not name.startswith(tables))
        return {
            "parameters": model.n_parameters(),
            "flops": model.flops_per_token(self.size.length) * self.size.tokens,
            "bytes_per_token": read + cached * (SHORT_PROMPT + self.size.decoded // 2),
        }

    def _ids(self, *shape):
        return self.rng.integers(0, self.size.config.vocab_size, shape)

    def _batch(self):
        return self._ids(2, self.size.batch, self.size.length)


def build(name: str, config, seed: int):
    if name == OURS:
        return NumPyEngine(config, seed, threads=int(os.environ.get(THREAD_VARIABLES[0], 1)))
    if name in BARE:
        return NumPyEngine(config, seed)
    if name == JAX:
        from minitransformer.bench.jax_engine import JaxEngine

        return JaxEngine(config, seed)
    from minitransformer.bench.torch_engine import TorchEngine

    return TorchEngine(config, seed, fused=name != TORCH, compiled=name == "torch-compile")
