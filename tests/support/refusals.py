"""Uses of a file or a template that must work, or be refused with a message of one line."""

from functools import partial
from pathlib import Path

from forked import complaints_about_line

from minitransformer.interop.chat import encode_chat, render_chat

REFUSED = (OSError, ValueError)  # ArchiveError is one
MESSAGES = [{"role": "user", "content": "what is it?"}, {"role": "assistant", "content": "it is a cat"}]


def refused(read, path, names=None, errors=REFUSED):
    """Return (the result of read() or None, faults). An error that names `path` is allowed."""
    try:
        return read(), []
    except errors as error:
        return None, complaints_about_line(str(error), names or [path.name])
    except Exception as error:
        return None, [f"raises {type(error).__name__}: {error}"]


def render(tokenizer) -> list[str]:
    """Write a conversation with a chat template, as text and as ids, or be told why not."""
    complaints = []
    for write in (render_chat, encode_chat):
        complaints += refused(partial(write, tokenizer, MESSAGES), Path(), names=[""])[1]
    return complaints
