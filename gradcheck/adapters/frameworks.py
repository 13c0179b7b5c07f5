"""Adapters for gradients that are written by hand in PyTorch and JAX.

The inputs are NumPy arrays, also in nested dictionaries, lists and tuples. The framework itself calls the backward
pass, so its rules for shapes, None and types apply. Several outputs become one y, the vector of all their entries. No
framework is imported before an adapter is called.
"""

import functools
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from gradcheck.adapters.nested import filled, leaves
from gradcheck.call import Call, Differentiable, describe, is_floating
from gradcheck.report import fault


def from_torch(function: Any, *, dtype: Any = None) -> Differentiable:
    """Return a differentiable function, or a module, made from PyTorch code.

    `function` is a subclass of torch.autograd.Function, an nn.Module, or a function of tensors. Floating-point arrays,
    real or complex, become tensors of the same type, whose gradients are checked. Integer arrays become tensors without
    a gradient, and other values are passed on. A check first converts floating-point arrays to `dtype`, if it is given.
    Each forward pass draws the same numbers from PyTorch's generator, and buffers of a module, such as a running mean,
    keep their values.

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

    rule = Rule("torch", function.__name__, function.forward, function.backward)
    return _TorchFunction(apply, signature, function.__name__, dtype, rule)


@dataclass(frozen=True)
class Rule:
    """The two passes of a torch.autograd.Function or of a jax.custom_vjp."""

    framework: str  # "torch", "jax", or "" if it computes with arrays of NumPy
    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    apart: tuple[int, ...] = ()  # positions of the arguments for which backward returns no gradient


def _signature_of(function):
    """Return the signature of a function, even of a compiled one such as torch.tanh."""
    try:
        return inspect.signature(function)
    except ValueError:
        return inspect.signature(lambda *input: None)


class _TorchFunction:
    """A function of NumPy arrays that returns (y, backward), made from a function of PyTorch tensors.

    `rule` is the Rule, if the function is a torch.autograd.Function.
    """

    def __init__(self, function, signature, name, dtype, rule=None):
        self.function, self.__signature__, self.__name__, self.checked_dtype = function, signature, name, dtype
        self.rule, self.is_compared, self.parameters = rule, False, {}
        self.unused = lambda tensor: None  # the gradient of an input that does not reach y

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
            return _like_inputs(inputs, gradients)

        return y, backward

    def call(self, inputs, options, parameters):
        return self.function(*inputs, **options)

    def evaluate(self, inputs, options, only=None):
        """Run the forward pass, and return y and a function that computes the gradients.

        This function maps dy to a dictionary of the gradients. The key of a gradient is the place of an input, its path
        in the nested inputs, or the name of a parameter. If `only` is such a key, no other array requires a gradient.
        """
        import torch

        def tensor(value, key=None):
            if not isinstance(value, np.ndarray):
                return value
            if not is_floating(value):
                return torch.tensor(value)
            # A tensor that shares the array's memory lets the check see a change in place.
            value = value if value.flags.writeable else value.copy()
            return torch.from_numpy(value).requires_grad_(key is not None and only in (None, key))

        arrays = {place: tensor(value, place) for place, value in leaves(inputs)}
        parameters = {name: tensor(parameter.data, name) for name, parameter in self.parameters.items()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed formats a traceback for every device
            constants = {name: tensor(value) for name, value in options.items()}
            parts = self.outputs(self.call(filled(inputs, arrays), constants, parameters))
        y, cotangents_of = _as_one([_as_array(part.detach()) for part in parts])

        def gradients_of(dy):
            wanted = {k: t for k, t in (arrays | parameters).items() if isinstance(t, torch.Tensor) and t.requires_grad}
            pairs = zip(parts, cotangents_of(dy), strict=True)
            used = [(part, torch.from_numpy(d)) for part, d in pairs if part.requires_grad]
            found = [None] * len(wanted)
            if used:
                outputs, cotangents = zip(*used, strict=True)
                found = torch.autograd.grad(
                    outputs, list(wanted.values()), cotangents, allow_unused=True, retain_graph=True
                )
            pairs = zip(wanted.items(), found, strict=True)
            return {key: self.unused(t) if g is None else _as_array(g) for (key, t), g in pairs}

        return y, gradients_of

    def outputs(self, returned):
        """Return a list of the floating-point tensors in `returned`, the result of the function."""
        import torch

        parts = [part for _, part in leaves(returned)]
        if not all(isinstance(part, torch.Tensor) for part in parts):
            raise TypeError(f"{self.__name__} must return a tensor or a tuple of tensors, not {describe(returned)}")
        return [part for part in parts if part.is_floating_point() or part.is_complex()]

    def of_gradients(self, inputs):
        """Return the gradients as a function of the inputs and dy, which PyTorch can differentiate."""
        import torch

        kinds = [value.dtype.kind for _, value in leaves(inputs) if is_floating(value)]

        def gradients(*given, **options):
            tensors = {place: t for place, t in leaves(given[:-1]) if isinstance(t, torch.Tensor)}
            wanted = {p: t for p, t in tensors.items() if t.is_floating_point() or t.is_complex()}
            if ["c" if t.is_complex() else "f" for t in wanted.values()] != kinds:
                raise TypeError("a gradient is not an analytic function")  # of complex numbers, by PyTorch's convention
            wanted = {p: t if t.requires_grad else t.detach().requires_grad_() for p, t in wanted.items()}
            parts = self.outputs(self.function(*filled(given[:-1], wanted), **options))
            y = parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])
            found = torch.autograd.grad(y, list(wanted.values()), given[-1], create_graph=True, allow_unused=True)
            return [torch.zeros_like(t) if g is None else g for g, t in zip(found, wanted.values(), strict=True)]

        function = _TorchFunction(gradients, None, f"the gradient of {self.__name__}", self.checked_dtype)
        function.unused = lambda tensor: np.zeros(tensor.shape, _as_array(tensor.detach()).dtype)
        return function

    def compare(self, inputs, options, gradients, dy):
        """Raise GradientError if a gradient depends on conditions that should not matter.

        The conditions are that no other input requires a gradient, and that the arrays are not contiguous in memory.
        `gradients` contains the gradients for the given inputs and dy.
        """
        spread = filled(inputs, {place: _spread(value) for place, value in leaves(inputs) if is_floating(value)})
        apart = self.evaluate(spread, options)[1](_spread(dy))
        for key, gradient in gradients.items():
            name = key if key in self.parameters else Call(self, *inputs).input_names()[key[0]]
            alone = self.evaluate(inputs, options, key)[1](dy.copy())[key]
            for other, condition in (
                (alone, "no other input requires a gradient: see ctx.needs_input_grad"),
                (apart[key], "the inputs and dy are not contiguous in memory"),
            ):
                if not _equal(other, gradient):
                    raise fault(self.__name__, f"the gradient of {name} differs if {condition}")


def _as_array(tensor):
    return tensor.resolve_conj().resolve_neg().numpy()


class _TorchModule(_TorchFunction):
    """A module for `check_module`, made from an nn.Module."""

    kind_of_rule = "torch.autograd.Function"

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
        """Return a Call for each torch.autograd.Function that the forward pass calls."""
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
        return [Call(from_torch(rule), *arrays).only(wanted) for rule, arrays, wanted in calls]


def from_jax(function: Any, *, dtype: Any = None) -> Differentiable:
    """Make a differentiable function from a JAX function, usually one with jax.custom_vjp.

    Floating-point arrays among the positional arguments, real or complex, have gradients. A check first converts them
    to `dtype`, if it is given. JAX runs in double precision if one of them is in double precision. The function is
    compiled, unless it depends on values that are unknown then. The outputs may form a tuple or a dictionary. The
    result raises the exceptions of JAX.
    """
    return _JaxFunction(function, dtype)


class _JaxFunction:
    """A function of NumPy arrays that returns (y, backward), made from a JAX function."""

    kind_of_rule = "jax.custom_vjp"

    def __init__(self, function, dtype):
        self.function, self.checked_dtype, self.compiled = function, dtype, {}
        self.convention = "jax"  # of complex gradients
        functools.update_wrapper(self, function, updated=())
        self.custom = _custom_vjp(function)
        if self.custom is None:
            self.calls_within = self._calls_within

    def by_rule(self, inputs, options):
        """Return the function by its own rule, which runs one operation after the other, or None if it has no rule.

        It computes with NumPy, which is faster, if the numbers are then the same for these inputs.
        """
        if self.custom is None:
            return None
        rules, found = [_JaxRule(self.custom, Call(self).name, is_in_numpy) for is_in_numpy in (False, True)], []
        for rule in rules:
            try:
                y, backward = rule(*inputs, **options)
                found.append((y, *backward(np.cos(np.arange(y.size)).reshape(y.shape))))
            except Exception:  # such as that of x.at, which arrays of NumPy do not have
                return rules[0]
        pairs = zip(*found, strict=True)
        return rules[all(a is b or np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs)]

    def precise(self):
        """Return a context in which JAX computes in double precision."""
        import jax

        return jax.enable_x64(True)

    def _calls_within(self, inputs, options):
        """Return a Call for each function with jax.custom_vjp that the forward pass calls."""
        import jax

        calls, call = [], jax.custom_vjp.__call__

        def recording(custom, *given, **options):
            arrays = [np.array(value) if isinstance(value, jax.Array) else value for value in given]
            if not any(isinstance(value, jax.core.Tracer) for value in given) and is_own(custom):
                calls.append(Call(from_jax(custom), *arrays, **options))
            return call(custom, *given, **options)

        def is_own(custom):
            return custom.fwd is not None and not custom.fwd.__module__.startswith("jax.")

        jax.custom_vjp.__call__ = recording
        try:
            with jax.disable_jit(), self.precise():
                self.function(*jax.tree.map(_as_jax, inputs), **options)
        finally:
            jax.custom_vjp.__call__ = call
        return calls

    def __call__(self, *inputs, **options):
        import jax

        arrays = {place: value for place, value in leaves(inputs) if is_floating(value)}
        is_double = any(value.dtype in (np.float64, np.complex128) for value in arrays.values())
        evaluate, pull_back = self.prepared(inputs, options, tuple(arrays))
        with jax.enable_x64(is_double):
            y, cotangents_of = _as_one([np.asarray(part) for part in evaluate(*arrays.values())])

        def backward(dy):
            with jax.enable_x64(is_double):
                gradients = map(np.asarray, pull_back([*arrays.values()], cotangents_of(dy)))
            return _like_inputs(inputs, dict(zip(arrays, gradients, strict=True)))

        return y, backward

    def prepared(self, inputs, options, places):
        """Return two functions, which compute the outputs and the gradients, compiled if possible.

        The first takes the arrays at `places`, their paths in the nested inputs. The second takes these arrays as a
        list, and the upstream gradients.
        """
        import jax

        def outputs(*arrays):
            returned = self.function(*filled(inputs, dict(zip(places, arrays, strict=True))), **options)
            parts = map(jax.numpy.asarray, jax.tree_util.tree_leaves(returned))
            return [part for part in parts if part.dtype.kind in "fc"]

        def pull_back(arrays, cotangents):
            return jax.vjp(outputs, *arrays)[1](cotangents)

        try:  # the same constants use the same compiled function
            key = pickle.dumps((places, filled(inputs, dict.fromkeys(places)), options))
        except Exception:
            return outputs, pull_back
        if key not in self.compiled:
            self.compiled[key] = _compiled(outputs), _compiled(pull_back)
        return self.compiled[key]

    def of_gradients(self, inputs):
        """Return the gradients as a function of the inputs and dy, which JAX can differentiate."""
        import jax

        places = [place for place, value in leaves(inputs) if is_floating(value)]

        def gradients(*given, **options):
            def joined(*arrays):
                returned = self.function(*filled(given[:-1], dict(zip(places, arrays, strict=True))), **options)
                parts = [part for part in jax.tree_util.tree_leaves(returned) if part.dtype.kind in "fc"]
                return parts[0] if len(parts) == 1 else jax.numpy.concatenate([part.ravel() for part in parts])

            at = dict(leaves(given))
            return list(jax.vjp(joined, *(at[place] for place in places))[1](given[-1]))

        gradients.__name__ = f"the gradient of {Call(self).name}"
        return _JaxFunction(gradients, self.checked_dtype)


class _JaxRule:
    """The function of a jax.custom_vjp. Its passes are called as they are, so that their lines can be examined."""

    def __init__(self, custom, name, is_in_numpy):
        passes = [inspect.unwrap(function) for function in (custom.fwd, custom.bwd)]
        passes = map(_in_numpy, passes) if is_in_numpy else passes
        self.signature, self.__name__, self.convention = inspect.signature(custom.fun), name, "jax"
        self.rule = Rule("" if is_in_numpy else "jax", name, *passes, tuple(custom.nondiff_argnums))
        self.as_own = (lambda value: value) if is_in_numpy else _as_jax
        functools.update_wrapper(self, custom.fun, updated=())

    def __call__(self, *inputs, **options):
        import jax

        bound = self.signature.bind(*inputs, **options)
        bound.apply_defaults()
        given = [self.as_own(value) for value in bound.args]
        y, residuals = self.rule.forward(*given)
        apart = [value for i, value in enumerate(given) if i in self.rule.apart]
        own = [value for i, value in enumerate(bound.args) if i not in self.rule.apart]
        parts, structure = jax.tree.flatten(y)
        joined, cotangents_of = _as_one([np.asarray(part) for part in parts])

        def backward(dy):
            upstream = jax.tree.unflatten(structure, map(self.as_own, cotangents_of(dy)))
            gradients = self.rule.backward(*apart, residuals, upstream)
            pairs = zip(own, gradients, strict=True)
            return tuple(g if g is None else np.asarray(g) for value, g in pairs if is_floating(value))

        return joined, backward


def _in_numpy(function):
    """Return a copy of a function in which NumPy stands for jax.numpy."""
    import jax

    globals_ = {name: np if value is jax.numpy else value for name, value in function.__globals__.items()}
    cells = [CellType(np) if cell.cell_contents is jax.numpy else cell for cell in function.__closure__ or ()]
    copied = FunctionType(function.__code__, globals_, function.__name__, function.__defaults__, tuple(cells))
    copied.__kwdefaults__, copied.__module__ = function.__kwdefaults__, function.__module__
    return copied


def _custom_vjp(function):
    """Return the object of jax.custom_vjp that a function is, also within jax.jit, or None."""
    import jax

    while function is not None and not (isinstance(function, jax.custom_vjp) and function.fwd):
        function = getattr(function, "__wrapped__", None)
    return function


def _as_jax(value):
    import jax

    return jax.numpy.asarray(value) if isinstance(value, np.ndarray) else value


def _compiled(function):
    """Compile a JAX function. If the compiled function fails, the original function is called instead."""
    import jax

    chosen = [jax.jit(function)]

    def call(*arrays):
        if len(chosen) == 1:
            try:
                return chosen[0](*arrays)
            except Exception:
                chosen.append(function)
        return function(*arrays)

    return call


def _like_inputs(inputs, gradients):
    """Return a tuple of gradients, each with the structure of its input.

    `gradients` maps the place of an array in the inputs to its gradient.
    """
    used = sorted({place[0] for place in gradients})
    return tuple(filled(inputs[i], {place[1:]: g for place, g in gradients.items() if place[0] == i}) for i in used)


def _as_one(parts):
    """Concatenate several outputs to one vector y, and return y and a function that splits dy accordingly.

    A single output is not changed.
    """
    ends = np.cumsum([part.size for part in parts])[:-1]

    def cotangents_of(dy):
        pieces = [np.asarray(dy)] if len(parts) == 1 else np.split(dy, ends)
        pieces = [piece if part.dtype.kind == "c" else piece.real for piece, part in zip(pieces, parts, strict=True)]
        return [
            piece.reshape(part.shape).astype(part.dtype, copy=False) for piece, part in zip(pieces, parts, strict=True)
        ]

    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=None), cotangents_of


def _spread(array):
    return np.repeat(array[..., None], 2, axis=-1)[..., 0]


def _equal(gradient, other):
    if gradient is None or other is None:
        return gradient is other
    return gradient.shape == other.shape and np.allclose(gradient, other, rtol=1e-6, atol=1e-9)
