"""Run many tasks on any executor, and write the result of each task to a file when it finishes.

The name of a result file contains a hash of all inputs that determine the numbers in the file. A sweep loads the
results that its folder contains and computes the others. A killed sweep can therefore be started again, and gives the
same numbers. The executor is any concurrent.futures.Executor, such as Dask's Client.get_executor(). Failures are
handled as follows:

    a task fails         The others continue. The failure is reported at the end, and the next sweep tries it again.
    a worker is lost     Its task is tried again after all others, at most RETRIES times.
    the executor breaks  A process pool that loses a worker breaks, and all its futures fail. The sweep starts new
                         processes. It runs the interrupted tasks one at a time until it has found the task that broke
                         the pool. A caller's executor stays broken, so the remaining tasks fail.

The processes of a sweep have one thread of the matrix library each, because two tasks with one thread make better use
of two cores than one task with two. With one thread, results are bit-identical for any number of cores (see
training/environment.py). A worker exits when its parent process ends.
"""

import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, as_completed
from contextlib import closing, nullcontext
from pathlib import Path

from gradcheck.front.processes import Workers
from minitransformer.module import EditedTextbook, is_plain, plain
from minitransformer.system.cores import available_cores
from minitransformer.system.files import naming, write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.tuning import tune_process
from minitransformer.training.environment import forms_in_use

RETRIES = 2

one_task_at_a_time = threading.Lock()  # within a process: a Dask worker may have several threads


def sweep(
    tasks: list,
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    folder=None,
    progress: Callable | None = None,
) -> tuple[dict, dict]:
    """Run the tasks that have no result in the folder.

    tasks      picklable objects. `name` is used in messages and file names. `key()` returns a hash of all inputs that
               determine the result. `seconds()` estimates the time on one core. `run()` returns the result, a
               JSON-serializable dictionary. `accepts(result)` returns True if a result from a file is valid
    executor   any concurrent.futures.Executor, which is not shut down (default: `workers` processes, one per core)
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
        with closing(outcomes(todo, executor, workers or available_cores())) as finished:
            for key, outcome, result in finished:
                if outcome == "trained":
                    results[key] = keep(folder, todo[key], key, result)
                elif outcome == "failed":
                    failures[key] = result
                progress(todo[key], outcome)
    return results, failures


def outcomes(tasks: dict, executor: Executor | None, workers: int) -> Iterator:
    """Run the tasks. Yield a key, "trained", "failed" or "retried", and the result or the reason."""
    rounds = [sorted(tasks, key=lambda key: -tasks[key].seconds())]
    lost = Counter()
    while any(rounds):
        keys, errors = rounds.pop(0), {}
        with WorkerProcesses(workers) if executor is None else nullcontext(executor) as pool:
            for key, answer in answers(pool, {key: tasks[key] for key in keys}):
                if isinstance(answer, BaseException):
                    errors[key] = answer
                else:
                    yield key, *answer
        left = [key for key in keys if key in errors]
        broken = any(isinstance(error, BrokenExecutor) for error in errors.values())
        if broken and executor is None and len(keys) > 1:  # one of the first `workers` tasks, which were running
            rounds[:0] = filter(None, [*([key] for key in left[:workers]), left[workers:]])
            continue
        for key in left:
            lost[key] += 1
            why = str(errors[key]) or type(errors[key]).__name__
            if broken and executor is not None:
                yield key, "failed", f"the executor broke: {why}"
            elif lost[key] > RETRIES:
                yield key, "failed", f"its worker was lost {lost[key]} times ({why})"
            else:
                rounds.append([key])
                yield key, "retried", why


class WorkerProcesses(Workers):
    """An executor with `count` processes, which start on demand and end with the `with` block."""

    def __init__(self, count: int):
        forms_in_use()  # warns if functions of the textbook were edited
        with naming("the file that worker processes share"):
            super().__init__(count, begin_quietly)


def begin_quietly() -> None:
    tune_process()
    warnings.simplefilter("ignore", EditedTextbook)


def answers(executor: Executor, tasks: dict) -> Iterator:
    """Submit the tasks. Yield the key of each with the result of `attempt`, or with an exception of the executor."""
    futures = {}
    try:
        try:
            for key, task in tasks.items():
                futures[executor.submit(attempt, task, key, is_plain())] = key
        except BrokenExecutor as error:
            yield from ((key, error) for key in tasks.keys() - futures.values())
        for future in as_completed(futures):
            error = CancelledError("cancelled") if future.cancelled() else future.exception()
            yield futures[future], error or future.result()
    finally:
        for future in futures:
            future.cancel()


def attempt(task, key: str, without_engine: bool) -> tuple:
    """Run a task on a worker. An exception is returned as text, because not every exception can be pickled."""
    try:
        if task.key() != key:
            return "failed", "the worker must have the same version of the program and of the text, but its key differs"
        with one_task_at_a_time, plain(without_engine):
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
