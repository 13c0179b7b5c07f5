"""A plan and its run: train one model with one seed, and measure it after 1/8, 1/4, 1/2 and all of the steps.

The loss after a number of tokens requires a run of this length, because the learning rate of a longer run has not
decayed yet (Hoffmann et al., 2022). Therefore the rate stays constant after the warm-up. For a run of length m, a copy
of the model branches off at 0.8 m and takes the last 0.2 m steps with a rate that falls linearly to 0, while the
original continues (Hägele et al., 2024):

    rate   ┌────────────────────────┐     the run of length S
          /        ╲       ╲         ╲
         /          ╲       ╲         ╲   its branches end as runs of length S/4, S/2, …
         └──────────┴───────┴─────────┴── steps

Two settings must change with the width, because otherwise some models of the family do not train. The first is the
initial standard deviation: 1/√(number of inputs) for a matrix, divided by √(2L) as in GPT-2 if the matrix writes to the
stream, and 1/√C for a table. The second is the learning rate, 0.25/C, but at most 0.02 (Yang et al., 2021). Both were
chosen with a few runs of widths 8, 24 and 64, and the results depend on them.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import CONTEXT
from minitransformer.experiments.emergence.capabilities import Capability
from minitransformer.experiments.emergence.family import n_parameters
from minitransformer.experiments.emergence.prose import text_batch, text_fingerprint, text_loss
from minitransformer.optim import AdamW, decay_groups
from minitransformer.system.version import __version__
from minitransformer.training import fit
from minitransformer.training.environment import environment
from minitransformer.transformer import INITIAL_STD, Transformer

RUNS_FOLDER = "runs"  # name of the folder with the results of the runs

RECIPE = {
    "text_rows": 14,  # windows of text per batch
    "exercise_rows": 50,  # exercises per batch, shared equally by the capabilities
    "lengths": [1 / 8, 1 / 4, 1 / 2, 1],  # fractions of the run after which it is measured
    "cooldown": 0.2,  # fraction of a length
    "warmup": 0.04,  # fraction of the longest length
    "lr_times_width": 0.25,
    "highest_lr": 0.02,
    "betas": [0.9, 0.98],
    "weight_decay": 0.1,
    "clip": 1.0,
}


@dataclass(frozen=True)
class Plan:
    """The settings that determine the results of a run."""

    config: Config
    seed: int  # determines the weights and the batches
    steps: int  # length of the whole run; at least 8
    capabilities: tuple[Capability, ...]  # trained and tested

    @property
    def name(self) -> str:
        return f"{self.config.n_layers}x{self.config.d_model}, seed {self.seed}"

    def description(self) -> dict:
        return {
            "version": __version__,
            "config": self.config.to_dict(),
            "seed": self.seed,
            "steps": self.steps,
            "recipe": RECIPE,
            "text": text_fingerprint(),
            "capabilities": [[capability.name, capability.fingerprint()] for capability in self.capabilities],
        }

    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()[:16]

    def lengths(self) -> list[int]:
        return [round(fraction * self.steps) for fraction in RECIPE["lengths"]]

    def run(self) -> dict:
        """Train and measure one model. Return a JSON-serializable dictionary of results.

        The entry "lengths" contains a dictionary for each length, with the keys "steps", "characters" (D), "loss" (of
        the text, in nats per character) and "scores" (a dictionary of Capability.scores for each capability).
        """
        start = time.perf_counter()
        trainee, measured = Trainee(self), []
        for steps in self.lengths():
            model = trainee.branch(steps)
            scores = {capability.name: capability.scores(model) for capability in self.capabilities}
            characters = steps * RECIPE["text_rows"] * CONTEXT
            measured.append({"steps": steps, "characters": characters, "loss": text_loss(model), "scores": scores})
        return {
            "key": self.key(),
            "name": self.name,
            "plan": self.description(),
            "parameters": trainee.model.n_parameters(),
            "lengths": measured,
            "seconds": round(time.perf_counter() - start, 3),
            "environment": environment(),
        }

    def accepts(self, run: dict) -> bool:
        return run["key"] == self.key() and len(run["lengths"]) == len(self.lengths())

    def seconds(self) -> float:
        flops = 6 * n_parameters(self.config) * (RECIPE["text_rows"] + RECIPE["exercise_rows"]) * CONTEXT
        return self.steps * (2e-3 + 1.5e-3 * self.config.n_layers + flops / 50e9)  # on one core, approximately


class Trainee:
    """A model in training, with its optimizer and random generator. A deep copy continues independently."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.model = rescaled(Transformer(plan.config, plan.seed))
        self.optimizer = AdamW(decay_groups(self.model, RECIPE["weight_decay"]), betas=tuple(RECIPE["betas"]))
        self.rng = np.random.default_rng((plan.seed, 1))  # separate from the generator of the weights
        self.step = 0
        self.lr = min(RECIPE["highest_lr"], RECIPE["lr_times_width"] / plan.config.d_model)

    def branch(self, length: int):
        """Train to the step at which a run of this length branches off. Return the model at the end of the branch."""
        warmup = int(RECIPE["warmup"] * self.plan.steps)
        steps = max(round(RECIPE["cooldown"] * length), 1)
        self.train(length - steps, lambda step: min(1.0, (step + 1) / (warmup + 1)))
        trainee = copy.deepcopy(self)
        trainee.train(length, lambda step: (length - step) / steps)
        return trainee.model

    def train(self, end: int, fraction: Callable[[int], float]) -> None:
        """Train up to step `end`. `fraction(step)` is the learning rate relative to the highest one."""
        batches = ([batch(self.rng, self.plan.capabilities)] for _ in count())
        options = {"first": self.step, "lr": lambda step: self.lr * fraction(step), "clip": RECIPE["clip"]}
        fit(self.model, batches, self.optimizer, end, **options)
        self.step = end


def rescaled(model):
    """Scale the weights of a new model so that the scale of the activations does not depend on the width."""
    for name, parameter in model.named_parameters():
        if parameter.data.ndim == 2:
            inputs = parameter.data.shape[0] if name.startswith("blocks.") else model.config.d_model
            parameter.data *= 1 / (INITIAL_STD * math.sqrt(inputs))
    return model


def batch(rng, capabilities):
    each = max(RECIPE["exercise_rows"] // len(capabilities), 1)
    parts = [text_batch(rng, RECIPE["text_rows"])]
    parts += [capability.training_batch(rng, each) for capability in capabilities]
    inputs, targets = zip(*parts, strict=True)
    return np.concatenate(inputs), np.concatenate(targets)


def trained(plan: Plan):
    return Trainee(plan).branch(plan.steps)
