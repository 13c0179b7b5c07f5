"""Try mutants on a pytest command in a single session, which takes a hundredth of the time (pytest_server.py).

The session plants mutants in memory, whereas `command` writes them into files. A test verifies that both agree. If one
session is not possible (no fork, pytest-xdist, a pytest of another environment), CannotServeError gives the reason, and
the command runs for every mutant.
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
    """The mutants cannot be tried in one pytest session; the message gives the reason."""


def pytest_arguments(arguments):
    """Return (the start of the command, pytest's arguments), or (None, None)."""
    name = Path(arguments[0]).name
    if name in ("pytest", "py.test"):
        return arguments[:1], arguments[1:]
    if name.startswith("python") and arguments[1:3] == ["-m", "pytest"]:
        return arguments[:3], arguments[3:]
    return None, None


def tried_in_one_session(command, mutants):
    """Yield (index, Outcome) for each mutant, in the order in which they end.

    `command` is a TestCommand that runs pytest. A surviving mutant has passed only the tests that call its function, in
    one process. Raises CannotServeError.
    """
    start, arguments = pytest_arguments(command.arguments)
    copy = command.copies[0]
    environment = command.environment(copy)
    program = shutil.which(start[0], path=environment["PATH"])
    if not FORKS:
        raise CannotServeError("this system does not fork")
    if program is None or Path(program).parent != Path(sys.executable).parent:
        raise CannotServeError(f"{start[0]} does not belong to the environment that runs the audit")
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
