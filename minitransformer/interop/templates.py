"""Chat templates, rendered in a separate process with limits of time and memory (see system/bounded.py).

A template is a program. Jinja's sandbox prevents access to files and to Python, but it does not limit time and memory,
for example for 'a' * 10**10.
"""

import datetime
import functools
import json
import os
import threading

from minitransformer.system.bounded import Bounded, Ended

SECONDS = 10  # limit for a text; real templates take less than a thousandth of it
MEBIBYTES = 1024
LENGTH_LIMIT = 10_000_000  # characters in the result
REASON_LIMIT = 500  # characters, so that the message with the reason is not shortened

turn = threading.Lock()


@functools.cache
def process_for(pid: int) -> Bounded:
    return Bounded("minitransformer.interop.templates", megabytes=MEBIBYTES)


def render(template: str, names: dict) -> str:
    """Render a template with variables `names`. Raises ValueError with the reason if it fails or exceeds a limit."""
    with turn:
        try:
            answer = process_for(os.getpid()).ask({"template": template, "names": names}, SECONDS)
        except Ended as end:
            raise ValueError(str(end)) from None
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["text"]


def answers(request):
    try:
        text = environment().from_string(request["template"]).render(request["names"])
        if len(text) > LENGTH_LIMIT:
            raise ValueError(f"its text has more than {LENGTH_LIMIT:,} characters")
        yield {"text": text}
    except MemoryError:
        yield {"error": f"it takes more than {MEBIBYTES:,} MiB of memory"}
    except Exception as error:  # the template is foreign code and can raise anything
        yield {"error": str(error)[:REASON_LIMIT] or type(error).__name__}


@functools.cache
def environment():
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, **options):
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)  # Jinja's own filter escapes < and > for HTML

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return sandbox


def prepare():
    environment()  # here, so that no child process has to import Jinja
