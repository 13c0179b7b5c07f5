"""Try mutants on a test command, which runs in copies of the project.

Each mutant is written into a copy. The command must import this copy, even if the original is installed. Therefore
PYTHONPATH begins with the copy, followed by the copies of those directories in sys.path that are in the project. To
verify that the copy is imported, the command runs once with files that cannot be imported in place of the audited ones,
and must fail.
"""

import contextlib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradcheck.audit.trials import BY_COMMAND, BY_TIME, KILLED, SURVIVING, AuditError, Outcome

SHORTEST_LIMIT = 60.0  # seconds; the limit is at least PATIENCE times the duration without a mutant
PATIENCE = 10
BROKEN = "raise ImportError('the audit tests that this file is imported')\n"


class CommandError(AuditError):
    """The command cannot test the code: it fails without a mutant, or does not import the audited files."""


@contextlib.contextmanager
def copies_of(root, count):
    """Copy a directory `count` times, without hidden files, caches and virtual environments. Yields the copies."""
    with tempfile.TemporaryDirectory(prefix="gradcheck-audit-") as folder:

        def not_copied(within, names):
            paths = [Path(within, name) for name in names]
            caches = [p.name for p in paths if p.name.startswith(".") or p.name in ("__pycache__", "node_modules")]
            return caches + [p.name for p in paths if (p / "pyvenv.cfg").exists() or p == Path(folder).resolve()]

        copies = [Path(os.path.realpath(folder), str(i), root.name or "root") for i in range(count)]
        try:
            for copy in copies:
                shutil.copytree(root, copy, ignore=not_copied, symlinks=True)
        except shutil.Error as error:  # its message lists every file that could not be copied
            raise CommandError(f"cannot copy the project: {error.args[0][0][2]}") from None
        yield copies


class TestCommand:
    """A test command that runs in copies of the directory `root`.

    Each copy contains one mutant at a time. Raises CommandError if the command fails without a mutant, or passes
    although no audited file can be imported.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(self, command, root, mutants, copies):
        self.root, self.mutants, self.copies, self.limit, self.running = root, mutants, copies, None, set()
        self.arguments = shlex.split(command)
        if not self.arguments:
            raise CommandError("the command is empty")
        start, sources = time.monotonic(), {mutant.path: mutant.source for mutant in mutants}
        status, output = self._run(copies[0], {})
        if status != 0:
            raise CommandError(
                f"the command fails without any mutant, with exit status {status}, so its failures prove nothing:\n"
                f"  {command}\n{_tail(output, 15)}"
            )
        self.limit = max(SHORTEST_LIMIT, PATIENCE * (time.monotonic() - start))
        status, _ = self._run(copies[0], {path: (BROKEN, source) for path, source in sources.items()})
        if status == 0:
            names = ", ".join(str(path.relative_to(root)) for path in sources)
            raise CommandError(
                f"the command passes although {names} cannot be imported: it does not test the copy of the project "
                f"that mutants are written into\n  {command}"
            )

    def outcomes(self, chosen):
        """Yield the Outcome of each of the chosen mutants."""
        free = queue.SimpleQueue()
        for copy in self.copies:
            free.put(copy)

        def attempt(i):
            copy, mutant = free.get(), self.mutants[i]
            status, output = self._run(copy, {mutant.path: (mutant.mutated_source, mutant.source)})
            free.put(copy)
            if status is None:
                return Outcome(KILLED, BY_TIME)
            if status != 0:
                return Outcome(KILLED, BY_COMMAND, message=f"exit status {status}: {_tail(output, 1).strip()}")
            return Outcome(SURVIVING, message="the command passes")

        with ThreadPoolExecutor(len(self.copies)) as executor:
            try:
                yield from executor.map(attempt, chosen)
            finally:
                self.limit = 0  # if a thread starts a command after this, the command ends at once
                for process in list(self.running):
                    _end(process)

    def _run(self, copy, sources):
        """Run the command in a copy with {file: (changed source, original source)}.

        Returns (exit status, output), or (None, "") if the command exceeds the time limit.
        """
        for path, (changed, _) in sources.items():
            (copy / path.relative_to(self.root)).write_text(changed, "utf-8")
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            process = subprocess.Popen(
                self.arguments, cwd=copy, env=self._environment(copy), start_new_session=True, **pipes
            )
        except OSError as error:
            raise CommandError(f"cannot run {self.arguments[0]!r}: {error.strerror}") from error
        self.running.add(process)
        try:
            output, _ = process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            _end(process)
            self.running.discard(process)
            for path, (_, original) in sources.items():
                (copy / path.relative_to(self.root)).write_text(original, "utf-8")
        return process.returncode, output.decode("utf-8", "replace")

    def _environment(self, copy):
        within = [Path(os.path.realpath(entry)) for entry in sys.path]
        within = [copy / entry.relative_to(self.root) for entry in within if entry.is_relative_to(self.root)]
        before = os.environ.get("PYTHONPATH")
        folders = [*dict.fromkeys(map(str, [copy, *filter(Path.is_dir, within)])), *([before] if before else [])]
        # `python` and `pytest` must be those of this environment, even if it is not activated.
        programs = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        paths = {"PYTHONPATH": os.pathsep.join(folders), "PATH": os.pathsep.join(programs)}
        # Python might load the .pyc file of another mutant, if its source has the same size and modification time.
        return {**one_thread, **os.environ, **paths, "PYTHONDONTWRITEBYTECODE": "1"}


def _end(process):
    """Kill a process, if it still runs, and all processes that it started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):  # the process has just ended
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # the process leads a process group
        else:
            process.kill()
    process.wait()


def _tail(output, lines):
    return "\n".join(f"  {line}" for line in output.strip().splitlines()[-lines:])
