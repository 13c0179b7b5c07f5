"""Further cases: mistakes of gradcheck/mistakes made in the right functions."""

import functools
import inspect
from collections import Counter

import numpy as np

from gradcheck.audit.mutations import mutate
from gradcheck.museum.exhibit import Case, as_tuple

NUMBER, MOST = 78, 5  # number of variants, and largest number of those of one kind


def variants(rights):
    """Return NUMBER cases, at most one for each case in `rights`.

    A case has a mistake of the table that changes a gradient. Kinds of mistakes that few other cases have are
    preferred.
    """
    mutants, kinds, cases = functools.cache(mutate), Counter(), {}
    for right in rights:
        name = f"{right.function.__name__}.<locals>.backward"
        own = [m for m in mutants(inspect.getsourcefile(right.function)) if m.function == name and m not in cases]
        for mutant in sorted(own, key=lambda mutant: kinds[mutant.kind]):
            case = _case(right, mutant)
            if kinds[mutant.kind] < MOST and _differs(case):
                kinds[mutant.kind] += 1
                cases[mutant] = case
                break
    return list(cases.values())[:NUMBER]


def _case(right, mutant):
    lines, first = inspect.getsourcelines(right.function)
    before, after = (text.splitlines()[first - 1 :][: len(lines)] for text in (mutant.source, mutant.mutated_source))
    listed = []
    for old, new in zip(before, after, strict=True):
        listed += [(" ", old)] if old == new else [("−", new), ("+", old)]
    start = next(i for i, (_, line) in enumerate(listed) if line.startswith("def "))
    place = right.inputs, right.options
    return Case(right.function, f"{right.name}: {mutant.kind}", place, listed[start:], words=mutant.kind)


def _differs(case):
    """Return True if the wrong version returns other gradients of the right shape."""
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
