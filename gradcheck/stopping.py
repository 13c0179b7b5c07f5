"""The signals that end a command: Ctrl-C, SIGTERM (`kill`) and SIGHUP (a closed terminal).

Each raises an exception wherever the command is, so that its processes end and its temporary files are removed. The
exit status is the one that a shell reports: 128 plus the signal's number. A signal that is ignored when the command
begins, as SIGHUP is under `nohup`, stays ignored.
"""

import contextlib
import signal
import threading

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
SIGNALS = {getattr(signal, name): words for name, words in WORDS.items() if hasattr(signal, name)}  # Windows has two
INTERRUPTED = 128 + signal.SIGINT


class Stopped(KeyboardInterrupt):
    """One of the signals came. `status` is the exit status that belongs to it."""

    def __init__(self, signum):
        super().__init__(SIGNALS[signum])
        self.status = 128 + signum


@contextlib.contextmanager
def signals_raise():
    """Within the block, raise Stopped at each of the signals."""

    def stop(signum, frame):
        if signum != signal.SIGINT:
            signal.signal(signum, signal.SIG_IGN)  # a shell sends SIGHUP twice
        raise Stopped(signum)

    with _handled(stop):
        yield


@contextlib.contextmanager
def signals_wait():
    """Within the block, put the signals off until its end.

    A process that starts in it hears none until it calls `hear`. Otherwise a signal would raise an exception there
    before its work has begun, and end it with a traceback.
    """
    came = []
    with _handled(lambda signum, frame: came.append(signum)):
        if hasattr(signal, "pthread_sigmask"):  # which a new process inherits; Windows has none
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # Python's own helper, whose start would lift the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        else:
            yield
    for signum in came:
        signal.raise_signal(signum)


def hear(at_ctrl_c):
    """Hear the signals, in a process that was started in signals_wait: Ctrl-C does `at_ctrl_c`, the others end it."""
    for signum in SIGNALS:
        signal.signal(signum, at_ctrl_c if signum == signal.SIGINT else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextlib.contextmanager
def _handled(handler):
    """Within the block, call `handler` at each of the signals that is not ignored. Only the main thread has signals."""
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    before[signum] = signal.signal(signum, handler)
        yield
    finally:
        for signum, handler_before in before.items():
            signal.signal(signum, handler_before)
