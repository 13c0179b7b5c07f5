"""The complete results for one backward pass on one draw of numbers."""

import warnings
from dataclasses import dataclass, field

import numpy as np

from gradcheck.line_by_line.blame import Findings, findings_on
from gradcheck.line_by_line.scene import Scene
from gradcheck.line_by_line.source import NOT_WITHIN, Source
from gradcheck.line_by_line.targets import Reads, targets_of


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
        same = [t for t in self.targets if (t.name, t.event.key, t.key) == (target.name, target.event.key, target.key)]
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
    """Return Looks at other draws: at each of the `others`, or at one new draw.

    The `others` are Calls. The new draw has other sizes, signs, masks, indices and numbers, as far as the function
    accepts them. If one of the `others` cannot be examined, the list is empty, because a correction cannot be tested
    there.
    """
    if others:
        looks = [_other_look(look, other.copy(), instruments, rng) for other in others]
        return looks if all(looks) else []
    for is_larger, is_signed in ((True, True), (True, False), (False, True), (False, False)):
        call = _varied(look.scene.run, rng, is_larger, is_signed)
        other = _other_look(look, call, instruments, rng) if call is not None else None
        if other is not None and all(np.all(np.isfinite(truth)) for truth in other.found.truths.values()):
            return [other]
    return []


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


def _varied(run, rng, is_larger, is_signed):
    """Return the Call of a Run with other arrays and numbers, or None.

    Each axis becomes longer by 1, and keeps all of its indices. Entries are scaled, and change sign if the array has
    both signs; booleans are flipped at some places. If a module's sizes would have to change, the result is None.
    """
    parameters = {id(a.parameter.data) for a in run.arguments if a.parameter is not None}
    if is_larger and parameters:
        return None

    def vary(value):
        if isinstance(value, float):
            return value * rng.uniform(0.7, 0.95)
        if not isinstance(value, np.ndarray):
            return value
        if is_larger:
            for axis, n in enumerate(value.shape):
                if n > 1:
                    value = np.take(value, rng.permutation([*range(n), rng.integers(n)]), axis)
        if value.dtype.kind == "f":
            value = value * rng.uniform(0.7, 1.3, value.shape)
            if is_signed and np.min(value, initial=0.0) < 0 < np.max(value, initial=0.0):
                value = value * rng.choice([-1.0, 1.0], value.shape)
        elif value.dtype.kind == "b" and is_signed:
            value = value ^ (rng.random(value.shape) < 0.2)
        elif value.dtype.kind in "iu" and is_signed and not is_larger:
            value = rng.permutation(value.ravel()).reshape(value.shape)
        return value

    for argument in run.arguments:
        if argument.parameter is not None:
            argument.parameter.data = vary(argument.array)
    moved = {id(a.array): vary(a.array) for a in run.arguments if a.parameter is None}
    inputs = [moved[id(value)] if id(value) in moved else vary(value) for value in run.call.inputs]
    return run.call.on(inputs, {name: vary(value) for name, value in run.call.options.items()})


def moved_look(look, instruments, rng):
    """Return a Look at the same Call with other numbers of the same sizes.

    The numbers change by at most 30 %, and dy is drawn again.
    """
    run = look.scene.run
    moved = {id(a.array): np.asarray(a.array * (1 + 0.3 * rng.uniform(-1, 1, a.array.shape))) for a in run.arguments}
    for argument in run.arguments:
        if argument.parameter is not None:
            argument.parameter.data = moved[id(argument.array)]
    call = run.call.on([moved.get(id(value), value) for value in run.call.inputs])
    verdicts = ["WRONG"] * len(run.arguments)
    rng = np.random.default_rng(rng.integers(2**32))
    return look_at(call, None, look.source, instruments, look.scene.probe, rng, lambda: verdicts)
