"""Values and gradients of a function by PyTorch's automatic differentiation."""


def torch_gradients(torch, function, inputs, dy=None):
    """Return the value of function(*tensors) and the gradients of all inputs, as NumPy arrays in float64."""
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    y = function(*tensors)
    y.backward(None if dy is None else torch.tensor(dy))
    return y.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]
