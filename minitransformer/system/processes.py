"""Objects in other processes, whose methods are called through a pipe.

A process is started as those of gradcheck (gradcheck/front/processes.py). `Process` is for our own code, such as a
replica of a model, and `Bounded` (bounded.py) for other people's.
"""

import atexit
import contextlib
import os
import signal
from typing import Any

from gradcheck.front.processes import SPAWN, begin, starting
from gradcheck.front.signals import SIGNALS
from gradcheck.front.streams import error_in_words


class Lost(ChildProcessError):  # noqa: N818
    """Raised if a process ends before it answers. The message describes how it ended."""


def ending(status: int) -> str:
    """Describe how a process ended, given its exit status."""
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-status, f'signal {-status}')}"


def start(target, *arguments, variables=None, unheard=tuple(SIGNALS), daemon=False, needs_program=False):
    """Spawn a process that calls target(pipe, *arguments). Return the process and the other end of the pipe.

    variables       environment variables of the process
    unheard         signals that the process does not receive
    daemon          True if it starts no processes of its own with multiprocessing
    needs_program   True if the arguments contain objects of the main program, which is then imported in the process
    """
    pipe, other_end = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(other_end, *arguments), daemon=daemon)
    with starting(variables or {}, unheard, needs_program):
        process.start()
    other_end.close()
    _running[process] = os.getpid()
    return process, pipe


def stop(process, pipe, patience=0.0) -> None:
    """Close the pipe, and kill the process if it still runs after `patience` seconds."""
    pipe.close()
    process.join(patience)
    process.kill()
    process.join()
    _running.pop(process, None)


_running: dict[Any, int] = {}  # {process: the id of the process that called `start`}


@atexit.register  # after `multiprocessing` has registered its handler, which would wait for them, and so before that
def _kill_running():
    for process, owner in _running.items():
        if owner == os.getpid():  # and not a fork of it
            process.kill()


class Process:
    """A process that holds the object make(*arguments). `ask` calls a method of this object.

    It is a context manager, which stops the process at the end of the block.
    """

    def __init__(self, make, *arguments, patience=0.0, **how):
        """Start the process. At the end of the `with` block, it has `patience` seconds to end before it is killed.

        Other keyword arguments are passed to `start`.
        """
        self.patience = patience
        self.process, self.pipe = start(_answer_calls, make, *arguments, **how)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        self.stop(self.patience if kind is None else 0)

    def ask(self, method: str, *arguments, **options):
        """Return object.method(*arguments, **options), or raise its exception. Raises Lost if the process has ended."""
        self.send(method, *arguments, **options)
        return self.receive()

    def send(self, method: str, *arguments, **options) -> None:
        try:
            self.pipe.send((method, arguments, options))
        except OSError:
            raise self.lost() from None

    def receive(self):
        """Return the answer to the oldest unanswered call, or raise its exception."""
        try:
            error, answer = self.pipe.recv()
        except (EOFError, OSError):
            raise self.lost() from None
        if error is not None:
            raise error
        return answer

    def lost(self) -> Lost:
        self.process.join()
        return Lost(ending(self.process.exitcode))

    def stop(self, patience=0.0) -> None:
        stop(self.process, self.pipe, patience)


def _answer_calls(pipe, make, *arguments):
    begin()
    target = make(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            method, arguments, options = pipe.recv()
            try:
                answer = None, getattr(target, method)(*arguments, **options)
            except Exception as error:
                answer = error, None
            try:
                pipe.send(answer)
            except (TypeError, AttributeError, ValueError):  # an exception that cannot be pickled
                pipe.send((RuntimeError(error_in_words(answer[0])), None))
