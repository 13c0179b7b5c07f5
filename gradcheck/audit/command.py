"""Try mutants on a test command: each mutant is written into a copy of the project, and the command runs there.

The copies are in a temporary directory, one for each command that runs at a time. The command must import the copy,
even if the original is installed. Therefore the copy, and the copies of the directories of sys.path within the project,
come first in PYTHONPATH. This is verified: if the audited files are replaced by files that cannot be imported, the
command must fail.
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
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from gradcheck.audit.outcome import BY_COMMAND, BY_TIME, KILLED, SURVIVING, Outcome
from gradcheck.mistakes.sources import read_source

SHORTEST_LIMIT = 60.0  # seconds; the limit is at least PATIENCE times the duration without a mutant
PATIENCE = 10
BROKEN = "raise ImportError('the audit tests that this file is imported')\n"


class CommandError(ValueError):
    """The command does not test the code: it fails without a mutant, or imports other files."""


class TestCommand:
    """A test command, and copies of the project in which it runs.

    Use it in a `with` block, at the end of which the copies are deleted. `root` is the directory to copy, in which the
    command runs; `files` are the audited files within it.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(self, command, root, files, jobs):
        self.command = command
        self.arguments = shlex.split(command)
        if not self.arguments:
            raise CommandError("the command is empty")
        for words in (1, 3):  # `pytest` or `python -m pytest`: stop at the first failed test
            if Path(self.arguments[0] if words == 1 else self.arguments[:3][-1]).name in ("pytest", "py.test"):
                self.arguments.insert(words, "-x")
                break
        self.root = Path(root)
        self.files = files
        self.jobs = jobs
        self.limit = None
        self.running = set()
        self.stopped = False

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="gradcheck-audit-")
        try:
            folder = os.path.realpath(self.folder.name)
            self.copies = [Path(folder, str(i), self.root.name or "root") for i in range(self.jobs)]
            for copy in self.copies:
                shutil.copytree(self.root, copy, ignore=self._not_copied, symlinks=True)
        except BaseException as error:
            self.folder.cleanup()
            if isinstance(error, shutil.Error):  # its message lists every file that could not be copied
                raise CommandError(f"cannot copy the project: {error.args[0][0][2]}") from None
            raise
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def _not_copied(self, folder, names):
        """Return the names in a folder that are not copied: hidden files, caches and virtual environments."""
        paths = [Path(folder, name) for name in names]
        return [
            path.name
            for path in paths
            if path.name.startswith(".")
            or path.name in ("__pycache__", "node_modules")
            or (path / "pyvenv.cfg").exists()
            or path == Path(self.folder.name).resolve()
        ]

    def verify(self):
        """Verify that the command tests the copy, and set the time limit. Return the command's duration in seconds.

        The command runs once without a mutant, and once with audited files that cannot be imported. Raises CommandError
        if it fails in the first run, or passes in the second.
        """
        copy = self.copies[0]
        start = time.monotonic()
        status, output = self._run(copy)
        seconds = time.monotonic() - start
        if status != 0:
            raise CommandError(
                f"the command fails without any mutant, with exit status {status}, so its failures prove nothing:\n"
                f"  {self.command}\n{_tail(output)}"
            )
        self.limit = max(SHORTEST_LIMIT, PATIENCE * seconds)
        for path in self.files:
            self._write(copy, path, BROKEN)
        try:
            status, _ = self._run(copy)
        finally:
            for path in self.files:
                self._write(copy, path, read_source(path))
        if status == 0:
            names = ", ".join(str(path.relative_to(self.root)) for path in self.files)
            raise CommandError(
                f"the command passes although {names} cannot be imported: it does not test the copy of the project "
                f"that mutants are written into\n  {self.command}"
            )
        return seconds

    def run(self, mutants):
        """Yield (index, Outcome) for each mutant, in the order in which they end."""
        free = queue.SimpleQueue()
        for copy in self.copies:
            free.put(copy)

        def attempt(index):
            copy = free.get()
            try:
                return index, self._try(copy, mutants[index])
            finally:
                free.put(copy)

        executor = ThreadPoolExecutor(self.jobs)
        pending = {executor.submit(attempt, index) for index in range(len(mutants))}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            self.stopped = True
            executor.shutdown(wait=False, cancel_futures=True)
            for process in list(self.running):
                _end(process)
            executor.shutdown()

    def _try(self, copy, mutant):
        self._write(copy, mutant.path, mutant.mutated_source)
        try:
            status, output = self._run(copy)
        finally:
            self._write(copy, mutant.path, mutant.source)
        if status is None:
            return Outcome(KILLED, BY_TIME)
        if status != 0:
            return Outcome(KILLED, BY_COMMAND, message=f"exit status {status}: {_tail(output, 1).strip()}")
        return Outcome(SURVIVING)

    def _write(self, copy, path, source):
        """Write a source file of a copy and delete its .pyc files.

        Python compares only the size and the modification time in seconds, and might use an outdated .pyc file.
        """
        path = copy / path.relative_to(self.root)
        path.write_text(source, "utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def _run(self, copy):
        """Run the command in a copy, and return (exit status, output).

        The exit status None means that the time limit was exceeded.
        """
        try:
            process = subprocess.Popen(
                self.arguments,
                cwd=copy,
                env=self._environment(copy),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"cannot run {self.arguments[0]!r}: {error.strerror}") from error
        self.running.add(process)
        try:
            if self.stopped:
                _end(process)
            output, _ = process.communicate(timeout=self.limit)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            _end(process)
            self.running.discard(process)
        return process.returncode, output.decode("utf-8", "replace")

    def _environment(self, copy):
        """Return the environment of a process that must import the copy instead of the original project."""
        folders = [copy]
        for entry in sys.path:
            entry = Path(os.path.realpath(entry))
            if entry.is_relative_to(self.root) and (copy / entry.relative_to(self.root)).is_dir():
                folders.append(copy / entry.relative_to(self.root))
        before = os.environ.get("PYTHONPATH")
        python_path = [*dict.fromkeys(map(str, folders)), *([before] if before else [])]
        # `python` and `pytest` must be those of this environment, even if it is not activated.
        programs = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
        return {
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(python_path),
            "PATH": os.pathsep.join(programs),
        }


def _end(process):
    """Kill a process, if it still runs, and all processes that it started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # it was started as the leader of a process group
        else:
            process.kill()
    process.wait()


def _tail(output, lines=15):
    return "\n".join(f"  {line}" for line in output.strip().splitlines()[-lines:])
