"""Which line is wrong: that whose value is not the truth although all that it reads is.

Let every gradient that backward binds to a name be replaced by the truth as soon as it is bound. What the next line
then computes is its own doing: if it is the truth, a wrong value there only follows from an earlier one.

The trap is fan-out. Right code may call `dh` what comes along one of two paths and add the other later: not ∂L/∂h, and
no mistake. So a name in the middle is blamed only if the true value there, in place of the computed one, makes
something right that is computed from it. Where it makes something wrong that was right, the name holds a part, and is
left as it is. Where it does neither, nothing is known of the name, nor of what reads it.
"""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What is known of the Targets, each set holding Targets.

    `wrong` are those whose value is not the truth. Of these, the lines of those `at_fault` are wrong; the `parts` are a
    part of a gradient, and a right one; of the `unknown` it cannot be told, but for the `suspect` among them: these are
    meant to be the whole gradient, but read what nothing is known of; and those `elsewhere` are wrong although all
    lines are right. `truths` is {Target: the true gradient}, `held` {key: value} what backward is given in the
    place of what it computes, and `own` the Passed in which it is.
    """

    truths: dict
    wrong: set
    at_fault: set = field(default_factory=set)
    parts: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    suspect: set = field(default_factory=set)
    elsewhere: set = field(default_factory=set)
    held: dict = field(default_factory=dict)
    own: object = None


def findings_on(scene, targets, reads, verdicts):
    """Return the Findings on the Targets of a Scene.

    `verdicts()` returns those of a check on each argument of the run; it is asked for if one seems wrong where that is
    not plain to see.
    """
    truths, wrong = {}, set()
    for target in targets:
        if target.is_followed:
            value = scene.plain.value(target)
            if scene.truth.is_gradient(value, target.at, target.array):
                truths[target] = value
            else:
                truths[target] = scene.truth.entries(target.at, target.array)
                wrong.add(target)
    found = Findings(truths, wrong)
    if not all(scene.truth.is_plain(target.at, target.array) for target in wrong if target.is_final):
        _confirm(scene, found, verdicts())
    if any(target.is_final for target in wrong):
        _settle(scene, found)
        _blame(scene, found, reads)
    else:
        found.parts = wrong
    return found


def with_locals(scene, found, reads, truths):
    """Return the Findings with the truths of locals in addition, {Target: value}, that the values told."""
    keys = {target.key for target in truths}
    kept = {target: truth for target, truth in found.truths.items() if target.is_final or target.key not in keys}
    wrong = {t for t, truth in truths.items() if not scene.truth.same(scene.plain.value(t), truth, t.array)}
    more = Findings(kept | truths, {t for t in found.wrong if t in kept} | wrong)
    _settle(scene, more)
    _blame(scene, more, reads)
    return more


def _confirm(scene, found, verdicts):
    """Take from those that are wrong what a check of the whole does not call so."""
    for target in [t for t in found.wrong if t.argument is not None]:
        if verdicts[target.argument] != "WRONG":
            found.wrong.discard(target)
            found.truths[target] = scene.plain.value(target)
            if verdicts[target.argument] == "CANNOT TELL":
                target.reason = "a check cannot tell whether it is right"
                del found.truths[target]


def is_true(scene, found, target, passed):
    """Whether a Target's value is the truth in a Passed."""
    value = passed.value(target)
    return value is not None and scene.truth.same(value, found.truths[target], target.array)


def _settle(scene, found):
    """Find out which names hold a part, until no more are found; then what all lines compute from the truth."""
    while True:
        in_use = [target for target in found.truths if target not in found.parts]
        found.held = {t.key: found.truths[t] for t in in_use if t.key is not None}
        found.own = scene.backward(found.held)
        right = {t for t in in_use if is_true(scene, found, t, found.own)}
        parts = set()
        found.at_fault, found.unknown = set(), set()
        for target in in_use:
            if target in right or target.is_final:
                continue
            without = scene.backward({key: value for key, value in found.held.items() if key != target.key})
            others = [t for t in in_use if t is not target]
            gained = any(t in right and not is_true(scene, found, t, without) for t in others)
            lost = any(t not in right and is_true(scene, found, t, without) for t in others)
            if lost and not gained:
                parts.add(target)
            else:
                (found.at_fault if gained and not lost else found.unknown).add(target)
        if not parts:
            break
        found.parts |= parts
    found.at_fault |= {t for t in in_use if t.is_final and not t.outside and t not in right}
    found.elsewhere = {t for t in in_use if t.outside and t not in right}


def _blame(scene, found, reads):
    """Take the blame from those that read what nothing is known of."""
    doubtful = {t.key for t in found.unknown} | _tainted(scene, reads)
    for target in list(found.at_fault):
        read = {event.key for event in reads.through(target.event, found.held)}
        if read & doubtful:
            found.at_fault.discard(target)
            found.unknown.add(target)
            found.suspect.add(target)


def _tainted(scene, reads):
    """Return the keys of Events whose value is written into later, where no line of their own name does so."""
    last = {scene.sites[e.site].name: e for e in scene.plain.events if scene.sites[e.site].kind == "backward"}
    return {event.key for event in last.values() if not event.is_untouched}
