"""The watch of the file that is being graded, and the times at which the grader calls the package itself."""

from contextlib import contextmanager
from typing import Any

current: list[Any] = []  # of authorship.Watch; a global, because an audit hook cannot be removed


@contextmanager
def unwatched():
    """Let the grader itself call the package's function within a `with` block."""
    before = [(watch, watch.is_on) for watch in current]
    for watch, _ in before:
        watch.is_on = False
    try:
        yield
    finally:
        for watch, is_on in before:
            watch.is_on = is_on
