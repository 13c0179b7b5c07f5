"""Recognise a gradient that lacks a path, or that is the gradient of another quantity.

x reaches y directly, and through other names computed from it. If one of these names is held constant while x is
perturbed, the result is the gradient along all other paths. If the line computes that, it lacks the path through this
name. Or the line may compute the gradient of another name that depends on x, or only the effect of each entry on the
entry at the same index.
"""

import itertools

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.lines.probe import is_real_array
from gradcheck.lines.source import gradient_of, names_read

MOST_PAIRS = 30
MOST_DIAGONAL = 400  # entries, each of which is perturbed separately


def missing_path(bench):
    """Return a sentence on a path that a Target's value lacks, or ""."""
    if bench.target.at is None:
        return ""
    of, single = _moved_name(bench), _bound_once(bench.scene)
    later = {n: e for n, e in single.items() if n != of and e.live is not bench.scene.output}
    for name, event in later.items():
        if _is_gradient(bench, bench.value, [event]):
            return f"the path from {of} to the output through {name} is missing"
    for (name, event), (other, another) in itertools.islice(itertools.combinations(later.items(), 2), MOST_PAIRS):
        if _is_gradient(bench, bench.value, [event, another]):
            return f"the paths from {of} to the output through {name} and {other} are missing"
    covered = {name: later[name] for name in _covered(bench, later)}
    rest = bench.truth - bench.value
    if covered and np.any(rest) and _is_gradient(bench, rest, covered.values()):
        return f"{of} reaches the output on another path than through {joined(covered)}, and that is missing"
    return ""


def instead(bench):
    """Return a sentence on the quantity that was computed instead, or ""."""
    scene, value = bench.scene, bench.value
    if bench.target.at is None or scene.truth.step is None:
        return ""
    of, single = _moved_name(bench), _bound_once(scene)
    for gradient, name, given in _gradients_read(bench, of, single):
        for other, event in single.items():
            is_alike = np.shape(event.value) == np.shape(given) and other not in (name, of)
            if is_alike and _is_from(bench, event.key, given):
                return f"it is what it would be if {gradient} were the gradient of {other}, not of {name}"
        if np.shape(value) == np.shape(given) and 1 < np.size(value) <= MOST_DIAGONAL:
            diagonal = _diagonal(bench, single[name].key)
            if diagonal is not None and scene.truth.same(given * diagonal, value, bench.target.array):
                return f"an entry of {of} also reaches the other entries of {name}, and the line leaves these out"
    return ""


def joined(words, last_word="and"):
    """Return `a`, `a and b` or `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def _moved_name(bench):
    """Return the name in the forward pass whose gradient a Target is."""
    at = bench.target.at
    return bench.scene.run.arguments[at].name if isinstance(at, int) else bench.scene.sites[at[0]].name


def _bound_once(scene):
    return {n: held[0] for n, held in scene.names.items() if len(held) == 1 and is_real_array(held[0].value)}


def _is_gradient(bench, value, constant):
    held = {event.key: event.value for event in constant}
    return bench.scene.truth.is_gradient(value, bench.target.at, bench.target.array, held)


def _covered(bench, names):
    """Return the names whose gradient or backward pass the line uses."""
    scene, event = bench.scene, bench.target.event
    covered = [of for n in scene.reads.names(event) for of in gradient_of(n) if of in names]
    for name in names_read(scene.site(event).statement):
        made = [scene.site(e).statement for e in scene.names.get(name, ()) if callable(e.live)]
        covered += [n for n, e in names.items() if any(scene.site(e).statement is statement for statement in made)]
    return list(dict.fromkeys(covered))


def _gradients_read(bench, of, single):
    """Yield (gradient that the line reads, name that it is the gradient of, value)."""
    scene = bench.scene
    names, followed = bench.names(bench.target.event), {scene.sites[key[0]].name for key in bench.held}
    outputs = [n for n, e in single.items() if e.live is scene.output or np.array_equal(e.value, scene.run.y)]
    for gradient in scene.reads.names(bench.target.event):
        if gradient == scene.source.parameter:
            yield from [(gradient, name, scene.run.dy) for name in outputs[-1:]]
        elif gradient in followed and gradient in names:
            yield from [(gradient, x, names[gradient]) for x in gradient_of(gradient) if x in single and x != of]


def _is_from(bench, key, cotangent):
    """Return True if the value is the gradient of Σ ⟨cotangent, a value of forward⟩, along a random direction."""
    v = bench.scene.truth.rng.standard_normal(np.shape(bench.value))
    slopes = _slopes(bench, v)
    if slopes is None or key not in slopes:
        return False
    wanted, given = np.asarray(cotangent) * slopes[key], bench.value * v
    size = float(np.sum(np.abs(wanted)) + np.sum(np.abs(given)))
    return bool(abs(np.sum(wanted) - np.sum(given)) <= bench.scene.truth.resolution * size)


def _diagonal(bench, key):
    """Return the diagonal of the Jacobian of a value of forward with respect to the Target's array, or None."""
    diagonal = np.zeros(np.shape(bench.target.array))
    for index in np.ndindex(diagonal.shape):
        v = np.zeros(diagonal.shape)
        v[index] = 1.0
        slopes = _slopes(bench, v)
        if slopes is None or key not in slopes:
            return None
        diagonal[index] = slopes[key][index]
    return diagonal


def _slopes(bench, v):
    """Return {key: derivative of a value of forward} along v, or None."""
    try:
        return bench.scene.truth.slopes(bench.target.at, bench.target.array, v)[2]
    except NotComplexSafe:
        return None
