"""The pipe to an engine that runs in a separate process and answers one question at a time."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from minitransformer.bench.worker import BARE, TORCH
from minitransformer.system.cores import THREAD_VARIABLES, ending
from minitransformer.system.extras import MissingExtra

PACKAGE = Path(__file__).resolve().parent.parent
RIVAL = "from minitransformer.bench.worker import main; main({engine!r})"  # PyTorch's process has its own settings
OWN = f"from minitransformer import tune_process; tune_process(); {RIVAL}"


class EngineError(ChildProcessError):
    """An engine's process failed to answer a question. The message names the question."""


class EngineProcess:
    """An engine in a separate process, which runs during a `with` block:

        with EngineProcess("torch", threads=2) as engine:
            answer = engine.ask("steps", seconds=1.0)

    The process ends at the end of the block, or when this process ends. `ask` raises EngineError if it fails.
    """

    def __init__(self, engine: str, threads: int):
        self.engine, self.threads = engine, threads

    def __enter__(self):
        code = RIVAL if self.engine in TORCH else OWN
        limits = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code.format(engine=self.engine)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | limits | {"PYTHONPATH": path} | BARE.get(self.engine, {}),
            start_new_session=True,  # Ctrl-C then reaches only this process, which ends the other
        )
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):  # the process did not read the last question
            self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def ask(self, question: str, **arguments):
        """Call the Worker method named `question` in the process and return its result."""
        try:
            print(json.dumps({"ask": question, "arguments": arguments}), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self.failure(question) from None
        line = self.process.stdout.readline()
        if not line:
            raise self.failure(question)
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(f"the engine {self.engine} failed to answer {question!r}: {answer['error']}")
        return answer["answer"]

    def failure(self, question: str) -> EngineError:
        """Return an EngineError with the exit status and the last line of standard error of the process that ended."""
        how = ending(self.process.wait(), "perhaps there was not enough memory")
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return EngineError(f"the process of the engine {self.engine} {how} while answering {question!r}{last}")


def require_engines(engines) -> None:
    """Raise MissingExtra if an engine needs PyTorch and it is not installed."""
    if any(engine in TORCH for engine in engines) and find_spec("torch") is None:
        raise MissingExtra(
            'torch is not installed: install it with pip install "minitransformer[parity]"', name="torch"
        )
