"""Rendering of chat templates in a separate process with limits of time and memory; see template_worker.py.

(Transformers renders them in its own process without limits.) The process takes about a tenth of a second to start. It
is kept for later requests, each of which takes about 0.2 ms longer than rendering in this process.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from minitransformer.system.cores import ending

WORKER = Path(__file__).with_name("template_worker.py")
SECONDS = 10  # for one text; a real template needs less than a thousandth of that
MEBIBYTES = 1024  # of address space, of which Python itself may use a third


class TemplateProcess:
    """The process that renders templates. It always ends together with this process."""

    def __init__(self):
        python = [sys.executable, "-P"]  # -P: import nothing from the script's folder
        self.process = subprocess.Popen(
            [*python, str(WORKER), str(SECONDS), str(MEBIBYTES * 2**20)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.end)

    def ask(self, request: dict) -> dict:
        """Return the answer to a request, or raise ValueError with the reason of the end."""
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if line.startswith(b"Timeout"):
            raise ValueError(f"it takes more than {SECONDS} seconds")
        if line.startswith(b"MemoryError"):
            raise ValueError(f"it takes more than {MEBIBYTES:,} MiB of memory")
        if not line.endswith(b"\n"):
            raise ValueError(f"the process that renders it {ending(self.process.wait(), 'for want of memory?')}")
        return json.loads(line)

    def end(self) -> None:
        """Kill the process."""
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):  # from a request that was not read
            self.process.stdin.close()
        self.process.stdout.close()


current = functools.cache(TemplateProcess)
turn = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=current.cache_clear)  # a forked child must not share its parent's pipes


def render(template: str, names: dict) -> str:
    """Render a template with the given names, whose values JSON can represent.

    Raises ValueError, with the reason, if the template fails or exceeds a limit.
    """
    with turn:
        process = current()
        try:
            answer = process.ask({"template": template, "names": names})
        except BaseException:  # such as Ctrl-C: do not wait for the answer
            current.cache_clear()
            process.end()
            raise
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["text"]
