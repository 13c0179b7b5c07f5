"""What the last bits of a result depend on, beside the program and its input.

A sum of floating-point numbers depends on the order of its terms, and that on the matrix library, the processor's
vector width, how many threads, replicas and ranks share the work, and whether the engine is on. With all of these the
same, so is every bit.
"""

import os
import platform

import numpy as np
import scipy

from minitransformer.cores import THREAD_VARIABLES, available_cores
from minitransformer.module import is_plain
from minitransformer.training.ranks import world_size


def environment() -> dict:
    """Return versions, processor and threads, as a dictionary of strings."""
    build = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    ranks = [f"{world_size()} ranks"] if world_size() > 1 else []
    limits = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    return {
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "SciPy": scipy.__version__,
        "BLAS": f"{blas.get('name')} {blas.get('version')}",
        "processor": " ".join([platform.machine(), *build.get("SIMD Extensions", {}).get("found", [])]),
        "engine": "off" if is_plain() else "on",
        "threads": " ".join([f"{available_cores()} cores", *ranks, *limits]),
    }
