"""Processes to train in: one model in each at a time, and one thread of the matrix library in each.

A matrix product of these sizes gains little from a second thread, while two models gain all of a second core; so each
process has one thread, and there are as many processes as cores (see cores.py, also for the guard that a program with
processes needs). One thread is also why a result has the same bits however many cores there are, with the
same processor and libraries: see training/environment.py.

When the parent is killed, its workers would go on and then wait for ever for their next model; each of them watches its
parent, and ends with it.
"""

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor

from minitransformer.cores import begin, deaf_to_ctrl_c, one_thread_each
from minitransformer.module import is_plain, plain


class WorkerProcesses:
    """An executor of `count` processes that can be made anew when it is broken, and stopped at once."""

    def __init__(self, count: int):
        self.count = count
        self.start()

    def start(self) -> None:
        """Begin with new processes; they are born when there is something to do."""
        self.processes = set()
        spawn = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(self.count, mp_context=spawn, initializer=begin)

    def submit(self, function, *arguments) -> Future:
        """Let a process call the function, with the engine on or off as here."""
        before = set(multiprocessing.active_children())
        with one_thread_each(), deaf_to_ctrl_c():
            future = self.executor.submit(call, is_plain(), function, *arguments)
        self.processes |= set(multiprocessing.active_children()) - before
        return future

    def restart(self) -> None:
        """Put new processes in the place of those of a broken executor."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End all processes at once, whatever they are doing."""
        for process in self.processes:
            process.kill()
        self.executor.shutdown(cancel_futures=True)


def call(without_engine: bool, function, *arguments):
    """Return function(*arguments), with the engine off or on."""
    with plain(without_engine):
        return function(*arguments)
