"""The value and the gradients of a Call, under names."""

from gradcheck.call import parameters_of


def run_backward(call, backward, dy):
    """Return {name: gradient} of the inputs, which backward returns, and of the parameters that are not frozen."""
    parameters = parameters_of(call.target)
    for parameter in parameters.values():
        parameter.grad = None
    returned = backward(dy)
    returned = returned if isinstance(returned, tuple) else (returned,)
    gradients = {f"input {i}": gradient for i, gradient in enumerate(returned) if gradient is not None}
    return gradients | {name: p.grad for name, p in parameters.items() if p.requires_grad}


def evaluate(call, dy):
    """Return y and {name: gradient}."""
    y, backward = call.evaluate()
    return y, run_backward(call, backward, dy)
