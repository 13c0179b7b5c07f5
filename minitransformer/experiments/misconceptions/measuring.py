"""Run each experiment once per seed, as a sweep (see ../sweep.py) that stores its results in a folder.

The key of a result is a hash of the package's version and of the experiment's Python file. An experiment runs again if
its Python file has changed, but not if only its page has changed.
"""

import hashlib
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from minitransformer.experiments.misconceptions import experiment
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.sweep import sweep
from minitransformer.system.version import __version__

MEASURED_FOLDER = "measured"


@dataclass(frozen=True)
class Measurement:
    """A task of the sweep, which runs one experiment with one seed."""

    experiment: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.experiment}, seed {self.seed}"

    def key(self) -> str:
        code = inspect.getsource(sys.modules[experiment(self.experiment).module])
        return hashlib.sha256(f"{__version__} {self.name} {code}".encode()).hexdigest()[:12]

    def seconds(self) -> float:
        one = experiment(self.experiment)
        return one.seconds / one.seeds

    def run(self) -> dict:
        return experiment(self.experiment).measure(self.seed)

    def accepts(self, measured: dict) -> bool:
        return all(math.isfinite(measured[name]) for name in experiment(self.experiment).numbers)


def measure_all(
    experiments: list[Experiment], seeds: dict, folder, *, workers: int | None = None, progress: Callable | None = None
) -> dict:
    """Run the experiments that have no result in the folder.

    experiments   the experiments to run
    seeds         dictionary from the names of experiments to lists of seeds
    folder        folder for the results
    workers       number of processes (default: one per core)
    progress      called as progress(done, total, name) for each result

    Returns a dictionary with a list of results, one per seed, for each experiment. Raises RuntimeError if a measurement
    fails.
    """
    tasks = [Measurement(one.name, seed) for one in experiments for seed in seeds[one.name]]
    done = count(1)

    def report(task, outcome):
        if progress is not None and outcome != "retried":
            progress(next(done), len(tasks), task.experiment)

    found, failures = sweep(tasks, workers=workers, folder=Path(folder) / MEASURED_FOLDER, progress=report)
    for task in tasks:
        if task.key() in failures:
            raise RuntimeError(f"{task.name}: {failures[task.key()]}")
    return {one.name: [found[Measurement(one.name, seed).key()] for seed in seeds[one.name]] for one in experiments}
