"""Run other people's code in processes, with limits on time, memory and the number of processes.

    process = Bounded("mine.grading", megabytes=1000)
    answer = process.ask({"file": "softmax.py"}, seconds=10)

A supervisor, which is a process of its own, imports the module and calls its function prepare(). For each request it
forks a child, which calls answers(request), and at the end it kills all descendants of the child. On Linux these
include processes that called `setsid`, because the supervisor adopts them (PR_SET_CHILD_SUBREAPER). On other systems,
whose libraries do not support a fork without exec, a supervisor answers one request itself and is then replaced.

`answers(request)` is a generator. Each answer replaces the previous one, so a verdict can precede its explanation. Each
line from a child begins with a random word that identifies its request; other lines are ignored. The limits protect
against accidents, but they are not a sandbox, because the code runs with the user's rights.
"""

import atexit
import contextlib
import ctypes
import json
import os
import secrets
import select
import signal
import sys
import threading
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from gradcheck.front.processes import GRACE, ONE_THREAD
from minitransformer.system.processes import Lost, ending, start, stop

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

FORKS = sys.platform == "linux"
START = 60  # seconds until a supervisor must be ready
LARGEST = 100 * 2**20  # bytes of a file that a request may write
MOST = 64  # processes of one request
TOO_MANY = f"it started {MOST} processes"
LOOK = 0.01  # seconds between two counts of the processes
LONGEST = 2**26  # bytes of a line
CANCEL = "cancel"  # a message in place of a request
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


class Ended(Lost):
    """Raised if a request ends before its last answer. The message gives the reason.

    `answer` is the latest answer, or None.
    """

    def __init__(self, reason, answer=None):
        super().__init__(reason)
        self.answer = answer


class Bounded:
    """A process that answers each request in a child process.

    It ends with the `with` block or the program. `module` defines prepare() and answers(request), and `megabytes`
    limits the memory.
    """

    def __init__(self, module: str, *, megabytes: int):
        self.module, self.megabytes = module, megabytes
        self.process: Any = None
        self.sending = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def ask(self, request, seconds: float, more: float = GRACE, first=lambda answer: None):
        """Send a request and return its last answer. `first` is called with the first answer as soon as it arrives.

        The first answer must arrive within `seconds`, and the last one within `more` seconds after the first. Raises
        Ended if the time is exceeded or the code ends its process.
        """
        answer, is_done, allowed = None, False, seconds
        try:
            if self.process is None:
                self.begin()
            self.send((request, seconds + more))
            deadline = time.monotonic() + allowed
            while (message := self.received(deadline))[0] not in ("end", "late"):
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

    def cancel(self) -> None:
        """End the current request, if there is one, for which `ask` in another thread then raises Ended."""
        if self.process is not None:
            self.send(CANCEL)

    def send(self, message) -> None:
        with self.sending, contextlib.suppress(OSError):  # the supervisor has ended, which `received` reports
            self.pipe.send(message)

    def begin(self):
        """Start a supervisor and wait until it is ready. Raises Ended if it is not ready within START seconds."""
        variables = ONE_THREAD | {"PYTHONUTF8": "1"}
        self.owner = os.getpid()
        self.process, self.pipe = start(
            supervise, self.module, self.megabytes, variables=variables, unheard=(signal.SIGINT,)
        )
        atexit.register(self.end)
        kind, reason = self.received(time.monotonic() + START)
        if kind != "ready":
            self.end()
            raise Ended(reason or f"its supervisor was not ready within {START} seconds")

    def received(self, deadline):
        """Return the kind and the value of the next message from the supervisor.

        If the deadline has passed, the kind is "late". If the supervisor has ended, it is "end", and the value is the
        reason.
        """
        try:
            return self.pipe.recv() if self.pipe.poll(max(deadline - time.monotonic(), 0)) else ("late", None)
        except (EOFError, OSError):
            process = self.process
            self.end()
            return "end", "it was ended" if process is None else reason_of_end(process.exitcode)  # by another thread

    def end(self):
        """End the supervisor, which ends all processes that it has started."""
        process, self.process = self.process, None
        if process is not None and self.owner == os.getpid():  # and not a fork of it
            atexit.unregister(self.end)
            if FORKS:  # an `ask` that waits in another thread keeps the closed pipe open until it hears an answer
                self.send(CANCEL)
            stop(process, self.pipe, GRACE if FORKS else 0)


def reason_of_end(status):
    if status >= 0:
        return f"it ended its process with status {status}"
    return f"it ended its process: {ending(status).removeprefix('was ended by ')}"


def supervise(pipe, module, megabytes) -> None:
    """Answer requests until the caller closes the pipe. This is the main function of a supervisor."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    control(SET_CHILD_SUBREAPER, 1)
    sys.dont_write_bytecode = True  # the code may lie in somebody's folder
    code = import_module(module)
    code.prepare()
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            if (message := pipe.recv()) == CANCEL:  # of a request that has ended
                continue
            request, seconds = message
            if FORKS:
                pipe.send(("end", in_a_child(code.answers, request, seconds, megabytes, pipe)))
            else:
                answer_all(code.answers, request, pipe.send)
                pipe.send(("end", None))


def answer_all(answers, request, send):
    me = os.getpid()
    for value in answers(request):
        if os.getpid() != me:  # a process that the code has forked sends no answer
            os._exit(0)
        send(("answer", value))
    send(("done", None))


def in_a_child(answers, request, seconds, megabytes, pipe):
    """Answer a request in a child process, then kill all its descendants. Return the reason why the child ended."""
    word, (lines, end_of_child) = secrets.token_hex(16).encode(), os.pipe()
    child = os.fork()
    if child == 0:
        run_child(answers, request, seconds, megabytes, word, end_of_child)
    os.close(end_of_child)
    os.set_blocking(lines, False)
    try:
        pass_on, more_may_come = forwarding(lines, word, pipe), True
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if pipe.poll():
                with contextlib.suppress(EOFError, OSError):
                    pipe.recv()  # CANCEL, since the next request follows the end of this one
                    return "it was cancelled"
                raise SystemExit  # the caller has ended, or has closed the pipe
            select.select([lines] if more_may_come else [], [], [], LOOK)
            more_may_come = pass_on()
            if len(descendants()) >= MOST:
                return TOO_MANY
        pass_on()
        return reason_of_end(os.waitstatus_to_exitcode(ended[1]))
    finally:
        end_all(child)
        os.close(lines)


def forwarding(lines, word, pipe):
    """Return a function that forwards the messages that a child has written so far to the caller.

    The function returns True while some process can still write to the child's pipe.
    """
    left = b""

    def pass_on() -> bool:
        nonlocal left
        with contextlib.suppress(BlockingIOError):
            while some := os.read(lines, 2**16):
                *whole, left = (left + some).split(b"\n")
                left = left[-LONGEST:]
                for line in whole:
                    if line.startswith(word):
                        with contextlib.suppress(ValueError):  # a damaged line
                            pipe.send(tuple(json.loads(line[len(word) :])))
            return False
        return True

    return pass_on


def run_child(answers, request, seconds, megabytes, word, pipe):
    def send(message):
        line = b"\n" + word + json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(pipe, line) :]

    status = 1
    try:
        os.setsid()
        control(SET_PDEATHSIG, signal.SIGKILL)
        os.closerange(3, pipe)
        os.closerange(pipe + 1, 2**16)
        pages = int(Path("/proc/self/statm").read_text().split()[0])  # the child's memory includes the supervisor's
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + megabytes * 2**20)
        limit(resource.RLIMIT_CPU, int(2 * seconds + 2))
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_FSIZE, LARGEST)
        limit_forks()
        answer_all(answers, request, send)
        status = 0
    finally:
        os._exit(status)


def end_all(group):
    """Kill a process group, and then all descendants of this process."""
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
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


def limit_forks():
    """Limit this process and its children to MOST forks in total. A further fork blocks.

    On Linux, each child is killed when its parent ends, so that no child outlives a supervisor that is killed.
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
