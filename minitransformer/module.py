"""Parameters, modules and hooks: the whole framework.

A differentiable function returns its value and its own backward pass:

    y, backward = layer_norm(x, gamma, beta)
    dx, dgamma, dbeta = backward(dy)

A Module is such a function with its parameters attached. Calling one gives the same pair, except that the parameters'
gradients are accumulated where they belong and only the inputs' gradients are returned:

    norm = LayerNorm(64)
    y, backward = norm(x)
    dx = backward(dy)  # and norm.gamma.grad, norm.beta.grad are filled

`apply` turns the first form into the second. There is no tape and no graph: the closures are the graph, and a module
keeps nothing of a forward pass on itself, so it may be used twice before either backward runs.

**Complex numbers.** A forward pass here also takes complex arrays, though no model has any. A check wants them: with an
h as small as 1e-200, f(x + ih) = f(x) + i h f′(x), so Im f(x + ih) / h is the derivative to the last digit, where a
difference of two values loses half of them. It asks one thing of a forward: to be a formula in x that holds for x + ih
as it does for x. Complex numbers have no order, so what compares asks the real part, which is x itself: `x.real > 0`,
`x.real.max()`; and abs(x), which is no such formula, is not used. Hence `.real` in these files, and `x.real.dtype`, the
dtype of the real numbers.

**The textbook and the engine.** The functions of layers/, losses.py and optim.py have the form of their derivations.
Where that is slow there is a twin in fast/, of the same name and contract, which `faster` knows and `apply` uses.
Within `with minitransformer.plain():`, or with MINITRANSFORMER_PLAIN=1 in the environment, everything runs on the
textbook.
"""

import difflib
import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import FunctionType

import numpy as np


class Parameter:
    """An array that is learned.

    `data` is the array; `grad`, of the same shape, is None until the first gradient arrives; a parameter with
    `requires_grad = False` is frozen: it collects no gradient, while gradients still flow through it to its inputs.
    """

    def __init__(self, data):
        self.data = data
        self.grad = None
        self.requires_grad = True

    def accumulate(self, grad):
        """Add `grad` to the gradient. The first is kept as it is and may be shared, so nobody writes into `.grad`."""
        if self.requires_grad:
            self.grad = grad if self.grad is None else self.grad + grad

    def __repr__(self):
        return f"Parameter{self.data.shape}"


def is_differentiable(value):
    """Whether a positional argument receives a gradient: real or complex arrays do; ids, masks and None do not."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def require_floating(function, **arrays):
    """Raise TypeError unless each array holds real or complex floating-point numbers, or is None.

    `function` is the name of what needs them, and each array goes by the name of its argument.
    """
    for name, array in arrays.items():
        dtype = getattr(array, "dtype", type(array).__name__)
        if array is not None and (isinstance(dtype, str) or dtype.kind not in "fc"):
            raise TypeError(f"{function}: {name} must be floating-point, not {dtype}")


def identity(x):
    """Return (x, backward) with backward(dy) = dy: for the place of a function that is not there."""

    def backward(dy):
        return dy

    return x, backward


TWINS = {}  # the engine's twin of each textbook function that has one, filled when fast/ is imported
ENGINE_DTYPES = [{np.dtype(np.float32)}, {np.dtype(np.float64)}]  # what a twin takes: all its arrays of one of these
_plain = ContextVar("plain", default=os.environ.get("MINITRANSFORMER_PLAIN", "0") not in ("", "0"))


def faster(function):
    """Return the engine's twin of a textbook function; the function itself if it has none, or the engine is off.

    Of a partial(function, ...) the function is exchanged. A twin takes arrays of ENGINE_DTYPES.
    """
    if _plain.get():
        return function
    if isinstance(function, partial):
        return partial(faster(function.func), *function.args, **function.keywords)
    return TWINS.get(function, function) if isinstance(function, FunctionType) else function


def twin_of(function):
    """Return a decorator: what it decorates is the engine's twin of a textbook function from now on."""

    def register(twin):
        TWINS[function] = twin
        return twin

    return register


def is_plain() -> bool:
    """Whether the engine is off."""
    return _plain.get()


@contextmanager
def plain(on: bool = True):
    """Run everything within the block on the textbook, without the engine; with it again for `on` False.

    Holds for one thread, and for the threads and processes that this package starts from it, as np.errstate does. A
    generator, such as generation's `stream`, has the setting of whoever asks it for the next token.
    """
    token = _plain.set(on)
    try:
        yield
    finally:
        _plain.reset(token)


def apply(function, *inputs, **options):
    """Call a differentiable function, or its faster twin, on arrays and Parameters.

    Returns (y, backward). backward(dy) accumulates the Parameters' gradients and returns the arrays': one bare, several
    as a tuple, none as None. The closure keeps the Parameters but not the input arrays: what must be saved,
    `function` itself saves. Complex arrays get the textbook's function: a check by the complex step then judges the
    engine's backward by the textbook's forward. So do half precision and mixed dtypes, which are nobody's hot path.

    backward raises ValueError for a dy that does not have the shape of y: one that merely broadcasts to it would give
    gradients, and wrong ones.
    """
    arrays = [value.data if isinstance(value, Parameter) else value for value in inputs]
    dtypes = {array.dtype for array in arrays if is_differentiable(array)}
    run = faster(function) if dtypes in ENGINE_DTYPES else function
    y, function_backward = run(*arrays, **options)
    # For each gradient that function_backward returns, in order: the Parameter it belongs to, or None for an input.
    owners = [
        value if isinstance(value, Parameter) else None
        for value, array in zip(inputs, arrays, strict=True)
        if is_differentiable(array)
    ]
    del arrays
    y_shape, name = np.shape(y), getattr(function, "__name__", repr(function))

    def backward(*dy):  # none for a loss, whose dloss is 1 unless given
        if dy and np.shape(dy[0]) != y_shape:
            raise ValueError(f"the backward of {name}: dy {np.shape(dy[0])} must have the shape of y, {y_shape}")
        gradients = function_backward(*dy)
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        if len(gradients) != len(owners):
            raise ValueError(f"the backward of {name} returned {len(gradients)} gradients, expected {len(owners)}")
        input_gradients = []
        for owner, gradient in zip(owners, gradients, strict=True):
            if owner is None:
                input_gradients.append(gradient)
            else:
                owner.accumulate(gradient)
        if len(input_gradients) <= 1:
            return input_gradients[0] if input_gradients else None
        return tuple(input_gradients)

    return y, backward


class Module:
    """A named tree of Parameters and Modules.

    A subclass assigns them as attributes (a list of Modules is a level of the tree too) and defines
    `forward(*inputs, **options) -> (y, backward)`, with y one array. Call the module itself, not `forward`: the
    call is what applies the hooks.
    """

    _hooks = ()

    def __call__(self, *inputs, **options):
        """Run forward, then each hook on its result. Returns (y, backward)."""
        y, backward = self.forward(*inputs, **options)
        for hook in self._hooks:
            y, backward = hook(y, backward)
        return y, backward

    def forward(self, *inputs, **options):
        """Return (y, backward)."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    @property
    def is_hooked(self):
        """Whether a hook is installed on this very module."""
        return bool(self._hooks)

    def children(self):
        """Yield (name, Parameter or Module) for each direct child, in the order of assignment."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Module)):
                yield name, value
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, (Parameter, Module)):
                        yield f"{name}.{i}", item

    def named_modules(self):
        """Yield (dotted name, Module) for every module below this one, parents first."""
        for name, child in self.children():
            if isinstance(child, Module):
                yield name, child
                for inner, module in child.named_modules():
                    yield f"{name}.{inner}", module

    def named_parameters(self):
        """Yield (dotted name, Parameter), each Parameter once: one that is tied appears under its first name."""
        seen = set()
        for name, parameter in self._all_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_parameters(self):
        for name, child in self.children():
            if isinstance(child, Parameter):
                yield name, child
            else:
                for inner, parameter in child._all_parameters():
                    yield f"{name}.{inner}", parameter

    def parameters(self):
        """Return the Parameters as a list, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    @contextmanager
    def hooked(self, hooks):
        """Install hooks for the duration of a `with` block.

        `hooks` maps the dotted name of a module to a function `(y, backward) -> (y, backward)`, which sees what the
        module computed and may record or replace it, its gradient, or both:

            def record(y, backward):
                seen.append(y)
                return y, backward

            def ablate(y, backward):
                def ablated_backward(dy):
                    return backward(np.zeros_like(dy))  # a constant passes no gradient on

                return np.zeros_like(y), ablated_backward

        Hooks stack on those already there, and are taken off again at the end, also after an exception.
        Raises KeyError for a name that does not exist, naming the nearest that does.
        """
        modules = dict(self.named_modules())
        for name in hooks:
            if name not in modules:
                near = difflib.get_close_matches(name, modules, n=1, cutoff=0.0)
                hint = f"; the nearest is {near[0]!r}" if near else ""
                raise KeyError(f"no activation is named {name!r}{hint}")
        before = {name: modules[name]._hooks for name in hooks}
        try:
            for name, hook in hooks.items():
                modules[name]._hooks = (*modules[name]._hooks, hook)
            yield self
        finally:
            for name, installed in before.items():
                modules[name]._hooks = installed


class Identity(Module):
    """A module that changes nothing: it gives a name, and so a place for hooks, to an activation no layer produces."""

    def forward(self, x):
        """Return (x, backward) with backward(dy) = dy."""
        return apply(identity, x)
