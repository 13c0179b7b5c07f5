"""Run both passes with probes on one draw of the inputs."""

import ast
import functools
import time
import warnings

import numpy as np

from gradcheck.call import clear_gradients
from gradcheck.contract import run_and_test
from gradcheck.front.streams import joined
from gradcheck.lines.called import functions_called
from gradcheck.lines.source import NOT_WITHIN
from gradcheck.lines.targets import is_array, targets_of
from gradcheck.lines.truth import Truth
from gradcheck.mistakes.draws import other_draws
from gradcheck.mistakes.sources import FUNCTION
from gradcheck.names import names_read

MOST_SECONDS = 3.0  # of processor time, for all edits of single lines (repairs.py)


class Passed:
    """The record of one backward pass: the values that it computed and the gradients that it returned.

    `output` is the output of the forward pass before it. A pass that raised an exception has no gradients.
    """

    def __init__(self, events, gradients, function, output=None):
        self.events, self.gradients, self.function, self.output = events, gradients, function, output
        self.values = {event.key: event.value for event in events}

    def value(self, target):
        if target.key is None:
            return self.gradients[target.argument] if self.gradients else None
        return self.values.get(target.key)


class Scene:
    """One random draw of the inputs, with the values that both passes compute and the true gradients.

    `call` is the Call under examination, into which probes have been inserted, and `verdicts` contains the verdict of
    `check` on each argument. The computed values are Events (instrument.py), and the gradients to compare are Targets
    (targets.py).
    """

    def __init__(self, call, dy, source, sites, probe, rng, verdicts=()):
        self.source, self.sites, self.probe = source, sites, probe
        self.run = run_and_test(call, dy, rng)
        with probe.running({}) as events:
            self.output, _ = self.run.call.evaluate()
        self.forward, self.names = events, {}  # list of Events; {name: its Events}
        for event in events:
            self.names.setdefault(self.name(event), []).append(event)
        self.truth = Truth(self.run, probe, events, rng)
        self.plain = self.backward({})
        if not self.plain.events:
            raise ValueError(f"{call.name}: {NOT_WITHIN}")
        self.targets = targets_of(self)
        self.truths, self.wrong = {}, set()  # {place of a Target: true value}; places of wrong Targets
        self.mistakes = {}  # {place of a value that causes an error: true value}
        # Keys of values that are known to be right; {key of a mistake: Event that may be the mistake instead}
        self.vouched, self.rivals = set(), {}
        for target in self.targets:
            verdict = verdicts[target.argument] if verdicts and target.argument is not None else ""
            if verdict == "CANNOT TELL":
                target.reason = target.reason or "a check cannot tell whether it is right"
            if target.reason:
                continue
            value = self.plain.value(target)
            if verdict != "WRONG" if verdict else self.truth.is_gradient(value, target.at, target.array):
                self.truths[target.place] = value
            else:
                self.truths[target.place] = self.truth.entries(target.at, target.array)
                self.wrong.add(target.place)

    def site(self, event):
        return self.sites[event.site]

    def name(self, event):
        return self.sites[event.site].name

    @functools.cached_property
    def end(self):
        """The processor time at which the search for a correction of single lines ends."""
        return time.process_time() + MOST_SECONDS

    @functools.cached_property
    def called(self):
        """The functions of the user's file that backward calls and forward does not, each as a Called."""
        return functions_called(self)

    def called_by(self, *nodes):
        """Return the functions of `called` that code calls, directly or through another function."""
        names = {getattr(n, "attr", getattr(n, "id", "")) for node in nodes for n in ast.walk(node)}
        found = [one for one in self.called if one.function.__name__ in names and one.node not in nodes]
        return [*found, *self.called_by(*nodes, *(one.node for one in found))] if found else []

    @functools.cached_property
    def locals(self):
        """The local variables of backward, each as an Event, the record of its value.

        Arrays that the forward pass computes only for backward are included, and come first.
        """
        read = names_read(self.source.inner)
        made = [held[0] for name, held in self.names.items() if len(held) == 1 and name in read]
        bound = [e for e in self.plain.events if self.site(e).kind == "backward" and not self._is_shared(e)]
        return [*(event for event in made if self._is_unused(event)), *bound]

    def _is_shared(self, event):
        statement = self.site(event).statement
        return isinstance(statement, ast.stmt) and self.is_shared(statement)

    @functools.cached_property
    def _of_forward(self):
        inner = {id(node) for node in ast.walk(self.source.inner)}
        outer = [n for n in ast.walk(self.source.outer) if isinstance(n, ast.stmt) and id(n) not in inner]
        return {(node.lineno, node.col_offset) for node in outer if not isinstance(node, ast.Return)}

    def is_shared(self, statement):
        """Return True if both passes run a statement, for example in a loop that computes y and the gradient.

        Such a statement defines the function, so it cannot be a mistake of the backward pass.
        """
        return (statement.lineno, statement.col_offset) in self._of_forward

    def _is_unused(self, event):
        if not is_array(event.value) or self.site(event).value is None:
            return False
        slope, _ = self.truth.along(event.key, event.value, self.truth.rng.standard_normal(event.value.shape))
        return abs(slope) <= self.run.rounding

    def is_parameter(self, target):
        return target.argument is not None and self.run.arguments[target.argument].parameter is not None

    def is_true(self, target, passed):
        value = passed.value(target)
        return value is not None and self.truth.same(value, self.truths[target.place], target.array)

    def right(self, passed, without=None):
        """Return the gradients that are right in `passed`, the record of a backward pass.

        Each gradient is given by its `Target.place`. The one with the place `without` is left out.
        """
        followed = [t for t in self.targets if t.place in self.truths and t.place != without]
        return {target.place for target in followed if self.is_true(target, passed)}

    def in_use(self, on_copies=False):
        """Assign the parameter values of this draw, or copies of them, to the module, and return this Scene."""
        for argument in self.run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array.copy() if on_copies else argument.array
        return self

    def held(self):
        """Return {key: true value} for the values that are known to be wrong and can be replaced."""
        return {key: value for key, value in self.mistakes.items() if isinstance(key, tuple)}

    def mended(self, more=()):
        """Run both passes with the known wrong values replaced by the true ones, and return the record as a Passed.

        `more` maps the keys of further values to their replacements.
        """
        return self.backward({**self.held(), **dict(more)})

    def backward(self, replaced, on_copies=False):
        """Run both passes with some values replaced, and return a Passed, the record of the backward pass.

        `replaced` maps the key of a value to the new value, or to a function that computes it from the original value.
        If an exception is raised, perhaps because of a replaced value, the result has no gradients. With `on_copies`,
        the code may be edited so that it raises an exception or modifies its arguments.
        """
        run = self.in_use(on_copies).run
        call = run.call.copy() if on_copies else run.call
        changes = {key: self._putting(key, value) for key, value in replaced.items()}
        clear_gradients(run.call.target)
        events, backward = [], None
        try:
            with self.probe.running(changes, is_recorded=False):
                output, backward = call.evaluate()
            with self.probe.running(changes, self._left) as events, np.errstate(all="ignore"):
                returned = backward(run.call.as_y(run.dy.copy()))
            return Passed(events, self._gradients(returned), backward, output)
        except Exception:  # the user's code may not accept these values
            if not replaced and not on_copies:
                raise
            return Passed(events, [], backward)

    def _gradients(self, returned):
        returned = returned if isinstance(returned, tuple) else (returned,)
        inputs, arguments = iter(self.run.call.selected(returned)), self.run.arguments
        given = [next(inputs, None) if a.parameter is None else a.parameter.grad for a in arguments]
        return [np.zeros(a.array.shape) if g is None else np.array(g) for a, g in zip(arguments, given, strict=True)]

    def _left(self):
        """Return the sum of |gradient| of each parameter, which changes when a line adds to the gradient."""
        gradients = [None if a.parameter is None else a.parameter.grad for a in self.run.arguments]
        return [0.0 if g is None else float(np.sum(np.abs(g))) for g in gradients]

    def _putting(self, key, value):
        def put(computed):
            new = value(computed) if callable(value) else value
            if self.sites[key[0]].is_written and isinstance(computed, np.ndarray) and computed.flags.writeable:
                computed[...] = new
                return computed
            return np.array(new) if isinstance(computed, np.ndarray) else new

        return put

    def _names_of(self, event):
        """Return the names that the line of `event` reads, directly or in a function that backward defines."""
        site = self.site(event)
        if isinstance(site.statement, ast.For):
            read = names_read(site.statement.iter)
        elif site.is_written:
            read = [site.name, *names_read(site.statement)]
        else:
            read = names_read(site.value or site.statement)
        helpers = {s.name: s for s in ast.iter_child_nodes(self.source.inner) if isinstance(s, FUNCTION)}
        return [*read, *(n for name in read if name in helpers for n in names_read(helpers[name]))]

    @functools.cached_property
    def before(self):
        """A dictionary from the key of each value in backward to the values, as Events, that its line has read."""
        found, latest = {}, {}
        returned = [event for event in self.plain.events if self.site(event).kind == "return"]
        for event in [*self.locals, *returned]:
            found[event.key] = [latest[name] for name in self._names_of(event) if name in latest]
            if event not in returned:
                latest[self.name(event)] = event
        return found

    def doubtful(self, event):
        """Return the Events of the values that may be wrong and on which `event` depends.

        An Event is the record of a value. The search stops at values that are known to be right (`vouched`) or wrong
        (`mistakes`).
        """
        known = self.vouched | self.mistakes.keys()
        return [other for other in self.reads(event, known) if other.key not in known]

    def computed(self, event):
        return [target.name for target in self.targets if target.event.key == event.key]

    def label(self, event):
        name, of = self.name(event), self.computed(event) or ["the returned value"]
        return self.source.shown(name) if name else joined(list(map(self.source.shown, of)))

    def reads(self, event, stops=()):
        """Return the Events of the values on which `event` depends, without those behind the keys in `stops`."""
        found, pending = {}, list(self.before[event.key])
        while pending:
            other = pending.pop()
            if other.key not in found:
                found[other.key] = other
                if other.key not in stops:
                    pending.extend(self.before[other.key])
        return list(found.values())


def other_scenes(scene, rng, others):
    """Draw other inputs, on which a correction of the code is tested, and return a list of Scenes.

    The first draw has inputs of the same sizes as in `scene`. It is followed by one for each Call in `others` or, if
    there are none, by one with larger inputs. Draws that the function does not accept are left out. A Call in `others`
    that cannot be examined gives None, because a correction cannot be tested on it.
    """
    scenes = []
    for sizes in ((False,),) if others else ((False,), (True,)):
        for call in other_draws(scene.run, rng, sizes, with_integers=True):
            other = _other_scene(scene, call, rng)
            if other is not None and all(np.all(np.isfinite(truth)) for truth in other.truths.values()):
                scenes.append(other)
                break
    return scenes + [_other_scene(scene, other.copy(), rng) for other in others]


def _other_scene(scene, call, rng):
    stream = np.random.default_rng(rng.integers(2**32))
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Scene(call, None, scene.source, scene.sites, scene.probe, stream)
    except Exception:  # the user's code may not accept these sizes or numbers
        return None
