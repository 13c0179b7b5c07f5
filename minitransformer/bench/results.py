"""From answers to results: what was measured in rounds and turns, as the few numbers that a table shows.

For an engine whose step takes t seconds, of which p in matrix products, at a size whose products come to W FLOP per
step, on a machine whose fastest product ran at P FLOP/s:

    tokens per second = B · T / t                   (1)
    of which in products = p / t                    (2)
    of peak = W / (t · P)                           (3)

W counts what the model needs (Transformer.flops_per_token), not what an engine does: masked scores count, activations
computed twice do not. For decoding, with R bytes of weights and of cached keys and values to read for a token, and a
memory that is read at M bytes/s:

    of bandwidth = R · (tokens per second) / M      (4)
"""

from dataclasses import asdict
from statistics import median

from minitransformer.bench.load import QUIET
from minitransformer.bench.pairing import Summary, paired_ratio


def collect(raw: dict, sizes: dict) -> dict:
    """Return the results of a run, as JSON can hold them, from {name of a size: what rounds.measure_size returned}."""
    limits = machine_limits(raw.values())
    return {
        "limits": limits,
        "load": load_of(raw.values()),
        "versions": {name: version for measured in raw.values() for name, version in measured["versions"].items()},
        "sizes": {name: size_results(measured, sizes[name], limits) for name, measured in raw.items()},
    }


def size_results(raw: dict, size, limits: dict) -> dict:
    """Return the results of one size."""
    first, *others = engines = list(raw["rounds"][0])
    return {
        **size.to_dict(),
        **raw["facts"],
        "engines": {name: of_engine(raw, name, size, limits) for name in engines},
        "ratios": {name: ratios(raw, first, name) for name in others},
    }


def of_engine(raw: dict, name: str, size, limits: dict) -> dict:
    """Return the results of one engine at one size."""
    answers = [of_round[name] for of_round in raw["rounds"]]
    step = Summary.of(times(answers, "steps"))
    result = {
        "step": asdict(step),
        "turns": turn_medians(answers, "steps"),
        "tokens_per_second": size.tokens / step.median,  # (1)
        "memory": middle([answer["memory"] for answer in answers]),
        "cores": cores(answers),
        "products": middle([answer["products"] and answer["products"]["share"] for answer in answers]),  # (2)
        "product_flops": middle([answer["products"] and answer["products"]["flops"] for answer in answers]),
        "of_peak": raw["facts"]["flops"] / (step.median * limits["flops"]),  # (3)
    }
    if "decode" in answers[0]:
        token = Summary.of(times(answers, "decode"))
        of_bandwidth = raw["facts"]["bytes_per_token"] / (token.median * limits["bandwidth"])  # (4)
        result["decode"] = asdict(token) | {"tokens_per_second": 1 / token.median, "of_bandwidth": of_bandwidth}
        result["decode"]["products"] = middle([answer["token"] for answer in answers])
    if "prompt" in answers[0]:
        result["prompt"] = asdict(Summary.of(times(answers, "prompt")))
    return result


def ratios(raw: dict, first: str, name: str) -> dict:
    """Return an engine's over those of the first: of times in pairs, of memory by the medians."""
    ours, theirs = ([of_round[engine] for of_round in raw["rounds"]] for engine in (first, name))
    by_question = {
        question if question != "steps" else "step": asdict(
            paired_ratio(turn_medians(ours, question), turn_medians(theirs, question))
        )
        for question in ("steps", "decode", "prompt")
        if question in theirs[0]
    }
    memory = [middle([answer["memory"] for answer in answers]) for answers in (theirs, ours)]
    by_question["memory"] = memory[0] / memory[1] if all(memory) else None
    return by_question


def cores(answers: list) -> float:
    """Return how many cores the engine kept busy during its turns of training steps, each weighed by its length."""
    loads = [turn["load"] for answer in answers for turn in answer["steps"]]
    return sum(load["cores"] * load["seconds"] for load in loads) / sum(load["seconds"] for load in loads)


def times(answers: list, question: str) -> list[float]:
    """Return every time of every turn of every round."""
    return [seconds for answer in answers for turn in answer[question] for seconds in turn["times"]]


def turn_medians(answers: list, question: str) -> list[list[float]]:
    """Return the median time of each turn, in a list for each round."""
    return [[median(turn["times"]) for turn in answer[question]] for answer in answers]


def middle(values: list):
    """Return the median of what was measured; None where something was not."""
    return None if None in values else median(values)


def machine_limits(raws) -> dict:
    """Return the best that any process of the run reached, in FLOP/s and bytes/s."""
    all_limits = [answers["limits"] for raw in raws for of_round in raw["rounds"] for answers in of_round.values()]
    return {kind: max(limits[kind] for limits in all_limits) for kind in ("flops", "bandwidth")}


def load_of(raws) -> dict:
    """Return what other processes used during the turns."""
    loads = [
        turn["load"]
        for raw in raws
        for of_round in raw["rounds"]
        for answers in of_round.values()
        for question in ("steps", "decode", "prompt")
        for turn in answers.get(question, [])
    ]
    return summed_load(loads)


def summed_load(loads: list) -> dict:
    """Return the mean and greatest number of cores that others used, and how many of the turns were disturbed by it.

    The mean weighs each turn by its length; mean and greatest are None where the system does not say. Turns of less
    than half a second are left out, unless there are no others: in them, a hundredth of a second weighs too much.
    """
    long_enough = [load for load in loads if load["seconds"] >= 0.5] or loads
    known = [load for load in long_enough if load["others"] is not None]
    if not known:
        return {"mean": None, "greatest": None, "disturbed": None, "turns": len(loads)}
    elapsed = sum(load["seconds"] for load in known)
    return {
        "mean": sum(load["others"] * load["seconds"] for load in known) / elapsed,
        "greatest": max(load["others"] for load in known),
        "disturbed": sum(load["others"] > QUIET for load in known),
        "turns": len(known),
    }
