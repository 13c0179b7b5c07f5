"""Worker processes, each of which runs one task at a time with one thread of the matrix library.

Two tasks with one thread each make better use of two cores than one task with two threads. With one thread, results are
bit-identical for any number of cores (see training/environment.py). A worker exits when its parent process ends.
"""

import multiprocessing
import signal
import warnings
from concurrent.futures import Future, ProcessPoolExecutor

from gradcheck.front.signals import birth
from minitransformer.module import EditedTextbook
from minitransformer.system.cores import begin, one_thread_each
from minitransformer.system.files import naming
from minitransformer.training.environment import forms_in_use


class WorkerProcesses(ProcessPoolExecutor):
    """An executor with `count` processes, which start on demand and are killed at the end of the `with` block."""

    def __init__(self, count: int):
        forms_in_use()  # warns if functions of the textbook were edited
        with naming("the file that worker processes share"):
            super().__init__(count, mp_context=multiprocessing.get_context("spawn"), initializer=begin_quietly)
        self.processes = set()

    def submit(self, function, /, *arguments) -> Future:
        before = set(multiprocessing.active_children())
        with one_thread_each(), birth(signal.SIGINT):  # SIGTERM is not blocked: the executor ends workers with it
            future = super().submit(function, *arguments)
        self.processes |= set(multiprocessing.active_children()) - before
        return future

    def __exit__(self, *exception):
        for process in self.processes:
            process.kill()
        self.shutdown(cancel_futures=True)


def begin_quietly() -> None:
    begin()
    warnings.simplefilter("ignore", EditedTextbook)
