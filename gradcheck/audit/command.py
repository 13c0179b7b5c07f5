"""Run a test command on mutants, in copies of the project.

Each mutant is written into a copy. The command must import this copy, even if the original is installed. Therefore
PYTHONPATH begins with the copy, followed by the copies of those directories in sys.path that are in the project. To
verify that the copy is imported, the command runs once with files that cannot be imported in place of the audited ones,
and must fail.
"""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from gradcheck.audit.trials import BY_COMMAND, BY_TIME, KILLED, SURVIVING, AuditError, Outcome
from gradcheck.front.processes import ONE_THREAD, Command

SHORTEST_LIMIT = 60.0  # seconds; the limit is at least PATIENCE times the duration without a mutant
PATIENCE = 10
BROKEN = "raise ImportError('the audit tests that this file is imported')\n"


class TestCommand:
    """A test command that runs in copies of the current directory.

    Each process has its own copy within `folder`. Raises AuditError if a file is not in the current directory, if the
    command fails without a mutant, or if it passes although no audited file can be imported.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(self, command, folder, mutants):
        self.folder, self.limit, self.running = folder, None, None
        self.root = root = Path(os.path.realpath(os.getcwd()))
        self.sources = {mutant.path: mutant.source for mutant in mutants}
        self.arguments = shlex.split(command)
        outside = [path for path in self.sources if not path.is_relative_to(root)]
        if outside:
            raise AuditError(f"--command runs in copies of the current folder, and {outside[0]} is not in it")
        if not self.arguments:
            raise AuditError("the command is empty")
        start = time.monotonic()
        status, output = self._run({})
        if status != 0:
            raise AuditError(
                f"the command fails without any mutant, with exit status {status}, so its failures prove nothing: "
                f"{command}: {output.strip()[-400:]}"
            )
        self.limit = max(SHORTEST_LIMIT, PATIENCE * (time.monotonic() - start))
        status, _ = self._run(dict.fromkeys(self.sources, BROKEN))
        if status == 0:
            names = ", ".join(str(path.relative_to(root)) for path in self.sources)
            raise AuditError(
                f"the command passes although {names} cannot be imported: it does not test the copy of the project "
                f"that mutants are written into: {command}"
            )

    def outcome(self, mutant):
        status, output = self._run({mutant.path: mutant.mutated_source})
        if status is None:
            return Outcome(KILLED, BY_TIME)
        if status != 0:
            last = output.strip().splitlines()[-1:]
            return Outcome(KILLED, BY_COMMAND, message=f"exit status {status}: {''.join(last).strip()}")
        return Outcome(SURVIVING, message="the command passes")

    def _run(self, changed):
        """Run the command in a copy of the project with changed files.

        `changed` maps the path of a file to its new source. Returns (exit status, output), or (None, "") if the command
        exceeds the time limit.
        """
        copy = self._copy()
        for path, text in changed.items():
            (copy / path.relative_to(self.root)).write_text(text, "utf-8")
        try:
            self.running = Command(self.arguments, cwd=copy, env=self._environment(copy))
            return self.running.result(self.limit)
        except OSError as error:
            raise AuditError(f"cannot run {self.arguments[0]!r}: {error.strerror}") from error
        finally:
            self.running = None
            for path in changed:
                (copy / path.relative_to(self.root)).write_text(self.sources[path], "utf-8")

    def _copy(self):
        """Return this process's copy of the project, without caches and environments."""
        copy = self.folder / str(os.getpid()) / (self.root.name or "root")

        def not_copied(within, names):
            paths = [Path(within, name) for name in names]
            caches = [p.name for p in paths if p.name.startswith(".") or p.name in ("__pycache__", "node_modules")]
            return caches + [p.name for p in paths if (p / "pyvenv.cfg").exists() or p == self.folder]

        try:
            if not copy.exists():
                shutil.copytree(self.root, copy, ignore=not_copied, symlinks=True)
        except shutil.Error as error:  # its message lists every file that could not be copied
            raise AuditError(f"cannot copy the project: {error.args[0][0][2]}") from None
        return copy

    def _environment(self, copy):
        within = [Path(os.path.realpath(entry)) for entry in sys.path]
        within = [copy / entry.relative_to(self.root) for entry in within if entry.is_relative_to(self.root)]
        before = os.environ.get("PYTHONPATH")
        folders = [*dict.fromkeys(map(str, [copy, *filter(Path.is_dir, within)])), *([before] if before else [])]
        # `python` and `pytest` must be those of this environment, even if it is not activated.
        programs = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
        paths = {"PYTHONPATH": os.pathsep.join(folders), "PATH": os.pathsep.join(programs)}
        # Python might load the .pyc file of another mutant, if its source has the same size and modification time.
        return {**ONE_THREAD, **os.environ, **paths, "PYTHONDONTWRITEBYTECODE": "1"}

    def kill(self):
        if self.running is not None:
            self.running.kill()
