"""Hooks that record and replace activations. To find the effect of an activation, replace it and run the model again.

seen = record(model, ids, ["blocks.0.attention.weights", "blocks.1"])

with model.hooked({"blocks.0": replaced_by(seen["blocks.0"])}):  # the same values: nothing changes
    model.predict(ids)
"""

from contextlib import contextmanager

import numpy as np


def record(model, ids, names) -> dict:
    """Run the model on ids (..., T) and return the named activations. Raises KeyError for an unknown name."""
    seen: dict = {}
    with model.hooked({name: gradient_recorder(seen, {}, name) for name in names}):
        model.predict(ids)
    return seen


def in_each_block(model, part: str = "") -> list[str]:
    """Return the name of the activation `part` in each block (default: its output).

    Raises ValueError if a block has no such activation, as one without attention has no attention weights.
    """
    for i, block in enumerate(model.blocks):
        if part not in ("", *(name for name, _ in block.named_modules())):
            raise ValueError(f"every block must have the activation {part}, but blocks.{i} has none")
    return [f"blocks.{i}.{part}" if part else f"blocks.{i}" for i in range(model.config.n_layers)]


def record_in_each_block(model, ids, part: str, axis: int = 0):
    """Return the activation `part` of every block on ids (..., T), stacked along a new axis."""
    names = in_each_block(model, part)
    seen = record(model, ids, names)
    return np.stack([seen[name] for name in names], axis=axis)


def record_gradients(model, ids, names, dlogits) -> tuple[dict, dict]:
    """Record activations, and the gradients of Σ dlogits · logits at each of them.

    `dlogits` is an array with the shape of the logits (..., T, V), or a function that computes this array from the
    logits. The gradients of the model's parameters do not change. Returns two dictionaries with the names as keys.
    """
    seen: dict = {}
    gradients: dict = {}
    with frozen(model), model.hooked({name: gradient_recorder(seen, gradients, name) for name in names}):
        logits, backward = model(ids)
        backward(dlogits(logits) if callable(dlogits) else dlogits)
    return seen, gradients


def gradient_recorder(seen: dict, gradients: dict, name: str):
    """Return a hook that stores an activation and, in a backward pass, its gradient."""

    def record_both(y, backward):
        seen[name] = y

        def recording_backward(dy):
            gradients[name] = dy
            return backward(dy)

        return y, recording_backward

    return record_both


def replaced_by(value, where=...):
    """Return a hook that replaces the part `where` of an activation with the constant `value`."""

    def replace(y, y_backward):
        replaced = y.copy()
        replaced[where] = value

        def backward(dy):
            dy = dy.copy()
            dy[where] = 0
            return y_backward(dy)

        return replaced, backward

    return replace


@contextmanager
def frozen(model):
    parameters = model.parameters()
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad = False
        yield model
    finally:
        for parameter, requires_grad in zip(parameters, before, strict=True):
            parameter.requires_grad = requires_grad
