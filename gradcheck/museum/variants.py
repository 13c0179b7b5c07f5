"""Further cases: mistakes of the table in gradcheck/mistakes, made in the right functions of the corpus."""

import inspect
import re
from collections import Counter

import numpy as np

from gradcheck.audit import mutate
from gradcheck.museum.exhibit import Case, as_tuple

MOST = 4  # largest number of Cases of one kind


def variants(rights):
    """Return a list with at most one Case for each Right: a mistake of the table that changes a gradient.

    Kinds of mistakes that few other Cases have are preferred.
    """
    kinds, cases, mutants = Counter(), [], {}
    for right in rights:
        file = inspect.getsourcefile(right.function)
        if file not in mutants:
            mutants[file] = mutate(file)
        name, lines = f"{right.function.__name__}.<locals>.backward", inspect.getsourcelines(right.function)
        own = [m for m in mutants[file] if m.function == name and kinds[m.kind] < MOST]
        for mutant in sorted(own, key=lambda mutant: kinds[mutant.kind]):
            case = _case(right, mutant, *lines)
            if _differs(case):
                kinds[mutant.kind] += 1
                cases.append(case)
                break
    return cases


def _case(right, mutant, lines, first):
    before, after = (text.splitlines()[first - 1 :][: len(lines)] for text in (mutant.source, mutant.mutated_source))
    listed = []
    for old, new in zip(before, after, strict=True):
        both = [re.sub(" *# wrong: .*", "", line) for line in (old, new)]
        listed += [(" ", both[0])] if both[0] == both[1] else [("−", both[1]), ("+", both[0])]
    start = next(i for i, (_, line) in enumerate(listed) if line.startswith("def "))
    return Case(right, f"{right.name}: {mutant.kind}", "", listed[start:], mutant.kind)


def _differs(case):
    """Return True if the wrong version returns a wrong gradient of the right shape without an exception."""
    inputs, options = case.draw(np.random.default_rng(0))
    with np.errstate(all="ignore"):
        try:
            found = []
            for wrong in (True, False):
                y, backward = case.version(wrong)(*inputs, **options)
                dy = np.random.default_rng(1).standard_normal(np.shape(y))
                found.append(as_tuple(backward(dy if np.ndim(y) else float(dy))))
            pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(*found, strict=True)]
            if any(a.shape != b.shape or not np.isfinite(a).all() for a, b in pairs):
                return False
            return any(np.linalg.norm(a - b) > 1e-3 * np.linalg.norm(b) for a, b in pairs)
        except Exception:
            return False
