"""A folder that another run has locked."""

import os
from contextlib import contextmanager

import pytest


@contextmanager
def another_run(folder):
    """Lock a folder within the block as a run of another process does."""
    fcntl = pytest.importorskip("fcntl", reason="Windows does not lock folders")
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
    os.close(descriptor)
