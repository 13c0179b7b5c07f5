"""Build the rows of the report. Each row contains the verdict on a gradient and the reason."""

import ast
from dataclasses import replace

from gradcheck.lines.instrument import is_real_array
from gradcheck.lines.repairs import Bench, mistake_in, twins
from gradcheck.lines.report import (
    FOLLOWS,
    NOT_FOLLOWED,
    RIGHT,
    UNNAMED,
    WRONG,
    StepRow,
    StepsReport,
    equation_in,
    joined,
)
from gradcheck.lines.search import find_mistakes, is_start
from gradcheck.lines.source import is_gradient
from gradcheck.mistakes.repairing import BEFORE

MOST_NAMED = 3  # largest number of other lines in a sentence of the form "here, or in …"
PARTIAL = "it is not the whole gradient of that name, "
UNDECIDED = f"{PARTIAL}and may be a part of it or wrong"


def report_on(scene, again):
    """Build the `StepsReport` of a Scene. `again()` must return Scenes with other inputs."""
    scenes, pinned = [scene], {}
    if any(t.is_final and t.place in scene.wrong for t in scene.targets):
        scenes += again()
        find_mistakes([one for one in scenes if one is not None])
        pinned = _pinned(scenes)
    rows = []
    right = scene.right(scene.mended())
    for target in scene.targets:
        verdict, sentence = _verdict(scene, target, pinned, right)
        is_elsewhere = target.outside and target.place in scene.wrong and target.place not in right
        is_shown = not target.outside or scene.is_parameter(target) or is_elsewhere
        if is_shown and (target.is_shown or verdict == WRONG):
            here = [m for m in pinned.values() if m.event.key == target.event.key]
            named = next((m for m in here if sentence and sentence.startswith(m.sentence)), None)
            rows.append((target.event, _row(scene, target.event, target.name, verdict, sentence, named)))
    order = [event.key for event in [*scene.forward, *scene.plain.events]]
    rows.sort(key=lambda pair: order.index(pair[0].key))
    finals = [target for target in scene.targets if target.argument is not None]
    count = sum(target.place not in scene.wrong for target in finals if not target.reason)
    problems = (scene.run.problem,) if scene.run.problem else ()
    remarks = (*problems, *_what_follows(scenes, pinned, rows))
    return StepsReport(scene.source.name, tuple(row for _, row in rows), remarks, count, len(finals))


def _what_follows(scenes, pinned, rows):
    """Return (remark,) on the effect of correcting the first wrong line, or ()."""
    scene, first = scenes[0], next((event for event, row in rows if row.verdict == WRONG), None)
    if first is None:
        return ()
    wrong = [t for t in scene.targets if t.place in scene.wrong and t.argument is not None]
    behind = [t for t in wrong if t.event.site != first.site in {event.site for event in scene.reads(t.event)}]
    mended = [(one, _with_the_correct(first, one, pinned)) for one in scenes if one is not None]
    if not behind or mended[0][1] is None:
        return ()
    name, listed, remarks = scene.label(first), {"right": [], "still wrong": []}, []
    for target in behind:
        pairs = [(one, passed, twin) for one, passed in mended if passed for twin in twins(one, target)]
        is_right = [one.is_true(twin, passed) for one, passed, twin in pairs]
        words = "right" if all(is_right) else "still wrong"
        # The gradient of a parameter is a side effect of a call. On other draws, a loop may have more iterations.
        if all(is_right) or not (is_right[0] or scene.is_parameter(target)):
            listed[words].append(target.name if target.name != name else f"the {name} below")
    for words, names in listed.items():
        if names:
            remarks.append(f"{joined(names)} {'is' if len(names) == 1 else 'are'} {words}")
    beside = [scene.sites[place[0]].statement for place in scene.held() if place != first.key]
    is_known = scene.site(first).statement not in beside and first.key not in scene.rivals
    is_second = listed["still wrong"] and is_known and not scene.doubtful(first)
    end = ": there is a second mistake" if is_second else ""
    return (f"with the correct {name}, {', but '.join(remarks)}{end}",) if remarks else ()


def _with_the_correct(first, scene, pinned):
    """Run backward with a line corrected, or return None if that is impossible.

    The correct value is the true value that the search found or, for example in a loop, the value of the corrected
    code.
    """
    keys = [event.key for event in scene.plain.events if event.site == first.site]
    beside = [event.site for event in scene.plain.events if scene.site(event).statement is scene.site(first).statement]
    if all(key in scene.mistakes for key in keys) and len(set(beside)) == 1:
        return scene.backward({key: scene.mistakes[key] for key in keys})
    for target, mistake in pinned.items():
        if mistake.event.key == first.key and mistake.code is not None:
            for twin in twins(scene, target):
                edited = Bench(scene, twin).edited(first, mistake.code, [])
                return edited and scene.backward(edited)
    is_known = all(key in scene.mistakes for key in keys)
    return scene.backward({key: scene.mistakes[key] for key in keys}) if is_known else None


def _pinned(scenes):
    """Return {Target: Mistake} for the wrong Targets of the first Scene whose mistake is known."""
    scene, pinned = scenes[0], {}
    for target in scene.targets:
        if target.place in scene.mistakes and not scene.is_parameter(target):
            doubtful = {event.site for event in scene.doubtful(target.event)}
            statements = [scene.site(event).statement for event in scene.reads(target.event)]
            known = [m for m in pinned.values() if m.event.site in doubtful or _is_pair_in(scene, m, statements)]
            mistake = known[0] if known else mistake_in(scenes, target)
            pinned |= {} if mistake is None else {target: mistake}
    return pinned


def _is_pair_in(scene, mistake, statements):
    """Return True if two results of a call are exchanged, and one of the statements binds them."""
    return mistake.is_pair and any(scene.site(mistake.event).statement is other for other in statements)


def _verdict(scene, target, pinned, right):
    """Return (verdict, sentence). `right` contains the places that are right once known mistakes are corrected."""
    mistake = pinned.get(target)
    here = {t: m for t, m in pinned.items() if m.event.key == target.event.key and m.is_sure}
    pair = next((m for m in here.values() if m.is_pair), None)
    if pair is not None:  # each value is right, but has the other's name
        return WRONG, pair.sentence
    if not target.reason and target.place not in scene.wrong:
        return RIGHT, ""
    blamed = [m for t, m in here.items() if t is target or t.event.key != target.event.key]
    if blamed and not scene.is_parameter(target):
        rival = scene.rivals.get(target.key)
        is_other = rival is not None and scene.name(rival) != scene.name(target.event)
        return WRONG, blamed[0].sentence + (f" (here, or in {scene.name(rival)})" if is_other else "")
    if target.reason:
        return NOT_FOLLOWED, target.reason
    if target.outside and target.place not in right:
        return NOT_FOLLOWED, "these lines return the right values, and other code computes a wrong gradient from them"
    if scene.is_parameter(target) and target.place in scene.mistakes:
        return _of_a_parameter(scene, target)
    if mistake is not None and mistake.event.key != target.event.key:
        return FOLLOWS, f"from {scene.label(mistake.event)}"
    if target.place in scene.mistakes:
        return _unsure(scene, target, mistake.sentence if mistake else "")
    if target.place in right:
        origin = _origin(scene, target)
        return (FOLLOWS, f"from {origin}") if origin else (NOT_FOLLOWED, UNDECIDED)
    if target.key in scene.vouched or not scene.mistakes:
        return NOT_FOLLOWED, f"{PARTIAL}nor need it be: the values computed from it are right"
    return NOT_FOLLOWED, UNDECIDED


def _of_a_parameter(scene, target):
    """Return (verdict, sentence) for a parameter with a wrong gradient."""
    if scene.run.missing[target.argument]:
        return NOT_FOLLOWED, "no gradient arrives there"
    others = [t for t in scene.targets if t.place in scene.mistakes and not scene.is_parameter(t)]
    same = [t.name for t in others if t.event.key == target.event.key]
    if same:
        return FOLLOWS, f"from {same[0]}"
    within = Bench(scene, target).wrong_within()
    if within:
        return WRONG, f"the mistake is within {joined(within)}, which the line calls"
    sentence = f"{UNNAMED}a function that this line calls writes a wrong value there"
    return (NOT_FOLLOWED, f"{sentence}, or a later one does") if others else (WRONG, sentence)


def _unsure(scene, target, sentence):
    """Return (verdict, sentence) for a Target whose mistake is in its own line or in a value that the line reads."""
    others = [e for e in scene.doubtful(target.event) if not _is_of_the_line(scene, e, target.event)]
    others += [scene.rivals[key] for key in {target.event.key} & scene.rivals.keys()]
    helpers = joined(list(dict.fromkeys(map(scene.name, others))), "or") if others else ""
    if sentence:
        sentence += f" (here, or in {helpers})" if helpers else ""
    else:
        sentence = f"{UNNAMED}this line{f', or that of {helpers},' if helpers else ''} gives a wrong value"
    gradients = [e for e in others if is_gradient(scene.name(e)) and is_real_array(e.value)]
    site = scene.site(target.event)
    is_handed_on = site.kind == "return" and isinstance(site.value, ast.Name)
    is_many = len({scene.site(e).statement for e in others}) > MOST_NAMED
    is_in_loop = any(e.nth or (e.site, 1) in scene.plain.values for e in gradients)
    return NOT_FOLLOWED if is_many or is_in_loop or is_handed_on else WRONG, sentence


def _is_of_the_line(scene, event, own):
    """Return True for the line itself, the zeros it adds to, and a loop counter."""
    is_sum = scene.name(event) == scene.name(own) and is_start(scene, event)
    return event.site == own.site or is_sum or isinstance(scene.site(event).statement, ast.For)


def _origin(scene, target):
    """Return the names of the nearest wrong gradients from which a Target is computed."""
    wrong = {t.key: t.name for t in scene.targets if t.place in scene.wrong and t is not target}
    wrong = {key: name for key, name in wrong.items() if key is not None}
    names = {wrong[e.key] for e in scene.reads(target.event, wrong) if e.key in wrong}
    return " and ".join(sorted(names))


def _row(scene, event, name, verdict, sentence, mistake=None):
    site = scene.site(event)
    text = scene.source.lines[site.statement.lineno - 1 : getattr(site.statement, "end_lineno", None)]
    row = StepRow(name, equation_in("\n".join(reversed(text))), site.line, verdict, sentence)
    if mistake is None or mistake.code is None:
        return row
    also = mistake.also + sentence[len(mistake.sentence) :]
    repair = ast.unparse(mistake.code)
    repair = "" if BEFORE in repair else repair  # the earlier value has no name
    return replace(row, repair=repair, edit=mistake.edit, also=also)
