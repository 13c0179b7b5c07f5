"""Fixtures that every test may use, and the settings of Hypothesis."""

import os

import numpy as np
import pytest
from hypothesis import settings

# Nothing is kept between runs, and nothing depends on the machine's speed. Where CI is set, every run tries the same
# examples; elsewhere each run tries new ones, and a failure prints what repeats it.
common = {"deadline": None, "database": None, "max_examples": 50, "print_blob": True}
settings.register_profile("local", **common)
settings.register_profile("ci", derandomize=True, **common)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def rng():
    """A random generator, the same for every test."""
    return np.random.default_rng(2017)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, an independent oracle; tests that ask for it are skipped where it is not installed."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # its threads and those of NumPy would fight for the same cores
    return torch


def pytest_collection_modifyitems(items):
    """Mark the tests that compare with PyTorch, so that `pytest -m parity` runs these alone."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("parity")
