"""Run many tasks in processes, and write the result of each task to a file when it finishes.

The name of a result file contains a hash of all inputs that determine the numbers in the file. A sweep loads the
results that its folder contains and computes the others. A killed sweep can therefore be started again, and gives the
same numbers. If a task fails, the others continue, the failure is reported at the end, and the next sweep tries it
again. A process pool that loses a worker breaks. The sweep then tries each task that was running once more, alone in
new processes, so that no other task fails because of it.

The processes of a sweep have one thread of the matrix library each, because two tasks with one thread make better use
of two cores than one task with two. With one thread, results are bit-identical for any number of cores (see
training/environment.py). A worker exits when its parent process ends.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, as_completed
from contextlib import closing, suppress
from pathlib import Path

from gradcheck.front.processes import Workers
from minitransformer.module import EditedTextbook, is_plain, plain
from minitransformer.system.cores import available_cores
from minitransformer.system.files import naming, write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.tuning import tune_process
from minitransformer.training.environment import forms_in_use


def sweep(
    tasks: list, *, workers: int | None = None, folder=None, progress: Callable | None = None
) -> tuple[dict, dict]:
    """Run the tasks that have no result in the folder.

    tasks      picklable objects. `name` is used in messages and file names. `key()` returns a hash of all inputs that
               determine the result. `seconds()` estimates the time on one core. `run()` returns the result, a
               JSON-serializable dictionary. `accepts(result)` returns True if a result from a file is valid
    workers    number of processes (default: one per core)
    folder     directory of the result files, created if it does not exist. Without a folder, results are not written
    progress   called as progress(task, outcome), where outcome is "found", "trained", "failed" or "retried"

    Returns two dictionaries, the results and the reasons of failures, with the keys of the tasks. Raises ValueError if
    a result file in the folder is invalid, OSError if the folder cannot be written, and BlockingIOError if another
    sweep uses the folder. Exceptions of `progress` are not caught.
    """
    progress = progress or (lambda task, outcome: None)
    results, failures, todo = {}, {}, {}
    with at_work_in(folder):
        for key, task in {task.key(): task for task in tasks}.items():
            if (result := kept(folder, task, key)) is None:
                todo[key] = task
            else:
                results[key] = result
                progress(task, "found")
        with closing(outcomes(todo, workers or available_cores())) as finished:
            for key, outcome, result in finished:
                if outcome == "trained":
                    results[key] = keep(folder, todo[key], key, result)
                elif outcome == "failed":
                    failures[key] = result
                progress(todo[key], outcome)
    return results, failures


def outcomes(tasks: dict, workers: int) -> Iterator:
    """Run the tasks, the longest first. Yield a key, "trained", "failed" or "retried", and the result or the reason."""
    rounds = [(sorted(tasks, key=lambda key: -tasks[key].seconds()), False)]
    for keys, is_second in rounds:  # the list grows if a worker is lost
        futures, left = {}, dict.fromkeys(keys)
        with WorkerProcesses(workers) as pool:
            with suppress(BrokenExecutor):  # the tasks that are not submitted are left
                for key in keys:
                    futures[pool.submit(attempt, tasks[key], is_plain())] = key
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenExecutor):
                    del left[futures[future]]
                    yield futures[future], *future.result()
        running, waiting = [*left][:workers], [*left][workers:]  # tasks begin in their order
        for key in running:
            yield key, "failed" if is_second else "retried", "its worker was lost"
        if not is_second:
            rounds += [([key], True) for key in running]
            rounds += [(waiting, False)] if waiting else []


class WorkerProcesses(Workers):
    """An executor with `count` processes, which start on demand and end with the `with` block."""

    def __init__(self, count: int):
        forms_in_use()  # warns if functions of the textbook were edited
        with naming("the file that worker processes share"):
            super().__init__(count, begin_quietly)


def begin_quietly() -> None:
    tune_process()
    warnings.simplefilter("ignore", EditedTextbook)


def attempt(task, without_engine: bool) -> tuple:
    """Run a task on a worker. An exception is returned as text, because not every exception can be pickled."""
    try:
        with plain(without_engine):
            return "trained", task.run()
    except Exception as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


def path_of(folder, task, key: str) -> Path:
    return Path(folder) / f"{task.name.replace(', seed ', '-seed')}-{key}.json"


def kept(folder, task, key: str) -> dict | None:
    """Load the result of a task, or return None if there is no file."""
    if folder is None or not path_of(folder, task, key).exists():
        return None
    path = path_of(folder, task, key)
    try:
        result = json.loads(path.read_bytes())
        if task.accepts(result):
            return result
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    raise ValueError(f"{path}: expected a result of {task.name}; delete the file to compute it again")


def keep(folder, task, key: str, result: dict) -> dict:
    """Write a result to the folder, if there is one. Return the result as it would be loaded again."""
    if folder is not None:
        write_json(path_of(folder, task, key), result)
    return json.loads(json.dumps(result))
