"""Chat templates, rendered in a process of their own, so that memory and time are bounded: see template_worker.py.

Transformers renders them in its own process, without such bounds. To start ours takes a tenth of a second. It is kept
for what is rendered next, which then takes a fifth of a millisecond more than it would in this one.
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

from minitransformer.cores import ending

WORKER = Path(__file__).with_name("template_worker.py")
SECONDS = 10  # for one text; a real template takes less than a thousandth of it
MEBIBYTES = 1024  # of addresses, of which Python itself may take a third


class TemplateProcess:
    """The process. It ends with this one, however that ends."""

    def __init__(self):
        python = [sys.executable, "-P"]  # which imports nothing from the script's folder
        self.process = subprocess.Popen(
            [*python, str(WORKER), str(SECONDS), str(MEBIBYTES * 2**20)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.end)

    def ask(self, request: dict) -> dict:
        """Return the answer to a request. Raises ValueError, with the reason, where the process ends instead."""
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
        """End the process, whatever it is doing."""
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):  # a request that was never read
            self.process.stdin.close()
        self.process.stdout.close()


current = functools.cache(TemplateProcess)
turn = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=current.cache_clear)  # a fork would mix its questions with its parent's


def render(template: str, names: dict) -> str:
    """Return the text that a template writes, given values for names, all of what JSON can hold.

    Raises ValueError, with the reason, where the template fails, or takes more time or memory than it may.
    """
    with turn:
        process = current()
        try:
            answer = process.ask({"template": template, "names": names})
        except BaseException:  # Ctrl-C: what it answers then is not waited for
            current.cache_clear()
            process.end()
            raise
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["text"]
