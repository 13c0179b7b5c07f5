"""`python -m gradcheck`: check every case of a module, or run another command.

A command is a function that takes argv and returns an exit status. The module of the command is imported inside `run`,
so that a signal during the import of NumPy also ends the command with a one-line message.
"""

import contextlib
import os
import sys
from importlib import import_module

from gradcheck.command_line import USAGE, Unusable, one_line, run, say

COMMANDS = {
    "steps": ("commands", "steps"),
    "certify": ("commands", "certify"),
    "curve": ("curve", "main"),
    "audit": ("audit", "main"),
    "museum": ("museum", "main"),
    "compare": ("museum.compare", "main"),
}  # {command: (module within gradcheck, function)}


def main(argv=None):
    return run(lambda: _answer(sys.argv[1:] if argv is None else argv))


def _answer(argv):
    with contextlib.suppress(FileNotFoundError):  # the current directory has been deleted
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # `python -m` adds it, a console script does not
    command, *rest = argv if argv and argv[0] in COMMANDS else ["", *argv]
    module, function = COMMANDS.get(command, ("commands", "check"))
    try:
        return getattr(import_module(f"gradcheck.{module}"), function)(rest)
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code
    except Unusable as error:
        say(f"{f'gradcheck {command}'.rstrip()}: {one_line(error)}")
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
