"""Run other people's code in processes, with limits on time, memory and the number of processes.

    process = Bounded("minitransformer.learn.grading", megabytes=1000)
    answer = process.ask({"file": "softmax.py"}, seconds=10)

The module is run with `python -m` as a server, and calls serve(answers). For each request, the server forks a child,
and at the end kills all descendants of the child. On Linux these include processes that called `setsid`, because the
server adopts them (PR_SET_CHILD_SUBREAPER). Without `fork`, as on Windows, a server answers one request itself and is
then replaced.

`answers(request)` is a generator. Each answer replaces the previous one, so a verdict can precede its explanation. Each
line from a child begins with a random word that identifies its request; other lines are ignored. The limits protect
against accidents, but they are not a sandbox, because the code runs with the user's rights.
"""

import contextlib
import ctypes
import io
import json
import os
import queue
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

FORKS = hasattr(os, "fork")
ROOT = Path(__file__).parents[2]
START = 60  # seconds until a server must be ready
GRACE = 5  # seconds within which all processes must be killed
LARGEST = 100 * 2**20  # bytes of a file that a request may write
MOST = 64  # processes of one request
TOO_MANY = f"it started {MOST} processes"
LOOK = 0.01  # seconds between two counts of the processes
LONGEST = 2**26  # bytes of a line
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


class Ended(ChildProcessError):  # noqa: N818
    """A request ended before its last answer. The message gives the reason. `answer` is the latest answer, or None."""

    def __init__(self, reason, answer=None):
        super().__init__(reason)
        self.answer = answer


class Bounded:
    """Answer each request in a separate process. Use it in a `with` block, or call `end` at the end."""

    def __init__(self, module: str, *, megabytes: int):
        self.module, self.megabytes = module, megabytes
        self.process: Any = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def ask(self, request, seconds: float, more: float = GRACE, first=lambda answer: None):
        """Send a request and return its last answer. `first` is called with the first answer as soon as it arrives.

        The first answer must arrive within `seconds`, and the last one within `more` seconds after the first. Raises
        Ended, which has the latest answer, if the time is exceeded or the code ends its process.
        """
        word, answer, is_done, allowed = secrets.token_hex(16), None, False, seconds
        asked = {"word": word, "request": request, "seconds": seconds + more}
        try:
            if self.process is None:
                self.begin()
            with contextlib.suppress(OSError):  # the server has ended, which `received` reports
                self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            deadline = time.monotonic() + allowed
            while (message := self.received(word, deadline))[0] not in ("end", "late"):
                kind, value = message
                if kind == "answer":
                    if answer is None:
                        allowed, deadline = more, time.monotonic() + more
                        first(value)
                    answer = value
                is_done = is_done or kind == "done"
        except BaseException:
            self.end()
            raise
        kind, reason = message
        if kind == "late" or not FORKS:
            self.end()
        if kind == "late":
            reason = f"it did not end within {allowed:g} seconds"
        if not is_done:
            raise Ended(reason, answer)
        return answer

    def begin(self):
        """Start a server and wait until it is ready. Raises Ended if it is not ready within START seconds."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
        word = secrets.token_hex(16)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module, str(self.megabytes), word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | one_thread | {"PYTHONPATH": path, "PYTHONUTF8": "1"},
            start_new_session=True,  # Ctrl-C in a terminal is for the caller, which ends the server itself
        )
        self.lines = queue.SimpleQueue()
        threading.Thread(target=gather, args=(self.process.stdout, self.lines), daemon=True).start()
        kind, reason = self.received(word, time.monotonic() + START)
        if kind != "ready":
            raise Ended(reason or f"its server was not ready within {START} seconds")

    def received(self, word, deadline):
        """Return (kind, value) from the next line that begins with `word`, or ("late", None) or ("end", reason)."""
        while True:
            try:
                line = self.lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                return "late", None
            if not line:
                process = self.process
                self.end()
                return "end", how_it_ended(process.returncode)
            if line.startswith(word.encode()):
                with contextlib.suppress(ValueError):  # a damaged line
                    return json.loads(line[len(word) :])

    def end(self):
        """End the server, which ends all processes that it has started."""
        process, self.process = self.process, None
        if process is None:
            return
        process.stdin.close()
        try:
            process.wait(GRACE if FORKS else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gather(stream, lines):
    """Put each line of a stream, of at most LONGEST bytes, into the queue `lines`, and b"" at the end."""
    with io.BufferedReader(stream) as buffered:
        for line in iter(partial(buffered.readline, LONGEST), b""):
            lines.put(line)
    lines.put(b"")


def how_it_ended(status):
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"it ended its process: {names.get(-status, f'signal {-status}')}"
    return f"it ended its process with status {status}"


def serve(answers) -> None:
    """Run a server: answer requests from standard input until the input ends."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)  # the caller ends this process by closing its input
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    requests = os.fdopen(os.dup(0), "rb")
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    control(SET_CHILD_SUBREAPER, 1)
    send(out, sys.argv[2], "ready")
    for line in requests:
        asked = json.loads(line)
        reason = in_a_child(answers, asked, requests, out) if FORKS else answer_all(answers, asked, out)
        send(out, asked["word"], "end", reason)


def send(pipe, word, kind, value=None):
    """Write a line that consists of the word of a request and [kind, value] in JSON."""
    line = f"\n{word}{json.dumps([kind, value])}\n".encode()
    while line:
        line = line[os.write(pipe, line) :]


def answer_all(answers, asked, pipe):
    me = os.getpid()
    for value in answers(asked["request"]):
        if os.getpid() != me:  # a process that the code has forked sends no answer
            os._exit(0)
        send(pipe, asked["word"], "answer", value)
    send(pipe, asked["word"], "done")


def in_a_child(answers, asked, requests, out):
    """Answer a request in a child process, then kill all its descendants. Return the reason why the child ended."""
    child = os.fork()
    if child == 0:
        be_the_child(answers, asked, out)
    try:
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if select.select([requests], [], [], LOOK)[0]:
                raise SystemExit  # the caller has ended, or has closed the pipe
            if len(descendants()) >= MOST:
                return TOO_MANY
        return how_it_ended(os.waitstatus_to_exitcode(ended[1]))
    finally:
        end_all(child)


def be_the_child(answers, asked, pipe):
    status = 1
    try:
        os.setsid()
        control(SET_PDEATHSIG, signal.SIGKILL)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, 2**16)
        statm = Path("/proc/self/statm")
        if statm.exists():  # limit the memory that the child needs in addition to the server's
            pages = int(statm.read_text().split()[0])
            limit(resource.RLIMIT_AS, pages * resource.getpagesize() + int(sys.argv[1]) * 2**20)
        limit(resource.RLIMIT_CPU, int(2 * asked["seconds"] + 2))
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_FSIZE, LARGEST)
        limit_forks()
        answer_all(answers, asked, pipe)
        status = 0
    finally:
        os._exit(status)


def end_all(group):
    """Kill a process group, then all descendants of this process, until none is left."""
    deadline = time.monotonic() + GRACE
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while time.monotonic() < deadline:
        for process in descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def descendants() -> list[int]:
    """Return the process ids of all descendants of this process. The list is empty on a system without /proc."""
    found, pending = [], [os.getpid()]
    while pending:
        tasks = f"/proc/{pending.pop()}/task"
        with contextlib.suppress(OSError):
            for task in os.listdir(tasks):
                children = [int(pid) for pid in Path(tasks, task, "children").read_text().split()]
                found += children
                pending += children
    return found


def control(option, value):
    """Call prctl(option, value) for this process. Does nothing on systems other than Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


def limit_forks():
    """Allow this process and its children at most MOST forks in total. A further fork blocks.

    On Linux, each child is killed when its parent ends, so that no child outlives a server that is killed.
    """
    left, filled = os.pipe()
    os.write(filled, bytes(MOST))
    os.close(filled)

    def count():
        with contextlib.suppress(OSError):  # the code has closed its files
            if os.read(left, 1):
                return
        time.sleep(START)

    os.register_at_fork(before=count, after_in_child=partial(control, SET_PDEATHSIG, signal.SIGKILL))


def limit(which, most):
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
