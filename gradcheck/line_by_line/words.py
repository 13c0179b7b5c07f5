"""What is said of a line that is wrong: the first that fits, and fits on other numbers as well."""

from dataclasses import dataclass

import numpy as np

from gradcheck.line_by_line.called import wrong_within
from gradcheck.line_by_line.edits import changes, factors, functions, terms
from gradcheck.line_by_line.paths import instead_words, joined, path_words
from gradcheck.line_by_line.probe import Event, is_real_array
from gradcheck.line_by_line.repairs import (
    MORE_RUNS,
    Workbench,
    exchanged,
    fitting,
    left_out,
    scaled,
    scattered,
    still_fits,
)


@dataclass(frozen=True)
class Mistake:
    """What may be wrong at the line of an Event; `is_sure` if that line, changed so, would be right.

    `is_of_helper` as that of a Repair.
    """

    event: Event
    sentence: str
    is_sure: bool
    is_of_helper: bool = False


def mistakes(look, again, target):
    """Return Mistakes that would each make a Target wrong as it is, one for each line; of the plainest kind there is.

    If that is one change in lines that may be right, a factor that another lacks is a mistake as plain.
    `again()` returns the Look on other numbers.
    """
    bench = Workbench(look.in_use(), target)
    event, value = target.event, bench.base.value(target)
    site = look.scene.sites[event.site]
    within = wrong_within(bench, site.value if site.value is not None else site.statement)
    if within:
        return [Mistake(event, f"the mistake is within {joined(within)}, which the line calls", True)]
    if value is None or not is_real_array(value):
        return []
    if not np.all(np.isfinite(value)):
        at = f"{np.sum(~np.isfinite(value))} of {np.size(value)} entries"
        return [Mistake(event, f"it is not finite at {at}", False)]
    if not np.any(value):
        return [Mistake(event, "it is zero", False)]
    one_change = _by(changes)
    plain = left_out, one_change, exchanged, scattered, path_words, _by(factors), scaled
    for search in (*plain, _by(functions, is_one_enough=True), _by(terms, is_one_enough=True), instead_words):
        found = _verified(look, again, target, search, search(bench))
        if search is one_change and found and all(mistake.event.key != event.key for mistake in found):
            more = _verified(look, again, target, factors, fitting(bench, factors, look.runs + MORE_RUNS))
            found += [mistake for mistake in more if mistake.event.key not in {m.event.key for m in found}]
        if found:
            return found
    return []


def _by(edits, **options):
    return lambda bench: fitting(bench, edits, **options)


def _verified(look, again, target, search, found):
    """Return the Mistakes of what a search found on one Look, if it holds on another: of each line the first.

    What is found is a list of Repairs, or a sentence on the target's own line.
    """
    if not found:
        return []
    twin = again().in_use().twin_of(target)
    verified = {}
    if twin is not None:
        other = Workbench(again(), twin)
        if isinstance(found, str):
            if search(other) == found:
                verified[target.event.key] = Mistake(target.event, found, False)
        else:
            once_more = search(other) if search in (left_out, exchanged) else []
            for repair in found:
                same = [r for r in once_more if (r.event.key, r.phrase) == (repair.event.key, repair.phrase)]
                if repair.event.key not in verified and (same or still_fits(other, repair)):
                    verified[repair.event.key] = Mistake(repair.event, repair.phrase, True, repair.is_of_helper)
    look.in_use()
    return list(verified.values())
