"""One forward pass, and any number of backward passes with true values in place of computed ones."""

from dataclasses import dataclass

import numpy as np

from gradcheck.call import clear_gradients
from gradcheck.contract import run_under_watch
from gradcheck.lines.truth import Truth


@dataclass(frozen=True)
class Passed:
    """The result of a backward pass: its Events, a gradient for each argument, and the function.

    If it raised, there are no gradients.
    """

    events: list
    gradients: list
    function: object

    def value(self, target):
        """Return the value of a Target, or None if backward did not reach it."""
        if target.key is None:
            return self.gradients[target.argument] if self.gradients else None
        return next((e.value for e in self.events if e.key == target.key), None)


class Scene:
    """A Call with its probes inserted, one dy, and the results of forward and backward."""

    def __init__(self, call, dy, source, sites, probe, rng):
        self.sites, self.probe = sites, probe
        self.outer, self.is_whole = source.outer, source.is_whole
        self.run = run_under_watch(call, dy, rng)
        with probe.recording({}) as events:
            self.output, _ = self.run.call.evaluate()
        self.forward = events
        self.truth = Truth(self.run, probe, events, rng)
        self.names = {}
        for event in events:
            if sites[event.site].kind == "forward":
                self.names.setdefault(sites[event.site].name, []).append(event)
        self.plain = self.backward({})

    def backward(self, replaced):
        """Run forward and backward with some values replaced, and return a Passed.

        The replacements are {key: value}. If backward raises, for example because of a replaced value, the Passed has
        no gradients.
        """
        run = self.run
        changes = {key: self._putting(key, value) for key, value in replaced.items()}
        clear_gradients(run.call.target)
        passed = [], [], None
        try:
            with self.probe.changing(changes):
                _, backward = run.call.evaluate()
            passed = [], [], backward
            with self.probe.recording(changes, self._left) as events, np.errstate(all="ignore"):
                passed = events, [], backward
                returned = backward(run.call.as_y(run.dy.copy()))
        except Exception:  # the user's code may not accept these values
            if not replaced:
                raise
            return Passed(*passed)
        returned = returned if isinstance(returned, tuple) else (returned,)
        inputs = [i for i, a in enumerate(run.arguments) if a.parameter is None]
        gradients = [None if a.parameter is None else a.parameter.grad for a in run.arguments]
        for i, value in zip(inputs, returned, strict=False):
            gradients[i] = value
        gradients = [
            np.zeros(a.array.shape) if g is None else np.array(g) for a, g in zip(run.arguments, gradients, strict=True)
        ]
        return Passed(events, gradients, backward)

    def _left(self):
        """Return the size of the gradient in each parameter, to detect when it arrives."""
        gradients = [None if a.parameter is None else a.parameter.grad for a in self.run.arguments]
        return [0.0 if g is None else float(np.sum(np.abs(g))) for g in gradients]

    def _putting(self, key, value):
        """Return a function that replaces a computed value.

        If backward has written into the array, it is replaced in place.
        """

        def put(computed):
            if self.sites[key[0]].is_written and isinstance(computed, np.ndarray) and computed.flags.writeable:
                computed[...] = value
                return computed
            return np.array(value) if isinstance(computed, np.ndarray) else value

        return put
