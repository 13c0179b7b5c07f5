"""A sweep: many runs, on any executor, kept as they finish, whatever happens meanwhile.

Each finished run is one small JSON file, named after its plan and a hash of all that determines its numbers, and
written whole or not at all. A sweep that begins takes from its folder what is there and trains the rest; so one that
was killed at any point goes on with the runs it had not finished, and ends with the same numbers. There is no other
state.

Who trains is a concurrent.futures.Executor: processes of the sweep's own (see workers.py), Dask's
Client.get_executor(), mpi4py's MPIPoolExecutor, or another. What can go wrong, and what is done:

    a model fails        (its loss diverges, say) The others go on; it is reported by name at the end, and tried again
                         by the next sweep.
    a worker is lost     (killed, out of memory) Its model is tried again, at most RETRIES times, after all others.
    the executor breaks  as a process pool does with any of its workers, and all futures with it. Processes of the
                         sweep's own are made anew. The models that were running are then tried one at a time, until it
                         is known which did it, and the innocent are not blamed. An executor of the caller's stays
                         broken, and what is left has failed.
    Ctrl-C, or worse     What is finished is on disk.

The largest models begin first: otherwise the last would run alone while the other cores wait.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, as_completed
from contextlib import closing, nullcontext
from pathlib import Path

from minitransformer.cores import available_cores
from minitransformer.experiments.emergence.family import LAYERS
from minitransformer.experiments.emergence.one_run import Plan, train_one
from minitransformer.experiments.emergence.workers import WorkerProcesses
from minitransformer.files import write_atomically
from minitransformer.folders import at_work_in
from minitransformer.module import is_plain, plain
from minitransformer.values import number, whole

RETRIES = 2
RUNS_FOLDER = "runs"

one_model_at_a_time = threading.Lock()  # in a process: a worker of Dask may have several threads


def sweep(
    plans: list[Plan],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    folder=None,
    progress: Callable | None = None,
) -> tuple[dict, dict]:
    """Train all that is not there yet. Returns (runs, failures): by key, what train_one returns and why there is none.

    plans      two with the same key are one run
    executor   any concurrent.futures.Executor, which stays the caller's; None: as many processes as `workers`, each
               with one thread for its matrix products
    workers    for executor None; None: one for each core
    folder     where the runs are kept, made where it does not exist; None: nowhere
    progress   called as progress(plan, outcome) when a run is there: "found", "trained", "failed" or "retried"

    Raises ValueError for a file in the folder that is no run, OSError where it cannot be written, BlockingIOError
    where another sweep is at work there, and whatever `progress` raises. After Ctrl-C, the sweep's own processes are
    ended.
    """
    progress = progress or (lambda plan, outcome: None)
    shelf = Shelf(folder)
    runs, failures, todo = {}, {}, {}
    with at_work_in(shelf.folder):
        for key, plan in {plan.key(): plan for plan in plans}.items():
            run = shelf.find(plan, key)
            if run is None:
                todo[key] = plan
            else:
                runs[key] = run
                progress(plan, "found")
        with closing(outcomes(todo, executor, workers or available_cores())) as training:
            for key, outcome, result in training:
                if outcome == "trained":
                    runs[key] = shelf.put(todo[key], key, result)
                elif outcome == "failed":
                    failures[key] = result
                progress(todo[key], outcome)
    return runs, failures


def outcomes(plans: dict, executor: Executor | None, workers: int) -> Iterator:
    """Train the plans, by key. Yields (key, "trained", run), (key, "failed", why) or (key, "retried", why)."""
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
        if broken and executor is None and len(keys) > 1:  # it was one of the first, which were running
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
    """Let an executor train the plans, by key. Yields (key, what `attempt` returned or an exception) as they come."""
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
    """Train a model on a worker. Returns ("trained", run) or ("failed", why): not every exception survives the way."""
    try:
        if plan.key() != key:
            return "failed", "the worker has another version of the program, or of the text"
        with one_model_at_a_time, plain(without_engine):
            return "trained", train_one(plan)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


class Shelf:
    """The folder where runs are kept; None: nowhere."""

    def __init__(self, folder):
        self.folder = None if folder is None else Path(folder) / RUNS_FOLDER

    def path(self, plan: Plan, key: str) -> Path:
        """Return where a run is kept."""
        return self.folder / f"{plan.name.replace(', seed ', '-seed')}-{key}.json"

    def find(self, plan: Plan, key: str) -> dict | None:
        """Return a run, if it is there. Raises ValueError for a file that is none."""
        if self.folder is None or not self.path(plan, key).exists():
            return None
        path = self.path(plan, key)
        try:
            run = json.loads(path.read_bytes())
            if run["key"] == key and len(run["lengths"]) == len(plan.lengths()):
                return run
        except (ValueError, TypeError, KeyError):
            pass
        raise ValueError(f"{path}: is not a run of this sweep; delete it, and the run is trained again")

    def put(self, plan: Plan, key: str, run: dict) -> dict:
        """Keep a run. Returns it as `find` will."""
        text = json.dumps(run, indent=1)
        if self.folder is not None:
            write_atomically(self.path(plan, key), lambda file: file.write(text.encode()))
        return json.loads(text)


def runs_by_size(folder, capabilities) -> list[dict]:
    """Return the runs of a finished sweep: of each size, smallest first, {seed: what train_one returned}.

    They are those of the family, without other shapes, of the longest training that the folder has, and tested in the
    capabilities that are named. Raises ValueError for a folder without such runs, with a file that is none, or with
    but one seed of a size, which has no interval; OSError for a file that cannot be read.
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
    """Return whether a run was tested in all these capabilities. Raises as runs_by_size expects, where it is no run."""
    scores = run["lengths"][-1]["scores"]
    for test in scores.values():
        for name in ("exact", "loglik", "seen"):
            number(name, test[name])
    return all(name in scores for name in capabilities)
