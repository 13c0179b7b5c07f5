"""Recording and replacing activations: the two things that every analysis does, through a model's hooks alone.

To look is not to know. What a model would have done had an activation been another is found only by making it another
and running the rest again; so whatever an analysis reads off recorded numbers is held against a replacement.

    seen = record(model, ids, ["blocks.0.attention.weights", "blocks.1"])

    with model.hooked({"blocks.0": replaced_by(seen["blocks.0"])}):  # what was there already: changes nothing
        model.predict(ids)
"""

from contextlib import contextmanager


def record(model, ids, names) -> dict:
    """Return the named activations, as they are when the model predicts from ids (..., T); see Module.hooked for names.

    Raises KeyError for a name that does not exist, and what `predict` raises.
    """
    seen = {}
    with model.hooked({name: recorder(seen, name) for name in names}):
        model.predict(ids)
    return seen


def record_gradients(model, ids, names, dlogits) -> tuple[dict, dict]:
    """Return the named activations and the gradient at each of Σ dlogits · logits, by one backward pass.

    dlogits has the logits' shape (..., T, V), or is a function of the logits that returns such an array. Leaves the
    gradients of the model's Parameters as they were.
    """
    seen, gradients = {}, {}
    hooks = {name: gradient_recorder(seen, gradients, name) for name in names}
    with frozen(model), model.hooked(hooks):
        logits, backward = model(ids)
        backward(dlogits(logits) if callable(dlogits) else dlogits)
    return seen, gradients


def recorder(seen: dict, name: str):
    """Return a hook that keeps the activation in `seen` under `name`."""

    def record_value(y, backward):
        seen[name] = y
        return y, backward

    return record_value


def gradient_recorder(seen: dict, gradients: dict, name: str):
    """Return a hook that keeps the activation in `seen` and its gradient in `gradients`, under `name`."""

    def record_both(y, backward):
        seen[name] = y

        def recording_backward(dy):
            gradients[name] = dy
            return backward(dy)

        return y, recording_backward

    return record_both


def replaced_by(value, where=...):
    """Return a hook that puts `value` in the place of an activation, at the index `where` of it (all, unless given).

    `value` is whatever can be assigned to that part: an array of its shape, or a number. It is a constant, so no
    gradient passes on through what was replaced.
    """

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
    """Let no Parameter of the model take a gradient during a `with` block."""
    parameters = model.parameters()
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad = False
        yield model
    finally:
        for parameter, requires_grad in zip(parameters, before, strict=True):
            parameter.requires_grad = requires_grad
