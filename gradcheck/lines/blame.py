"""Find the wrong line: its value is not the true one although all its operands are.

As soon as backward binds a gradient to a name, it is replaced by the true gradient. The next line then has correct
operands. If it computes the true value from them, a wrong value in the unmodified run was caused by an earlier line.

Fan-out needs care. Correct code may call `dh` the gradient along one of two paths, and add the other one later. Its
value is not ∂L/∂h, but it is not a mistake. Therefore an intermediate name is blamed only if replacing its value by the
true one makes a later gradient right. If the replacement makes a right gradient wrong, the name holds a partial
gradient and is not replaced. If it does neither, the name is unknown, and so are the lines that read it.
"""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """The results for the Targets; the sets hold Targets.

    `wrong` are those whose value is not the truth. Among these, `at_fault` are those whose line is wrong, and `parts`
    hold a correct partial gradient. `unknown` are undecided; the `suspect` ones among them are meant to be the whole
    gradient, but read undecided values. `elsewhere` are wrong although all lines are right. `truths` is {Target: the
    true gradient}, `held` is {key: value} of the values that replace those of backward, and `own` is the Passed with
    these replacements.
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

    `verdicts()` returns the verdict of a check on each argument of the run. It is called only if a gradient seems wrong
    and may be at a kink.
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
    """Return the Findings extended by locals followed by value.

    `truths` is {Target: true value} of these locals.
    """
    keys = {target.key for target in truths}
    kept = {target: truth for target, truth in found.truths.items() if target.is_final or target.key not in keys}
    wrong = {t for t, truth in truths.items() if not scene.truth.same(scene.plain.value(t), truth, t.array)}
    more = Findings(kept | truths, {t for t in found.wrong if t in kept} | wrong)
    _settle(scene, more)
    _blame(scene, more, reads)
    return more


def _confirm(scene, found, verdicts):
    """Remove from `wrong` the gradients that a check does not call wrong."""
    for target in [t for t in found.wrong if t.argument is not None]:
        if verdicts[target.argument] != "WRONG":
            found.wrong.discard(target)
            found.truths[target] = scene.plain.value(target)
            if verdicts[target.argument] == "CANNOT TELL":
                target.reason = "a check cannot tell whether it is right"
                del found.truths[target]


def is_true(scene, found, target, passed):
    """Return True if a Target's value in a Passed is the true one."""
    value = passed.value(target)
    return value is not None and scene.truth.same(value, found.truths[target], target.array)


def _settle(scene, found):
    """Find the names that hold a partial gradient, and then the lines at fault.

    Both are determined with true values in place of the computed ones. The search is repeated until no partial gradient
    is found.
    """
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
    """Mark as unknown the Targets at fault that read unknown values."""
    doubtful = {t.key for t in found.unknown} | _tainted(scene, reads)
    for target in list(found.at_fault):
        read = {event.key for event in reads.through(target.event, found.held)}
        if read & doubtful:
            found.at_fault.discard(target)
            found.unknown.add(target)
            found.suspect.add(target)


def _tainted(scene, reads):
    """Return the keys of Events whose value is modified later under another name."""
    last = {scene.sites[e.site].name: e for e in scene.plain.events if scene.sites[e.site].kind == "backward"}
    return {event.key for event in last.values() if not event.is_untouched}
