"""`python -m gradcheck`: check every case that a module lists, or run one of the other commands.

A command is a module with a function `main(argv)` that returns an exit status. It is imported inside `run`, so that a
signal that arrives while NumPy is being imported also ends the command with one line.
"""

import contextlib
import os
import sys
from importlib import import_module

from gradcheck.command_line import run

COMMANDS = {
    "steps": "lines.command_line",
    "curve": "curve",
    "audit": "audit",
    "museum": "museum",
}  # command: module within gradcheck


def main(argv=None):
    """Run the command line and return its exit status."""
    return run(lambda: _answer(sys.argv[1:] if argv is None else argv))


def _answer(argv):
    with contextlib.suppress(FileNotFoundError):  # the current directory has been deleted
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # `python -m` adds it, a console script does not
    try:
        if argv and argv[0] in COMMANDS:
            return import_module(f"gradcheck.{COMMANDS[argv[0]]}").main(argv[1:])
        return import_module("gradcheck.check_command").main(argv)
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code


if __name__ == "__main__":
    sys.exit(main())
