"""Ctrl-C during training: the first one stops the run after the current step, the second one immediately."""

import signal
import threading
from contextlib import contextmanager


class Interrupt:
    """`requested` is True after the first Ctrl-C."""

    requested = False


@contextmanager
def first_interrupt_waits(heard):
    """Delay the first SIGINT inside a `with` block; the second raises as usual.

    Yields an Interrupt, whose `requested` the first SIGINT sets to True. It also calls heard(), possibly in the middle
    of a step. In a thread other than the main thread, which receives all signals, the block has no effect.
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
