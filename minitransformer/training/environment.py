"""The environment of a run, which determines the last bits of the result.

The last bits depend on the order in which terms are added. This order depends on the matrix library, the vector width
of the processor, the number of threads, replicas and ranks, and the fast implementations (the twins in fast/) in use.
If all of these are equal, results are bit-identical.
"""

import os
import platform

import numpy as np
import scipy

from gradcheck.front.processes import THREAD_VARIABLES
from minitransformer.module import TWINS, is_plain
from minitransformer.system.cores import available_cores
from minitransformer.system.extensions import load_extension_of
from minitransformer.training.ranks import world_size


def environment() -> dict:
    """Return the versions, the processor and the number of threads as a dictionary of strings."""
    forms = forms_in_use()
    edited = sorted(function.__name__ for function, form in forms.items() if form == "textbook")
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
        "engine": "off" if is_plain() or not forms else f"on, but not for {', '.join(edited)}" if edited else "on",
        "threads": " ".join([f"{available_cores()} cores", *ranks, *limits]),
    }


def forms_in_use() -> dict:
    """Return which form of each textbook function with a twin is in use, "twin" or "textbook"."""
    load_extension_of("minitransformer.module")
    return {function: "twin" if not is_plain() and twin.agrees() else "textbook" for function, twin in TWINS.items()}
