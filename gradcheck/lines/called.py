"""Check a backward pass that is called in a line of another one.

Forward contains `n, norm_backward = self.norm(x)`, and backward calls `norm_backward(dn)`. The call in forward is a
function of its arguments, so its arguments are perturbed one after the other, and the changes of its outputs are
compared with the gradients that norm_backward returns.
"""

import ast

import numpy as np

from gradcheck.complex_step import STEP, NotComplexSafe
from gradcheck.lines.probe import is_real_array


def wrong_within(bench, node):
    """Return the names of the backward passes called in a line that are wrong.

    `node` is the line or a part of it.
    """
    called = [n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return [name for name in dict.fromkeys(called) if name in bench.closure and _is_wrong(bench, name)]


def _is_wrong(bench, name):
    """Return True if a backward pass is wrong, False if it is right or unknown."""
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
    except Exception:  # it does not take one gradient for each output
        return False
    returned = returned if isinstance(returned, tuple) else (returned,)
    if len(returned) != len(given) or not all(is_array(r) for r in returned):
        return False
    return any(
        r.shape != e.value.shape or not _is_right(scene, e, r, outputs, dy, rng)
        for e, r in zip(given, returned, strict=True)
    )


def is_array(value):
    """Return True if a value is an array that has a gradient."""
    return isinstance(value, np.ndarray) and is_real_array(value)


def _is_right(scene, event, gradient, outputs, dy, rng):
    """Return True if ⟨dy, change of the outputs⟩ equals ⟨gradient, v⟩.

    The changes are those of a perturbation of one argument along v.
    """
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
