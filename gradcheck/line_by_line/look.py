"""All that is known of one backward pass on one draw of numbers."""

from dataclasses import dataclass, field

import numpy as np

from gradcheck.line_by_line.blame import Findings, findings_on
from gradcheck.line_by_line.scene import Scene
from gradcheck.line_by_line.source import NOT_WITHIN, Source
from gradcheck.line_by_line.targets import Reads, targets_of


@dataclass
class Look:
    """A Scene, its Targets in the order of backward, what its lines read, and the Findings.

    `runs` counts the backward passes that tried a repair. `settled` are the keys of the
    Events of locals that no mistake is looked for in, such as the length of an axis.
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
        """Let the parameters hold the numbers of this look, and return it."""
        for argument in self.scene.run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
        return self

    def is_parameter(self, target):
        """Whether a Target is the gradient of a parameter."""
        return target.argument is not None and self.scene.run.arguments[target.argument].parameter is not None

    def twin_of(self, target):
        """Return the Target of this look that is another look's, or None."""
        same = [t for t in self.targets if (t.name, t.event.key, t.key) == (target.name, target.event.key, target.key)]
        return same[0] if same and same[0] in self.found.truths else None


def look_at(call, dy, source, instruments, probe, rng, verdicts):
    """Return a Look at a Call with its probes planted; `instruments` are (Sites, Parts), `verdicts` as in blame.py."""
    sites, parts = instruments
    scene = Scene(call, dy, source, sites, probe, rng)
    if not scene.plain.events:
        raise ValueError(f"{call.name}: {NOT_WITHIN}")
    targets, reads = targets_of(scene), Reads(scene, source.inner)
    return Look(source, scene, parts, targets, reads, findings_on(scene, targets, reads, verdicts))


def look_again(look, rng):
    """Return a Look at the same Call on other numbers: inputs and parameters moved by up to a third, and another dy."""
    run = look.scene.run
    moved = {id(a.array): np.asarray(a.array * _nearly_one(rng, a.array.shape)) for a in run.arguments}
    for argument in run.arguments:
        if argument.parameter is not None:
            argument.parameter.data = moved[id(argument.array)]
    call = run.call.on([moved.get(id(value), value) for value in run.call.inputs])
    verdicts = ["WRONG"] * len(run.arguments)
    instruments = look.scene.sites, look.parts
    rng = np.random.default_rng(rng.integers(2**32))
    return look_at(call, None, look.source, instruments, look.scene.probe, rng, lambda: verdicts)


def _nearly_one(rng, shape):
    return 1 + 0.3 * rng.uniform(-1, 1, shape)
