"""The comparison of engines, in rounds with new processes. In a round, the engines take turns.

A round starts each engine in a process with the same weights and batches, and requires that the losses of the first
steps are equal. Then the engines take turns at training steps, decoding and, at some sizes, a long prompt. The peak of
memory and the limits of the machine are measured last, without turns.

Let a training step with B sequences of T tokens take t seconds and require W FLOP in matrix products. Let decoding a
token require R bytes of weights and cached keys and values. Let the limits of the machine be P FLOP/s and M bytes/s.
Then

    tokens per second = B · T / t                   (1)
    of peak = W / (t · P)                           (2)
    of bandwidth = R · (decoded tokens per second) / M      (3)

W includes masked scores, but not recomputed activations (see Transformer.flops_per_token).
"""

import contextlib
import math
import time
from dataclasses import asdict
from statistics import median

from minitransformer.bench.estimates import paired_ratio, summary
from minitransformer.bench.worker import EngineError, EngineProcess

TURNS = 3
SETTLE = 0.25  # seconds between turns, in which the threads of the previous engine become idle
DECODING_SHARE = 0.25  # duration of a turn of decoding relative to a turn of training steps
TOLERANCE = 1e-4  # relative difference of the first losses, in float32
TIMED = {"steps": "step", "decode": "decode", "prompt": "prompt"}  # {question of a turn: its name in the results}


def measure_size(size, engines, *, threads: int, rounds: int, seconds: float, progress) -> dict:
    """Measure the engines at one size. The first engine must be one of this package.

    In each turn, an engine takes training steps for `seconds`. `progress(words)` is called to report the progress.
    Returns {"rounds": [{engine: {question: answer}}, …], "facts", "versions"}. If a question is asked in turns, the
    answer is a list with an item per turn. Raises EngineError if a process fails, or if the losses of an engine differ
    from the losses of the first engine.
    """
    measured = {"rounds": [], "versions": {}}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}: starting {', '.join(engines)}")
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(EngineProcess(name, threads)) for name in engines}
            prepared = {name: engine.ask("prepare", size=size) for name, engine in running.items()}
            require_equal_losses({name: answer["losses"] for name, answer in prepared.items()})
            for answer in prepared.values():
                measured["versions"] |= answer["versions"]
            measured["facts"] = running[engines[0]].ask("facts")
            measured["rounds"].append(measure_round(running, size, number, seconds, progress))
    return measured


def measure_round(running: dict, size, number: int, seconds: float, progress) -> dict:
    answers, names = {name: {} for name in running}, list(running)

    def in_turns(question, **arguments):
        for turn in range(TURNS):
            begin = (number + turn) % len(names)  # a different engine begins each turn
            for name in names[begin:] + names[:begin]:
                time.sleep(SETTLE)
                answers[name].setdefault(question, []).append(running[name].ask(question, **arguments))

    progress("  training steps")
    in_turns("steps", seconds=seconds)
    progress("  decoding")
    in_turns("decode", seconds=seconds * DECODING_SHARE)
    if size.prompt is not None:
        progress(f"  a prompt of {size.prompt} tokens")
        in_turns("prompt")
    progress("  memory, limits of the machine")
    for name, engine in running.items():
        time.sleep(SETTLE)
        answers[name] |= {question: engine.ask(question) for question in ("memory", "limits")}
    return answers


def require_equal_losses(losses: dict) -> None:
    first, *others = losses
    for name in others:
        for theirs, ours in zip(losses[name], losses[first], strict=True):
            if not math.isclose(theirs, ours, rel_tol=TOLERANCE):
                raise EngineError(
                    f"{name} computes the loss {theirs:.6g}, but {first} computes {ours:.6g}: the models differ"
                )


def collect(raw: dict, sizes: dict) -> dict:
    """Combine the results of measure_size for each size into JSON-serializable results."""
    answers = [answer for measured in raw.values() for of_round in measured["rounds"] for answer in of_round.values()]
    limits = {kind: max(answer["limits"][kind] for answer in answers) for kind in ("flops", "bandwidth")}
    results = {"limits": limits, "versions": {}, "sizes": {}}
    for name, measured in raw.items():
        results["versions"] |= measured["versions"]
        engines = {engine: [of_round[engine] for of_round in measured["rounds"]] for engine in measured["rounds"][0]}
        first, *others = engines
        facts = asdict(sizes[name]) | measured["facts"]
        results["sizes"][name] = facts | {
            "engines": {engine: engine_results(engines[engine], facts, limits) for engine in engines},
            "ratios": {engine: ratios(engines[first], engines[engine]) for engine in others},
        }
    return results


def engine_results(answers: list, facts: dict, limits: dict) -> dict:
    """Combine the answers of one engine at one size. `answers` contains a dictionary for each round."""
    result = {
        name: summary([seconds for answer in answers for turn in answer[question] for seconds in turn])
        for question, name in TIMED.items()
        if question in answers[0]
    }
    seconds = result["step"]["median"]
    result |= {
        "turns": turn_medians(answers, "steps"),
        "tokens_per_second": facts["batch"] * facts["length"] / seconds,  # (1)
        "memory": known_median([answer["memory"] for answer in answers]),
        "of_peak": facts["flops"] / (seconds * limits["flops"]),  # (2)
    }
    per_second = 1 / result["decode"]["median"]
    of_bandwidth = facts["bytes_per_token"] * per_second / limits["bandwidth"]  # (3)
    result["decode"] |= {"tokens_per_second": per_second, "of_bandwidth": of_bandwidth}
    return result


def ratios(ours: list, theirs: list) -> dict:
    """Return the ratios theirs / ours of the times, paired by turns, and of the median memory."""
    found = {
        name: paired_ratio(turn_medians(ours, question), turn_medians(theirs, question))
        for question, name in TIMED.items()
        if question in theirs[0]
    }
    memory = [known_median([answer["memory"] for answer in answers]) for answers in (theirs, ours)]
    return found | {"memory": memory[0] / memory[1] if all(memory) else None}


def turn_medians(answers: list, question: str) -> list[list[float]]:
    return [[median(turn) for turn in answer[question]] for answer in answers]


def known_median(values: list):
    return None if None in values else median(values)
