"""Experiments that test thirteen beliefs about language models. README.md lists the files."""

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
    "rewarded",
    "weight-decay",
    "long-context",
)


def experiment(name: str):
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").EXPERIMENT


def experiments() -> list:
    return [experiment(name) for name in NAMES]
