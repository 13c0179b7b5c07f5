"""Adapters for gradients that are written by hand in PyTorch and JAX.

The inputs are NumPy arrays. The framework itself calls the backward pass, so its rules for shapes, None and types
apply. Several outputs become one y, the vector of all their entries. No framework is imported before an adapter is
called.
"""

import functools
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradcheck.call import Call, Differentiable, describe, is_real
from gradcheck.report import fault


def from_torch(function: Any, *, dtype: Any = np.float64) -> Differentiable:
    """Return a differentiable function, or a module, made from PyTorch code.

    `function` is a subclass of torch.autograd.Function, an nn.Module, or a function of tensors. Floating-point arrays
    become tensors of type `dtype`, whose gradients are checked. Integer arrays become tensors without a gradient, and
    other values are passed on. Each forward pass draws the same numbers from PyTorch's generator, and buffers of a
    module, such as a running mean, keep their values.

    The first backward pass also compares each gradient with two others: that of a call in which no other input requires
    a gradient (`ctx.needs_input_grad`), and that of inputs and dy that are not contiguous in memory.

    Raises TypeError if `function` is none of these. Backward raises GradientError if one of the two comparisons fails.
    """
    import torch

    if isinstance(function, torch.nn.Module):
        return _TorchModule(function, inspect.signature(function.forward), type(function).__name__, dtype)
    if not callable(function):
        raise TypeError(
            f"from_torch: function is {describe(function)}; it must be a torch.autograd.Function, an nn.Module, or a "
            "function of tensors"
        )
    has_rule = isinstance(function, type) and issubclass(function, torch.autograd.Function)
    if not has_rule:
        return _TorchFunction(function, _signature_of(function), Call(function).name, dtype)
    signature = inspect.signature(function.forward)
    if function.setup_context is torch.autograd.Function.setup_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])  # without ctx

    def apply(*inputs, **options):
        bound = signature.bind(*inputs, **options)
        bound.apply_defaults()
        return function.apply(*bound.args)

    return _TorchFunction(apply, signature, function.__name__, dtype, function)


def _signature_of(function):
    """Return the signature of a function. A function that is compiled, such as torch.tanh, may have none."""
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(lambda *input: None)


class _TorchFunction:
    """A differentiable function of arrays, made from a function of tensors or a torch.autograd.Function, `rule`."""

    def __init__(self, function, signature, name, dtype, rule=None):
        self.function, self.__signature__, self.__name__, self.dtype = function, signature, name, dtype
        self.rule, self.is_compared, self.parameters = rule, False, {}

    def __call__(self, *inputs, **options):
        y, gradients_of = self.evaluate(inputs, options)

        def backward(dy):
            before = np.array(dy)
            gradients = gradients_of(dy)
            if not self.is_compared:
                self.is_compared = True
                self.compare(inputs, options, gradients, before)
            for name, parameter in self.parameters.items():
                gradient = gradients.pop(name, None)
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            return tuple(gradients.values())

        return y, backward

    def call(self, inputs, options, parameters):
        return self.function(*inputs, **options)

    def evaluate(self, inputs, options, only=None):
        """Run the forward pass. Return y and gradients_of(dy), which returns {position or name: gradient or None}.

        If `only` is such a key, no other array requires a gradient.
        """
        import torch

        def tensor(value, key=None):
            if not isinstance(value, np.ndarray):
                return value
            if value.dtype.kind == "c" and np.dtype(self.dtype) != np.float64:  # the complex step needs all digits
                raise TypeError(f"{self.__name__}: complex arrays are not passed to PyTorch in {self.dtype.__name__}")
            if not is_real(value):
                return torch.tensor(value)
            # A tensor that shares the array's memory lets the check see a change in place.
            value = value.astype(self.dtype, copy=not value.flags.writeable)
            return torch.from_numpy(value).requires_grad_(key is not None and only in (None, key))

        given = [tensor(value, i) for i, value in enumerate(inputs)]
        parameters = {name: tensor(parameter.data, name) for name, parameter in self.parameters.items()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed formats a traceback for every device
            returned = self.call(given, {name: tensor(value) for name, value in options.items()}, parameters)
        parts = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if not all(isinstance(part, torch.Tensor) for part in parts):
            raise TypeError(f"{self.__name__} must return a tensor or a tuple of tensors, not {describe(returned)}")
        parts = [part for part in parts if part.is_floating_point() or part.is_complex()]
        y, cotangents_of = _as_one([part.detach().numpy() for part in parts])

        def gradients_of(dy):
            if any(isinstance(value, np.ndarray) and value.dtype.kind == "c" for value in inputs):
                raise TypeError(f"{self.__name__}: the gradients of complex arrays are not taken from PyTorch")
            leaves = dict(enumerate(given)) | parameters
            wanted = {key: t for key, t in leaves.items() if isinstance(t, torch.Tensor) and t.requires_grad}
            pairs = zip(parts, cotangents_of(dy), strict=True)
            used = {part: torch.from_numpy(np.asarray(d, self.dtype)) for part, d in pairs if part.requires_grad}
            if not used:
                return dict.fromkeys(wanted)
            found = torch.autograd.grad(
                list(used), list(wanted.values()), list(used.values()), allow_unused=True, retain_graph=True
            )
            arrays = [None if gradient is None else gradient.numpy().astype(np.float64) for gradient in found]
            return dict(zip(wanted, arrays, strict=True))

        return y, gradients_of

    def compare(self, inputs, options, gradients, dy):
        """Raise GradientError if a gradient depends on requires_grad of other inputs, or on the layout in memory."""
        spread = [_spread(value) if is_real(value) else value for value in inputs]
        apart = self.evaluate(spread, options)[1](_spread(dy))
        for key, gradient in gradients.items():
            name = key if key in self.parameters else Call(self, *inputs).input_names()[key]
            alone = self.evaluate(inputs, options, key)[1](dy.copy())[key]
            for other, condition in (
                (alone, "no other input requires a gradient: see ctx.needs_input_grad"),
                (apart[key], "the inputs and dy are not contiguous in memory"),
            ):
                if not _equal(other, gradient):
                    raise fault(self.__name__, f"the gradient of {name} differs if {condition}")


class _TorchModule(_TorchFunction):
    """A module for `check_module`, made from an nn.Module."""

    def __init__(self, module, *others):
        super().__init__(module, *others)
        values = {name: value.detach().numpy() for name, value in module.named_parameters()}
        self.parameters = {name: SimpleNamespace(data=value, grad=None) for name, value in values.items()}

    def named_parameters(self):
        yield from self.parameters.items()

    def call(self, inputs, options, parameters):
        import torch

        tensors = [t for t in (*parameters.values(), *inputs) if isinstance(t, torch.Tensor)]
        real = next(t.dtype for t in tensors if t.is_floating_point() or t.is_complex())
        buffers = {
            name: value.to(real).clone() if value.is_floating_point() else value.clone()
            for name, value in self.function.named_buffers()
        }
        return torch.func.functional_call(self.function, parameters | buffers, tuple(inputs), options)

    def calls_within(self, inputs, options):
        """List a Call for each call of a torch.autograd.Function in the forward pass."""
        import torch

        calls, pending, forwards = [], [torch.autograd.Function], {}
        while pending:
            rule = pending.pop()
            pending += rule.__subclasses__()
            if "forward" in vars(rule) and not rule.__module__.startswith("torch."):
                forwards[rule] = vars(rule)["forward"]

        def recording(rule, forward):
            def record(*given):
                own = given if rule.setup_context is not torch.autograd.Function.setup_context else given[1:]
                arrays = [t.detach().numpy().copy() if isinstance(t, torch.Tensor) else t for t in own]
                wanted = [i for i, t in enumerate(own) if isinstance(t, torch.Tensor) and t.requires_grad]
                calls.append((rule, arrays, wanted))
                return forward.__func__(*given)

            return staticmethod(record)

        try:
            for rule, forward in forwards.items():
                rule.forward = recording(rule, forward)
            self.evaluate(inputs, options)
        finally:
            for rule, forward in forwards.items():
                rule.forward = forward
        return [Call(from_torch(rule, dtype=self.dtype), *arrays).only(wanted) for rule, arrays, wanted in calls]


def from_jax(function: Any, *, dtype: Any = np.float64) -> Differentiable:
    """Make a differentiable function from a JAX function, usually one with jax.custom_vjp.

    Floating-point arrays among the positional arguments are converted to `dtype` and have gradients. JAX runs in double
    precision if `dtype` is float64. The outputs may form a tuple or a dictionary. The result raises the exceptions of
    JAX.
    """
    import jax

    @functools.wraps(function)
    def on_arrays(*inputs, **options):
        floating = [i for i, value in enumerate(inputs) if is_real(value)]
        for i, value in enumerate(inputs):
            if isinstance(value, np.ndarray) and value.dtype.kind == "c":
                raise TypeError(
                    f"{on_arrays.__name__}: input {i} must be real for a function of JAX, not {value.dtype.name}"
                )

        def of_floating(*arrays):
            every = list(inputs)
            for i, array in zip(floating, arrays, strict=True):
                every[i] = array
            return [part for part in jax.tree_util.tree_leaves(function(*every, **options)) if part.dtype.kind == "f"]

        with jax.enable_x64(np.dtype(dtype) == np.float64):
            parts, vjp = jax.vjp(of_floating, *(inputs[i].astype(dtype) for i in floating))
            y, cotangents_of = _as_one([np.asarray(part) for part in parts])

        def backward(dy):
            with jax.enable_x64(np.dtype(dtype) == np.float64):
                gradients = vjp([np.asarray(dpart, dtype) for dpart in cotangents_of(dy)])
            return tuple(np.asarray(gradient, np.float64) for gradient in gradients)

        return y, backward

    return on_arrays


def _as_one(parts):
    """Return y, the only array or the vector of all entries, and cotangents_of(dy), which splits dy into the parts."""
    dtype = np.result_type(np.float64, *parts)
    if len(parts) == 1:
        return np.asarray(parts[0], dtype), lambda dy: [dy]
    ends = np.cumsum([part.size for part in parts])[:-1]

    def cotangents_of(dy):
        return [piece.reshape(part.shape) for piece, part in zip(np.split(dy, ends), parts, strict=True)]

    return np.concatenate([np.ravel(part) for part in parts]).astype(dtype), cotangents_of


def _spread(array):
    return np.repeat(array[..., None], 2, axis=-1)[..., 0]


def _equal(gradient, other):
    if gradient is None or other is None:
        return gradient is other
    return gradient.shape == other.shape and np.allclose(gradient, other, rtol=1e-6, atol=1e-9)
