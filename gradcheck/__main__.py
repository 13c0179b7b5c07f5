"""`python -m gradcheck`: check every case of a module, or run another command.

A command is a function that takes the parsed arguments and returns an exit status. Its module also has a function that
makes its parser. The module is imported inside `run`, so that a signal during the import of NumPy also ends the command
with a one-line message.
"""

import contextlib
import os
import sys
from importlib import import_module

from gradcheck.front.exits import near, report, run
from gradcheck.report import GradientError

MODULES = {
    "check": "commands",
    "steps": "commands",
    "certify": "commands",
    "identities": "identities",
    "audit": "audit.command_line",
    "museum": "museum",
    "compare": "museum.compare",
}  # {command: module within gradcheck}
OF_THE_SYSTEM = (OSError, MemoryError, KeyboardInterrupt)
EXPECTED = (GradientError, ImportError, LookupError, TypeError, ValueError, *OF_THE_SYSTEM)


def main(argv=None):
    """Run the command in `argv`, by default sys.argv[1:], and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    is_named = bool(argv) and argv[0] in MODULES and argv[0] != "check"  # a module may be named check
    command, rest = (argv[0], argv[1:]) if is_named else ("check", argv)

    def failed(error):
        if isinstance(error, EXPECTED):
            return report(
                f"gradcheck {command}" if is_named and not isinstance(error, OF_THE_SYSTEM) else "gradcheck", error
            )
        raise error

    return run(lambda: _answer(command, rest), failed)


def _answer(command, rest):
    with contextlib.suppress(FileNotFoundError):  # the current directory has been deleted
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # `python -m` adds it, a console script does not
    is_misspelt = len(rest) > 1 and not any(word.startswith("-") for word in rest[:2])  # `check` takes one target
    if command == "check" and is_misspelt and (hint := near(rest[0], MODULES)):
        raise LookupError(f"there is no command {rest[0]!r}{hint}")
    module = import_module(f"gradcheck.{MODULES[command]}")
    try:
        arguments = getattr(module, f"{command}_parser")().parse_args(rest)
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code
    return getattr(module, command)(arguments)


if __name__ == "__main__":
    sys.exit(main())
