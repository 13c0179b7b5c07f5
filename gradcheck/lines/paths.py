"""Explain a wrong gradient as the gradient along only some of the paths, or of another quantity.

x reaches y directly, and through other names computed from it. If one of these names is held constant while x is
perturbed, the result is the gradient along all other paths. If the line computes that, it lacks the path through this
name. Other explanations are that the line computes the gradient of another name that depends on x, or only the effect
of each entry on the entry at the same index.
"""

import itertools

import numpy as np

from gradcheck.complex_step import STEP, NotComplexSafe
from gradcheck.lines.probe import is_real_array
from gradcheck.lines.source import PREFIXES, names_read
from gradcheck.lines.truth import finite

MOST_PAIRS = 30
MOST_DIAGONAL = 400  # entries, each of which is perturbed separately


def path_words(bench):
    """Return a sentence on a path that a Target's value lacks, or ""."""
    scene, target = bench.scene, bench.target
    value = bench.base.value(target)
    if target.at is None or value is None or not is_real_array(value) or not np.any(value):
        return ""
    of = moved_name(bench)
    single = _bound_once(scene)
    later = {n: e for n, e in single.items() if e.key != target.at and n != of and e.live is not scene.output}
    for name, event in later.items():
        if _is_gradient(bench, value, {event.key: event.value}):
            return f"the path from {of} to the output through {name} is missing"
    for (name, event), (other, another) in list(itertools.combinations(later.items(), 2))[:MOST_PAIRS]:
        if _is_gradient(bench, value, {event.key: event.value, another.key: another.value}):
            return f"the paths from {of} to the output through {name} and {other} are missing"
    covered = _covered(bench, later)
    rest = bench.found.truths[target] - value
    if covered and np.any(rest) and _is_gradient(bench, rest, {e.key: e.value for e in covered.values()}):
        return f"{of} reaches the output on another path than through {joined(covered)}, and that is missing"
    return ""


def moved_name(bench):
    """Return the name in the forward pass whose gradient a Target is."""
    at = bench.target.at
    if isinstance(at, int):
        return bench.scene.run.arguments[at].name
    return bench.scene.sites[at[0]].name


def _is_gradient(bench, value, held):
    return bench.scene.truth.is_gradient(value, bench.target.at, bench.target.array, held)


def instead_words(bench):
    """Return a sentence on the quantity that was computed instead, or "".

    It is the gradient of another name, or the diagonal of a Jacobian.
    """
    scene, value = bench.scene, bench.base.value(bench.target)
    if bench.target.at is None or scene.truth.step is None or not is_real_array(value):
        return ""
    of, single = moved_name(bench), _bound_once(scene)
    for gradient, name, given in _starts(bench, single):
        for other, event in single.items():
            is_alike = np.shape(event.value) == np.shape(given) and other not in (name, of)
            if is_alike and _moves(bench, {event.key: given}, value):
                return f"it is what it would be if {gradient} were the gradient of {other}, not of {name}"
        if np.shape(value) == np.shape(given) and 1 < np.size(value) <= MOST_DIAGONAL:
            diagonal = _diagonal(bench, single[name].key)
            if diagonal is not None and scene.truth.same(given * diagonal, value, bench.target.array):
                return (
                    f"an entry of {of} reaches other entries of {name} too, and the line knows of its own place alone"
                )
    return ""


def _bound_once(scene):
    return {n: held[0] for n, held in scene.names.items() if len(held) == 1 and is_real_array(held[0].value)}


def joined(words, last_word="and"):
    """Return `a`, `a and b` or `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def joined_or(words):
    """Return `a`, `a or b` or `a, b or c`."""
    return joined(words, "or")


def _starts(bench, single):
    """Yield (gradient that the line reads, name that it is the gradient of, value)."""
    source, run = bench.look.source, bench.scene.run
    names = bench.names(bench.target.event)
    followed = {bench.scene.sites[key[0]].name for key in bench.held}
    outputs = [n for n, e in single.items() if e.live is bench.scene.output or np.array_equal(e.value, run.y)]
    for gradient in bench.look.reads.names(bench.target.event):
        if gradient == source.parameter and outputs:
            yield gradient, outputs[-1], run.dy
        for prefix in PREFIXES if gradient != source.parameter else ():
            of = gradient[len(prefix) :] if gradient.startswith(prefix) else ""
            if of in single and of != moved_name(bench) and gradient in followed and gradient in names:
                yield gradient, of, names[gradient]


def _moves(bench, cotangents, value):
    """Return True if a value is the gradient of Σ ⟨cotangent, forward value⟩.

    `cotangents` is {key of a forward Event: cotangent}. The two are compared along a random direction.
    """
    v = bench.scene.truth.rng.standard_normal(np.shape(value))
    slopes = _slopes(bench, v, cotangents)
    if slopes is None:
        return False
    products = [np.asarray(c) * slopes[key] for key, c in cotangents.items()]
    size = sum(float(np.sum(np.abs(p))) for p in products) + float(np.sum(np.abs(value * v)))
    return bool(abs(sum(map(np.sum, products)) - np.sum(value * v)) <= bench.scene.truth.resolution * size)


def _diagonal(bench, key):
    """Return the diagonal of the Jacobian of a forward Event, or None.

    The derivative is with respect to the value that is perturbed.
    """
    array = finite(bench.target.array)
    diagonal = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        v = np.zeros(array.shape)
        v[index] = 1.0
        slopes = _slopes(bench, v, [key])
        if slopes is None:
            return None
        diagonal[index] = slopes[key][index]
    return diagonal


def _slopes(bench, v, keys):
    """Return {key: derivative of a forward Event} along v, or None."""
    scene, at = bench.scene, bench.target.at
    is_input = isinstance(at, int)
    changes = {} if is_input else {at: lambda value: value + 1j * STEP * v}
    try:
        with scene.probe.recording(changes) as events:
            scene.truth.step.along({at: v} if is_input else {})
    except NotComplexSafe:
        return None
    return {e.key: np.imag(e.value) / STEP for e in events if e.key in keys}


def _covered(bench, names):
    """Return {name: Event} of the names whose gradient or backward pass the line uses."""
    scene = bench.scene
    site = scene.sites[bench.target.event.site]
    read = bench.look.reads.names(bench.target.event)
    covered = [n[len(p) :] for n in read for p in PREFIXES if n.startswith(p) and n[len(p) :] in names]
    called = [n for n in names_read(site.statement) if n in scene.names and callable(scene.names[n][0].live)]
    for name in called:
        for event in scene.names[name]:
            statement = scene.sites[event.site].statement
            covered += [n for n, e in names.items() if scene.sites[e.site].statement is statement]
    return {name: names[name] for name in dict.fromkeys(covered)}
