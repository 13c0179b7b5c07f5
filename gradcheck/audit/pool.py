"""Processes that try one mutant each and are gone: a mutant can spoil, crash or hang nothing but its own.

Where the system can fork, a process begins as a copy of this one, with everything imported: a few milliseconds.
Elsewhere each imports everything anew, which is slow, and otherwise the same.
"""

import multiprocessing
import signal
import sys
import time
import warnings
from multiprocessing.connection import wait

from gradcheck.audit.trials import BY_CRASH, BY_TIME, KILLED, Outcome, run_afresh, run_here

FORKS = sys.platform.startswith("linux")  # macOS has fork too, but its own libraries do not survive it
TO_START = 120.0  # seconds until a new process must have given a sign of life
PATIENCE = 20  # a step may take this many times its CPU time by the clock, since the machine may be busy


class Pool:
    """Runs Trials, `jobs` at a time. `target` is what load_cases takes, `functions` what planted takes."""

    def __init__(self, jobs, target, cases, functions):
        self.jobs = jobs
        self.target = target
        self.cases = cases
        self.functions = functions

    def run(self, trials, afresh=False):
        """Yield (index of the trial, Outcome) for each trial, as they end."""
        running = {}
        waiting = enumerate(trials)
        try:
            while True:
                while len(running) < self.jobs and (job := next(waiting, None)) is not None:
                    connection, process = self._start(job[1], afresh or not FORKS)
                    running[connection] = [job[0], process, time.monotonic() + TO_START]
                if not running:
                    return
                timeout = max(0.0, min(deadline for *_, deadline in running.values()) - time.monotonic())
                ready = wait(list(running), timeout)
                for connection in list(running):
                    index, process, deadline = running[connection]
                    outcome = None
                    if connection in ready:
                        outcome = self._receive(connection, process, running[connection])
                    elif time.monotonic() > deadline:
                        process.kill()
                        outcome = Outcome(KILLED, BY_TIME)
                    if outcome is not None:
                        del running[connection]
                        connection.close()
                        process.join()
                        yield index, outcome
        finally:
            for connection, (_, process, _) in running.items():
                process.kill()
                process.join()
                connection.close()

    def _start(self, trial, afresh):
        context = multiprocessing.get_context("spawn" if afresh else "fork")
        ours, theirs = context.Pipe(duplex=False)
        if afresh:
            process = context.Process(target=run_afresh, args=(theirs, trial, self.target))
        else:
            process = context.Process(target=run_here, args=(theirs, trial, self.cases, self.functions))
        with warnings.catch_warnings():
            # Python warns of forking with threads. Those of a BLAS, the usual ones, stop before it and start after it.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        return ours, process

    def _receive(self, connection, process, entry):
        """Return the Outcome if there is one now, or None after a sign of life."""
        try:
            message = connection.recv()
        except EOFError:
            process.join()
            if hasattr(signal, "SIGPROF") and process.exitcode == -signal.SIGPROF:
                return Outcome(KILLED, BY_TIME)
            return Outcome(KILLED, BY_CRASH, message=f"exit status {process.exitcode}")
        if isinstance(message, Outcome):
            return message
        entry[2] = time.monotonic() + PATIENCE * message + TO_START
        return None
