"""List the Targets of the comparison: the gradients that backward binds to a name or returns.

`dscores` is compared with ∂L/∂scores if forward binds the name `scores` once. The values that backward returns, and
those that it leaves in parameters, are compared too. A name that cannot be followed has a reason instead.
"""

import ast
from dataclasses import dataclass

import numpy as np

from gradcheck.lines.probe import Event, is_real_array
from gradcheck.lines.source import gradient_of, is_gradient, names_read
from gradcheck.lines.truth import MOST
from gradcheck.mistakes.sources import FUNCTION

TOO_MANY = f"it has more than {MOST:,} entries: take smaller arrays"


@dataclass(eq=False)
class Target:
    """A gradient at an Event of backward, or one that backward returns. Targets are compared by identity.

    `at` is the place in the forward pass to perturb, and `array` the value there. `event` is the Event of the line that
    completes the gradient. `key` is its key if the value can be replaced there, and otherwise None. If `is_final`,
    backward returns the gradient, and `argument` is the position of its argument in the run. If `outside`, other code
    computes it from the results of backward. `reason` says why it cannot be followed, or is empty.
    """

    name: str
    event: Event
    at: object = None
    array: object = None
    argument: int | None = None
    key: tuple | None = None
    is_final: bool = False
    outside: bool = False
    reason: str = ""

    @property
    def is_followed(self):
        return not self.reason


def targets_of(scene):
    """Return the Targets of a Scene in the order of its backward pass."""
    bound = scene.locals()
    last = {scene.name(event): event for event in bound}
    finals = _returned(scene, last)
    by_event = {target.event.key: target for target in finals if target.key is not None}
    found = []
    for event in bound:
        name = scene.name(event)
        if event.key in by_event:
            found.append(by_event.pop(event.key))
        elif is_gradient(name) and (event is last[name] or not _goes_on(scene, event, bound)):
            found.append(_named(scene, name, event, event is last[name]))
    found += [target for target in finals if target.event.key in by_event or target.key is None]
    return found + _left(scene, found)


def _goes_on(scene, event, bound):
    """Return True if the line of a value is executed again in a loop, or if the name's next line writes into it."""
    later = [e for e in bound if scene.name(e) == scene.name(event)]
    after = later[later.index(event) + 1 :]
    return any(e.site == event.site for e in after) or scene.site(after[0]).is_written


def _named(scene, name, event, is_last):
    """Return the Target of a name that backward binds but does not return."""
    if not is_last:
        return Target(name, event, reason="it is bound or written into again below")
    wanted = gradient_of(name)
    of = next((x for x in wanted if x in scene.names), None)
    if of is None:
        return Target(name, event, reason=f"the forward pass has no name {wanted[0]}")
    first, *others = scene.names[of]
    shape, reason = np.shape(first.value), ""
    if others:
        reason = f"the forward pass binds {of}, or writes into it, more than once"
    elif not is_real_array(first.value):
        reason = f"{of} is not a floating-point array"
    elif not first.is_untouched:
        reason = f"the forward pass writes into {of} after it is bound"
    elif not is_real_array(event.value) or np.shape(event.value) != shape:
        reason = f"it does not have the shape of {of}, {shape}"
    elif not event.is_untouched:
        reason = "it is modified, but not under this name"
    elif np.size(event.value) > MOST:
        reason = TOO_MANY
    return Target(name, event, first.key, first.value, key=event.key, reason=reason)


def _returned(scene, last):
    """Return a Target for each gradient that backward returns: at the line of the name, or at the `return`."""
    returned = [e for e in scene.plain.events if scene.site(e).kind == "return"]
    targets = []
    for position, (i, at, name, array) in enumerate(_expected(scene)):
        at_return = [e for e in returned if scene.site(e).count == 0 or scene.site(e).position == position]
        if not at_return:
            continue
        event = at_return[-1]
        site = scene.site(event)
        target = Target(f"d{name}", event, at, array, i, event.key, is_final=True)
        if site.count == 0 and isinstance(event.value, (tuple, list)):
            target.key = None
            if i is None:
                continue
        elif isinstance(site.value, ast.Name) and site.value.id in last:
            given, bound = site.value.id, last[site.value.id]
            is_free = not (_is_of_forward(scene, given) or target.name in last or _is_read(scene, given))
            if (given == target.name or is_free) and bound.live is event.live and bound.is_untouched:
                target.name, target.event, target.key = given, bound, bound.key
        if not is_real_array(target.event.value) and target.key is not None:
            target.reason = "it is not a floating-point array"
        elif array.size > MOST:
            target.reason = TOO_MANY
        targets.append(target)
    return targets


def _expected(scene):
    """Return (position, place, name, array) for each gradient that backward returns.

    The position is the index among the run's arguments, or None if other code passes the result on. The place is
    where the forward pass is perturbed.
    """
    if scene.source.is_whole:
        return [(i, i, a.name, a.array) for i, a in enumerate(scene.run.arguments) if a.parameter is None]
    outer = scene.source.outer
    positional = [a.arg for a in (*outer.args.posonlyargs, *outer.args.args)]
    entered = {scene.name(e): e for e in scene.forward if scene.site(e).statement is outer}
    if not all(len(scene.names[name]) == 1 for name in positional if name in entered):
        return []
    events = [(name, entered[name]) for name in positional if name in entered]
    return [(None, e.key, name, e.value) for name, e in events if is_array(e.value)]


def is_array(value):
    """Return True if a value is an array that has a gradient."""
    return isinstance(value, np.ndarray) and is_real_array(value)


def _is_read(scene, name):
    """Return True if a line of backward, or an expression that it returns, computes with a name."""
    sites = [scene.site(event) for event in scene.plain.events]
    used = [site.value if site.kind == "return" else site.statement for site in sites]
    return any(name in names_read(node) for node in used if not isinstance(node, ast.Name))


def _is_of_forward(scene, name):
    return any(x in scene.names for x in gradient_of(name))


def _left(scene, found):
    """Return a Target for each gradient of the run that is not in `found`: of parameters, or computed by other code."""
    there = {target.argument for target in found}
    targets = []
    for i, argument in enumerate(scene.run.arguments):
        if i not in there:
            event = next((e for e in scene.plain.events if e.left[i]), scene.plain.events[-1])
            reason = TOO_MANY if argument.array.size > MOST else ""
            outside = not scene.source.is_whole or argument.parameter is None
            place = argument.label, event, i, argument.array, i
            targets.append(Target(*place, is_final=True, outside=outside, reason=reason))
    return targets


class Reads:
    """The Events that each Event of backward reads, by the names in its statement."""

    def __init__(self, scene):
        self.scene, body = scene, getattr(scene.source.inner, "body", ())
        body = body if isinstance(body, list) else ()
        self.helpers = {s.name: names_read(s) for s in body if isinstance(s, FUNCTION)}
        self.before, latest = {}, {}
        for event in scene.plain.events:
            self.before[event.key] = [latest[name] for name in self.names(event) if name in latest]
            if scene.site(event).kind == "backward":
                latest[scene.name(event)] = event

    def names(self, event):
        """Return the names that an Event's statement reads."""
        site = self.scene.site(event)
        read = names_read(site.value if site.value is not None else site.statement)
        if site.is_written and not site.is_overwritten:
            read = [site.name, *names_read(site.statement)]
        if isinstance(site.statement, ast.For):
            read = names_read(site.statement.iter)
        return [*read, *(n for name in read for n in self.helpers.get(name, ()))]

    def through(self, event, stops):
        """Return the Events that an Event reads, directly or through other Events.

        Events with a key in `stops` are included but not followed further.
        """
        found, pending = {}, list(self.before[event.key])
        while pending:
            other = pending.pop()
            if other.key not in found:
                found[other.key] = other
                if other.key not in stops:
                    pending.extend(self.before[other.key])
        return list(found.values())
