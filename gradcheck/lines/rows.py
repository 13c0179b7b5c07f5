"""Build the rows of the report, each with the verdict on a Target and the reason."""

import ast
import re
from collections import Counter
from dataclasses import replace

import numpy as np

from gradcheck.lines.bench import Workbench
from gradcheck.lines.by_value import follow_by_value
from gradcheck.lines.probe import is_real_array
from gradcheck.lines.repairs import mistakes, repaired_statement
from gradcheck.lines.report import FOLLOWS, NOT_FOLLOWED, RIGHT, UNNAMED, WRONG, StepRow, StepsReport, joined
from gradcheck.lines.source import is_gradient

DRAWS = 2  # further draws on which a local is compared with quantities
MOST_NAMED = 3  # lines that are named together with a line because any of them may be the wrong one
EQUATION = re.compile(r"#\s*(\(\d+[a-z′']?\))")
PARTIAL = "it is not the whole gradient of that name, "
UNDECIDED = f"{PARTIAL}and may be a part of it or wrong"


def report_on(scene, again):
    """Return the StepsReport on a Scene. `again()` returns Scenes of other draws."""
    if any(target.is_final for target in scene.found.wrong):
        follow_by_value(scene, [other for other in again() if other is not None][:DRAWS])
    pinned = _pinned(scene, again)
    keys = {target.event.key for target in scene.targets}
    helpers = {m.event.key: m for m in reversed(pinned.values()) if m.event.key not in keys}
    rows = [(m.event, _row(scene, m.event, _name(scene, m), WRONG, m.sentence, m)) for m in helpers.values()]
    for target in scene.targets:
        verdict, sentence = _verdict(scene, target, pinned)
        is_shown = not target.outside or scene.is_parameter(target) or target in scene.found.elsewhere
        if is_shown and (target.is_final or is_gradient(target.name) or verdict == WRONG):
            here = [m for m in pinned.values() if m.event.key == target.event.key]
            named = next((m for m in here if sentence and sentence.startswith(m.sentence)), None)
            rows.append((target.event, _row(scene, target.event, target.name, verdict, sentence, named)))
    place = {event.key: i for i, event in enumerate([*scene.forward, *scene.plain.events])}
    rows.sort(key=lambda pair: place[pair[0].key])
    finals = [target for target in scene.targets if target.argument is not None]
    right = sum(target not in scene.found.wrong for target in finals if target.is_followed)
    problems = (scene.run.problem,) if scene.run.problem else ()
    remarks = (*problems, *_still_wrong(scene, rows))
    return StepsReport(scene.source.name, tuple(row for _, row in rows), remarks, right, len(finals))


def _still_wrong(scene, rows):
    """Return a tuple with a remark on the gradients that stay wrong if the first line is corrected, or ()."""
    first = next((event for event, row in rows if row.verdict == WRONG), None)
    found = scene.found
    mended = next((t for t in found.truths if first is not None and t.key == first.key and not t.is_final), None)
    if mended is None:
        return ()
    passed = scene.backward({first.key: found.truths[mended]})
    finals = [t for t in scene.targets if t in found.wrong and t.argument is not None and t in found.truths]
    names = [t.name for t in finals if not found.is_true(t, passed)]
    if not names:
        return ()
    verb = "is" if len(names) == 1 else "are"
    return (f"with the true {mended.name}, {joined(names)} {verb} still wrong: there is a second mistake",)


def _pinned(scene, again):
    """Return {Target: Mistake} for each wrong Target whose mistake is known.

    A mistake in a line that other lines read is accepted only if it explains the errors of all of them. If several
    lines may contain the mistake, the one that explains the most Targets is chosen. In a tie, all are named.
    """
    found = scene.found
    at_fault = found.at_fault | found.suspect | {target for target in found.unknown if target.is_final}
    asked = [t for t in scene.targets if t in at_fault and not scene.is_parameter(t)]
    known = {target: mistakes(scene, again, target) for target in asked}
    explained = Counter(mistake.event.key for found in known.values() for mistake in found)
    readers = Counter(e.key for t in asked for e in scene.reads.through(t.event, scene.found.held))
    pinned = {}
    for target, found in known.items():
        found = [m for m in found if m.event.key == target.event.key or explained[m.event.key] >= readers[m.event.key]]
        found = sorted(found, key=lambda mistake: (-explained[mistake.event.key], mistake.is_of_helper))
        for mistake in found[:1]:
            sentence = mistake.sentence
            for other in found[1:]:
                if explained[other.event.key] == explained[mistake.event.key]:
                    above = " above" if _name(scene, other) == _name(scene, mistake) else ""
                    sentence += f"; or, where {_name(scene, other)} is computed{above}, {other.sentence}"
            pinned[target] = replace(mistake, sentence=sentence)
    return pinned


def _name(scene, mistake):
    """Return the name that a mistake's line binds, or the gradients that it returns."""
    computed = [target.name for target in scene.targets if target.event.key == mistake.event.key]
    return scene.name(mistake.event) or joined(computed or ["the returned value"])


def _verdict(scene, target, pinned):
    """Return (verdict, sentence) for a Target."""
    found, mistake = scene.found, pinned.get(target)
    if target.is_followed and target not in found.wrong:
        return RIGHT, ""
    here = {t: m for t, m in pinned.items() if m.event.key == target.event.key and m.is_sure}
    blamed = [m for t, m in here.items() if t is target or t.event.key != target.event.key]
    if blamed and not scene.is_parameter(target):
        return WRONG, blamed[0].sentence
    if not target.is_followed:
        return NOT_FOLLOWED, target.reason
    if target in found.parts:
        return NOT_FOLLOWED, f"{PARTIAL}nor need it be: the values computed from it are right"
    if target in found.elsewhere:
        return NOT_FOLLOWED, "these lines return the right values, and other code computes a wrong gradient from them"
    if scene.is_parameter(target) and target in found.at_fault:
        return _of_a_parameter(scene, target)
    if mistake is not None and mistake.event.key != target.event.key:
        return FOLLOWS, f"from {_name(scene, mistake)}"
    if target in found.at_fault | found.suspect or (target in found.unknown and target.is_final):
        return _unsure(scene, target, mistake.sentence if mistake else "")
    if target in found.unknown:
        return NOT_FOLLOWED, UNDECIDED
    origin = _origin(scene, target)
    return (FOLLOWS, f"from {origin}") if origin else (NOT_FOLLOWED, UNDECIDED)


def _of_a_parameter(scene, target):
    """Return (verdict, sentence) for a parameter with a wrong gradient, whose layer has received the true gradients."""
    if scene.run.missing[target.argument]:
        return NOT_FOLLOWED, "no gradient arrives there"
    others = [t for t in scene.targets if t in scene.found.at_fault and not scene.is_parameter(t)]
    same = [t.name for t in others if t.event.key == target.event.key]
    if same:
        return FOLLOWS, f"from {same[0]}"
    within = Workbench(scene, target).wrong_within(scene.site(target.event).statement)
    if within:
        return WRONG, f"the mistake is within {joined(within)}, which the line calls"
    sentence = f"{UNNAMED}a function that this line calls writes a wrong value there"
    return (NOT_FOLLOWED, f"{sentence}, or a later one does") if others else (WRONG, sentence)


def _unsure(scene, target, sentence):
    """Return (verdict, sentence) for a Target that is wrong given the true gradients.

    Either its line is wrong or a value that the line reads.
    """
    bench, reads = Workbench(scene, target), scene.reads
    doubtful = {t.key for t in scene.found.unknown}
    known = {key for key in scene.found.held if key not in doubtful} | scene.settled
    read = [e for e in reads.through(target.event, known) if e.key not in known]
    read = {e.key: e for e in [*read, *bench.helpers()] if not _is_of_the_line(scene, e, target.event)}.values()
    masks = [e for e in read if not is_real_array(e.value) and e.key in reads.before]
    by_masks = {other.key for e in masks for other in reads.through(e, known)}
    others = [e for e in read if e.key in by_masks or bench.may_be_wrong(e)]
    others += [scene.rivals[key] for key in {target.event.key} & scene.rivals.keys()]
    helpers = joined(list(dict.fromkeys(map(scene.name, others))), "or") if others else ""
    if sentence:
        sentence += f" (here, or in {helpers})" if helpers else ""
    else:
        sentence = f"{UNNAMED}this line{f', or that of {helpers}' if helpers else ''} gives a wrong value"
    gradients = [e for e in others if is_gradient(scene.name(e)) and is_real_array(e.value)]
    site = scene.site(target.event)
    is_handed_on = site.kind == "return" and isinstance(site.value, ast.Name)
    is_many = len({scene.site(e).statement for e in others}) > MOST_NAMED
    is_in_loop = not all(map(bench.runs_once, gradients))
    return NOT_FOLLOWED if is_many or is_in_loop or is_handed_on else WRONG, sentence


def _is_of_the_line(scene, event, own):
    """Return True for an operand that belongs to the line: a sum accumulated from zero, or a loop counter."""
    is_start = scene.name(event) == scene.name(own) and not np.any(event.value)
    return event.site == own.site or is_start or isinstance(scene.site(event).statement, ast.For)


def _origin(scene, target):
    """Return the names of the nearest wrong gradients from which a Target is computed, or ""."""
    wrong = scene.found.wrong - scene.found.parts - {target}
    wrong = {t.key: t.name for t in wrong if t.key is not None}
    names = {wrong[e.key] for e in scene.reads.through(target.event, wrong) if e.key in wrong}
    return " and ".join(sorted(names))


def _row(scene, event, name, verdict, sentence, mistake=None):
    site = scene.site(event)
    row = StepRow(name, _equation(scene.source, site.statement), site.line, verdict, sentence)
    if mistake is None or mistake.expression is None:
        return row
    repair = repaired_statement(site, mistake.expression)
    return replace(row, repair=repair, edit=mistake.edit, is_whole=mistake.is_whole)


def _equation(source, statement):
    """Return the equation number in the comment at a statement, such as "(6)", or ""."""
    text = "\n".join(reversed(source.lines[statement.lineno - 1 : getattr(statement, "end_lineno", None)]))
    found = EQUATION.search(text)
    return found[1] if found else ""
