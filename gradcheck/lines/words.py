"""The sentence on a wrong line: the first that fits, and that also fits on other draws."""

import ast
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from gradcheck.lines.called import wrong_within
from gradcheck.lines.paths import instead_words, joined, path_words
from gradcheck.lines.probe import Event, is_real_array
from gradcheck.lines.repairs import (
    MORE_RUNS,
    Repair,
    Workbench,
    fitting,
    left_out,
    multiple,
    of_another,
    scattered,
    still_fits,
)
from gradcheck.mistakes.patterns import same
from gradcheck.mistakes.row import Edit, Reader

MOST_IN_A_FRACTION = 4  # a factor with a larger number in it is not shown
ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # the ranks of repairs


@dataclass(frozen=True)
class Mistake:
    """A mistake that may be at the line of an Event.

    `is_sure` is True if the corrected line would be right. `repair` is the Repair that the sentence names, or None, and
    `edit` is its Edit; if two names fit, it has both. `is_of_helper` is that of the Repair.
    """

    event: Event
    sentence: str
    is_sure: bool
    is_of_helper: bool = False
    repair: Repair | None = None
    edit: Edit | None = None


def mistakes(look, again, target):
    """Return the simplest Mistakes that explain a wrong Target, one for each line.

    A missing factor in another line counts as equally simple as one change in lines that may be right. `again()`
    returns Looks at other draws.
    """
    bench = Workbench(look.in_use(), target)
    event, value = target.event, bench.base.value(target)
    site = look.scene.sites[event.site]
    called = site.value if site.value is not None else site.statement
    within = wrong_within(bench, called)
    others = _benches(look, again, target) if within else []
    within = [name for name in within if all(name in wrong_within(other, called) for other in others)]
    if within:
        return [Mistake(event, f"the mistake is within {joined(within)}, which the line calls", True)]
    if value is None or not is_real_array(value):
        return []
    if not np.all(np.isfinite(value)):
        at = f"{np.sum(~np.isfinite(value))} of {np.size(value)} entries"
        return [Mistake(event, f"it is not finite at {at}", False)]
    if not np.any(value):
        return [Mistake(event, "it is zero", False)]
    one_change, factors = _of_rank(ANOTHER), _of_rank(FACTOR)
    plain = left_out, one_change, of_another, scattered, path_words, factors, _scaled
    for search in (*plain, _of_rank(FUNCTION, is_one_enough=True), _of_rank(TERM, is_one_enough=True), instead_words):
        found = _verified(look, again, target, search, search(bench))
        if search is one_change and found and all(mistake.event.key != event.key for mistake in found):
            more = _verified(look, again, target, factors, fitting(bench, FACTOR, look.runs + MORE_RUNS))
            found += [mistake for mistake in more if mistake.event.key not in {m.event.key for m in found}]
        if found:
            return found
    return []


def _of_rank(rank, **options):
    return lambda bench: fitting(bench, rank, **options)


def _scaled(bench):
    """Return a sentence on a value that is a multiple of the true one.

    It names the factor if that is a simple fraction.
    """
    found = [factor for event, factor in multiple(bench) if event.key == bench.target.event.key]
    if not found:
        return ""
    fraction = Fraction(found[0]).limit_denominator(MOST_IN_A_FRACTION)
    is_small = abs(fraction.numerator) <= MOST_IN_A_FRACTION
    if is_small and abs(found[0] - fraction) <= 1e-9:
        return f"it is {fraction} × what it should be"
    return "it is off by a constant factor"


def _verified(look, again, target, search, found):
    """Return the Mistakes of a search that also hold on other draws.

    There is at most one for each line. `found` is a list of Repairs, or a sentence on the Target's line.
    """
    if not found:
        return []
    benches, verified, bench = _benches(look, again, target), {}, Workbench(look, target)
    if isinstance(found, str):
        if benches and all(_holds(other, search, found) for other in benches):
            verified[target.event.key] = Mistake(target.event, found, False)
    else:
        for repair in found:
            look.in_use()
            is_all = repair.expression is not None and bench.solves(repair)
            if benches and all(_still_fits(other, search, repair, is_all) for other in benches):
                verified.setdefault(repair.event.key, []).append(repair)
        verified = {key: _mistake(repairs) for key, repairs in verified.items()}
    look.in_use()
    return list(verified.values())


def _benches(look, again, target):
    """Return a Workbench for a Target in each other Look that has it.

    Afterwards the parameters hold the numbers of `look` again.
    """
    if None in again():
        return []
    twins = [(other, other.twin_of(target)) for other in again()]
    benches = [Workbench(other.in_use(), twin) for other, twin in twins if twin is not None]
    look.in_use()
    return benches


def _holds(bench, search, sentence):
    bench.look.in_use()
    return search(bench) == sentence


def _still_fits(bench, search, repair, is_all):
    """Return True if a Repair fits on another bench: if it `is_all` that is wrong, all must be right there with it."""
    bench.look.in_use()
    if search in (left_out, of_another):
        return (repair.event.key, repair.phrase) in [(r.event.key, r.phrase) for r in search(bench)]
    return still_fits(bench, repair) and (not is_all or bench.solves(repair))


def _mistake(repairs):
    """Return the Mistake of Repairs that no draw distinguishes.

    If two differ in a single name, the sentence has both names.
    """
    first, *others = repairs
    edit = first.edit
    for other in others:
        holes = _names_that_differ(first, other)
        if len(holes) == 1:
            either = {hole: " or ".join(ast.unparse(r.edit.bound[hole]) for r in (first, other)) for hole in holes}
            edit = replace(first.edit, bound=first.edit.bound | either)
            break
    sentence = first.phrase if edit is None else edit.sentence(Reader(), first.is_whole)
    return Mistake(first.event, sentence, True, first.is_of_helper, first, edit)


def _names_that_differ(one, other):
    """Return the holes in which the Edits of two Repairs differ.

    The Repairs must be of the same row and place, and the holes must hold names.
    """
    a, b = one.edit, other.edit
    if a is None or b is None or (a.row, a.old) != (b.row, b.old):
        return []
    holes = [hole for hole in a.row.answer if not same(a.bound[hole], b.bound[hole])]
    return holes if all(isinstance(edit.bound[hole], ast.Name) for hole in holes for edit in (a, b)) else []
