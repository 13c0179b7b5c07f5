"""The other end of the pipe: a process that renders chat templates, one a line, and may take only so much in doing so.

A template is a program, and a short one can ask for any memory or time: 'a' * 10**10, a loop within a loop. Jinja's
sandbox keeps it from the files and from Python, and bounds one thing of the many, the length of a range. What bounds
all of them is a process of its own, whose memory the system limits, and which ends itself when its time is up. Windows
and macOS know no such limit on memory; there, time is what bounds it.

This file is run as a script, by templates.py, and imports nothing of the package: NumPy alone would take longer to load
than all the rest.
"""

import contextlib
import datetime
import faulthandler
import functools
import json
import signal
import sys

LENGTH_LIMIT = 10_000_000  # characters of a text
REASON_LIMIT = 500  # characters, so that the message around it is not cut


def main(seconds, memory):
    """Answer standard input, line by line, until a template takes more time, or bytes of memory, than it may.

    An answer is a line of JSON; what ends the process is told by "Timeout" or "MemoryError" in its place.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this one
    limit_memory(memory)
    for request in sys.stdin.buffer:
        # Unlike a thread, this watch does not wait for its turn of the interpreter.
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stdout)
        try:
            answer = json.dumps(answer_to(request))
        except MemoryError:  # of which not all comes back
            print("MemoryError", flush=True)
            return
        faulthandler.cancel_dump_traceback_later()
        print(answer, flush=True)


def limit_memory(size):
    """Have the system refuse to this process more memory than `size` bytes, where it can and does not already."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def answer_to(request):
    """Return {"text": …}, or {"error": …} with the reason, for a request {"template": …, "names": …} in JSON."""
    try:
        request = json.loads(request)
        text = compiled(request["template"]).render(request["names"])
    except MemoryError:
        raise
    except Exception as error:  # it is a program of others, and may fail in any way
        return {"error": str(error)[:REASON_LIMIT] or type(error).__name__}
    if len(text) > LENGTH_LIMIT:
        return {"error": f"it writes more than {LENGTH_LIMIT:,} characters"}
    return {"text": text}


@functools.lru_cache(maxsize=1)
def compiled(template):
    """Return a chat template for rendering, with the functions that Transformers gives to it."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, **options):
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)  # Jinja's own is for HTML, and escapes < and >

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(template)


if __name__ == "__main__":
    main(seconds=float(sys.argv[1]), memory=int(sys.argv[2]))
