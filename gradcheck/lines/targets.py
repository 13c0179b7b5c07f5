"""List the gradients that a backward pass assigns, returns or stores in a parameter.

A local variable `dscores` is compared with ∂L/∂scores if the forward pass assigns to `scores` exactly once.
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.lines.instrument import Event, is_real_array
from gradcheck.lines.source import gradient_of
from gradcheck.lines.truth import MOST
from gradcheck.names import names_read

TOO_MANY = f"it has more than {MOST:,} entries: take smaller arrays"


@dataclass(eq=False)
class Target:
    """A gradient to compare with the true one: a local variable of backward, or a returned gradient."""

    name: str
    event: Event  # the Event of the line that completes the gradient
    at: object = None  # place to perturb: the key of an Event of the forward pass, or the position of an argument
    array: object = None  # value of the forward pass at that place
    argument: int | None = None  # position of the argument, for the gradient of an argument
    key: tuple | None = None  # the key of `event`, or None if the value cannot be replaced there
    is_final: bool = False  # True if backward returns the gradient or stores it in a parameter
    is_shown: bool = True  # False for a gradient that the report shows only if it is wrong
    outside: bool = False  # True if other code computes the gradient from the results of backward
    reason: str = ""  # the reason if the gradient cannot be compared, or ""

    @property
    def place(self):
        """An identifier of the gradient, which is the same for every draw of the inputs."""
        return self.argument if self.key is None else self.key


def targets_of(scene):
    """Return a Target for each gradient to compare: local variables, returned gradients and parameters' gradients."""
    last = {scene.name(event): event for event in scene.locals}
    finals = _returned(scene, last)
    by_event = {target.event.key: target for target in finals if target.key is not None}
    found = [by_event.pop(event.key, None) or _named(scene, event, last) for event in scene.locals]
    found += [target for target in finals if target.event.key in by_event or target.key is None]
    return found + _left(scene, found)


def _named(scene, event, last):
    name, wanted = scene.name(event), gradient_of(scene.name(event))
    later = [e for e in scene.locals if scene.name(e) == name]
    later = later[later.index(event) + 1 :]
    goes_on = any(e.site == event.site for e in later) or (bool(later) and scene.site(later[0]).is_written)
    of = next((x for x in wanted if x in scene.names), None)
    first, *others = scene.names.get(of, [event])
    shape, is_real = getattr(first.value, "shape", ()), is_real_array(event.value)
    reasons = {
        "its name is not that of a gradient": not wanted,
        "it is bound or written into again below": bool(later),
        f"the forward pass has no name {[*wanted, name][0]}": of is None,
        f"the forward pass binds {of}, or writes into it, more than once": others,
        f"{of} is not a floating-point array": not is_real_array(first.value),
        f"the forward pass writes into {of} after it is bound": not first.is_untouched,
        f"it does not have the shape of {of}, {shape}": not is_real or np.shape(event.value) != shape,
        "it is modified, but not under this name": not event.is_untouched,
        TOO_MANY: getattr(event.value, "size", 1) > MOST,
    }
    reason = next((reason for reason, applies in reasons.items() if applies), "")
    is_shown = bool(wanted) and not goes_on
    return Target(name, event, first.key, first.value, key=event.key, is_shown=is_shown, reason=reason)


def _returned(scene, last):
    """Create a Target for each gradient that backward returns.

    The Target belongs to the line that assigns the returned variable if this line completes the gradient of a single
    argument, and otherwise to the `return` statement.
    """
    returned = [e for e in scene.plain.events if scene.site(e).kind == "return"]
    sites = [scene.site(e) for e in scene.plain.events if scene.site(e).kind != "argument"]
    used = [site.value if site.kind == "return" else site.statement for site in sites]
    used = {name for node in used if not hasattr(node, "id") for name in names_read(node)}
    names = [getattr(scene.site(e).value, "id", "") for e in returned]
    targets = []
    for position, i, at, name, array in _expected(scene):
        at_return = [e for e in returned if scene.site(e).position in (None, position)]
        if not at_return:
            continue
        event = at_return[-1]
        site = scene.site(event)
        target = Target(f"d{name}", event, at, array, i, event.key, is_final=True)
        if site.position is None and isinstance(event.value, (tuple, list)):
            target.key = None
            if i is None:
                continue
        elif getattr(site.value, "id", "") in last and names.count(site.value.id) == 1:
            given, bound = site.value.id, last[site.value.id]
            is_other = any(x in scene.names for x in gradient_of(given)) or target.name in last or given in used
            if (name in gradient_of(given) or not is_other) and bound.live is event.live and bound.is_untouched:
                target.name, target.event, target.key = given, bound, bound.key
        if not is_real_array(target.event.value) and target.key is not None:
            target.reason = "it is not a floating-point array"
        elif array.size > MOST:
            target.reason = TOO_MANY
        targets.append(target)
    return targets


def _expected(scene):
    """Return (position, argument, place, name, array) for each gradient that backward should return.

    `position` is an index of the returned values. `argument` is an index of the call's arguments, or None if other code
    calls this backward pass and uses the gradient. `place` identifies the value whose gradient it is, and `array` is
    this value. A rule of PyTorch or JAX returns a gradient, or None, for each of its inputs.
    """
    if scene.source.is_whole:
        own = [(i, i, a.name, a.array) for i, a in enumerate(scene.run.arguments) if a.parameter is None]
        positions = range(len(own))
        if scene.source.rule:
            apart = scene.source.rule.apart
            positions = [i - sum(j < i for j in apart) for i in scene.run.call.differentiable()]
        return [(position, *argument) for position, argument in zip(positions, own, strict=True)]
    outer = scene.source.outer
    positional = [a.arg for a in (*outer.args.posonlyargs, *outer.args.args)]
    entered = {scene.name(e): e for e in scene.forward if scene.site(e).statement is outer}
    events = [(name, entered[name]) for name in positional if name in entered]
    if any(len(scene.names[name]) > 1 for name, _ in events):
        return []
    arrays = [(None, e.key, name, e.value) for name, e in events if is_array(e.value)]
    return [(position, *argument) for position, argument in enumerate(arrays)]


def is_array(value):
    return isinstance(value, np.ndarray) and is_real_array(value)


def _left(scene, found):
    """Create a Target for each argument that has none yet, such as a parameter."""
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
