"""The rows of the report: a verdict on each target, and why."""

from collections import Counter

from gradcheck.line_by_line.called import wrong_within
from gradcheck.line_by_line.instrument import equation_at
from gradcheck.line_by_line.paths import joined
from gradcheck.line_by_line.repairs import Workbench
from gradcheck.line_by_line.report import FOLLOWS, NOT_FOLLOWED, RIGHT, WRONG, StepRow, StepsReport
from gradcheck.line_by_line.words import mistakes


def report_on(look, again):
    """Return the StepsReport on a Look; `again()` returns another, on other numbers."""
    pinned = _pinned(look, again)
    rows = [(e, _row(look, e, look.scene.sites[e.site].name, WRONG, s)) for e, s in _helpers(look, pinned)]
    for target in look.targets:
        verdict, sentence = _verdict(look, target, pinned)
        if not (target.outside and not look.is_parameter(target) and verdict == RIGHT):
            rows.append((target.event, _row(look, target.event, target.name, verdict, sentence)))
    place = {event.key: i for i, event in enumerate([*look.scene.forward, *look.scene.plain.events])}
    rows.sort(key=lambda pair: place[pair[0].key])
    finals = [target for target in look.targets if target.argument is not None]
    right = sum(target not in look.found.wrong for target in finals if target.is_followed)
    problems = (look.scene.run.problem,) if look.scene.run.problem else ()
    return StepsReport(look.source.name, tuple(row for _, row in rows), problems, right, len(finals))


def _pinned(look, again):
    """Return {Target: (Event of the line, sentence)} for each that is wrong, and whose mistake is known.

    Of several lines that might each be the mistake, it is the one that explains the most.
    """
    at_fault = look.found.at_fault | {target for target in look.found.unknown if target.is_final}
    asked = [t for t in look.targets if t in at_fault and not look.is_parameter(t)]
    known = {target: mistakes(look, again, target, is_alone=len(asked) == 1) for target in asked}
    explained = Counter(event.key for found in known.values() for event, _ in found)
    return {t: max(found, key=lambda pair: explained[pair[0].key]) for t, found in known.items() if found}


def _helpers(look, pinned):
    """Return (Event, sentence) for each line that is wrong and is that of no Target."""
    keys = {target.event.key for target in look.targets}
    return list({e.key: (e, s) for e, s in pinned.values() if e.key not in keys}.values())


def _verdict(look, target, pinned):
    """Return (verdict, sentence) of a Target."""
    found = look.found
    if not target.is_followed:
        blamed = [s for e, s in pinned.values() if e.key == target.event.key]
        return (WRONG, blamed[0]) if blamed else (NOT_FOLLOWED, target.reason)
    if target not in found.wrong:
        return RIGHT, ""
    blamed = [s for e, s in pinned.values() if e.key == target.event.key]
    if target in found.parts:
        return NOT_FOLLOWED, "it is not all of that name's gradient, nor need it be: what is computed from it is right"
    if blamed and not look.is_parameter(target):
        return WRONG, blamed[0]
    if look.is_parameter(target) and target in found.at_fault:
        return _left(look, target)
    if target in pinned:
        return FOLLOWS, f"from {look.scene.sites[pinned[target][0].site].name}"
    if target in found.at_fault:
        return WRONG, _unnamed(look, target)
    if target in found.elsewhere:
        return NOT_FOLLOWED, "what these lines hand back is right, and this is not: others make it of that"
    if target in found.unknown:
        return NOT_FOLLOWED, "it is not all of that name's gradient, and whether it is meant to be cannot be told"
    return FOLLOWS, f"from {_origin(look, target)}"


def _left(look, target):
    """Return (verdict, sentence) of a parameter whose gradient is wrong although its layer is given the true ones."""
    if look.scene.run.missing[target.argument]:
        return NOT_FOLLOWED, "no gradient arrives there"
    others = [t for t in look.targets if t in look.found.at_fault and not look.is_parameter(t)]
    same = [t.name for t in others if t.event.key == target.event.key]
    if same:
        return FOLLOWS, f"from {same[0]}"
    statement = look.scene.sites[target.event.site].statement
    within = wrong_within(Workbench(look.in_use(), target), statement)
    if within:
        return WRONG, f"the mistake is within {joined(within)}, which the line calls"
    return WRONG, "given the true gradients, what this line calls leaves something else there"


def _unnamed(look, target):
    """Say where the mistake is: at the line, or in what it reads that is no gradient."""
    read = look.reads.through(target.event, look.found.held)
    helpers = [look.scene.sites[e.site].name for e in read if e.key not in look.found.held]
    where = f", or that of {' or '.join(dict.fromkeys(helpers))}" if helpers else ""
    return f"given the true gradients, this line{where} gives something else"


def _origin(look, target):
    """Return the names of the nearest wrong gradients that a Target is computed from."""
    wrong = {t.key: t.name for t in look.found.wrong if t.key is not None and t is not target}
    names = [wrong[e.key] for e in look.reads.through(target.event, wrong) if e.key in wrong]
    return " and ".join(sorted(set(names))) or "the one above"


def _row(look, event, name, verdict, sentence):
    site = look.scene.sites[event.site]
    return StepRow(name, equation_at(look.source, site.statement), site.line, verdict, sentence)
