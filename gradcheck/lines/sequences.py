"""Find the wrong line of a loop, such as a backward pass through time.

The values of one line in all iterations are a sequence. It is compared with the gradients of each part of the forward
pass that is evaluated as many times, in the same or in reverse order, and with their partial sums if the line adds to a
variable. A wrong line is one whose sequence, replaced with one of these, makes a returned gradient right and no right
one wrong, on every draw of the inputs.
"""

import ast
import itertools
import time

import numpy as np

from gradcheck.lines.instrument import close, is_real_array
from gradcheck.lines.quantities import MOST_ENTRIES, without_ones
from gradcheck.lines.search import EQUAL, is_start
from gradcheck.lines.source import PREFIXES, gradient_of
from gradcheck.names import names_in

MOST_SECONDS = 4.0  # of processor time
START = "start"


def find_wrong_sequence(scenes):
    """Find the wrong line of a loop, and return True if there is one.

    `scenes` lists draws of the inputs (scene.py). The true values of all iterations are stored in the `mistakes` of
    each Scene, and its targets contain the line once. Of several lines, the one that mends most gradients is wrong, and
    of these the one whose values differ first in the order of execution.
    """
    if not any(nth for _, nth in scenes[0].plain.values):
        return False
    draws = [_Sequences(scene) for scene in scenes]
    first, end, found = draws[0], time.process_time() + MOST_SECONDS, []
    for site in first.lines:
        if time.process_time() > end:
            return False
        labels = [] if first.is_known(site) else first.labels(site)
        for label in labels:
            mended = first.mended(site, label)
            if mended and all(draw.mended(site, label) for draw in draws[1:]):
                found.append((-len(mended), first.order(site, label), site, label))
    if not found:
        return False
    *_, site, label = min(found, key=lambda one: one[:2])
    if len(first.lines[site]) == 1 and label != START:
        return False  # search.py examines a line outside of loops more closely
    for draw in draws:
        draw.blame(site, label)
    return True


class _Sequences:
    """The sequences of one draw of the inputs. In the methods, `site` identifies a line of backward.

    A label (site of a part of the forward pass, is_reversed, is_summed) identifies a sequence of gradients. START is
    the label of the zeros with which a variable of a loop starts.
    """

    def __init__(self, scene):
        self.scene, self.lines, self.parts, self.swept = scene, {}, {}, {}
        for event in scene.plain.events:
            if scene.site(event).kind == "backward" and is_real_array(event.value) and not is_start(scene, event):
                self.lines.setdefault(event.site, []).append(event)
        with scene.probe.running({}, with_parts=True) as events:
            scene.in_use().run.call.evaluate()
        skipped = {id(node) for site in scene.sites for node in _terms(site)}
        for event in events:
            site = scene.site(event)
            is_whole = site.kind == "part" or site.value is None
            if is_whole and is_real_array(event.value) and id(site.value) not in skipped:
                self.parts.setdefault(event.site, []).append(event)
        self.finals = {t.place for t in scene.targets if t.argument is not None and t.place in scene.truths}
        self.right = scene.right(scene.plain) & self.finals

    def labels(self, site):
        """Return the labels of the sequences with which those of a line are compared."""
        name, events = self.scene.sites[site].name, self.lines[site]
        again = [one for other, one in self.lines.items() if other != site and self.scene.sites[other].name == name]
        if len(events) == 1 and any(len(one) > 1 for one in again):
            return [START]
        of = self._named(name)
        is_sum, shape = self.scene.sites[site].is_written, without_ones(np.shape(events[0].value))
        parts = of or self.parts
        fitting = [
            part
            for part in parts
            if len(self.parts[part]) == len(events)
            and all(without_ones(np.shape(e.value)) == shape for e in self.parts[part])
            and self.parts[part][0].value.size <= MOST_ENTRIES
        ]
        return list(itertools.product(fitting, (True, False), (True, False) if is_sum else (False,)))

    def _named(self, name):
        """Return the parts that are the variable X, or an entry of X, if the name is that of a gradient of X."""
        wanted = gradient_of(name, (*PREFIXES, "D"))
        return [site for site in self.parts if _variables(self.scene.sites[site]) & {*wanted}]

    def values(self, label):
        """Return the gradients with respect to a part in each of its evaluations."""
        if label == START:
            return [0.0]
        part, is_reversed, is_summed = label
        if part not in self.swept:
            self.swept[part] = [self.scene.truth.entries(e.key, e.value) for e in self.parts[part]]
        values = self.swept[part][::-1] if is_reversed else self.swept[part]
        return list(itertools.accumulate(values)) if is_summed else values

    def replaced(self, site, label):
        pairs = zip(self.lines[site], self.values(label), strict=True)
        return {event.key: _shaped(value, event) for event, value in pairs}

    def _differences(self, site, label):
        true = self.replaced(site, label)
        return [event for event in self.lines[site] if not close(event.value, true[event.key], EQUAL)]

    def is_known(self, site):
        """Return True if the line computes the gradient that its name says, along all paths if this one is known."""
        named = [label for label in self.labels(site) if label[0] in self._named(self.scene.sites[site].name)]
        whole = [label for label in named if self._is_assigned(label[0])]
        return any(not self._differences(site, label) for label in whole or named)

    def _is_assigned(self, part):
        site = self.scene.sites[part]
        return site.value is None or (isinstance(site.statement, ast.Assign) and site.value is site.statement.value)

    def order(self, site, label):
        """Return the position, in the order of execution, of the first value that differs from a sequence."""
        return self.scene.plain.events.index(self._differences(site, label)[0])

    def mended(self, site, label):
        """Return the gradients that a sequence makes right, or an empty set if it makes one wrong."""
        if site not in self.lines or label not in self.labels(site) or not self._differences(site, label):
            return set()
        right = self.scene.right(self.scene.backward(self.replaced(site, label))) & self.finals
        return right - self.right if self.right <= right else set()

    def blame(self, site, label):
        """Store a sequence as the true values of a line. All other lines are right."""
        scene, true, last = self.scene, self.replaced(site, label), self.lines[site][-1]
        scene.mistakes, scene.vouched = dict(true), scene.plain.values.keys() - true.keys()
        scene.truths.update(true)
        scene.wrong |= true.keys()
        scene.targets = [t for t in scene.targets if t.event.site != site or t.event.key == last.key]
        for target in scene.targets:
            if target.event.key == last.key:
                target.at, target.array, target.reason = None, np.asarray(last.value), ""


def _shaped(value, event):
    return np.reshape(value, np.shape(event.value)) if np.ndim(value) else np.full(np.shape(event.value), value)


def _terms(site):
    """Return the terms of a sum, whose gradients are that of the sum if they have its shape."""
    value = site.value
    return [value.left, value.right] if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add) else []


def _variables(site):
    """Return the names of the variables that a part of the forward pass is, or to which it is assigned or appended."""
    node, statement = site.value, site.statement
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    appended = getattr(statement.value, "args", ()) if isinstance(statement, ast.Expr) else ()
    if site.value is getattr(statement, "value", None):
        targets = getattr(statement, "targets", ())
    else:
        targets = [statement.value.func] if any(site.value is argument for argument in appended) else ()
    return {getattr(node, "id", site.name), *names_in(*targets)}
