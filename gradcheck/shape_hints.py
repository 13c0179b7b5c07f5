"""Explain a gradient of the wrong shape, if the shape has one simple explanation."""

import numpy as np


def shape_hint(argument, shape, others):
    """Return an explanation of a wrong shape, such as a transpose, or "".

    `others` lists every (Argument, gradient) of the same backward pass.
    """
    wanted = argument.array.shape
    for other, gradient in others:
        if other is not argument and np.shape(gradient) == wanted and other.array.shape == shape:
            return f": {argument.label} and {other.label} are returned in each other's place"
    if sorted(shape) == sorted(wanted):
        return f": the shape of {argument.name} transposed"
    broadcast = _broadcast_axes(wanted, shape)
    if broadcast:
        listed = f"{'axis' if len(broadcast) == 1 else 'axes'} {', '.join(map(str, broadcast))}"
        return f": not summed over {listed}, along which {argument.name} is broadcast"
    if tuple(n for n in shape if n != 1) == tuple(n for n in wanted if n != 1):
        return ": an axis of length 1 is kept or lost (keepdims)"
    return ""


def _broadcast_axes(wanted, shape):
    """Return the axes of `shape` along which `wanted` is broadcast to it, or []."""
    lengthened = (1,) * (len(shape) - len(wanted)) + wanted
    if len(lengthened) != len(shape) or any(n not in (1, m) for n, m in zip(lengthened, shape, strict=True)):
        return []
    return [axis for axis, (n, m) in enumerate(zip(lengthened, shape, strict=True)) if n != m]
