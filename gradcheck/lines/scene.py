"""One draw of numbers: a forward pass, backward passes with values replaced, and the findings."""

import warnings

import numpy as np

from gradcheck.call import clear_gradients
from gradcheck.contract import run_under_watch
from gradcheck.lines.blame import findings_on
from gradcheck.lines.source import NOT_WITHIN
from gradcheck.lines.targets import Reads, targets_of
from gradcheck.lines.truth import Truth
from gradcheck.mistakes.draws import other_draws


class Passed:
    """The result of a backward pass: its Events, a gradient for each argument, and the function.

    If it raised, there are no gradients.
    """

    def __init__(self, events, gradients, function):
        self.events, self.gradients, self.function = events, gradients, function
        self.values = {event.key: event.value for event in events}

    def value(self, target):
        """Return the value of a Target, or None if backward did not reach it."""
        if target.key is None:
            return self.gradients[target.argument] if self.gradients else None
        return self.values.get(target.key)


class Scene:
    """A Call with its probes inserted, one dy, and the results of forward and backward.

    `names` is {name: Events of forward}. `plain` is the Passed without replacements, `targets` are the gradients to
    compare, `reads` contains the operands of each line, and `found` are the Findings (blame.py). `runs` counts the
    backward passes that tried a correction. `settled` contains the keys of the locals that need no examination, such as
    the length of an axis. `rivals` is {key of a wrong local: Event of another local that may be wrong instead}.
    `verdicts()` returns the verdict of a check on each argument.
    """

    def __init__(self, call, dy, source, sites, probe, rng, verdicts):
        self.source, self.sites, self.probe = source, sites, probe
        self.runs, self.settled, self.rivals, self.verdicts = 0, set(), {}, verdicts
        self.run = run_under_watch(call, dy, rng)
        with probe.running({}) as events:
            self.output, _ = self.run.call.evaluate()
        self.forward, self.names = events, {}
        for event in events:
            self.names.setdefault(self.name(event), []).append(event)
        self.truth = Truth(self.run, probe, events, rng)
        self.plain = self.backward({})
        if not self.plain.events:
            raise ValueError(f"{call.name}: {NOT_WITHIN}")
        self.targets, self.reads = targets_of(self), Reads(self)
        self.found = findings_on(self)

    def site(self, event):
        return self.sites[event.site]

    def name(self, event):
        return self.sites[event.site].name

    def locals(self):
        """Return the Events of backward at which a name is bound."""
        return [event for event in self.plain.events if self.site(event).kind == "backward"]

    def is_parameter(self, target):
        return target.argument is not None and self.run.arguments[target.argument].parameter is not None

    def twin_of(self, target):
        """Return the Target of this Scene that corresponds to another Scene's, or None."""
        sought = target.name, target.event.key, target.key, target.at is None
        same = [t for t in self.targets if (t.name, t.event.key, t.key, t.at is None) == sought]
        return same[0] if same and same[0] in self.found.truths else None

    def in_use(self):
        """Assign the numbers of this Scene to the parameters, which all Scenes share, and return it."""
        for argument in self.run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
        return self

    def backward(self, replaced):
        """Run forward and backward with some values replaced, {key: value}, and return a Passed.

        If backward raises, for example because of a replaced value, the Passed has no gradients.
        """
        run = self.in_use().run
        changes = {key: self._putting(key, value) for key, value in replaced.items()}
        clear_gradients(run.call.target)
        events, backward = [], None
        try:
            with self.probe.running(changes, is_recorded=False):
                _, backward = run.call.evaluate()
            with self.probe.running(changes, self._left) as events, np.errstate(all="ignore"):
                returned = backward(run.call.as_y(run.dy.copy()))
            return Passed(events, self._gradients(returned), backward)
        except Exception:  # the user's code may not accept these values
            if not replaced:
                raise
            return Passed(events, [], backward)

    def _gradients(self, returned):
        """Return a gradient for each argument of the run, from the result of backward or from the parameter."""
        returned = returned if isinstance(returned, tuple) else (returned,)
        inputs, arguments = iter(self.run.call.selected(returned)), self.run.arguments
        given = [next(inputs, None) if a.parameter is None else a.parameter.grad for a in arguments]
        return [np.zeros(a.array.shape) if g is None else np.array(g) for a, g in zip(arguments, given, strict=True)]

    def _left(self):
        """Return the size of the gradient in each parameter, to detect when it arrives."""
        gradients = [None if a.parameter is None else a.parameter.grad for a in self.run.arguments]
        return [0.0 if g is None else float(np.sum(np.abs(g))) for g in gradients]

    def _putting(self, key, value):
        """Return a function that replaces a computed value, in place if the line modifies an existing array."""

        def put(computed):
            if self.sites[key[0]].is_written and isinstance(computed, np.ndarray) and computed.flags.writeable:
                computed[...] = value
                return computed
            return np.array(value) if isinstance(computed, np.ndarray) else value

        return put


def other_scenes(scene, rng, others):
    """Return Scenes of other draws: one of the same sizes, then one of larger sizes or one of each of the `others`.

    The `others` are Calls. Signs, masks, indices and numbers differ as far as the function accepts them. None stands
    for one of the `others` that cannot be examined, because a correction cannot be tested there.
    """
    scenes = []
    for sizes in ((False,),) if others else ((False,), (True,)):
        for call in other_draws(scene.run, rng, sizes, with_integers=True):
            other = _other_scene(scene, call, rng)
            if other is not None and all(np.all(np.isfinite(truth)) for truth in other.found.truths.values()):
                scenes.append(other)
                break
    return scenes + [_other_scene(scene, other.copy(), rng) for other in others]


def _other_scene(scene, call, rng):
    """Return a Scene of another Call, or None if the function raises on it."""
    verdicts = ["WRONG"] * len(scene.run.arguments)
    stream = np.random.default_rng(rng.integers(2**32))
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Scene(call, None, scene.source, scene.sites, scene.probe, stream, lambda: verdicts)
    except Exception:  # the user's code may not accept these sizes or numbers
        return None
