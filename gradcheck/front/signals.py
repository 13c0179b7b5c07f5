"""Handle the signals that end a program: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

SIGTERM is sent by `kill` and by a shutdown, and SIGHUP when the terminal is closed. During the imports, a signal ends
the program immediately. This file imports only the standard library, so that the handlers can be installed before the
other imports. While a command runs, SIGTERM and SIGHUP have the effect of Ctrl-C, which raises KeyboardInterrupt. A
signal that is ignored at the start, as SIGHUP is under `nohup`, stays ignored. The exit status is 128 + the number of
the signal.
"""

import _thread
import contextlib
import os
import signal
import stat
import sys
import time

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}
SIGNALS = {getattr(signal, name): words for name, words in WORDS.items() if hasattr(signal, name)}  # Windows has two


class Stopped(KeyboardInterrupt):
    """Raised when SIGTERM or SIGHUP arrives.

    Programs that continue after Ctrl-C, such as `chat`, end after these signals.
    """


def leave_when_stopped(program):
    """Install signal handlers that print one line and exit without cleaning up."""

    def leave(signum, frame):
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                os.write(sys.stderr.fileno(), f"{program}: {SIGNALS[signum]}\n".encode())
        os._exit(128 + signum)

    for signum in active_signals():
        signal.signal(signum, leave)


def active_signals():
    return [signum for signum in SIGNALS if signal.getsignal(signum) not in (signal.SIG_IGN, None)]


def interrupt_soon():
    time.sleep(0.1)
    signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def signals_raise(came):
    """Raise KeyboardInterrupt within a `with` block when one of the signals arrives.

    SIGTERM and SIGHUP are also appended to the list `came`. If the block has installed a handler for Ctrl-C, they call
    this handler instead. Python ignores exceptions raised in a finalizer; if that happens, the program is interrupted
    again.
    """
    report_dropped = sys.unraisablehook

    def send_again(dropped):
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(interrupt_soon, ())  # unlike Thread.start, it does not wait here
        else:
            report_dropped(dropped)

    def stop(signum, frame):
        came.append(signum)
        if SIGNALS[signum] == WORDS["SIGHUP"]:
            signal.signal(signum, signal.SIG_IGN)  # the shell may send it a second time
            forget_terminal()
        at_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(at_ctrl_c) and at_ctrl_c is not signal.default_int_handler:
            at_ctrl_c(signum, frame)
        else:
            raise Stopped(SIGNALS[signum])

    sys.unraisablehook = send_again
    try:
        with handled({signum: signal.default_int_handler if signum == signal.SIGINT else stop for signum in SIGNALS}):
            yield
    finally:
        sys.unraisablehook = report_dropped


@contextlib.contextmanager
def handled(handlers):
    """Install signal handlers within a `with` block, except for ignored signals.

    `handlers` maps signals to functions of (signal, frame). Only the main thread receives signals, so the block has no
    effect in another thread.
    """
    before = {}
    try:
        with contextlib.suppress(ValueError):  # another thread
            for signum in handlers.keys() & active_signals():
                before[signum] = signal.signal(signum, handlers[signum])
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def forget_terminal():
    """Redirect the standard streams of a closed terminal to the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
