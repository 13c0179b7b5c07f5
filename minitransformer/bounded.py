"""A process that runs other people's code within limits of time and memory, so that nothing but it can be lost.

It is no sandbox: what runs there may read and write what its user may. But an endless loop, an array that no machine
has room for, `sys.exit` or a crash ends that process alone, and whoever asked is told so in a sentence.

    process = Bounded("minitransformer.learn.grading", megabytes=1000)
    answer = process.ask({"file": "softmax.py"}, seconds=10)

The module is run with `python -m`, and calls serve(answer): that reads requests, one line of JSON each, and writes what
`answer(request)` returns. What the code prints goes nowhere, unless it is caught.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[1]
START = 60  # seconds that a process may take until it can be asked
READY = "ready"


class Ended(ChildProcessError):  # noqa: N818
    """A process has ended, or was ended, before it answered; its message says why."""


class Bounded:
    """A process that answers requests; after one that ended it, the next begins another."""

    def __init__(self, module: str, *, megabytes: int):
        self.module, self.megabytes = module, megabytes
        self.process: Any = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def ask(self, request, seconds: float):
        """Return the answer to a request. Raises Ended where there is none after so many seconds, or never will be."""
        if self.process is None:
            self.begin()
        try:
            self.process.stdin.write(json.dumps({"seconds": seconds, "request": request}) + "\n")
            self.process.stdin.flush()
            return self.received(seconds)
        except BrokenPipeError:
            raise Ended(self.how_it_ended()) from None
        except BaseException:
            self.end()
            raise

    def begin(self):
        """Begin a process, and wait until it can be asked."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module, str(self.megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for whoever began it, not for a process that is starting
        )
        self.answers = queue.SimpleQueue()
        threading.Thread(target=gather, args=(self.process.stdout, self.answers), daemon=True).start()
        try:
            self.received(START)
        except BaseException:
            self.end()
            raise

    def received(self, seconds):
        """Return the next answer. Raises Ended."""
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise Ended(f"it did not end within {seconds:g} seconds") from None
        if not line:
            raise Ended(self.how_it_ended())
        return json.loads(line)

    def how_it_ended(self):
        """Say how the process ended by itself."""
        status = self.process.wait()
        self.end()
        if status < 0:
            return f"it ended its process: {signal.Signals(-status).name}"
        return f"it ended its process with status {status}"

    def end(self):
        """End the process, if there is one."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()


def gather(stream, answers):
    """Put each line of a stream into a queue, and "" at its end."""
    with contextlib.suppress(ValueError, OSError):  # it was closed meanwhile
        for line in stream:
            answers.put(line)
    answers.put("")


def serve(answer) -> None:
    """Answer requests until there are no more. For the process itself: limits its memory, and its time with each."""
    for signum in (signal.SIGINT, *(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))):
        signal.signal(signum, signal.SIG_IGN)  # whoever began this process ends it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(nowhere, 0)  # nobody answers what the code asks for
    limit_memory(int(sys.argv[1]))
    reply(answers, READY)
    for line in requests:
        asked = json.loads(line)
        limit_time(asked["seconds"])
        reply(answers, answer(asked["request"]))


def reply(stream, value):
    """Write a line of JSON."""
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def limit_memory(megabytes):
    """Let this process have so much memory besides what it has, where the system keeps such a limit."""
    statm = Path("/proc/self/statm")
    if resource is None or not statm.exists():
        return
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = now + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def limit_time(seconds):
    """Let this process compute for a while, even if nobody is left to end it."""
    if resource is not None:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(time.process_time() + 2 * seconds + 2)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
