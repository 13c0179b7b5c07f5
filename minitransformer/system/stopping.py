"""What ends a program from outside: Ctrl-C, SIGTERM (`kill`, a machine that is stopped), SIGHUP (a closed terminal).

**While it is imported,** which takes a moment, nothing is begun that would have to be ended. So the program leaves at
once, with one line. That must be settled before anything else is imported: hence this file imports next to nothing.

**Once it has begun,** there are processes to end and temporary files to remove, and perhaps there is work to save. So
the other two do what Ctrl-C does: by default they raise KeyboardInterrupt wherever the program is. A signal that is
ignored as the program begins, as SIGHUP is under `nohup`, stays so.

**A process that it begins** is sent them too, Ctrl-C by a terminal, SIGTERM by a machine that is stopped, and leaves
them to the one that began it.

The exit status is what a shell reports of a process that the signal has ended: 128 and the signal's number.
"""

import contextlib
import os
import signal
import stat
import sys

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
SIGNALS = {getattr(signal, name): words for name, words in WORDS.items() if hasattr(signal, name)}  # Windows has two


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: who goes on after Ctrl-C does not go on after this."""


def leave_when_stopped(program):
    """From now on, leave at once at each of the signals: one line that begins with the program's name, and the status.

    Nothing is ended, removed or written first.
    """

    def leave(signum, frame):
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), f"{program}: {SIGNALS[signum]}\n".encode())
        os._exit(128 + signum)

    for signum in heeded():
        signal.signal(signum, leave)


def heeded():
    """Return those of the signals that are not ignored."""
    return [signum for signum in SIGNALS if signal.getsignal(signum) not in (signal.SIG_IGN, None)]


@contextlib.contextmanager
def signals_raise(came):
    """Within the block, raise KeyboardInterrupt at each of the signals; SIGTERM and SIGHUP are appended to `came`.

    These do what Ctrl-C does at this moment, where that is something else.
    """

    def stop(signum, frame):
        came.append(signum)
        if SIGNALS[signum] == WORDS["SIGHUP"]:
            signal.signal(signum, signal.SIG_IGN)  # the shell sends it once more
            forget_terminal()
        at_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(at_ctrl_c) and at_ctrl_c is not signal.default_int_handler:
            at_ctrl_c(signum, frame)
        else:
            raise Stopped(SIGNALS[signum])

    with handled({signum: signal.default_int_handler if signum == signal.SIGINT else stop for signum in SIGNALS}):
        yield


@contextlib.contextmanager
def handled(handlers):
    """Within the block, call handlers[signal](signal, frame) at each of the signals that is not ignored.

    Only the main thread receives signals: in another, the block changes nothing.
    """
    before = {}
    try:
        with contextlib.suppress(ValueError):  # another thread
            for signum in heeded():
                before[signum] = signal.signal(signum, handlers[signum])
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def forget_terminal():
    """Let the standard streams that led to a terminal which is gone lead nowhere: to write there would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)


@contextlib.contextmanager
def birth(*unheard):
    """Within the block a process can be born. It never hears the signals `unheard`; this one hears all when it is born.

    A process whose own imports are interrupted, or whose parent is as it tells it what to do, ends with a traceback.
    Windows has no mask of signals.
    """
    came = []
    with handled(dict.fromkeys(SIGNALS, lambda signum, frame: came.append(signum))):
        if not hasattr(signal, "pthread_sigmask"):
            yield
        else:
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # Python's own helper, whose start would lift the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, unheard)
            try:
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for signum in came:
        signal.raise_signal(signum)
