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
    """The results for the Targets of a Scene. All sets contain Targets.

    `wrong` are those whose value is not the truth. Among these, `at_fault` are those whose line is wrong, and `parts`
    hold a correct partial gradient. `unknown` are undecided. The `suspect` ones among them are meant to be the whole
    gradient, but read undecided values. `elsewhere` are wrong although all lines are right. `truths` is {Target: the
    true gradient}, and `held` is {key: value} of the values that replace those of backward.
    """

    scene: object
    truths: dict
    wrong: set
    at_fault: set = field(default_factory=set)
    parts: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    suspect: set = field(default_factory=set)
    elsewhere: set = field(default_factory=set)
    held: dict = field(default_factory=dict)

    def is_true(self, target, passed):
        value = passed.value(target)
        return value is not None and self.scene.truth.same(value, self.truths[target], target.array)

    def undecided(self):
        """Return the keys of the locals that may not hold the gradient that their name suggests."""
        return {t.key for t in self.parts | self.unknown if not t.is_final}

    def with_locals(self, truths):
        """Return new Findings that include locals followed by value. `truths` is {Target: true value} of these."""
        keys = {target.key for target in truths}
        kept = {t: truth for t, truth in self.truths.items() if t.is_final or t.key not in keys}
        more = Findings(self.scene, kept | truths, {t for t in self.wrong if t in kept})
        more.wrong |= {t for t in truths if not more.is_true(t, self.scene.plain)}
        return more.settle()

    def settle(self):
        """Find the names that hold a partial gradient, and then the lines at fault.

        Both are determined with true values in place of the computed ones. The search is repeated until no partial
        gradient is found.
        """
        backward = self.scene.backward
        while True:
            in_use = [target for target in self.truths if target not in self.parts]
            self.held = {t.key: self.truths[t] for t in in_use if t.key is not None}
            own = backward(self.held)
            right = {t for t in in_use if self.is_true(t, own)}
            parts, self.at_fault, self.unknown = set(), set(), set()
            for target in in_use:
                if target in right or target.is_final:
                    continue
                without = backward({key: value for key, value in self.held.items() if key != target.key})
                right_without = {t for t in in_use if t is not target and self.is_true(t, without)}
                lost, gained = right_without - right, (right - right_without) - {target}
                if lost and not gained:
                    parts.add(target)
                else:
                    (self.at_fault if gained and not lost else self.unknown).add(target)
            if not parts:
                break
            self.parts |= parts
        self.at_fault |= {t for t in in_use if t.is_final and not t.outside and t not in right}
        self.elsewhere = {t for t in in_use if t.outside and t not in right}
        self._doubt()
        return self

    def _doubt(self):
        """Mark as unknown the Targets at fault that read unknown values, or values modified under another name."""
        last = {self.scene.name(event): event for event in self.scene.locals()}
        doubtful = {t.key for t in self.unknown} | {e.key for e in last.values() if not e.is_untouched}
        for target in list(self.at_fault):
            if doubtful & {event.key for event in self.scene.reads.through(target.event, self.held)}:
                self.at_fault.discard(target)
                self.unknown.add(target)
                self.suspect.add(target)


def findings_on(scene):
    """Return the Findings on the Targets of a Scene.

    The verdicts of a check are computed only if a gradient seems wrong and may be at a kink.
    """
    found = Findings(scene, {}, set())
    for target in scene.targets:
        if target.is_followed:
            value = scene.plain.value(target)
            if scene.truth.is_gradient(value, target.at, target.array):
                found.truths[target] = value
            else:
                found.truths[target] = scene.truth.entries(target.at, target.array)
                found.wrong.add(target)
    finals = [target for target in found.wrong if target.is_final]
    if not all(scene.truth.is_plain(target.at, target.array) for target in finals):
        _confirm(scene, found, scene.verdicts())
    if any(target.is_final for target in found.wrong):
        return found.settle()
    found.parts = found.wrong
    return found


def _confirm(scene, found, verdicts):
    """Remove from `wrong` the gradients that a check does not call wrong."""
    for target in [t for t in found.wrong if t.argument is not None]:
        if verdicts[target.argument] != "WRONG":
            found.wrong.discard(target)
            found.truths[target] = scene.plain.value(target)
            if verdicts[target.argument] == "CANNOT TELL":
                target.reason = "a check cannot tell whether it is right"
                del found.truths[target]
