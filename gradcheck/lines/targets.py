"""The Targets of the comparison: each gradient that backward binds to a name or returns.

`dscores` is compared with ∂L/∂scores if forward binds the name `scores` once. The values that backward returns, and
those that it leaves in parameters, are compared too. A name that cannot be followed has a reason instead.
"""

import ast
from dataclasses import dataclass

import numpy as np

from gradcheck.lines.probe import Event, is_real_array
from gradcheck.lines.source import PREFIXES, is_gradient, names_read
from gradcheck.lines.truth import MOST

TOO_MANY = f"it has more than {MOST:,} entries: take smaller arrays"


@dataclass(eq=False)
class Target:
    """A gradient at an Event of backward, or one that backward returns; compared by identity.

    `at` is the place in the forward pass to perturb, and `array` the value there. `event` is that of the line after
    which the gradient exists; `key` is its key if the value can be replaced there, otherwise None. If `is_final`,
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
        """Return True if the gradient can be compared."""
        return not self.reason


def targets_of(scene):
    """Return the Targets of a Scene in the order of its backward pass."""
    kinds = [scene.sites[e.site].kind for e in scene.plain.events]
    bound = [e for e, kind in zip(scene.plain.events, kinds, strict=True) if kind == "backward"]
    returned = [e for e, kind in zip(scene.plain.events, kinds, strict=True) if kind == "return"]
    last = {scene.sites[e.site].name: e for e in bound}
    finals = _returned(scene, returned, last)
    by_event = {target.event.key: target for target in finals if target.key is not None}
    found = []
    for event in bound:
        name = scene.sites[event.site].name
        if event.key in by_event:
            found.append(by_event.pop(event.key))
        elif is_gradient(name) and not (event is not last[name] and _goes_on(scene, event, bound)):
            found.append(_named(scene, name, event, event is last[name]))
    found += [target for target in finals if target.event.key in by_event or target.key is None]
    return found + _coming_out(scene, found)


def _goes_on(scene, event, bound):
    """Return True if the value of a name is not complete.

    Its line is executed again, in a loop, or the next one writes into it.
    """
    later = [e for e in bound if scene.sites[e.site].name == scene.sites[event.site].name]
    after = later[later.index(event) + 1]
    return any(e.site == event.site for e in later[later.index(event) + 1 :]) or scene.sites[after.site].is_written


def _named(scene, name, event, is_last):
    """Return the Target of a name that backward binds but does not return."""
    target = Target(name, event)
    if not is_last:
        target.reason = "it is bound or written into again below"
        return target
    wanted = [name[len(prefix) :] for prefix in PREFIXES if name.startswith(prefix)]
    wanted = [x for x in wanted if x in scene.names] or wanted
    if wanted[0] not in scene.names:
        target.reason = f"the forward pass has no name {wanted[0]}"
        return target
    of, held = wanted[0], scene.names[wanted[0]]
    if len(held) > 1:
        target.reason = f"the forward pass binds {of}, or writes into it, more than once"
    elif not is_real_array(held[0].value):
        target.reason = f"{of} is no array of floating-point numbers"
    elif not held[0].is_untouched:
        target.reason = f"the forward pass writes into {of} after it is bound"
    elif not is_real_array(event.value) or np.shape(event.value) != np.shape(held[0].value):
        target.reason = f"it does not have the shape of {of}, {np.shape(held[0].value)}"
    elif not event.is_untouched:
        target.reason = "it is written into where that is not seen"
    elif np.size(event.value) > MOST:
        target.reason = TOO_MANY
    target.at, target.array, target.key = held[0].key, held[0].value, event.key
    return target


def _returned(scene, returned, last):
    """Return a Target for each gradient that backward returns.

    It is at the line of the name that is returned, or at the `return`.
    """
    targets = []
    for position, (i, at, name, array) in enumerate(_expected(scene)):
        at_return = [e for e in returned if scene.sites[e.site].count == 0 or scene.sites[e.site].position == position]
        if not at_return:
            continue
        event = at_return[-1]
        site = scene.sites[event.site]
        target = Target(f"d{name}", event, at, array, i, event.key, is_final=True)
        if site.count == 0 and isinstance(event.value, tuple):
            target.key = None
            if i is None:
                continue
        elif isinstance(site.value, ast.Name) and site.value.id in last:
            given = site.value.id
            bound = last[given]
            is_free = not (_is_of_forward(scene, given) or target.name in last or _is_read(scene, given))
            own = given == target.name or is_free
            if own and bound.live is event.live and bound.is_untouched:
                target.name, target.event, target.key = given, bound, bound.key
        if not is_real_array(target.event.value) and target.key is not None:
            target.reason = "it is no array of floating-point numbers"
        elif array.size > MOST:
            target.reason = TOO_MANY
        targets.append(target)
    return targets


def _expected(scene):
    """Return (position, place, name, array) for each gradient that backward returns.

    The position is that among the run's arguments, or None if other code passes the result on. The place is where the
    forward pass is perturbed.
    """
    arguments = scene.run.arguments
    if scene.is_whole:
        return [(i, i, a.name, a.array) for i, a in enumerate(arguments) if a.parameter is None]
    entered = [e for e in scene.forward if scene.sites[e.site].kind == "forward" and scene.sites[e.site].value is None]
    positional = [a.arg for a in (*scene.outer.args.posonlyargs, *scene.outer.args.args)]
    at_entry = {scene.sites[e.site].name: e for e in entered if scene.sites[e.site].statement is scene.outer}
    found = [(name, at_entry[name]) for name in positional if name in at_entry]
    is_once = all(len(scene.names[name]) == 1 for name, _ in found)
    return [
        (None, e.key, name, e.value)
        for name, e in found
        if is_once and isinstance(e.value, np.ndarray) and is_real_array(e.value)
    ]


def _is_read(scene, name):
    sites = {scene.sites[event.site] for event in scene.plain.events if scene.sites[event.site].kind == "backward"}
    return any(name in names_read(site.statement) for site in sites)


def _is_of_forward(scene, name):
    return any(name.startswith(prefix) and name[len(prefix) :] in scene.names for prefix in PREFIXES)


def _coming_out(scene, found):
    """Return a Target for each gradient of the run that is not in `found`.

    These are gradients of parameters, and those computed by other code.
    """
    there = {target.argument for target in found}
    targets = []
    for i, argument in enumerate(scene.run.arguments):
        if i not in there and scene.plain.events:
            seen = [e for e in scene.plain.events if e.left[i]]
            event = seen[0] if seen else scene.plain.events[-1]
            reason = TOO_MANY if argument.array.size > MOST else ""
            outside = not scene.is_whole or argument.parameter is None
            targets.append(
                Target(argument.label, event, i, argument.array, i, None, is_final=True, outside=outside, reason=reason)
            )
    return targets


class Reads:
    """The Events that each Event of backward reads, by the names in its statement."""

    def __init__(self, scene, inner):
        self.scene = scene
        body = [] if isinstance(inner, ast.Lambda) else inner.body
        self.helpers = {s.name: names_read(s) for s in body if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))}
        self.before, latest = {}, {}
        for event in scene.plain.events:
            site = scene.sites[event.site]
            if site.kind == "argument":
                continue
            names = self.names(event)
            self.before[event.key] = [latest[name] for name in names if name in latest]
            if site.kind == "backward":
                latest[site.name] = event

    def names(self, event):
        """Return the names that an Event's statement reads."""
        site = self.scene.sites[event.site]
        read = names_read(site.value) if site.value is not None else names_read(site.statement)
        if site.is_written and not site.is_overwritten:
            read = [site.name, *names_read(site.statement)]
        if isinstance(site.statement, ast.For):
            read = names_read(site.statement.iter)
        return [*read, *(n for name in read for n in self.helpers.get(name, ()))]

    def through(self, event, stops):
        """Return the Events that one reads, directly or through others.

        Events whose key is in `stops` are included, but not those that they read.
        """
        found, pending = {}, list(self.before[event.key])
        while pending:
            other = pending.pop()
            if other.key not in found:
                found[other.key] = other
                if other.key not in stops:
                    pending.extend(self.before[other.key])
        return list(found.values())
