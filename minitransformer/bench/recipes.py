"""The loss that recipes of training reach in equal steps or equal time, and the time that they need to reach a loss.

A run is a recipe (training/recipes.py), an engine, a number of steps and a seed. It has a process of its own with all
cores. Entrants with equal models and seeds begin with the same weights and draw the same batches. The learning rate
falls to its end with the last step, so a shorter run is another run and not the beginning of a longer one. Therefore
the loss of a run is the validation loss after its last step, on the whole held-out text.

The time of a run is its steps times the pace of its entrant, the seconds of a step. Paces are measured first, in short
runs, in which the entrants take turns. So only the first minutes need a machine without other work, and later work on
it changes no result.

    equal steps    every entrant takes the given steps
    equal time     the steps of the first entrant, times its pace over that of the entrant
    to a loss      the least number among LENGTHS whose runs reach the loss on average; the same in PyTorch
"""

import json
from bisect import bisect_left, bisect_right
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
ROUNDS, TURN = 5, 40  # turns of each entrant, and the steps of a turn
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
        self.turns: list[dict] = []  # {str(entrant): seconds of a step} for each round
        self.file = folder / FILE if folder is not None else None
        if self.file is not None and self.file.exists():
            kept = json.loads(self.file.read_bytes())
            if kept["about"] != self.about:
                name = next(name for name, now in self.about.items() if kept["about"].get(name) != now)
                before, now = kept["about"].get(name), self.about[name]
                raise ValueError(f"{self.file}: {name} was {before!r} and is now {now!r}; use another --out")
            self.runs, self.turns = kept["runs"], kept.get("turns", [])  # earlier versions have no turns

    def keep(self) -> None:
        if self.file is not None:
            write_json(self.file, {"about": self.about, "turns": self.turns, "runs": self.runs})

    def paces(self, entrants: list[Entrant]) -> dict:
        """Return {entrant: seconds of a step, one for each round}. If one is unknown, all are measured."""
        names = list(map(str, entrants))
        if len(self.turns) < ROUNDS or not all(turn.keys() >= set(names) for turn in self.turns):
            self.turns = []
            for number in range(ROUNDS):
                self.say(f"pace of a step, round {number + 1} of {ROUNDS}")
                turn = {str(entrant): self.course(entrant, TURN, number)["pace"] for entrant in entrants}
                self.turns.append(turn)
            self.keep()
        return {entrant: [turn[str(entrant)] for turn in self.turns] for entrant in entrants}

    def course(self, entrant: Entrant, steps: int, seed: int) -> dict:
        with EngineProcess(entrant.engine, self.threads) as engine:
            return engine.ask("course", recipe=RECIPES[entrant.recipe], text=self.text, steps=steps, seed=seed)

    def run(self, entrant: Entrant, steps: int, seed: int) -> dict:
        """Return the entrant, steps, seed and loss of a run, which is kept if it has been run before."""
        what = asdict(entrant) | {"steps": steps, "seed": seed}
        for known in self.runs:
            if known.items() >= what.items():
                return known
        found = what | {"loss": self.course(entrant, steps, seed)["loss"]}
        self.say(f"{entrant}: loss {found['loss']:.3f} after {steps:,} steps (seed {seed})")
        self.runs.append(found)
        self.keep()
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
        paces = {entrant: median(turns) for entrant, turns in self.paces(entrants).items()}
        first = paces[entrants[0]]
        return self.after({entrant: round(steps * first / pace) for entrant, pace in paces.items()}, seeds)

    def to_loss(self, entrants: list[Entrant], loss: float, steps: int, seeds: int) -> dict:
        """Find the lengths up to `steps`. A recipe that does not reach the loss has runs of `steps` steps."""
        lengths = [*(length for length in LENGTHS if length < steps), steps]
        least = {
            recipe: lengths[self.least(Entrant(recipe), lengths, loss, seeds)]
            for recipe in dict.fromkeys(entrant.recipe for entrant in entrants)
        }
        return self.after({entrant: least[entrant.recipe] for entrant in entrants}, seeds)

    def least(self, entrant: Entrant, lengths: list[int], loss: float, seeds: int) -> int:
        """Return the index of the least length that reaches the loss, or of the last length.

        A longer run has a lower loss. The length is doubled until the first seed reaches the loss, and then found by
        halving. From there on, the mean over all seeds decides.
        """

        def is_reached(index: int, seeds: int = 1) -> bool:
            return mean(self.run(entrant, lengths[index], seed)["loss"] for seed in range(seeds)) <= loss

        low, high = 0, 0  # all before `low` do not reach it
        while high < len(lengths) - 1 and not is_reached(high):
            low = high + 1
            high = max(low, bisect_right(lengths, 2 * lengths[high]) - 1)
        found = low + bisect_left(range(low, high), True, key=is_reached)
        while found < len(lengths) - 1 and not is_reached(found, seeds):
            found += 1
        return found


def rows_of(found: dict, paces: dict) -> list[list[str]]:
    """Return the cells below HEADER. Losses are means with 95 % intervals, and times are paired by rounds."""
    times = {entrant: [[runs[0]["steps"] * pace] for pace in paces[entrant]] for entrant, runs in found.items()}
    first, *_ = times.values()
    rows = []
    for entrant, runs in found.items():
        losses = [run["loss"] for run in runs]
        share = paired_ratio(first, times[entrant])
        loss = f"{mean(losses):.3f}"
        if len(runs) > 1:
            loss += f" ± {student(len(runs) - 1) * stdev(losses) / len(runs) ** 0.5:.3f}"
        ratio = f"{share['ratio']:.2f} ({share['low']:.2f} – {share['high']:.2f})"
        steps, pace = runs[0]["steps"], median(paces[entrant])
        rows.append([str(entrant), f"{steps:,}", f"{1000 * pace:.1f}", f"{steps * pace:.1f}", loss, ratio])
    return rows


def page_of(found: dict, paces: dict) -> str:
    """Return the table in Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *rows_of(found, paces)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
