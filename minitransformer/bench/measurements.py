"""The three measurements of `bench`: the comparison of engines, the profile of a step, and the growth of costs.

Each returns (JSON-serializable results, lines to print, name of the file for the results, function that draws the
picture or None).
"""

import platform
from dataclasses import asdict

from minitransformer.bench import pictures, report
from minitransformer.bench.comparison import collect, measure_size
from minitransformer.bench.estimates import fit_exponent
from minitransformer.bench.load import summed_load
from minitransformer.bench.process import EngineProcess
from minitransformer.bench.scaling import SERIES, verdict
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import OURS
from minitransformer.system.narrator import Narrator


def compare(settings: dict):
    """Compare the engines at each size."""
    sizes = {name: SIZES[name] for name in settings["sizes"]}
    options = {key: settings[key] for key in ("engines", "threads", "rounds", "seconds")}
    raw = {}
    for name, size in sizes.items():
        raw[name] = measure_size(size, **options, progress=lambda words, name=name: say(name, words))
        say(
            name, report.step_summary(collect({name: raw[name]}, sizes)["sizes"][name])
        )  # now, in case the next size fails
    results = machine(settings) | collect(raw, sizes)
    picture = pictures.draw_ratios if len(settings["engines"]) > 1 else None
    return results, with_machine(results, report.comparison_lines(results)), "bench.json", picture


def profile(settings: dict):
    """Measure the time of each file in a training step at each size."""
    results = machine(settings) | {"profiles": {}, "versions": {}}
    lines = []
    for name in settings["sizes"]:
        say(name, "profile")
        with EngineProcess(OURS, settings["threads"]) as engine:
            results["versions"] |= engine.ask("prepare", size=asdict(SIZES[name]))["versions"]
            results["profiles"][name] = engine.ask("profile", seconds=settings["seconds"])
        lines += [*report.profile_lines(name, results["profiles"][name]), ""]
    results["load"] = summed_load([measured["load"] for measured in results["profiles"].values()])
    return results, with_machine(results, lines[:-1]), "profile.json", None


def scaling(settings: dict):
    """Measure how each cost grows with its size."""
    results = machine(settings) | {"series": {}, "versions": {}}
    loads = []
    for name, series in SERIES.items():
        say("scaling", f"{series.title} against {series.variable}")
        with EngineProcess(OURS, settings["threads"]) as engine:
            answer = engine.ask("growth", name=name, quick=settings["quick"], text=settings["text"])
        fit = fit_exponent(answer["points"])
        results["series"][name] = {
            "points": answer["points"],
            "fit": fit,
            "expected": [series.low, series.high],
            "verdict": verdict(series, fit),
        }
        results["versions"] |= answer["versions"]
        loads.append(answer["load"])
    results["load"] = summed_load(loads)
    return results, with_machine(results, report.scaling_lines(results)), "scaling.json", pictures.draw_scaling


def machine(settings: dict) -> dict:
    """Return the settings together with the processor, the system and the version of Python."""
    return settings | {"processor": processor(), "system": platform.platform(), "python": platform.python_version()}


def with_machine(results: dict, lines: list[str]) -> list[str]:
    """Return the lines, with a description of the machine before them and of its load after them."""
    return [report.machine_line(results), "", *lines, "", *report.load_lines(results["load"])]


def processor() -> str:
    """Return the name of the processor, or only its architecture if the system reports no name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def say(subject: str, words: str) -> None:
    Narrator().say(f"{subject}: {words}")
