"""Train models of several sizes, and report which abilities appear as the models grow, and how suddenly.

    report = analyze_emergent_capabilities([1_000, 10_000, 100_000], ["copy", "reverse"], out="runs/scale")
    print(report)

Every model trains on the same text and on the exercises of all capabilities, for the same number of steps.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.forecast import forecast
from minitransformer.experiments.emergence.jumps import find_jumps, interval, resampled_means
from minitransformer.experiments.emergence.plan import RUNS_FOLDER, Plan
from minitransformer.experiments.emergence.report import REPORT_FILE, Curve, EmergenceReport, Shape
from minitransformer.experiments.sweep import sweep
from minitransformer.system.files import write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.validation import check_int, number, one_of
from minitransformer.training.settings import ENDLESS_STEPS

STEPS = 600
SEEDS = (0, 1, 2)
FEWEST_STEPS = 8
EQUAL = 1.15  # largest ratio of the numbers of parameters of two shapes that are compared


def analyze_emergent_capabilities(
    model_sizes: Iterable[int],
    capability_tests: Iterable[str] = tuple(CAPABILITIES),
    *,
    shapes: Iterable[Config] = (),
    seeds: Iterable[int] = SEEDS,
    steps: int = STEPS,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[..., object] | None = None,
) -> EmergenceReport:
    """Train models of several sizes, and report at which sizes abilities appear.

    model_sizes         approximate numbers of parameters
    capability_tests    names in CAPABILITIES
    shapes              Configs of family.of_size with nearly equal numbers of parameters, to compare deeper with wider
                        models
    seeds               one run of each model per seed; intervals require at least 2
    steps               number of steps of each run, at least 8
    workers, progress   as in `sweep` of ../sweep.py
    out                 folder for the finished runs and the report, emergence.json; an interrupted sweep continues
                        from it. Without a folder, no files are written

    The same arguments give the same numbers, up to rounding, with any number of workers, and also after an
    interruption. Raises TypeError or ValueError before the training if an argument is invalid, ValueError if no model
    could be trained, and the exceptions of `sweep`.
    """
    sizes, shapes = list(dict.fromkeys(map(of_size, model_sizes))), list(dict.fromkeys(shapes))
    names = [one_of("capability_tests: test", name, known=CAPABILITIES) for name in capability_tests]
    check_different("capability_tests", "test", names)
    capabilities = tuple(CAPABILITIES[name] for name in names)
    seeds = [check_int("seeds: each", seed, minimum=0) for seed in seeds]
    check_different("seeds", "seed", seeds)
    if not sizes:
        raise ValueError("model_sizes must contain at least one size, but it is empty")
    steps = check_int("steps", steps, minimum=FEWEST_STEPS, maximum=ENDLESS_STEPS)
    parameters = [n_parameters(config) for config in shapes]
    if parameters:
        number(f"shapes: the ratio of the sizes {parameters}", max(parameters) / min(parameters), maximum=EQUAL)
    by_size, by_shape = (
        [[Plan(config, seed, steps, capabilities) for seed in seeds] for config in configs]
        for configs in (sizes, shapes)
    )
    plans = [plan for several in by_size + by_shape for plan in several]
    folder = None if out is None else Path(out) / RUNS_FOLDER
    with at_work_in(out):
        runs, failures = sweep(plans, workers=workers, folder=folder, progress=progress)
        groups = ([[runs[p.key()] for p in ps if p.key() in runs] for ps in group] for group in (by_size, by_shape))
        failed = {f"{plan.name} ({plan.key()})": failures[plan.key()] for plan in plans if plan.key() in failures}
        report = make_report(*groups, capabilities, failed)
        if out is not None:
            write_json(Path(out) / REPORT_FILE, report.to_dict())
    return report


def check_different(name: str, kind: str, values: list) -> None:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must contain at least one {kind}, each only once, not {values}")


def make_report(by_size, by_shape, capabilities, failures) -> EmergenceReport:
    by_size = sorted((runs for runs in by_size if runs), key=lambda runs: runs[0]["parameters"])
    by_shape = [runs for runs in by_shape if runs]
    if not by_size:
        raise ValueError(f"no model could be trained; the first failure is {': '.join(next(iter(failures.items())))}")
    law, reason = forecast(by_size)
    parameters = [runs[0]["parameters"] for runs in by_size]
    means, resamples = resampled_means([scores_of(runs, capabilities) for runs in by_size], np.random.default_rng(0))
    ends = interval(resamples)
    curves = []
    for i, capability in enumerate(capabilities):
        exact, loglik = ((means[:, i, k], resamples[:, :, i, k]) for k in (0, 1))
        jumps = find_jumps(parameters, exact, loglik, list(map(len, by_size)), capability.chance)
        curves.append(Curve(capability.name, *means[:, i].T, ends[:, i, 0], ends[:, i, 1], jumps))
    return EmergenceReport(
        names=tuple(runs[0]["name"].partition(",")[0] for runs in by_size),
        parameters=tuple(parameters),
        curves=tuple(curves),
        law=law,
        no_law=reason,
        shapes=compared(by_shape, capabilities) if by_shape else (),
        runs=tuple({run["key"]: run for runs in by_size + by_shape for run in runs}.values()),
        failures=failures,
    )


def scores_of(runs, capabilities):
    last = [[run["lengths"][-1]["scores"][capability.name] for capability in capabilities] for run in runs]
    return np.array([[[score[name] for name in ("exact", "loglik", "seen")] for score in scores] for scores in last])


def compared(by_shape, capabilities) -> tuple[Shape, ...]:
    exact = [scores_of(runs, capabilities)[..., 0] for runs in by_shape]
    losses = [[[run["lengths"][-1]["loss"]] for run in runs] for runs in by_shape]
    means, resamples = resampled_means(list(map(np.hstack, zip(losses, exact, strict=True))), np.random.default_rng(0))
    shapes = []
    for runs, values, ends in zip(by_shape, means, interval(resamples), strict=True):
        config, parameters = runs[0]["plan"]["config"], runs[0]["parameters"]
        loss, *scores = [(value, *end) for value, end in zip(values, ends, strict=True)]
        scores = dict(zip((capability.name for capability in capabilities), scores, strict=True))
        seconds = float(np.mean([run["seconds"] for run in runs]))
        shapes.append(Shape(config["n_layers"], config["d_model"], parameters, loss, scores, seconds))
    return tuple(sorted(shapes, key=lambda shape: shape.n_layers))
