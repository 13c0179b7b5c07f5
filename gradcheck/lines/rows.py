"""The rows of the report: a verdict on each Target, with the reason."""

import ast
from collections import Counter
from dataclasses import replace

import numpy as np

from gradcheck.lines.blame import is_true
from gradcheck.lines.by_value import follow_by_value
from gradcheck.lines.called import wrong_within
from gradcheck.lines.instrument import equation_at
from gradcheck.lines.paths import joined, joined_or
from gradcheck.lines.probe import is_real_array
from gradcheck.lines.repairs import Workbench, repaired_statement
from gradcheck.lines.report import FOLLOWS, NOT_FOLLOWED, RIGHT, UNNAMED, WRONG, StepRow, StepsReport
from gradcheck.lines.solving import may_be_wrong
from gradcheck.lines.source import is_gradient
from gradcheck.lines.words import mistakes

DRAWS = 2  # further draws on which a local is compared with quantities
MOST_NAMED = 3  # lines that are named together with a line because any of them may be the wrong one


def report_on(look, again):
    """Return the StepsReport on a Look.

    `again()` returns Looks at other draws (look.py).
    """
    if any(target.is_final for target in look.found.wrong):
        follow_by_value(look, [other for other in again() if other is not None][:DRAWS])
    pinned = _pinned(look, again)
    rows = [(m.event, _row(look, m.event, _name(look, m), WRONG, m.sentence, m)) for m in _helpers(look, pinned)]
    for target in look.targets:
        verdict, sentence = _verdict(look, target, pinned)
        is_shown = not target.outside or look.is_parameter(target) or target in look.found.elsewhere
        if is_shown and (target.is_final or is_gradient(target.name) or verdict == WRONG):
            named = [m for m in pinned.values() if m.event.key == target.event.key and sentence.startswith(m.sentence)]
            row = _row(look, target.event, target.name, verdict, sentence, named[0] if named and sentence else None)
            rows.append((target.event, row))
    place = {event.key: i for i, event in enumerate([*look.scene.forward, *look.scene.plain.events])}
    rows.sort(key=lambda pair: place[pair[0].key])
    finals = [target for target in look.targets if target.argument is not None]
    right = sum(target not in look.found.wrong for target in finals if target.is_followed)
    problems = (look.scene.run.problem,) if look.scene.run.problem else ()
    remarks = (*problems, *_still_wrong(look, rows))
    return StepsReport(look.source.name, tuple(row for _, row in rows), remarks, right, len(finals))


def _still_wrong(look, rows):
    """Return a remark on gradients that a correction of the first line leaves wrong.

    The result is a tuple, which is empty if there are none.
    """
    first = next((event for event, row in rows if row.verdict == WRONG), None)
    mended = [t for t in look.found.truths if first is not None and t.key == first.key and not t.is_final]
    if not mended:
        return ()
    passed = look.in_use().scene.backward({first.key: look.found.truths[mended[0]]})
    finals = [t for t in look.found.wrong if t.argument is not None and t in look.found.truths]
    names = [t.name for t in look.targets if t in finals and not is_true(look.scene, look.found, t, passed)]
    if not names:
        return ()
    verb = "is" if len(names) == 1 else "are"
    return (f"with the true {mended[0].name}, {joined(names)} {verb} still wrong: there is a second mistake",)


def _pinned(look, again):
    """Return {Target: Mistake} for each wrong Target whose mistake is known.

    A line that other lines read is accepted only if it explains the errors of all of them. If several lines may hold
    the mistake, the one that explains the most Targets is chosen; in a tie, all are named.
    """
    at_fault = look.found.at_fault | look.found.suspect | {target for target in look.found.unknown if target.is_final}
    asked = [t for t in look.targets if t in at_fault and not look.is_parameter(t)]
    known = {target: mistakes(look, again, target) for target in asked}
    explained = Counter(mistake.event.key for found in known.values() for mistake in found)
    readers = Counter(e.key for t in asked for e in look.reads.through(t.event, look.found.held))
    pinned = {}
    for target, found in known.items():
        found = [m for m in found if m.event.key == target.event.key or explained[m.event.key] >= readers[m.event.key]]
        found = sorted(found, key=lambda mistake: (-explained[mistake.event.key], mistake.is_of_helper))
        if found:
            pinned[target] = first = found[0]
            others = [m for m in found[1:] if explained[m.event.key] == explained[first.event.key]]
            sentence = first.sentence
            for other in others:
                above = " above" if _name(look, other) == _name(look, first) else ""
                sentence += f"; or, where {_name(look, other)} is computed{above}, {other.sentence}"
            pinned[target] = replace(first, sentence=sentence)
    return pinned


def _name(look, mistake):
    """Return the name that a mistake's line binds, or the gradients that it returns."""
    computed = [target.name for target in look.targets if target.event.key == mistake.event.key]
    return look.scene.sites[mistake.event.site].name or joined(computed or ["the returned value"])


def _helpers(look, pinned):
    """Return the Mistake of each wrong line that does not belong to a Target."""
    keys = {target.event.key for target in look.targets}
    return list({m.event.key: m for m in reversed(pinned.values()) if m.event.key not in keys}.values())


def _verdict(look, target, pinned):
    """Return (verdict, sentence) for a Target."""
    found = look.found
    if target.is_followed and target not in found.wrong:
        return RIGHT, ""
    blamed = _blamed(target, pinned)
    if blamed and not look.is_parameter(target):
        return WRONG, blamed[0].sentence
    if not target.is_followed:
        return NOT_FOLLOWED, target.reason
    if target in found.parts:
        return NOT_FOLLOWED, "it is not all of that name's gradient, nor need it be: what is computed from it is right"
    if target in found.elsewhere:
        return NOT_FOLLOWED, "what these lines hand back is right, and this is not: others make it of that"
    if look.is_parameter(target) and target in found.at_fault:
        return _left(look, target)
    if target in pinned and pinned[target].event.key != target.event.key:
        return FOLLOWS, f"from {_name(look, pinned[target])}"
    if target in found.at_fault | found.suspect or (target in found.unknown and target.is_final):
        return _unsure(look, target, pinned[target].sentence if target in pinned else "")
    if target in found.unknown:
        return NOT_FOLLOWED, "it is not all of that name's gradient, and whether it is meant to be cannot be told"
    return FOLLOWS, f"from {_origin(look, target)}"


def _blamed(target, pinned):
    """Return the sure mistakes at a Target's line.

    A mistake of another Target that shares the expression is excluded.
    """
    here = {t: m for t, m in pinned.items() if m.event.key == target.event.key and m.is_sure}
    return [m for t, m in here.items() if t is target or t.event.key != target.event.key]


def _left(look, target):
    """Return (verdict, sentence) for a parameter with a wrong gradient.

    Its layer has received the true gradients.
    """
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
    sentence = f"{UNNAMED}a function that this line calls writes a wrong value there"
    return (NOT_FOLLOWED, f"{sentence}, or a later one does") if others else (WRONG, sentence)


def _unsure(look, target, sentence):
    """Return (verdict, sentence) for a Target that is wrong given the true gradients.

    Either its line is wrong or a value that the line reads.
    """
    bench = Workbench(look.in_use(), target)
    doubtful = {t.key for t in look.found.unknown}
    known = {key for key in look.found.held if key not in doubtful} | look.settled
    others = [e for e in look.reads.through(target.event, known) if e.key not in known]
    others = [e for e in [*others, *bench.helpers()] if not _is_of_the_line(look, e, target.event)]
    others = list({e.key: e for e in others}.values())
    masks = [e for e in others if not is_real_array(e.value) and e.key in look.reads.before]
    by_masks = {read.key for e in masks for read in look.reads.through(e, known)}
    others = [e for e in others if e.key in by_masks or may_be_wrong(bench, e)]
    helpers = list(dict.fromkeys(look.scene.sites[e.site].name for e in others))
    if sentence and helpers:
        sentence = f"{sentence} (here, or in {joined_or(helpers)})"
    where = f", or that of {joined_or(helpers)}" if helpers else ""
    sentence = sentence or f"{UNNAMED}this line{where} gives a wrong value"
    gradients = [e for e in others if is_gradient(look.scene.sites[e.site].name) and is_real_array(e.value)]
    is_in_loop = not all(map(bench.runs_once, gradients))
    site = look.scene.sites[target.event.site]
    is_handed_on = site.kind == "return" and isinstance(site.value, ast.Name)
    lines = {look.scene.sites[e.site].statement for e in others}
    return NOT_FOLLOWED if len(lines) > MOST_NAMED or is_in_loop or is_handed_on else WRONG, sentence


def _is_of_the_line(look, event, own):
    """Return True if an operand belongs to the line itself.

    It is a sum that the line accumulates from zero, or a loop counter.
    """
    site = look.scene.sites[event.site]
    is_start = site.name == look.scene.sites[own.site].name and not np.any(event.value)
    return event.site == own.site or is_start or isinstance(site.statement, ast.For)


def _origin(look, target):
    """Return the names of the nearest wrong gradients from which a Target is computed."""
    wrong = look.found.wrong - look.found.parts - {target}
    wrong = {t.key: t.name for t in wrong if t.key is not None}
    names = [wrong[e.key] for e in look.reads.through(target.event, wrong) if e.key in wrong]
    return " and ".join(sorted(set(names))) or "the one above"


def _row(look, event, name, verdict, sentence, mistake=None):
    site = look.scene.sites[event.site]
    row = StepRow(name, equation_at(look.source, site.statement), site.line, verdict, sentence)
    if mistake is None or mistake.repair is None:
        return row
    repair = repaired_statement(site, mistake.repair.expression)
    return replace(row, repair=repair, edit=mistake.edit, is_whole=mistake.repair.is_whole)
