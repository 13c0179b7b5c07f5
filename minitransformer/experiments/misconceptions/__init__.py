"""Misconceptions, tested: each belief about language models as an experiment of two minutes, predicted first.

    form.py      what each says before it is run, and the interval of what it measures      Experiment
    panels.py    curves and bars, with their intervals
    reader.py    a small model that has read the Python manual in tokens                    reader
    running.py   each once for each seed, kept as it is measured                            measure_all
    report.py    what came out, in words and in numbers                                     Result

and a file for each belief, whose docstring is the text that readers see.
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
    """Return the Experiment of a name, one of NAMES."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT


def experiments() -> list:
    """Return every Experiment, in the order in which they are shown."""
    return [experiment(name) for name in NAMES]
