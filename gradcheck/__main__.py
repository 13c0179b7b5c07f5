"""`python -m gradcheck`: check every case of a module, or run another command.

A command is a function that takes the parsed arguments and returns an exit status. Its module also has a function that
makes its parser. The module is imported inside `run`, so that a signal during the import of NumPy also ends the command
with a one-line message.
"""

import contextlib
import os
import sys
from importlib import import_module

from gradcheck.command_line import USAGE, one_line, run, say
from gradcheck.report import GradientError

MODULES = {
    "check": "commands",
    "steps": "commands",
    "certify": "commands",
    "audit": "audit.command_line",
    "museum": "museum",
    "compare": "museum.compare",
}  # {command: module within gradcheck}


def main(argv=None):
    return run(lambda: _answer(sys.argv[1:] if argv is None else argv))


def _answer(argv):
    with contextlib.suppress(FileNotFoundError):  # the current directory has been deleted
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # `python -m` adds it, a console script does not
    is_named = bool(argv) and argv[0] in MODULES and argv[0] != "check"  # a module may be named check
    command, rest = (argv[0], argv[1:]) if is_named else ("check", argv)
    try:
        module = import_module(f"gradcheck.{MODULES[command]}")
        arguments = getattr(module, f"{command}_parser")().parse_args(rest)
        return getattr(module, command)(arguments)
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code
    except (GradientError, ImportError, LookupError, TypeError, ValueError) as error:
        say(f"{f'gradcheck {command}' if is_named else 'gradcheck'}: {one_line(error)}")
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
