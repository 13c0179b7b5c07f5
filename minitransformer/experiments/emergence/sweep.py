"""A sweep: many runs, on any executor, kept as they finish, whatever happens meanwhile.

Each finished run is one small JSON file, named after its plan and a hash of all that determines its numbers, and
written whole or not at all. A sweep that begins takes from its folder what is there and trains the rest; so one that
was killed at any point goes on with the runs it had not finished, and ends with the same numbers. There is no other
state.

What can go wrong, and what is done:

    a model fails        (its loss diverges, say) The others go on; it is reported by name at the end, and tried again
                         by the next sweep.
    a worker is lost     (killed, out of memory) Its model is tried again, at most RETRIES times. Of a broken process
                         pool one knows only that one of the models that were running did it: so they are tried again
                         one at a time, until it is known which, and the innocent are not blamed.
    Ctrl-C, or worse     What is finished is on disk.

The largest models begin first: otherwise the last would run alone while the other cores wait.
"""

import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from pathlib import Path

from minitransformer.archive import make_folder, write_atomically
from minitransformer.cores import available_cores
from minitransformer.experiments.emergence.one_run import Plan, train_one
from minitransformer.experiments.emergence.workers import WorkerProcesses

RETRIES = 2
RUNS_FOLDER = "runs"

one_model_at_a_time = threading.Lock()  # in a process: a worker of Dask may have several threads


def attempt(plan: Plan, key: str) -> dict:
    """Train a model on a worker. Returns {"run": …}, or {"failure": why}: not every exception survives the way back."""
    try:
        if plan.key() != key:
            return {"failure": "the worker has another version of the program, or of the text"}
        with one_model_at_a_time:
            return {"run": train_one(plan)}
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {' '.join(str(error).split())}"}


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

    Raises ValueError for a file in the folder that is no run, OSError where it cannot be written, and whatever
    `progress` raises. After Ctrl-C, the sweep's own processes are ended.
    """
    progress = progress or (lambda plan, outcome: None)
    shelf = Shelf(folder)
    runs, todo = {}, {}
    for key, plan in {plan.key(): plan for plan in plans}.items():
        run = shelf.find(plan, key)
        if run is None:
            todo[key] = plan
        else:
            runs[key] = run
            progress(plan, "found")
    if not todo:
        return runs, {}
    own = WorkerProcesses(workers or available_cores()) if executor is None else None
    supervisor = Supervisor(own or executor, own.count if own else len(todo), shelf, progress)
    try:
        trained, failures = supervisor.train(todo)
    finally:
        supervisor.give_up()
        if own:
            own.stop()
    return runs | trained, failures


class Supervisor:
    """Hands out models, and takes in what comes back.

    waiting    keys of models to begin, in order
    suspects   keys of models that were running when a process pool broke: each is tried alone
    alone      whether one of those is running
    lost       how often the worker of a model was lost by its fault
    """

    def __init__(self, pool, capacity: int, shelf: "Shelf", progress: Callable):
        self.pool, self.capacity, self.shelf, self.progress = pool, capacity, shelf, progress
        self.waiting, self.suspects, self.alone, self.lost = deque(), deque(), False, Counter()
        self.running: dict[Future, str] = {}
        self.runs, self.failures = {}, {}

    def train(self, plans: dict) -> tuple[dict, dict]:
        """Train the plans, by key, until each has a run or a failure."""
        self.plans = plans
        self.waiting.extend(sorted(plans, key=lambda key: -plans[key].seconds()))
        while self.waiting or self.suspects or self.running:
            self.hand_out()
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            broken = [future for future in done if isinstance(error_of(future), BrokenExecutor)]
            if broken:
                self.recover(error_of(broken[0]))
            else:
                for future in done:
                    self.take_in(future)
        return self.runs, self.failures

    def hand_out(self) -> None:
        """Give the workers what they can take: a suspect alone, or else whoever waits."""
        try:
            if self.suspects and not self.running:
                self.begin(self.suspects)
                self.alone = True
            while self.waiting and not self.suspects and not self.alone and len(self.running) < self.capacity:
                self.begin(self.waiting)
        except BrokenExecutor as error:  # a worker was killed while it had nothing to do
            self.recover(error)

    def begin(self, queue: deque) -> None:
        """Hand out the first model of a queue."""
        future = self.pool.submit(attempt, self.plans[queue[0]], queue[0])
        self.running[future] = queue.popleft()  # not before: if the pool is broken, it stays in the queue

    def take_in(self, future: Future) -> None:
        """Keep what a worker made of its model."""
        key, error = self.running.pop(future), error_of(future)
        self.alone = False
        if error is not None:
            self.lose(key, error, self.waiting)
        elif "failure" in future.result():
            self.fail(key, future.result()["failure"])
        else:
            self.runs[key] = self.shelf.put(self.plans[key], key, future.result()["run"])
            self.progress(self.plans[key], "trained")

    def recover(self, error: BaseException) -> None:
        """Go on after a process pool broke, and took down all that was running."""
        wait(self.running)
        for future in [future for future in self.running if error_of(future) is None]:
            self.take_in(future)
        keys = list(self.running.values())
        self.running.clear()
        self.alone = False
        if not isinstance(self.pool, WorkerProcesses):
            for key in [*keys, *self.suspects, *self.waiting]:
                self.fail(key, f"the executor broke: {error}")
            self.suspects.clear()
            self.waiting.clear()
            return
        self.pool.restart()
        if len(keys) == 1:
            self.lose(keys[0], error, self.suspects)
        else:
            self.suspects.extend(keys)

    def lose(self, key: str, error: BaseException, queue: deque) -> None:
        """Try a model again whose worker was lost, unless that has happened too often."""
        self.lost[key] += 1
        if self.lost[key] > RETRIES:
            why = str(error) or type(error).__name__
            self.fail(key, f"its worker was lost {self.lost[key]} times ({why})")
        else:
            queue.append(key)
            self.progress(self.plans[key], "retried")

    def fail(self, key: str, why: str) -> None:
        """Give a model up."""
        self.failures[key] = why
        self.progress(self.plans[key], "failed")

    def give_up(self) -> None:
        """Take back what has not begun."""
        for future in self.running:
            future.cancel()


def error_of(future: Future) -> BaseException | None:
    """Return what a finished future raises, if anything."""
    return CancelledError("cancelled") if future.cancelled() else future.exception()


class Shelf:
    """The folder where runs are kept; None: nowhere."""

    def __init__(self, folder):
        self.folder = None if folder is None else Path(folder) / RUNS_FOLDER
        if self.folder is not None:
            make_folder(self.folder)
            for leftover in self.folder.glob(".*.json.*.tmp"):
                leftover.unlink(missing_ok=True)

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
