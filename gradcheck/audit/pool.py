"""Processes that try one mutant each and are gone: a mutant can spoil, crash or hang nothing but its own.

Where the system can fork, a process begins as a copy of this one, with everything imported: a few milliseconds.
Elsewhere each imports everything anew, which is slow, and otherwise the same.
"""

import contextlib
import io
import multiprocessing
import signal
import sys
import time
import warnings
from dataclasses import replace
from multiprocessing.connection import wait

from gradcheck.audit.outcome import BY_CRASH, BY_EXCEPTION, BY_TIME, KILLED, Outcome
from gradcheck.stopping import signals_wait

FORKS = sys.platform.startswith("linux")  # macOS has fork too, but its own libraries do not survive it
TO_START = 120.0  # seconds until a new process must have given a sign of life
PATIENCE = 20  # a step may take this many times its CPU time by the clock, since the machine may be busy


class Pool:
    """Runs tasks in processes of their own, `jobs` at a time.

    A task is a function and its arguments. It is called as `function(connection, *arguments)`, settles which signals it
    hears by stopping.hear, and hands all that it does to `answer`.
    """

    def __init__(self, jobs):
        self.jobs = jobs

    def run(self, tasks, afresh=False):
        """Yield (index of the task, its answer) for each task, as they end. A task is taken only when it can start.

        `afresh`: in a new Python, not in a copy of this one. A process that is killed by its time limit, or crashes,
        has the Outcome of a mutant that does so for an answer.
        """
        running = {}
        waiting = enumerate(tasks)
        try:
            while True:
                while len(running) < self.jobs and (job := next(waiting, None)) is not None:
                    connection, process = _start(*job[1], afresh)
                    running[connection] = [job[0], process, time.monotonic() + TO_START]
                if not running:
                    return
                timeout = max(0.0, min(deadline for *_, deadline in running.values()) - time.monotonic())
                ready = wait(list(running), timeout)
                for connection in list(running):
                    index, process, deadline = running[connection]
                    answered = None
                    if connection in ready:
                        answered = _receive(connection, process, running[connection])
                    elif time.monotonic() > deadline:
                        process.kill()
                        answered = Outcome(KILLED, BY_TIME)
                    if answered is not None:
                        del running[connection]
                        connection.close()
                        process.join()
                        yield index, answered
        finally:
            for connection, (_, process, _) in running.items():
                process.kill()
                process.join()
                connection.close()


def answer(connection, attempt):
    """Send what `attempt(alive)` returns through a connection. To be run in a process of the Pool's.

    `alive(seconds)` is called before each step with the CPU time that it may take. It tells the Pool, and ends this
    process once it has used more, where the system can see to it.
    """
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)

    def alive(seconds):
        connection.send(float(seconds))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, seconds)

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answered = attempt(alive)
        except BaseException as error:  # SystemExit, MemoryError: a mutant may do anything
            answered = Outcome(KILLED, BY_EXCEPTION, message=f"{type(error).__name__}: {error}")
    if isinstance(answered, Outcome):
        answered = replace(answered, seconds=time.process_time())
    connection.send(answered)
    connection.close()


def _start(function, arguments, afresh):
    context = multiprocessing.get_context("spawn" if afresh else "fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(theirs, *arguments))
    with warnings.catch_warnings(), signals_wait():
        # Python warns of forking with threads. Those of a BLAS, the usual ones, stop before it and start after it.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return ours, process


def _receive(connection, process, entry):
    """Return the answer if there is one now, or None after a sign of life."""
    try:
        message = connection.recv()
    except EOFError:
        process.join()
        if hasattr(signal, "SIGPROF") and process.exitcode == -signal.SIGPROF:
            return Outcome(KILLED, BY_TIME)
        return Outcome(KILLED, BY_CRASH, message=f"exit status {process.exitcode}")
    if not isinstance(message, float):
        return message
    entry[2] = time.monotonic() + PATIENCE * message + TO_START
    return None
