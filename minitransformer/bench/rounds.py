"""The whole measurement of one size: rounds of new processes, and within each, turns.

A round:

1. Each engine starts in a process of its own, with the same weights. The losses of the first steps must agree.
2. Training steps: TURNS turns, in each of which every engine takes steps for some seconds, one engine after the
   other. Who begins changes from turn to turn.
3. Decoding, in turns likewise, and the long prompt where the size has one.
4. What needs no pair: the peak of memory, the time in matrix products, and what the machine can do.
"""

import contextlib
import math
import time

from minitransformer.bench.process import EngineError, EngineProcess
from minitransformer.bench.worker import BARE, ENGINE, OURS

TURNS = 3
SETTLE = 0.25  # seconds between turns, for the threads of the engine before to fall asleep
DECODING_SHARE = 0.25  # of the seconds of a turn of training steps
TOLERANCE = 1e-4  # of the first losses, in float32
ALSO_DECODING = (*BARE, "torch")  # beside the first engine; the others decode as one of these does


def measure_size(size, engines, *, threads: int, rounds: int, seconds: float, progress) -> dict:
    """Measure the engines, the first of which is of this package, at one size.

    seconds: of training steps in each turn of each engine. progress: called as progress(words) now and then. Returns
    {"rounds": [{engine: answers}, …], "facts", "versions"}, with the answers of worker.Worker by question; those
    given in turns are lists. Raises EngineError where a process fails or an engine computes another loss than the
    first.
    """
    raw = {"rounds": [], "facts": None, "versions": {}}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}: starting {', '.join(engines)}")
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(EngineProcess(name, threads)) for name in engines}
            prepared = {name: engine.ask("prepare", size=size.to_dict()) for name, engine in running.items()}
            require_equal_losses({name: answer["losses"] for name, answer in prepared.items()})
            for answer in prepared.values():
                raw["versions"].update(answer["versions"])
            raw["facts"] = running[engines[0]].ask("facts")
            raw["rounds"].append(measure_round(running, size, number, seconds, progress))
    return raw


def measure_round(running: dict, size, number: int, seconds: float, progress) -> dict:
    """Return {engine: answers} of one round with these running engines."""
    first = next(iter(running))
    decoding = {name: engine for name, engine in running.items() if name == first or name in ALSO_DECODING}
    if first == OURS:
        decoding.pop(ENGINE, None)  # which decodes as that does
    progress("  training steps")
    answers = {name: {"steps": turns} for name, turns in in_turns(running, number, "steps", seconds=seconds).items()}
    progress("  decoding")
    for name, turns in in_turns(decoding, number, "decode", seconds=seconds * DECODING_SHARE).items():
        answers[name]["decode"] = turns
        answers[name]["token"] = running[name].ask("token")
    if size.prompt is not None:
        progress(f"  a prompt of {size.prompt} tokens")
        for name, turns in in_turns(decoding, number, "prompt").items():
            answers[name]["prompt"] = turns
    progress("  memory, matrix products, what the machine can do")
    for name, engine in running.items():
        time.sleep(SETTLE)
        answers[name] |= {question: engine.ask(question) for question in ("memory", "products", "limits")}
    return answers


def in_turns(running: dict, number: int, question: str, **arguments) -> dict:
    """Ask every engine TURNS times, alternating. Returns {engine: list of answers}."""
    answers = {name: [] for name in running}
    for turn in range(TURNS):
        for name in rotated(list(running), number + turn):
            time.sleep(SETTLE)
            answers[name].append(running[name].ask(question, **arguments))
    return answers


def rotated(names: list, by: int) -> list:
    """Return the names beginning with another one, so that each is first as often as the others, but for one."""
    by %= len(names)
    return names[by:] + names[:by]


def require_equal_losses(losses: dict) -> None:
    """Raise EngineError unless all engines agree with the first on the losses: else they train different models."""
    first, *others = losses
    for name in others:
        for theirs, ours in zip(losses[name], losses[first], strict=True):
            if not math.isclose(theirs, ours, rel_tol=TOLERANCE):
                raise EngineError(f"{name} computes a loss of {theirs:.6g} and {first} {ours:.6g}: not the same model")
