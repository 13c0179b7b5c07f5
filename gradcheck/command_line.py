"""Functions that all commands share: options, terminal output and exit status."""

import argparse
import contextlib
import os
import signal
import sys
import threading

OK, WRONG, USAGE, PIPE_CLOSED = 0, 1, 2, 141  # the last is the status by which a shell reports SIGPIPE
SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}


class Parser(argparse.ArgumentParser):
    """The parser of a command. Each error message is one printable line."""

    def __init__(self, command, description, epilog=None):
        prog, as_written = f"python -m gradcheck {command}".rstrip(), argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=as_written)

    def add_seed(self, of="all random numbers", metavar="N"):
        whole = whole_number(0, "a seed")
        self.add_argument("--seed", type=whole, default=0, metavar=metavar, help=f"seed of {of} (default: 0)")

    def error(self, message):
        super().error(one_line(message))


@contextlib.contextmanager
def _signals_raise():
    """Raise KeyboardInterrupt(signum) if a signal arrives within the `with` block.

    The exception lets `finally` clauses remove temporary files. A signal that is ignored, as SIGHUP is under `nohup`,
    stays ignored.
    """
    names = SIGNALS if threading.current_thread() is threading.main_thread() else ()  # signals need the main thread
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {s: signal.signal(s, _stop) for s in signals if signal.getsignal(s) not in (signal.SIG_IGN, None)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _stop(signum, frame):
    raise KeyboardInterrupt(signum)


def run(command):
    """Call command(), and return its exit status after all output is written.

    If the output cannot be written, if memory runs out, or if a signal arrives, one line is written to standard error,
    and the exit status is not 0. If a pipe is closed (`| head`), only the exit status shows it.
    """
    _make_streams_usable()
    try:
        with _signals_raise():
            status = command()
            sys.stdout.flush()
    except BrokenPipeError:
        status = PIPE_CLOSED
    except KeyboardInterrupt as error:
        signum = next((signum for signum in error.args if signum in {*signal.Signals}), signal.SIGINT)
        say(f"gradcheck: {SIGNALS[signal.Signals(signum).name]}")
        status = 128 + signum  # as in a shell
    except (OSError, MemoryError) as error:
        what = f"{error.filename or 'the output'}: {error.strerror}" if getattr(error, "strerror", None) else error
        say(f"gradcheck: {one_line(what) or 'not enough memory'}")
        status = USAGE
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, KeyboardInterrupt):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that the interpreter's exit is silent
    return status


def _make_streams_usable():
    """Replace closed standard streams, and characters that cannot be encoded."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def printable(text, keep="\n\t"):
    """Replace control characters and unprintable characters with escapes such as \\x1b."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in str(text))


def one_line(message):
    line = printable(" ".join(str(message).split()))
    return line if len(line) <= 900 else f"{line[:600]} … {line[-297:]}"


def show(text=""):
    print(printable(text), flush=True)


def say(message):
    """Write a line to standard error, and ignore OSError."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def whole_number(least, name):
    """Return an argparse type for integers; error messages begin with `name`."""

    def read(text):
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{name} must be a whole number, {least} or more, not {text}")

    return read


def counted(n, noun):
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
