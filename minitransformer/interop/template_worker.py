"""A process that renders chat templates, one per line of input, with limits of time and memory.

A template is a program, and a short one can use any amount of memory or time: 'a' * 10**10, or nested loops. Jinja's
sandbox prevents access to files and to Python, but limits only the length of a range. Everything else is limited by a
separate process: the system limits its memory, and it ends when its time has run out. Windows and macOS have no such
limit of memory; there only the time is limited.

templates.py runs this file as a script. The script does not import the package, because importing NumPy would take
longer than everything else.
"""

import contextlib
import datetime
import faulthandler
import functools
import json
import signal
import sys

LENGTH_LIMIT = 10_000_000  # characters in the result
REASON_LIMIT = 500  # characters, so that the message that contains the reason is not cut


def main(seconds, memory):
    """Answer each line of standard input until a template exceeds a limit.

    seconds and memory (in bytes) are limits for each template. An answer is a line of JSON, or "Timeout" or
    "MemoryError" before the process ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    limit_memory(memory)
    for request in sys.stdin.buffer:
        # Unlike a thread, this watchdog does not need the interpreter's lock.
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stdout)
        try:
            answer = json.dumps(answer_to(request))
        except MemoryError:  # not all of the memory is freed, so the process ends
            print("MemoryError", flush=True)
            return
        faulthandler.cancel_dump_traceback_later()
        print(answer, flush=True)


def limit_memory(size):
    """Limit the memory of this process to `size` bytes, if the system can do that."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def answer_to(request):
    """Render {"template": …, "names": …} and return {"text": …} or {"error": …}."""
    try:
        request = json.loads(request)
        text = compiled(request["template"]).render(request["names"])
    except MemoryError:
        raise
    except Exception as error:  # the template is foreign code and can raise anything
        return {"error": str(error)[:REASON_LIMIT] or type(error).__name__}
    if len(text) > LENGTH_LIMIT:
        return {"error": f"it writes more than {LENGTH_LIMIT:,} characters"}
    return {"text": text}


@functools.lru_cache(maxsize=1)
def compiled(template):
    """Compile a chat template, with the functions that Transformers provides."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, **options):
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)  # Jinja's own filter escapes < and > for HTML

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(template)


if __name__ == "__main__":
    main(seconds=float(sys.argv[1]), memory=int(sys.argv[2]))
