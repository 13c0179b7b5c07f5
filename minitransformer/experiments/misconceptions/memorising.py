"""The experiment on the belief "Language models only memorise". memorising.md describes it."""

from functools import partial

from minitransformer.experiments.emergence.alphabet import LETTERS
from minitransformer.experiments.emergence.capabilities import CAPABILITIES, Capability, induction_rows, units
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.plan import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment, Panel

PARAMETERS, STEPS = 40_000, 1000
KNOWN, NEW = LETTERS[:18], LETTERS[18:]

REPEATING = Capability("induction", "a repeating sequence", partial(units, symbols=KNOWN), induction_rows)
ADDITION = CAPABILITIES["addition"]
NEW_LETTERS = Capability("new", "a repeating sequence of other letters", partial(units, symbols=NEW), induction_rows)


def measure(seed: int) -> dict:
    model = trained(Plan(of_size(PARAMETERS), seed, STEPS, (REPEATING, ADDITION)))
    repeating, addition, new = (task.scores(model) for task in (REPEATING, ADDITION, NEW_LETTERS))
    found = compared(repeating, addition)
    found["repeating_right"]["new letters"] = new["exact"]
    return found | {"new_letters": share(new["exact"], repeating["seen"])}


def compared(repeating: dict, addition: dict) -> dict:
    scores, found = {"repeating": repeating, "addition": addition}, {}
    for name, score in scores.items():
        found[name] = share(score["exact"], score["seen"])
        found[f"{name}_right"] = {"trained on": score["seen"], "never seen": score["exact"]}
    return found


def share(unseen: float, seen: float) -> float:
    return unseen / seen if seen else 0.0


TITLES = {"repeating_right": "Continuing a repeating sequence", "addition_right": "Adding modulo 17"}
TESTS = ("trained on", "never seen", "new letters")
PANELS = [
    Panel(title, TESTS, y="whole answers right (fraction)", within=name, ylim=(0, 1.05))
    for name, title in TITLES.items()
]
EXPERIMENT = Experiment(measure, PANELS, seconds=40)
