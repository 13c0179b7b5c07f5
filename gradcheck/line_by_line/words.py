"""What is said of a line that is wrong: the first that fits, and fits on other numbers as well."""

import numpy as np

from gradcheck.line_by_line.called import wrong_within
from gradcheck.line_by_line.edits import changes, factors, terms
from gradcheck.line_by_line.paths import instead_words, joined, path_words
from gradcheck.line_by_line.probe import is_real_array
from gradcheck.line_by_line.repairs import Workbench, fitting, scattered, still_fits


def mistakes(look, again, target, *, is_alone):
    """Return [(Event of the line, sentence)] on what may be the mistake that makes a Target wrong, one for each line.

    `again()` returns the Look on other numbers. Where the Target `is_alone`, one line is enough.
    """
    bench = Workbench(look.in_use(), target)
    event, value = target.event, bench.base.value(target)
    site = look.scene.sites[event.site]
    within = wrong_within(bench, site.value if site.value is not None else site.statement)
    if within:
        return [(event, f"the mistake is within {joined(within)}, which the line calls")]
    if value is None or not is_real_array(value):
        return []
    if not np.all(np.isfinite(value)):
        return [(event, f"it is not finite at {np.sum(~np.isfinite(value))} of {np.size(value)} entries")]
    if not np.any(value):
        return [(event, "it is zero")]
    plain = _by(changes, is_alone), scattered, _sentence(path_words)
    for search in (*plain, _by(factors, is_alone), _by(terms, is_alone), _sentence(instead_words), _sentence(_ratio)):
        found = _verified(look, again, target, search(bench))
        if found:
            return found
    return []


def _by(edits, is_alone):
    return lambda bench: list(fitting(bench, edits, is_alone))


def _sentence(words):
    """Return a search that finds a sentence, as a pair of it and the function that finds it again."""

    def search(bench):
        found = words(bench)
        return [(found, words)] if found else []

    return search


def _verified(look, again, target, found):
    """Return [(Event, sentence)] of what was found on one Look and holds on another, of each line the first."""
    if not found:
        return []
    twin = again().in_use().twin_of(target)
    verified = {}
    if twin is not None:
        other = Workbench(again(), twin)
        for candidate in found:
            is_repair = not isinstance(candidate, tuple)
            event, sentence = (candidate.event, candidate.phrase) if is_repair else (target.event, candidate[0])
            if event.key in verified:
                continue
            if still_fits(other, candidate) if is_repair else candidate[1](other) == sentence:
                verified[event.key] = event, sentence
    look.in_use()
    return list(verified.values())


def _ratio(bench):
    """Say that all is off by one factor, if it is."""
    value, truth = bench.base.value(bench.target), bench.found.truths[bench.target]
    factor = float(np.sum(value * truth) / np.sum(truth * truth)) if np.any(truth) else 0.0
    if not factor or not bench.scene.truth.same(value, factor * truth, bench.target.array):
        return ""
    number = round(factor) if factor > 1 else round(1 / factor)
    if number and abs(max(factor, 1 / factor) - number) < 1e-9 * number:
        arguments = bench.scene.run.arguments
        axes = [f"axis {i} of {a.name}" for a in arguments for i, n in enumerate(a.array.shape) if n == number]
        length = f": {number} is the length of {' and of '.join(axes)}" if 0 < len(axes) <= 2 else ""
        return f"it is {number if factor > 1 else f'1/{number}'} × what it should be{length}"
    return f"it is {factor:.6g} × what it should be"
