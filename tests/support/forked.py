"""Processes with limits, forked from the test, and the faults of their messages and of their end.

    path = damaged(random, folder)
    ended = in_a_process(lambda: read(path))
    assert ended.complaints() == []

A process is forked, so all imports and patches of the test apply in it too. `trials(n)` decides how many examples a
test draws: n in CI, as many more as the profile of Hypothesis asks for elsewhere.
"""

import contextlib
import ctypes
import faulthandler
import json
import mmap
import os
import re
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import gradcheck.__main__
from gradcheck.front.signals import leave_when_stopped
from minitransformer import cli

resource = pytest.importorskip("resource", reason="campaigns need the limits of Unix")
if not hasattr(os, "pidfd_open"):
    pytest.skip("campaigns need Linux", allow_module_level=True)

MEGABYTE = 1 << 20
STREAMS, ANSWER = ("stdout", "stderr", "answer"), 3
PATIENCE = 60  # seconds for the work of milliseconds, on a busy machine


def trials(count: float):
    """Return settings for so many examples in CI, and 25 times as many with the profile "thorough"; none is shrunk."""
    return settings(
        max_examples=max(round(count * settings.default.max_examples / 10), 1),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Limits:
    """Limits of a process: bytes of additional memory, seconds of CPU time, bytes in a file.

    Asking for more than `address_space` bytes at once is refused, as by a machine that has no more.
    """

    memory: int = 200 * MEGABYTE
    seconds: int = 5
    file: int = 64 * MEGABYTE
    address_space: int = 1200 * MEGABYTE


@dataclass
class Ended:
    """The end of a process: exit status or −signal, answer, output, resources used, and processes left running."""

    status: int
    answer: object
    out: str
    err: str
    memory: int
    orphans: bool
    limits: Limits

    def complaints(self, expected=0) -> list[str]:
        """Return the exceeded limits, and the signal that ended the process unless it is `expected`."""
        said = []
        if self.memory > self.limits.memory:
            said.append(f"too much memory: {self.memory >> 20:,} MB more than it began with")
        if self.status == -signal.SIGXCPU:
            said.append(f"too much time: {self.limits.seconds} s of a core, the last of them in {innermost(self.err)}")
        elif self.status < 0 and self.status != -expected:
            said.append(f"ended by {signal.Signals(-self.status).name} in {innermost(self.err)}")
        if self.orphans:
            said.append("a process left behind")
        return said


def innermost(traceback_of_faulthandler: str) -> str:
    """Return the file and the function that a process was in when it was ended, of this project if any."""
    places = re.findall(r'File "([^"]+)", line \d+ in (\S+)', traceback_of_faulthandler)
    own = [place for place in places if "/minitransformer/" in place[0] or "/gradcheck/" in place[0]]
    for file, function in (own or places)[:1]:
        return f"{function} of {'/'.join(file.split('/')[-2:])}"
    return f"a place that is not known: {last_line(traceback_of_faulthandler)}"


class Forked:
    """A process that calls work() and ends. An int is its exit status; anything else that JSON can hold, its answer."""

    def __init__(self, work, *, folder=None, stdin=b"", limits=Limits()):
        self.limits = limits
        self.stdin = tempfile.TemporaryFile()  # noqa: SIM115
        self.stdin.write(stdin)
        self.stdin.seek(0)
        self.began_with = mmap.mmap(-1, 8)  # shared: its memory before its work, measured by the process
        pipes = {name: os.pipe() for name in STREAMS}
        give_back_free_memory()
        with warnings.catch_warnings():
            for category in (DeprecationWarning, RuntimeWarning):  # Python's and JAX's, if a test before has loaded it
                warnings.simplefilter("ignore", category)  # the other threads of this process hold no lock
            self.pid = os.fork()
        if self.pid == 0:
            self.become(work, folder, {name: pipe[1] for name, pipe in pipes.items()})
        with contextlib.suppress(PermissionError):  # both sides do this, for neither knows who is first
            os.setpgid(self.pid, self.pid)
        self.over = os.pidfd_open(self.pid)
        for _, writing in pipes.values():
            os.close(writing)
        self.pipes = {pipe[0]: name for name, pipe in pipes.items()}
        self.written = {name: bytearray() for name in pipes}

    def become(self, work, folder, pipes):
        """Be that process, and never return."""
        status = 70
        try:
            os.setpgid(0, 0)
            self.be_a_program(folder, pipes)
            self.began_with[:] = memory().to_bytes(8, "little")
            answer = work()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            status = answer if isinstance(answer, int) else 0
            with open(ANSWER, "w") as file:
                json.dump(answer, file)
            sys.stdout.flush()
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        finally:
            os._exit(status)

    def be_a_program(self, folder, pipes):
        """Have the streams, signals, warnings and limits of a program that has just begun."""
        for number, other in enumerate((self.stdin.fileno(), *pipes.values())):
            os.dup2(other, number)
            os.set_inheritable(number, True)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
        if folder is not None:
            os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        faulthandler.enable(2)
        faulthandler.register(signal.SIGXCPU, 2, chain=True)
        bounds = {
            resource.RLIMIT_AS: address_space() + self.limits.address_space,
            resource.RLIMIT_CPU: self.limits.seconds,
            resource.RLIMIT_FSIZE: self.limits.file,
            resource.RLIMIT_CORE: 0,
        }
        for kind, most in bounds.items():
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))

    def send(self, number) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_over(self, seconds) -> bool:
        """Read the output until the process ends or the time is over. Return True if it has ended."""
        until = time.monotonic() + seconds
        while True:
            ready = select.select([self.over, *self.pipes], [], [], max(until - time.monotonic(), 0))[0]
            for pipe in self.pipes.keys() & ready:
                data = os.read(pipe, MEGABYTE)
                self.written[self.pipes[pipe]] += data
                if not data:
                    os.close(pipe)
                    del self.pipes[pipe]
            if len(ready) == (self.over in ready) or time.monotonic() > until:
                return self.over in ready

    def is_over_soon(self, seconds) -> bool:
        """Whether it ends before it has worked for so many seconds more, or done nothing for long."""
        limit, until = self.worked() + seconds, time.monotonic() + PATIENCE
        while not self.is_over(0.02):
            if self.worked() > limit or time.monotonic() > until:
                return False
        return True

    def worked(self) -> float:
        """Return the seconds that a core has worked for it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def said(self) -> str:
        """Return its standard error so far."""
        return self.written["stderr"].decode("utf-8", "surrogateescape")

    def wait(self) -> Ended:
        """Wait for its end, and say how it was. One that does not end is ended: its status then is −SIGKILL."""
        hung = not self.is_over(self.limits.seconds + 2 * PATIENCE)
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.is_over(0)
        for file in (self.over, *self.pipes):
            os.close(file)
        self.stdin.close()
        return Ended(
            status=os.waitstatus_to_exitcode(status),
            answer=json.loads(self.written["answer"] or b"null"),
            out=self.written["stdout"].decode("utf-8", "surrogateescape"),
            err=self.said(),
            memory=1024 * usage.ru_maxrss - int.from_bytes(self.began_with[:], "little"),
            orphans=not hung and leaves_processes(self.pid),
            limits=self.limits,
        )


def in_a_process(work, **options) -> Ended:
    """Call work() in a separate process and return its end."""
    return Forked(work, **options).wait()


def faults(ended) -> list[str]:
    """Return the faults that the work of a process answered, and those of its end."""
    failed = ended.status >= 0 and not isinstance(ended.answer, list)
    return [*(ended.answer or ()), *ended.complaints(), *([f"failed: {last_line(ended.err)}"] if failed else [])]


MAIN = {"minitransformer": cli.main, "gradcheck": gradcheck.__main__.main}


def called(command, program="minitransformer") -> int:
    """Run a command, a line or its words, as its program does once it is imported: till then it leaves at Ctrl-C."""
    leave_when_stopped(program)
    return MAIN[program](shlex.split(command) if isinstance(command, str) else command)


def copied(names, source, folder):
    """Copy files and folders of these names from one folder to another, which is returned."""
    for name in names:
        (shutil.copytree if (source / name).is_dir() else shutil.copy)(source / name, folder / name)
    return folder


def give_back_free_memory() -> None:
    """Let malloc keep no free memory (see system/tuning.py).

    A forked process inherits it, and would not seem to take any memory when it uses that.
    """
    with contextlib.suppress(AttributeError):  # musl has no such function, and keeps none
        ctypes.CDLL(None).malloc_trim(0)


def memory() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def address_space() -> int:
    """Return the size of this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def leaves_processes(group) -> bool:
    """Whether processes of a group that is over are still there, which are ended then. They may take a while to go."""
    for _ in range(10 * PATIENCE):
        if not any(alive(group)):
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def alive(group):
    """Yield the processes of a group that run; one that has ended may wait for long to be told so."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                yield path


# Messages.

# Words of Python about its own objects, which tell whoever has a damaged file nothing. After words of ours they may
# stand in parentheses, but not as the code that would make the exception; a chat template, a program, fails with them.
PYTHON = re.compile(
    r"object is not|object has no attribute|object cannot be|NoneType|not iterable|keyword argument|positional argument"
    r"|unsupported operand|not subscriptable|unhashable|indices must be|not supported between|values to unpack"
    r"|cannot unpack|item assignment|argument must be|can't multiply|cannot be interpreted|no len\(\)"
    r"|expected str instance|integer string conversion"
)
CODE = re.compile(r"\b[A-Z]\w+(Error|Exception)\(|<class '| at 0x[0-9a-f]{6,}")
LONGEST = 1000  # characters of a message


def complaints_about_line(line: str, names=()) -> list[str]:
    """Return the faults of an error message, which should contain one of the names."""
    if not line.strip():
        return ["says nothing"]
    if "internal error" in line:
        return [f"an internal error: {line}"]
    said = []
    if len(line.splitlines()) > 1:
        said.append(f"more than one line: {line!r}")
    elif not line.isprintable():
        said.append(f"not printable: {line!r}")
    if CODE.search(line) or PYTHON.search(re.sub(r" \(.*\)|the chat template failed: .*", "", line)):
        said.append(f"as Python says it: {line}")
    if names and not said and not any(name in line for name in names):
        said.append(f"names no file: {line}")
    return said


def complaints_about_end(ended: Ended, names=()) -> list[str]:
    """Return the faults of a command's end: it succeeds without an error, or fails with one line that has a name."""
    if ended.status < 0:
        return []  # which others complain about
    every = ended.err.removesuffix("\n").split("\n")
    failures = [line for line in every if FAILURE.match(line)]
    said = [f"not printable: {line!r}" for line in every if line not in failures and not is_printable(line)]
    trace = re.search(r"(Traceback|Exception ignored|Fatal Python error)(.*)", ended.err, re.DOTALL)
    said += [f"{trace[1]}: {last_line(trace[2])}{trace[2][:300]!r}"] if trace else []
    if ended.status not in (0, 1, 2, 130, 141, 143):
        said.append(f"the exit status {ended.status}")
    if ended.status == 0 and failures:
        said.append(f"a failure whose exit status is 0: {failures[0]}")
    if ended.status not in (0, 141) and len(failures) != 1 and not (ended.status == 1 and ended.out):
        said.append(f"{len(failures)} lines about the failure of status {ended.status}: {failures or ended.err!r}")
    for line in failures:
        said += complaints_about_line(line, names)
        said += [f"too long: {len(line):,} characters, {line[:100]} …"] if len(line) > LONGEST else []
    return said


# The line of a command that failed; that of a warning is another.
FAILURE = re.compile(r"(minitransformer|(python -m )?gradcheck[a-z ]*): (?!warning: )")


def is_printable(line: str) -> bool:
    """Whether nothing in a line, in which there may be tabs, does anything to a terminal."""
    return line.replace("\t", "").isprintable()


def last_line(text: str) -> str:
    """Return the last line of a text."""
    return text.strip().rpartition("\n")[2]
