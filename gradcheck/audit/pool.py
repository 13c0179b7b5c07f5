"""Processes that try one mutant each, so that a mutant that crashes or hangs affects nothing else.

If the system can fork, a process starts as a copy of this one, with everything imported, in a few milliseconds. On
other systems each process imports everything again, which is slow but otherwise equivalent.
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

FORKS = sys.platform.startswith("linux")  # macOS has fork too, but its system libraries do not support it
TO_START = 120.0  # seconds within which a new process must send its first message
PATIENCE = 20  # a step may take this many times its CPU time in wall-clock time, since the machine may be busy


class Pool:
    """Runs tasks in separate processes, `jobs` at a time.

    A task is a pair (function, arguments). The process calls `function(connection, *arguments)`. The function must call
    stopping.hear to enable signals, and `answer` to do its work and to send the result.
    """

    def __init__(self, jobs):
        self.jobs = jobs

    def run(self, tasks, afresh=False):
        """Yield (index, answer) for each task, in the order in which the tasks end.

        A task is taken from `tasks` only when it can start. If `afresh` is True, each task runs in a new Python process
        instead of a copy of this one. If a process crashes or exceeds its time limit, the answer is an Outcome with the
        status KILLED.
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
    """Call `attempt(alive)` in a process of the Pool, and send the result through the connection.

    `attempt` must call `alive(seconds)` before each step, where `seconds` is the CPU time that the step may take. The
    call informs the Pool and, if the system supports it, sets a timer that ends the process.
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
        # Python warns about a fork while threads run. Usually they belong to the BLAS library, which stops them before
        # a fork and restarts them afterwards.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return ours, process


def _receive(connection, process, entry):
    """Return the answer if it has arrived. After an announced step, extend the deadline in `entry` and return None."""
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
