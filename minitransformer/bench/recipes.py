"""The loss that recipes of training reach in equal steps or equal time, and the time that they need to reach a loss.

A run is a recipe (training/recipes.py), an engine, a number of steps and a seed. It has a process of its own with all
cores, and the runs follow each other: first every entrant with the first seed, then with the next. Entrants with equal
models and seeds begin with the same weights and draw the same batches. The learning rate falls to its end with the last
step, so a shorter run is another run and not the beginning of a longer one. Therefore the loss of a run is the
validation loss after its last step, on the whole held-out text, and the evaluation does not count as time:

    equal steps    every entrant takes the given steps
    equal time     the steps of the first entrant, times its seconds per step over those of the entrant
    to a loss      the least number among LENGTHS whose run with the first seed reaches the loss
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev

from minitransformer.bench.estimates import paired_ratio, student
from minitransformer.bench.report import machine
from minitransformer.bench.sizes import check_supported_in_torch
from minitransformer.bench.worker import OURS, EngineProcess
from minitransformer.config import Config
from minitransformer.system.files import write_json
from minitransformer.text import DEFAULT_CORPUS
from minitransformer.training.recipes import MODEL, RECIPES

LENGTHS = (100, 150, 200, 250, 300, 400, 500, 600, 800, 1000, 1200, 1600, 2000, 2400, 3200, 4000, 6000, 8000)
FILE = "recipes.json"
HEADER = ["recipe", "steps", "ms a step", "seconds", "loss", "time / first"]


def is_in_torch(recipe: str, say: Callable[[str], object]) -> bool:
    """Return True if PyTorch's model has the parts of a recipe. Otherwise, say which it lacks."""
    try:
        check_supported_in_torch(Config(1, **MODEL | RECIPES[recipe].model))
    except ValueError as error:
        say(f"{recipe} runs without PyTorch: {error}")
        return False
    return True


@dataclass(frozen=True)
class Entrant:
    recipe: str
    engine: str = OURS

    def __str__(self):
        return self.recipe if self.engine == OURS else f"{self.recipe}, {self.engine}"


class Race:
    """The runs of entrants on the files `text`. Finished runs are kept in a file of `folder`, unless it is None.

    Raises ValueError if the file contains runs of another text, machine or number of threads.
    """

    def __init__(self, text: list[str] | None, *, threads: int, folder: Path | None, say: Callable[[str], object]):
        self.text, self.threads, self.say = text, threads, say
        self.about = machine({"threads": threads, "text": text or [DEFAULT_CORPUS]})
        self.runs: list[dict] = []
        self.file = folder / FILE if folder is not None else None
        if self.file is not None and self.file.exists():
            kept = json.loads(self.file.read_bytes())
            if kept["about"] != self.about:
                name = next(name for name, now in self.about.items() if kept["about"].get(name) != now)
                before, now = kept["about"].get(name), self.about[name]
                raise ValueError(f"{self.file}: {name} was {before!r} and is now {now!r}; use another --out")
            self.runs = kept["runs"]

    def run(self, entrant: Entrant, steps: int, seed: int) -> dict:
        """Return the entrant, steps, seed, seconds and loss of a run, which is kept if it has been run before."""
        what = asdict(entrant) | {"steps": steps, "seed": seed}
        for known in self.runs:
            if known.items() >= what.items():
                return known
        with EngineProcess(entrant.engine, self.threads) as engine:
            recipe = RECIPES[entrant.recipe]
            found = what | engine.ask("course", recipe=recipe, text=self.text, steps=steps, seed=seed)
        self.say(f"{entrant}: loss {found['loss']:.3f} after {steps:,} steps, {found['seconds']:.1f} s (seed {seed})")
        self.runs.append(found)
        if self.file is not None:
            write_json(self.file, {"about": self.about, "runs": self.runs})
        return found

    def after(self, lengths: dict, seeds: int) -> dict:
        """Return {entrant: its runs, one for each seed}, for `lengths`, {entrant: number of steps}."""
        found = {entrant: [] for entrant in lengths}
        for seed in range(seeds):
            for entrant, steps in lengths.items():
                found[entrant].append(self.run(entrant, steps, seed))
        return found

    def equal_steps(self, entrants: list[Entrant], steps: int, seeds: int) -> dict:
        return self.after(dict.fromkeys(entrants, steps), seeds)

    def equal_time(self, entrants: list[Entrant], steps: int, seeds: int) -> dict:
        pace = {entrant: seconds_per_step(runs) for entrant, runs in self.equal_steps(entrants, steps, seeds).items()}
        return self.after({entrant: round(steps * pace[entrants[0]] / pace[entrant]) for entrant in entrants}, seeds)

    def to_loss(self, entrants: list[Entrant], loss: float, steps: int, seeds: int) -> dict:
        """Find the lengths up to `steps`. An entrant that does not reach the loss has runs of `steps` steps."""
        lengths = [*(length for length in LENGTHS if length < steps), steps]
        least = {}
        for entrant in entrants:
            reached = (length for length in lengths if self.run(entrant, length, 0)["loss"] <= loss)
            least[entrant] = next(reached, steps)
        return self.after(least, seeds)


def seconds_per_step(runs: list[dict]) -> float:
    return median(run["seconds"] / run["steps"] for run in runs)


def rows_of(found: dict) -> list[list[str]]:
    """Return the cells below HEADER. Losses are means with 95 % intervals, and times are paired by seeds."""
    first, *_ = found.values()
    rows = []
    for entrant, runs in found.items():
        losses, times = [run["loss"] for run in runs], [run["seconds"] for run in runs]
        share = paired_ratio([[run["seconds"]] for run in first], [[seconds] for seconds in times])
        loss, within = f"{mean(losses):.3f}", ""
        if len(runs) > 1:
            loss += f" ± {student(len(runs) - 1) * stdev(losses) / len(runs) ** 0.5:.3f}"
            within = f" ({share['low']:.2f} – {share['high']:.2f})"
        pace = f"{1000 * seconds_per_step(runs):.1f}"
        ratio = f"{share['ratio']:.2f}{within}"
        rows.append([str(entrant), f"{runs[0]['steps']:,}", pace, f"{median(times):.1f}", loss, ratio])
    return rows


def page_of(found: dict) -> str:
    """Return the table in Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *rows_of(found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
