"""Build the rows of the report, each with the verdict on a gradient and the reason."""

import ast
import itertools
from dataclasses import replace
from functools import partial

from gradcheck.front.streams import joined
from gradcheck.lines.component import typical_mistakes
from gradcheck.lines.instrument import is_real_array
from gradcheck.lines.repairs import WITHIN, Bench, Mistake, mistake_in, twins
from gradcheck.lines.report import (
    FOLLOWS,
    NOT_FOLLOWED,
    RIGHT,
    UNNAMED,
    WRONG,
    StepRow,
    StepsReport,
    equation_in,
)
from gradcheck.lines.reruns import find_edit
from gradcheck.lines.search import find_mistakes, is_start
from gradcheck.lines.source import is_gradient
from gradcheck.mistakes.repairing import BEFORE

MOST_NAMED = 3  # largest number of other lines in a sentence of the form "here, or in …"
PARTIAL = "it is not the whole gradient of that name, "
UNDECIDED = f"{PARTIAL}and may be a part of it or wrong"


_Verdict = partial(StepRow, "", "", 0)  # a row of the report whose place is not yet known


def report_on(scene, again, component=None):
    """Build the report on a backward pass from a Scene, the record of one draw of the inputs (scene.py).

    `again()` returns Scenes with other inputs, and `component` is a Component or None.
    """
    scenes, pinned = [scene], {}
    if any(t.is_final and t.place in scene.wrong for t in scene.targets):
        scenes += again()
        typical = typical_mistakes(component, scenes) if component else []
        pinned = {} if typical else find_edit(scenes)
        if not pinned:
            find_mistakes([one for one in scenes if one is not None])
            _prefer_known_gradients(scenes)
            pinned = _pinned(scenes, typical)
    rows, right = [], scene.right(scene.mended())
    for target in scene.targets:
        verdict = _verdict(scene, target, pinned, right)
        is_elsewhere = target.outside and target.place in scene.wrong and target.place not in right
        is_shown = not target.outside or scene.is_parameter(target) or is_elsewhere
        if is_shown and (target.is_shown or verdict.verdict == WRONG):
            rows.append((target.event, _placed(scene, target, verdict)))
    order = [event.key for event in [*scene.forward, *scene.plain.events]]
    rows.sort(key=lambda pair: order.index(pair[0].key))
    finals = [target for target in scene.targets if target.argument is not None]
    count = sum(target.place not in scene.wrong for target in finals if not target.reason)
    problems = (scene.run.problem,) if scene.run.problem else ()
    remarks, is_second = _what_follows(scenes, pinned, rows)
    found = tuple(row for _, row in rows)
    return StepsReport(scene.source.name, found, (*problems, *remarks), count, len(finals), is_second)


def _prefer_known_gradients(scenes):
    """Blame a wrong gradient, rather than a value that its line reads, if an edit of this line corrects the gradient.

    The true value of the other value is unknown. The search blames it because it comes first, although only the
    gradient may lack a factor, for example. The other value is still blamed if a mistake is found in its own line,
    unless correcting the mistake replaces the whole value.
    """
    scene = scenes[0]
    wrong = [t for t in scene.targets if t.is_final and t.place in scene.wrong and not scene.is_parameter(t)]
    unknown = [t for t in scene.targets if t.place in scene.mistakes and t.at is None]
    if None in scenes or len(wrong) != 1 or len(unknown) != 1 or len(scene.mistakes) != 1:
        return
    of_operand = mistake_in(scenes, unknown[0])
    if of_operand is not None and of_operand.edit is not None and not of_operand.edit.is_whole:
        return
    target, before = wrong[0], [one.mistakes for one in scenes]
    for one in scenes:
        one.mistakes = {target.place: one.truths[target.place]} if target.place in one.truths else {}
    found = mistake_in(scenes, target) if all(one.mistakes for one in scenes) else None
    if found is None or found.code is None:
        for one, mistakes in zip(scenes, before, strict=True):
            one.mistakes = mistakes


def _what_follows(scenes, pinned, rows):
    """Describe the effect of correcting the first wrong line in `rows`, which are pairs (Event, StepRow).

    Returns a tuple with at most one sentence, and True if there is a second mistake.
    """
    scene, first = scenes[0], next((event for event, row in rows if row.verdict == WRONG), None)
    if first is None:
        return (), False
    wrong = [t for t in scene.targets if t.place in scene.wrong and t.argument is not None]
    behind = [t for t in wrong if t.event.site != first.site in {event.site for event in scene.reads(t.event)}]
    name, listed, remarks = scene.label(first), {"right": [], "still wrong": []}, []
    is_proved = any(mistake.is_proved for mistake in pinned.values())
    mended = [] if is_proved else [(one, _with_the_correct(first, one, pinned)) for one in scenes if one is not None]
    if not behind or (mended and mended[0][1] is None):
        return (), False
    for target in behind:
        pairs = [(one, passed, twin) for one, passed in mended if passed for twin in twins(one, target)]
        is_right = [one.is_true(twin, passed) for one, passed, twin in pairs]
        words = "right" if is_proved or all(is_right) else "still wrong"
        # The gradient of a parameter is a side effect of a call. On other draws, a loop may have more iterations.
        if words == "right" or not (is_right[0] or scene.is_parameter(target)):
            own = scene.source.shown(target.name)
            listed[words].append(own if own != name else f"the {name} below")
    for words, names in listed.items():
        if names:
            remarks.append(f"{joined(names)} {'is' if len(names) == 1 else 'are'} {words}")
    beside = [scene.sites[place[0]].statement for place in scene.held() if place != first.key]
    is_known = scene.site(first).statement not in beside and first.key not in scene.rivals
    is_second = bool(listed["still wrong"]) and is_known and not scene.doubtful(first)
    return (f"with the correct {name}, {', but '.join(remarks)}",) if remarks else (), is_second


def _with_the_correct(first, scene, pinned):
    """Run the backward pass with the line of the Event `first` corrected, or return None if that is impossible.

    The correct value is the true value that the search found or, for example in a loop, the value of the corrected
    code. `pinned` is the result of _pinned.
    """
    keys = {event.key for event in scene.plain.events if event.site == first.site}
    true = {key: scene.mistakes[key] for key in keys & scene.mistakes.keys()}
    beside = {event.site for event in scene.plain.events if scene.site(event).statement is scene.site(first).statement}
    if len(true) < len(keys) or len(beside) > 1:
        for target, mistake in pinned.items():
            if mistake.event.key == first.key and mistake.code is not None:
                for twin in twins(scene, target):
                    edited = Bench(scene, twin).edited(first, mistake.code, [])
                    return edited and scene.backward(edited)
    return scene.backward(true) if len(true) == len(keys) else None


def _pinned(scenes, typical):
    """Return {Target: Mistake} for the wrong gradients whose mistake is known.

    `scenes` lists the draws of the inputs, and `typical` the mistakes of a component that explain wrong gradients.
    """
    scene, pinned = scenes[0], {}
    for target in scene.targets:
        if target.place in scene.mistakes and not scene.is_parameter(target):
            doubtful = {event.site for event in scene.doubtful(target.event)}
            read = [scene.site(event).statement for event in scene.reads(target.event)]
            pairs = [m for m in pinned.values() if m.is_pair and scene.site(m.event).statement in read]
            known = [m for m in pinned.values() if m.event.site in doubtful or m in pairs]
            mistake = known[0] if known else _named(scene, target, mistake_in(scenes, target), typical)
            pinned |= {} if mistake is None else {target: mistake}
    return pinned


def _named(scene, target, mistake, typical):
    """Return `mistake`, the mistake found for a gradient, with a better description if the component has one.

    One of the mistakes in `typical` is certain if it is in the line that contains the mistake, or in a line that the
    code does not have. If the line has no correction, any typical mistake is used, at its own line if the component has
    both lines.
    """
    event = mistake.event if mistake else target.event
    name = target.name if event is target.event else scene.name(event)
    shown = [other.event for other in scene.targets if other.is_shown and not other.reason]
    elsewhere = {scene.name(other) for other in shown} - {name}  # a returned expression has no name
    here = [t for t in typical if name in t.names or elsewhere.isdisjoint(t.names)]
    is_repaired = mistake is not None and mistake.kind not in ("", WITHIN)
    fitting = [t for t in here if t.row.rank == 1 or not is_repaired]
    if not typical or (mistake and mistake.is_pair) or (is_repaired and not fitting):
        return mistake
    chosen = (fitting or typical)[0]
    ties = [t for t in fitting or typical if (t.where, t.explained) == (chosen.where, chosen.explained)]
    sentence = ", or ".join(dict.fromkeys(t.row.sentence for t in ties)) if len(ties) == 2 else chosen.row.sentence
    own = [t.event for t in scene.targets if t.name in chosen.names]
    if not fitting and own and name in chosen.known:
        return Mistake(own[-1], sentence, chosen.row.kind)
    is_other_line = name not in chosen.names and name in chosen.known
    sentence = f"{chosen.at}{sentence}" if is_other_line else sentence
    code = mistake.code if mistake else None
    return Mistake(event, sentence, chosen.row.kind, code)


def _verdict(scene, target, pinned, right):
    """Return the verdict on a gradient, the Target `target`.

    `pinned` contains the known mistakes, and `right` identifies the gradients that are right once these are corrected.
    """
    pairs = [m for m in pinned.values() if m.event.key == target.event.key and m.is_sure and m.is_pair]
    if pairs:  # each value is right, but has the other's name
        return _is_wrong(scene, pairs[0])
    blamed = _blamed(scene, target, pinned)
    if not target.reason and target.place not in scene.wrong and not (blamed and target.at is None):
        return _Verdict(RIGHT)
    return (
        blamed
        or _not_compared(target, right)
        or _of_a_parameter(scene, target)
        or _of_a_mistake(scene, target, pinned.get(target))
        or _behind_mistakes(scene, target, right)
    )


def _is_wrong(scene, mistake, also=""):
    verdict = _Verdict(WRONG, mistake.sentence + also, mistake.kind)
    if mistake.code is None:
        return verdict
    repair = (mistake.called or scene).source.code(mistake.code)
    repair = "" if BEFORE in repair else repair  # the earlier value has no name
    return replace(verdict, repair=repair, edit=mistake.edit, also=mistake.also + also)


def _blamed(scene, target, pinned):
    """Return the verdict on a gradient if its line contains one of the known mistakes in `pinned`, else None."""
    here = [(t, m) for t, m in pinned.items() if m.event.key == target.event.key and m.is_sure]
    blamed = [m for t, m in here if t is target or t.event.key != target.event.key]
    if not blamed or scene.is_parameter(target):
        return None
    rival = scene.rivals.get(target.key)
    is_other = rival is not None and scene.name(rival) != scene.name(target.event)
    return _is_wrong(scene, blamed[0], f" (here, or in {scene.label(rival)})" if is_other else "")


def _not_compared(target, right):
    """Return the verdict on a gradient that cannot be compared with a true value, or None for any other gradient.

    A gradient that other code computes from the results of this backward pass is not compared either.
    """
    if target.reason:
        return _Verdict(NOT_FOLLOWED, target.reason)
    if target.outside and target.place not in right:
        return _Verdict(
            NOT_FOLLOWED, "these lines return the right values, and other code computes a wrong gradient from them"
        )
    return None


def _of_a_parameter(scene, target):
    """Return the verdict on a parameter whose gradient is wrong for no known reason, or None for any other gradient."""
    if not scene.is_parameter(target) or target.place not in scene.mistakes:
        return None
    if scene.run.missing[target.argument]:
        return _Verdict(NOT_FOLLOWED, "no gradient arrives there")
    others = [t for t in scene.targets if t.place in scene.mistakes and not scene.is_parameter(t)]
    same = [t.name for t in others if t.event.key == target.event.key]
    if same:
        return _follows([scene.source.shown(same[0])])
    within = Bench(scene, target).wrong_within()
    if within:
        return _Verdict(WRONG, f"the mistake is within {joined(within)}, which the line calls", WITHIN)
    sentence = f"{UNNAMED}a function that this line calls writes a wrong value there"
    return _Verdict(NOT_FOLLOWED, f"{sentence}, or a later one does") if others else _Verdict(WRONG, sentence)


def _of_a_mistake(scene, target, mistake):
    """Return the verdict on a gradient that is wrong because of a mistake, possibly in another line, or None."""
    if mistake is not None and mistake.event.key != target.event.key:
        if mistake.event not in scene.reads(target.event) and not mistake.is_pair and not mistake.is_proved:
            return _Verdict(NOT_FOLLOWED, UNDECIDED)
        name = scene.source.shown(scene.name(mistake.event))
        return _follows([name] if name else scene.computed(mistake.event), scene.label(mistake.event))
    return _unsure(scene, target, mistake) if target.place in scene.mistakes else None


def _behind_mistakes(scene, target, right):
    """Return the verdict on a wrong gradient whose own line contains no mistake."""
    wrong = {t.key: t.name for t in scene.targets if t.place in scene.wrong and t is not target}
    read = scene.reads(target.event, wrong) if target.place in right else ()
    nearest = {wrong[event.key] for event in read if event.key in wrong}
    if nearest:
        return _follows(sorted(map(scene.source.shown, nearest)))
    if target.place not in right and (target.key in scene.vouched or not scene.mistakes):
        return _Verdict(NOT_FOLLOWED, f"{PARTIAL}nor need it be: the values computed from it are right")
    return _Verdict(NOT_FOLLOWED, UNDECIDED)


def _follows(names, label=""):
    return _Verdict(FOLLOWS, f"from {label or ' and '.join(names)}", origins=tuple(names))


def _unsure(scene, target, mistake):
    """Return the verdict on a gradient if the mistake may be in its line or in a value that the line reads.

    `mistake` is the mistake found in the line, or None.
    """
    doubtful = [e for e in scene.doubtful(target.event) if not _is_of_the_line(scene, e, target.event)]
    doubtful += filter(None, [scene.rivals.get(target.event.key)])
    helpers = list(dict.fromkeys(map(scene.label, doubtful)))
    called = [one.function.__qualname__ for one in scene.called_by(scene.site(target.event).statement)]
    if mistake is not None:
        also = f" (here, or in {joined([*helpers, *called], 'or')})" if helpers or called else ""
        found = _is_wrong(scene, mistake, also)
    else:
        own = scene.name(target.event)
        after = itertools.dropwhile(lambda event: event is not target.event, scene.locals)
        sites = {event.site for event in after if scene.name(event) == own}
        below = [f"{scene.label(target.event)} below"] if sites - {target.event.site} else []
        others = ("that of", [*helpers, *below]), ("one of", called)
        where = "".join(f", or {of} {joined(names, 'or')}" for of, names in others if names)
        found = _Verdict(WRONG, f"{UNNAMED}this line{where}{',' if where else ''} gives a wrong value")
    gradients = [e for e in doubtful if is_gradient(scene.name(e)) and is_real_array(e.value)]
    site = scene.site(target.event)
    is_handed_on = site.kind == "return" and isinstance(site.value, ast.Name)
    is_many = len({scene.site(e).statement for e in doubtful}) > MOST_NAMED
    is_in_loop = any(e.nth or (e.site, 1) in scene.plain.values for e in gradients)
    return replace(found, verdict=NOT_FOLLOWED) if is_many or is_in_loop or is_handed_on else found


def _is_of_the_line(scene, event, own):
    """Return True if `event` is computed in the line of `own`, is zeros to which this line adds, or counts a loop."""
    is_sum = scene.name(event) == scene.name(own) and is_start(scene, event)
    return event.site == own.site or is_sum or isinstance(scene.site(event).statement, ast.For)


def _placed(scene, target, verdict):
    site = scene.site(target.event)
    text = scene.source.lines[site.statement.lineno - 1 : getattr(site.statement, "end_lineno", None)]
    return replace(
        verdict,
        name=scene.source.shown(target.name),
        equation=equation_in("\n".join(reversed(text))),
        line=site.line,
        is_compared=verdict.verdict != NOT_FOLLOWED or not target.reason,
    )
