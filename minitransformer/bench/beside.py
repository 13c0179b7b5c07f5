"""How much slower work becomes beside processes that keep the cores busy, and what its fair share would be.

Of c cores that a process has to itself, N busy processes leave it, as long as everybody is treated alike,

    fair share = (c + N) / c                        (1)

of the time: 1.5, 2 and 3 on two cores with one, two and four beside. Threads or processes that wait for each other take
more, since the slowest of them sets the pace; see crowd.py for what is done about it.

An engine's turn alone comes right before its turns beside others, and is what these are divided by. A turn's time is
the mean, not the median, over what was done in it: waiting comes in lumps.
"""

import contextlib
import os
import subprocess
import sys
import time
from statistics import mean

from minitransformer.bench.pairing import Summary
from minitransformer.bench.process import EngineProcess
from minitransformer.bench.rounds import SETTLE, TURNS

ASKED = {"steps": "training step", "losses": "loss", "decode": "token"}
# It ends with its parent, however that ends: its parent is then another one.
BUSY = "import os, sys\nwhile str(os.getppid()) == sys.argv[1]:\n    pass"


@contextlib.contextmanager
def busy_processes(count: int):
    """Keep `count` processes busy within the block."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            command = [sys.executable, "-c", BUSY, str(os.getpid())]
            process = stack.enter_context(subprocess.Popen(command, start_new_session=True))
            stack.callback(process.kill)
        time.sleep(SETTLE)
        yield


def measure_beside(size, engines, counts, *, threads: int, rounds: int, seconds: float, progress) -> dict:
    """Measure the engines at one size, alone and beside each of `counts` busy processes.

    Returns {"turns": {engine: {question: [{number of busy processes, as text: seconds}, …]}}, "loads", "versions"}:
    of each turn, the mean time of a step or token, that alone under "0"; and how busy the machine was during those.
    """
    turns = {engine: {question: [] for question in ASKED} for engine in engines}
    loads, versions = [], {}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for name in engines:
            with EngineProcess(name, threads) as engine:
                versions |= engine.ask("prepare", size=size.to_dict())["versions"]
                for question, measured in turns[name].items():
                    for _ in range(TURNS):
                        times = {}
                        for count in (0, *counts):
                            with busy_processes(count):
                                answer = engine.ask(question, seconds=seconds)
                            times[str(count)] = mean(answer["times"])
                            loads += [answer["load"]] * (count == 0)
                        measured.append(times)
    return {"turns": turns, "loads": loads, "versions": versions}


def summarized(turns: list[dict], cores: int) -> dict:
    """Return {"alone": seconds, "beside": {number of busy processes: its ratio and fair share}} of some turns.

    A ratio is given by its median over turns, and by what it is at most in 9 of 10 of them.
    """
    beside = {}
    for count in turns[0].keys() - {"0"}:
        ratios = sorted(times[count] / times["0"] for times in turns)
        beside[count] = {
            "ratio": Summary.of(ratios).median,
            "nine_of_ten": ratios[-(-9 * len(ratios) // 10) - 1],
            "fair": (cores + int(count)) / cores,  # (1)
        }
    return {"alone": Summary.of([times["0"] for times in turns]).median, "beside": beside}
