"""A sweep: many runs on any executor, each kept in a file when it finishes.

Each finished run is one small JSON file, named after its plan and a hash of everything that determines its numbers, and
written atomically. A sweep loads the runs in its folder and trains the others. So a sweep that was killed at any point
continues with the missing runs, and ends with the same numbers. There is no other state.

The executor is any concurrent.futures.Executor: the sweep's own processes (see workers.py), Dask's
Client.get_executor(), mpi4py's MPIPoolExecutor, or another. Failures are handled as follows:

    a model fails        (its loss diverges, for example) The others continue. Its name is reported at the end, and the
                         next sweep tries it again.
    a worker is lost     (killed, out of memory) Its model is tried again after all others, at most RETRIES times.
    the executor breaks  as a process pool does when it loses a worker, together with all its futures. The sweep
                         replaces its processes, and trains the models that were running one at a time, until the one
                         that broke the pool is known. A caller's executor stays broken, and the remaining models fail.
    Ctrl-C, or worse     The finished runs are on disk.

The largest models begin first: otherwise the last one would run alone while the other cores wait.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, as_completed
from contextlib import closing, nullcontext
from pathlib import Path

from minitransformer.experiments.emergence.family import LAYERS
from minitransformer.experiments.emergence.one_run import Plan, train_one
from minitransformer.experiments.emergence.workers import WorkerProcesses
from minitransformer.module import is_plain, plain
from minitransformer.system.cores import available_cores
from minitransformer.system.files import write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.system.values import number, whole

RETRIES = 2
RUNS_FOLDER = "runs"

one_model_at_a_time = threading.Lock()  # within a process: a Dask worker may have several threads


def sweep(
    plans: list[Plan],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    folder=None,
    progress: Callable | None = None,
) -> tuple[dict, dict]:
    """Train the missing runs. Return (runs, failures) by key: results of train_one, and reasons.

    plans      two with the same key are one run
    executor   any concurrent.futures.Executor, which is not shut down; None: `workers` processes, each with one thread
               for its matrix products
    workers    for executor None; None: one per core
    folder     of the runs' files, created if it does not exist; None: runs are not kept
    progress   called as progress(plan, outcome) for each run: "found", "trained", "failed" or "retried"

    Raises ValueError for a file in the folder that is not a run, OSError if the folder cannot be written,
    BlockingIOError if another sweep uses it, and any exception of `progress`. Ctrl-C ends the sweep's own processes.
    """
    progress = progress or (lambda plan, outcome: None)
    folder = None if folder is None else Path(folder) / RUNS_FOLDER
    runs, failures, todo = {}, {}, {}
    with at_work_in(folder):
        for key, plan in {plan.key(): plan for plan in plans}.items():
            run = kept(folder, plan, key)
            if run is None:
                todo[key] = plan
            else:
                runs[key] = run
                progress(plan, "found")
        with closing(outcomes(todo, executor, workers or available_cores())) as training:
            for key, outcome, result in training:
                if outcome == "trained":
                    runs[key] = keep(folder, todo[key], key, result)
                elif outcome == "failed":
                    failures[key] = result
                progress(todo[key], outcome)
    return runs, failures


def outcomes(plans: dict, executor: Executor | None, workers: int) -> Iterator:
    """Train the plans, by key. Yield (key, "trained", run), (key, "failed", reason) or (key, "retried", reason)."""
    rounds = [sorted(plans, key=lambda key: -plans[key].seconds())]
    lost = Counter()
    while any(rounds):
        keys, errors = rounds.pop(0), {}
        with WorkerProcesses(workers) if executor is None else nullcontext(executor) as pool:
            for key, answer in answers(pool, {key: plans[key] for key in keys}):
                if isinstance(answer, BaseException):
                    errors[key] = answer
                else:
                    yield key, *answer
        left = [key for key in keys if key in errors]
        broken = any(isinstance(error, BrokenExecutor) for error in errors.values())
        if broken and executor is None and len(keys) > 1:  # one of the first `workers` models, which were running
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


def answers(executor: Executor, plans: dict) -> Iterator:
    """Train the plans, by key, on an executor. Yield (key, result of `attempt` or an exception) as they finish."""
    futures = {}
    try:
        try:
            for key, plan in plans.items():
                futures[executor.submit(attempt, plan, key, is_plain())] = key
        except BrokenExecutor as error:
            yield from ((key, error) for key in plans.keys() - futures.values())
        for future in as_completed(futures):
            error = CancelledError("cancelled") if future.cancelled() else future.exception()
            yield futures[future], error or future.result()
    finally:
        for future in futures:
            future.cancel()


def attempt(plan: Plan, key: str, without_engine: bool) -> tuple:
    """Train a model on a worker. Return ("trained", run) or ("failed", reason); not every exception can be pickled."""
    try:
        if plan.key() != key:
            return "failed", "the worker has another version of the program, or of the text"
        with one_model_at_a_time, plain(without_engine):
            return "trained", train_one(plan)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


def path_of(folder: Path, plan: Plan, key: str) -> Path:
    return folder / f"{plan.name.replace(', seed ', '-seed')}-{key}.json"


def kept(folder: Path | None, plan: Plan, key: str) -> dict | None:
    """Return a run from the folder, or None if it has none. Raises ValueError for a file with other contents."""
    if folder is None or not path_of(folder, plan, key).exists():
        return None
    path = path_of(folder, plan, key)
    try:
        run = json.loads(path.read_bytes())
        if run["key"] == key and len(run["lengths"]) == len(plan.lengths()):
            return run
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(f"{path}: is not a run of this sweep; delete it, and the run is trained again")


def keep(folder: Path | None, plan: Plan, key: str, run: dict) -> dict:
    """Write a run to the folder. Return it in the form of `kept`."""
    text = json.dumps(run, indent=1)
    if folder is not None:
        write_atomically(path_of(folder, plan, key), lambda file: file.write(text.encode()))
    return json.loads(text)


def runs_by_size(folder, capabilities) -> list[dict]:
    """Return the runs of a finished sweep: for each size, smallest first, {seed: result of train_one}.

    Only runs of the family count, with the greatest number of steps in the folder, and tested in all `capabilities`.
    Raises ValueError for a folder without such runs, with a file that is not a run, or with only one seed of a size,
    which has no interval; OSError for a file that cannot be read.
    """
    found = {}
    for path in sorted((Path(folder) / RUNS_FOLDER).glob("*.json")):
        try:
            run = json.loads(path.read_bytes())
            steps, size, seed = run["plan"]["steps"], run["parameters"], run["plan"]["seed"]
            if run["plan"]["config"]["n_layers"] == LAYERS and is_tested(run, capabilities):
                found.setdefault(whole("steps", steps), {}).setdefault(whole("size", size), {})[seed] = run
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise ValueError(f"{path}: is not a run of a sweep") from None
    if not found:
        raise ValueError(f"{folder}: holds no runs of `minitransformer scale` that test {' and '.join(capabilities)}")
    sizes = [runs for _, runs in sorted(found[max(found)].items())]
    if min(map(len, sizes)) < 2:
        raise ValueError(f"{folder}: has but one seed of a size, and no interval: scale needs --seeds 2 or more")
    return sizes


def is_tested(run: dict, capabilities) -> bool:
    """Return True if a run was tested in all capabilities. Raises the exceptions that runs_by_size handles."""
    scores = run["lengths"][-1]["scores"]
    for test in scores.values():
        for name in ("exact", "loglik", "seen"):
            number(name, test[name])
    return all(name in scores for name in capabilities)
