"""The signals that end a command: Ctrl-C, SIGTERM (`kill`) and SIGHUP (a closed terminal).

Each signal raises an exception at the current point of the command, so that its processes end and its temporary files
are removed. The exit status is 128 plus the number of the signal, as in a shell. A signal that is ignored when the
command begins, as SIGHUP is under `nohup`, stays ignored.
"""

import contextlib
import os
import signal
import sys
import threading

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
# Windows has no SIGHUP.
SIGNALS = {getattr(signal, name): words for name, words in WORDS.items() if hasattr(signal, name)}
INTERRUPTED = 128 + signal.SIGINT


class Stopped(KeyboardInterrupt):
    """A signal has arrived. `status` is the exit status of the command."""

    def __init__(self, signum):
        super().__init__(SIGNALS[signum])
        self.status = 128 + signum


@contextlib.contextmanager
def signals_raise():
    """Raise Stopped when a signal arrives within the `with` block.

    Python ignores an exception in some places, such as a finalizer. Stopped is then raised again a moment later.
    """
    before = sys.unraisablehook

    def stop(signum, frame):
        if signum != signal.SIGINT:
            signal.signal(signum, signal.SIG_IGN)  # a shell may send SIGHUP twice
        raise Stopped(signum)

    def ignored(unraisable):
        if isinstance(unraisable.exc_value, Stopped):
            signum = unraisable.exc_value.status - 128
            if signum != signal.SIGINT:
                signal.signal(signum, stop)
            threading.Timer(0.01, os.kill, (os.getpid(), signum)).start()
        else:
            before(unraisable)

    with _handled(stop):
        sys.unraisablehook = ignored
        try:
            yield
        finally:
            sys.unraisablehook = before


@contextlib.contextmanager
def signals_wait():
    """Delay signals that arrive within the `with` block until its end.

    A process started in the block receives no signals until it calls `hear`. Otherwise a signal would raise an
    exception before its work has begun, and end it with a traceback.
    """
    came = []
    with _handled(lambda signum, frame: came.append(signum)):
        if hasattr(signal, "pthread_sigmask"):  # new processes inherit the mask; Windows has none
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # a later start of this process would unblock the signals
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
    """Enable the signals in a process that was started in signals_wait.

    Ctrl-C calls `at_ctrl_c`; the other signals end the process.
    """
    for signum in SIGNALS:
        signal.signal(signum, at_ctrl_c if signum == signal.SIGINT else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextlib.contextmanager
def _handled(handler):
    """Call `handler` for each signal within the block, unless the signal is ignored.

    In other threads than the main thread this has no effect, because Python handles signals only there.
    """
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
