"""`python -m gradcheck`: check every case that a module lists, or run one of the other commands.

A command is a module with a `main(argv)` that returns an exit status. It is imported only when it is called, so that
a signal that comes while NumPy is imported already ends the command with one line.
"""

import contextlib
import os
import sys
from importlib import import_module

from gradcheck.command_line import run

COMMANDS = {
    "steps": "line_by_line.command_line",
    "curve": "curve",
    "audit": "audit",
    "museum": "museum",
}  # the module of each


def main(argv=None):
    """Run the command line and return its exit status."""
    return run(lambda: _answer(sys.argv[1:] if argv is None else argv))


def _answer(argv):
    with contextlib.suppress(FileNotFoundError):  # a current folder that is gone holds no module
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # a console script, unlike `python -m`, does not look in it
    try:
        if argv and argv[0] in COMMANDS:
            return import_module(f"gradcheck.{COMMANDS[argv[0]]}").main(argv[1:])
        return import_module("gradcheck.check_command").main(argv)
    except SystemExit as stop:  # argparse has said why
        return stop.code


if __name__ == "__main__":
    sys.exit(main())
