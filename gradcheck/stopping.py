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

    handlers = {}
    try:
        if threading.current_thread() is threading.main_thread():  # Python handles signals only there
            for signum in SIGNALS:
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    handlers[signum] = signal.signal(signum, stop)
        sys.unraisablehook = ignored
        yield
    finally:
        sys.unraisablehook = before
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
