"""Trying mutants on a pytest command in one session of it, which takes a hundredth of the time: pytest_server.py.

It plants mutants in memory, and `command` runs them as they are written in a file. Both must agree, and a test holds
them to it. Where this way is not open (no fork, pytest-xdist, a pytest of another environment), CannotServeError says
why, and every mutant is given to the command.
"""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from multiprocessing.connection import Pipe
from pathlib import Path

from gradcheck.audit.pool import FORKS

PACKAGE = Path(os.path.realpath(__file__)).parents[1]
SERVER = Path(__file__).with_name("pytest_server.py")


class CannotServeError(Exception):
    """The mutants cannot be tried in one session of pytest; the message says why."""


def pytest_arguments(arguments):
    """Return (how the command starts pytest, pytest's own arguments); (None, None) for another command."""
    name = Path(arguments[0]).name
    if name in ("pytest", "py.test"):
        return arguments[:1], arguments[1:]
    if name.startswith("python") and arguments[1:3] == ["-m", "pytest"]:
        return arguments[:3], arguments[3:]
    return None, None


def tried_in_one_session(command, mutants):
    """Yield (index of the mutant, Outcome) for each, as they end. `command` is a TestCommand of pytest.

    A mutant that survives has passed only the tests that enter its function, in one process. Raises CannotServeError.
    """
    start, arguments = pytest_arguments(command.arguments)
    copy = command.copies[0]
    environment = command.environment(copy)
    program = shutil.which(start[0], path=environment["PATH"])
    if not FORKS:
        raise CannotServeError("this system does not fork")
    if program is None or Path(program).parent != Path(sys.executable).parent:
        raise CannotServeError(f"{start[0]} is not of the environment that runs the audit")
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(PACKAGE.parent)])
    ours, theirs = Pipe(duplex=False)
    moved = [replace(mutant, path=copy / mutant.path.relative_to(command.root)) for mutant in mutants]
    with tempfile.TemporaryDirectory(prefix="gradcheck-audit-") as folder, ours:
        plan, output = Path(folder, "plan"), Path(folder, "output")
        plan.write_bytes(pickle.dumps((moved, command.jobs)))
        quickly = ["-x", "--tb=line", "--no-header"]
        with open(output, "wb") as file:
            process = command.started(
                [sys.executable, "-P", str(SERVER), str(plan), str(theirs.fileno()), *quickly, *arguments],
                copy,
                environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        try:
            while isinstance(answer := _received(ours, output), tuple):
                yield answer
        finally:
            command.end(process)
    if answer is not None:
        raise CannotServeError(answer)


def _received(connection, output):
    try:
        return connection.recv()
    except EOFError:
        last = output.read_text("utf-8", "replace").strip().splitlines()[-1:]
        return f"its session of pytest ended early: {' '.join(last)}"
