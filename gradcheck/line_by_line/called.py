"""Whether a backward pass that a line calls is itself right.

`n, norm_backward = self.norm(x)` in forward, `norm_backward(dn)` in backward: the call in forward is a function of its
own, of the arguments that it was given. These are moved, one after the other, and what comes of them is seen.
"""

import ast

import numpy as np

from gradcheck.complex_step import STEP, NotComplexSafe
from gradcheck.line_by_line.probe import is_real_array


def wrong_within(bench, node):
    """Return the names of the backward passes called in a line, or a part of it, that are wrong themselves."""
    called = [n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return [name for name in dict.fromkeys(called) if name in bench.closure and _is_wrong(bench, name)]


def _is_wrong(bench, name):
    """Whether a backward pass is known to be wrong; False also where that cannot be found out."""
    scene = bench.scene
    made = [e for e in scene.names.get(name, ()) if e.live is not None]
    if len(made) != 1 or scene.truth.step is None:
        return False
    statement = scene.sites[made[0].site].statement
    there = [e for e in scene.forward if scene.sites[e.site].statement is statement]
    given = [e for e in there if scene.sites[e.site].kind == "argument" and is_array(e.value)]
    outputs = [e for e in there if scene.sites[e.site].kind == "forward" and is_array(e.value)]
    if not given or not outputs or len({e.key for e in there}) != len({e.site for e in there}):
        return False
    rng = np.random.default_rng(len(there))
    dy = [rng.standard_normal(e.value.shape) for e in outputs]
    try:
        with np.errstate(all="ignore"):
            returned = bench.closure[name](*[d.copy() for d in dy])
    except Exception:  # it wants something else than one gradient for each output
        return False
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(given) or not all(is_array(r) for r in returned):
        return False
    return any(
        r.shape != e.value.shape or not _is_right(scene, e, r, outputs, dy, rng)
        for e, r in zip(given, returned, strict=True)
    )


def is_array(value):
    """Whether a value is an array that has a gradient."""
    return isinstance(value, np.ndarray) and is_real_array(value)


def _is_right(scene, event, gradient, outputs, dy, rng):
    """Whether ⟨dy, what the outputs change by⟩ is ⟨gradient, v⟩, as one argument is moved along v."""
    v = rng.standard_normal(gradient.shape)
    try:
        with scene.probe.recording({event.key: lambda value: value + 1j * STEP * v}) as events:
            scene.truth.step.along({})
    except NotComplexSafe:
        return True
    moved = {e.key: e.value for e in events}
    products = [d * np.imag(moved[e.key]) / STEP for e, d in zip(outputs, dy, strict=True)]
    size = sum(float(np.sum(np.abs(p))) for p in products) + float(np.sum(np.abs(gradient * v)))
    return bool(abs(sum(map(np.sum, products)) - np.sum(gradient * v)) <= 1e-8 * size)
