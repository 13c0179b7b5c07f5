"""The complete results for one backward pass on one draw of numbers."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from gradcheck.lines.blame import Findings, findings_on
from gradcheck.lines.scene import Scene
from gradcheck.lines.source import NOT_WITHIN, Source
from gradcheck.lines.targets import Reads, targets_of
from gradcheck.mistakes.draws import other_draws


@dataclass
class Look:
    """A Scene, its Targets in the order of backward, the operands of its lines, and the Findings.

    `runs` counts the backward passes that tried a correction. `settled` are the keys of the Events of locals that need
    no examination, such as the length of an axis.
    """

    source: Source
    scene: Scene
    parts: list
    targets: list
    reads: Reads
    found: Findings
    runs: int = 0
    settled: set = field(default_factory=set)

    def in_use(self):
        """Assign the numbers of this Look to the parameters, and return it."""
        for argument in self.scene.run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
        return self

    def is_parameter(self, target):
        """Return True if a Target is the gradient of a parameter."""
        return target.argument is not None and self.scene.run.arguments[target.argument].parameter is not None

    def twin_of(self, target):
        """Return the Target of this Look that corresponds to another Look's, or None."""
        sought = target.name, target.event.key, target.key, target.at is None
        same = [t for t in self.targets if (t.name, t.event.key, t.key, t.at is None) == sought]
        return same[0] if same and same[0] in self.found.truths else None


def look_at(call, dy, source, instruments, probe, rng, verdicts):
    """Return a Look at a Call with its probes inserted.

    `instruments` are (Sites, Parts), and `verdicts` is described in blame.py.
    """
    sites, parts = instruments
    scene = Scene(call, dy, source, sites, probe, rng)
    if not scene.plain.events:
        raise ValueError(f"{call.name}: {NOT_WITHIN}")
    targets, reads = targets_of(scene), Reads(scene, source.inner)
    return Look(source, scene, parts, targets, reads, findings_on(scene, targets, reads, verdicts))


def looks_again(look, instruments, rng, others):
    """Return Looks at other draws: one of the same sizes, then one of larger sizes or at each of the `others`.

    The `others` are Calls. Signs, masks, indices and numbers differ as far as the function accepts them. None stands
    for one of the `others` that cannot be examined, because a correction cannot be tested there.
    """
    looks = []
    for sizes in ((False,),) if others else ((False,), (True,)):
        for call in other_draws(look.scene.run, rng, sizes):
            other = _other_look(look, call, instruments, rng)
            if other is not None and all(np.all(np.isfinite(truth)) for truth in other.found.truths.values()):
                looks.append(other)
                break
    return looks + [_other_look(look, other.copy(), instruments, rng) for other in others]


def _other_look(look, call, instruments, rng):
    """Return a Look at another Call, or None if the function raises on it."""
    verdicts = ["WRONG"] * len(look.scene.run.arguments)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed = rng.integers(2**32)
            stream = np.random.default_rng(seed)
            return look_at(call, None, look.source, instruments, look.scene.probe, stream, lambda: verdicts)
    except Exception:  # the user's code may not accept these sizes or numbers
        return None
