"""Ctrl-C during training: the first one is heard, and waits for the end of the step; the second stops at once."""

import signal
import threading
from contextlib import contextmanager


class Interrupt:
    """`requested` becomes True at the first Ctrl-C."""

    requested = False


@contextmanager
def first_interrupt_waits(heard):
    """Within the block, the first SIGINT sets `requested` of the Interrupt it yields; the second raises as ever.

    heard() is called at the first, wherever in a step the program is.
    Only the main thread receives signals: in another, the block changes nothing.
    """
    interrupt = Interrupt()

    def request(signum, frame):
        interrupt.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        heard()

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, request)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
