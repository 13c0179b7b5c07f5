"""Processes to train in: one model in each at a time, and one thread of the matrix library in each.

A matrix product of these sizes gains little from a second thread, while two models gain all of a second core; so each
process has one thread, and there are as many processes as cores (see cores.py, also for the guard that a program with
processes needs). One thread is also why a result has the same bits however many cores there are, with the
same processor and libraries: see training/environment.py.

When the parent is killed, its workers would go on and then wait for ever for their next model; each of them watches its
parent, and ends with it.
"""

import multiprocessing
import signal
import warnings
from concurrent.futures import Future, ProcessPoolExecutor

from minitransformer.cores import begin, one_thread_each
from minitransformer.files import naming
from minitransformer.module import EditedTextbook
from minitransformer.system.stopping import birth
from minitransformer.training.environment import forms_in_use


class WorkerProcesses(ProcessPoolExecutor):
    """An executor of `count` processes, born when there is something to do and ended at once with its block.

    This process warns of edited functions of the textbook, so the others do not repeat it.
    """

    def __init__(self, count: int):
        forms_in_use()  # warns
        with naming("the file that worker processes share"):
            super().__init__(count, mp_context=multiprocessing.get_context("spawn"), initializer=begin_quietly)
        self.processes = set()

    def submit(self, function, /, *arguments) -> Future:
        """Let a process call the function."""
        before = set(multiprocessing.active_children())
        with one_thread_each(), birth(signal.SIGINT):  # at SIGTERM, with which the executor ends them, they end
            future = super().submit(function, *arguments)
        self.processes |= set(multiprocessing.active_children()) - before
        return future

    def __exit__(self, *exception):
        """End all processes, whatever they are doing."""
        for process in self.processes:
            process.kill()
        self.shutdown(cancel_futures=True)


def begin_quietly() -> None:
    """Prepare a worker process, without warnings of edited functions."""
    begin()
    warnings.simplefilter("ignore", EditedTextbook)
