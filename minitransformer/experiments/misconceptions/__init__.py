"""Twelve beliefs about language models, each tested by an experiment of at most two minutes.

    form.py      the form of an experiment: text, measurement, picture    Experiment
    models.py    the training loop, and models that have learned to write
    panels.py    curves and bars with their intervals
    running.py   measures the missing seeds in worker processes           measure_all
    report.py    the outcome in words and numbers                         Result

Every other file is one experiment. Its docstring is the text that readers see.
"""

import importlib

NAMES = (
    "understanding",
    "bigger",
    "intentions",
    "training-determines",
    "memorising",
    "attention-explains",
    "leaps",
    "falling-loss",
    "passing-tests",
    "preferred",
    "weight-decay",
    "long-context",
)


def experiment(name: str):
    """Return the Experiment of a name in NAMES."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT


def experiments() -> list:
    """Return every Experiment in the order of NAMES."""
    return [experiment(name) for name in NAMES]
