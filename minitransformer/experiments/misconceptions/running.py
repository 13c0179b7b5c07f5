"""Measure an experiment once per seed, in processes of one thread, and keep each result in a JSON file.

The file's name contains the experiment, the seed, and a hash of the version and of the experiment's code. An
interrupted run therefore continues with the missing seeds. An experiment whose code has changed is measured again; one
whose text has changed is not.
"""

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import as_completed
from pathlib import Path

from minitransformer.experiments.emergence.workers import WorkerProcesses
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.module import is_plain, plain
from minitransformer.system.cores import available_cores
from minitransformer.system.files import write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.system.version import __version__

MEASURED_FOLDER = "measured"


def measure_all(
    experiments: list[Experiment], seeds: dict, folder, *, workers: int | None = None, progress: Callable | None = None
) -> dict:
    """Run the experiments that have no result in the folder. Return {name: list of results, one per seed}.

    seeds      {name: the seeds of that experiment}
    workers    number of processes; None: one per core
    progress   called as progress(done, total, name) for each result

    Raises ValueError for a file in the folder that is not a result; RuntimeError, naming experiment and seed, if a
    measurement fails; BlockingIOError if another run uses the folder, and OSError.
    """
    wanted = [(experiment, seed) for experiment in experiments for seed in seeds[experiment.name]]
    with at_work_in(Path(folder) / MEASURED_FOLDER):
        found = {(experiment.name, seed): kept(experiment, seed, folder) for experiment, seed in wanted}
        done = sum(one is not None for one in found.values())
        with WorkerProcesses(workers or available_cores()) as pool:
            tasks = {
                pool.submit(measured_by, experiment.name, seed, is_plain()): (experiment, seed)
                for experiment, seed in wanted
                if found[experiment.name, seed] is None
            }
            for task in as_completed(tasks):
                experiment, seed = tasks[task]
                try:
                    found[experiment.name, seed] = task.result()
                except Exception as error:
                    why = str(error) or type(error).__name__
                    raise RuntimeError(f"{experiment.name}, seed {seed}: {why}") from error
                keep(experiment, seed, folder, found[experiment.name, seed])
                done += 1
                if progress is not None:
                    progress(done, len(wanted), experiment.name)
    return {e.name: [found[e.name, seed] for seed in seeds[e.name]] for e in experiments}


def measured_by(name: str, seed: int, without_engine: bool) -> dict:
    """Measure in a worker process."""
    from minitransformer.experiments.misconceptions import experiment

    with plain(without_engine):
        return experiment(name).measure(seed)


def path_of(experiment: Experiment, seed: int, folder) -> Path:
    """Return the path of a result."""
    module = sys.modules[experiment.module]
    code = inspect.getsource(module).replace(module.__doc__ or "", "", 1)
    key = hashlib.sha256(f"{__version__} {code}".encode()).hexdigest()[:12]
    return Path(folder) / MEASURED_FOLDER / f"{experiment.name}-seed{seed}-{key}.json"


def keep(experiment: Experiment, seed: int, folder, measured: dict) -> None:
    """Write a result."""
    text = json.dumps(measured, indent=1) + "\n"
    write_atomically(path_of(experiment, seed, folder), lambda file: file.write(text.encode()))


def kept(experiment: Experiment, seed: int, folder) -> dict | None:
    """Return a result, or None if there is none. Raises ValueError for a file with other contents."""
    path = path_of(experiment, seed, folder)
    try:
        measured = json.loads(path.read_bytes())
        if all(math.isfinite(measured[name]) for name in experiment.numbers):
            return measured
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    raise ValueError(f"{path}: is not a measurement; delete it, and it is measured again")
