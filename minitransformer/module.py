"""Chapter zero: the chain rule, followed by parameters and modules, which are the whole framework.

**One function.** Let y = f(x), and let L be a number, the loss, that depends on x only through y. Every derivation here
writes dy for ∂L/∂y, of y's shape, and dx for ∂L/∂x, of x's: dy_i is the growth of L for each unit that y_i grows. Now
change one entry x_j by a small h. Every y_i changes by h ∂y_i/∂x_j, each of these changes L by dy_i times as much, and
to first order the effects add. Divided by h, that is

    dx_j = Σ_i dy_i ∂y_i/∂x_j

where i runs over all entries of y, whatever its shape. With x and y read as one long
column each, and the Jacobian, the matrix J_ij = ∂y_i/∂x_j, that is

    dx = Jᵀ dy

The `backward(dy)` of every differentiable function returns this product, and nothing else. Beside each other, two
arrays are a product of matrices; with a dot between them, a product of single entries. Σ reaches over the product after
it. A shape (..., C) has any number of axes, the last of them with C entries. NOTATION.md lists the symbols.

**Nobody forms J.** One linear map of GPT-2 takes 1,024 positions of 768 channels to 1,024 of 3,072. Its J has
3,145,728 × 786,432 entries, 9.9 TB in float32, nearly all of them zero, and the others repeat one small matrix W. But
Jᵀ dy turns out to be dy Wᵀ, which costs as much as the forward pass, the computation of y. This is the work of a
derivation: write down the entries ∂y_i/∂x_j, put them into the sum, and find the short form of the result. For a
function of single entries J is diagonal, and dx = dy · f′(x). `gradcheck.jacobian(function, x)` shows J for a small x.

**One after another.** With y = f(x) and z = g(y), the Jacobian of the whole is J_g J_f, and its transpose has the
factors in reverse order: dx = J_fᵀ (J_gᵀ dz). So backward runs the steps from the last to the first.

**Paths add.** Let x be read twice, as y_f = f(x) and y_g = g(x). The sum over i then runs over the entries of both. It
splits into two sums, one for each path from x to the loss. With the gradients dy_f and dy_g,

    dx = J_fᵀ dy_f + J_gᵀ dy_g

The same holds for x + f(x), where dx = dy + J_fᵀ dy, and for a parameter that is read more than once: at every
position, in two layers that share it, or by two batches of examples.

**A broadcast is summed.** In y_pc = x_pc + b_c the one number b_c is read at every position p. These are paths, and
they add: db_c = Σ_p dy_pc. Conversely, a sum is broadcast: y_c = Σ_p x_pc gives dx_pc = dy_c, the same at every p; for
a mean over n entries each gets dy_c / n.

**Why from the last to the first.** The loss of n steps has the derivative J_n ⋯ J_2 J_1, in which J_n is a single row,
as L is one number. Multiplied from the left, every product is a row times a matrix. On its way, the row is the dy of
each step, from which the gradient of the step's parameters follows. So one pass gives all gradients, at about twice the
cost of the forward pass: a linear map needs one product for dx and one for dW. From the right, a change of one
parameter changes the result of its step by a column, which every later J multiplies: for GPT-2, that is done
124,439,808 times. The price is memory: arrays of the forward pass are "Saved for backward", as each docstring says.

**Why `y, backward` is enough.** A differentiable function returns its value and its own backward pass:

    y, backward = layer_norm(x, gamma, beta)
    dx, dgamma, dbeta = backward(dy)

`backward` computes Jᵀ dy. It is a closure over the variables of its forward pass. For two functions in a row, backward
is one call within the other; for two paths, a sum. So a composition is again a function of this kind. The drawing shows
a block of a transformer (block.py; here only its forks and sums matter), and its backward pass: the same read from
below, with forks and sums exchanged. There and in the layers, fᵀ(dy) stands for the backward of f, which is Jᵀ dy:

        x                               dx
        │                               │
        ├─────────┐                     +─────────┐
        │       norm1                   │       norm1ᵀ
        │     attention                 │     attentionᵀ
        +─────────┘                     ├─────────┘
        │ r                             │ dr
        ├─────────┐                     +─────────┐
        │       norm2                   │       norm2ᵀ
        │    feed_forward               │    feed_forwardᵀ
        +─────────┘                     ├─────────┘
        │                               │
        y  (read down)                  dy  (read up)

No list of operations, a *tape*, is recorded: the closures take its place. A comment at the end of a line gives the
number of its equation; in a backward pass, `# (6) ← γ · x̂ (5)` names the part of the forward pass that it mirrors.

**Modules.** A Module is such a function with its parameters attached. It stores nothing of a forward pass. Calling it
gives the same pair, except that backward accumulates the parameters' gradients and returns only those of the inputs:

    norm = LayerNorm(64)
    y, backward = norm(x)
    dx = backward(dy)  # and norm.gamma.grad, norm.beta.grad are filled

**Complex numbers.** Every forward pass here also takes complex arrays, because a check needs them. With the imaginary
unit i, which is no index here, and h as small as 1e-200, the Taylor series f(x + i h) = f(x) + i h f′(x) + … ends
there, since h² vanishes. So Im f(x + i h) / h is the derivative to the last digit. A difference of two values loses a
third (central) to half (one-sided) of the digits even at the best h. The forward pass must be a formula that holds for
x + i h as it does for x. abs(x) is no such formula, and is not used. Complex numbers have no order, so a comparison
uses the real part, the x of the real computation: `x.real > 0`, `x.real.max()`, `x.real.dtype`.

**The textbook and the engine.** The functions of layers/, losses.py and optim.py have the form of their derivations.
A function whose plain form is slow has a twin in fast/, of the same name and contract, which `faster` returns and
`apply` calls. fast/ compares each twin with its function when it is loaded. If you have edited the function, your
version runs, and a warning says so. `minitransformer.plain()` and MINITRANSFORMER_PLAIN=1 turn the twins off.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import FunctionType
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from minitransformer.hooks import Hookable
from minitransformer.system.extensions import load_extension_of

# The types of the textbook: an array, several arrays, and the backward pass that returns one or several.
Gradient = TypeVar("Gradient")
Array = NDArray[Any]
Arrays = tuple[Array, ...]
Backward = Callable[[Array], Gradient]


class Parameter:
    """A learned array.

    `data` is the array. `grad` is the accumulated gradient, of the same shape, or None if there has been no gradient.
    A parameter with `requires_grad = False` is frozen: it accumulates no gradient, but its layer still computes the
    gradients of its inputs.
    """

    def __init__(self, data: Array):
        self.data = data
        self.grad: Array | None = None
        self.requires_grad = True

    def accumulate(self, grad: Array) -> None:
        """Add `grad` to the gradient.

        The first gradient is stored without a copy and may be shared. Code must therefore never write into `.grad`.
        """
        if self.requires_grad:
            self.grad = grad if self.grad is None else self.grad + grad

    def __repr__(self) -> str:
        return f"Parameter{self.data.shape}"


def is_differentiable(value: object) -> TypeGuard[Array]:
    """Return True if `value` is a real or complex floating-point array. Ids, masks and None have no gradient."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def require_floating(function, **arrays):
    """Raise TypeError if an array is not None and not real or complex floating-point.

    The message contains `function`, the name of the caller, and the name of the argument.
    """
    for name, array in arrays.items():
        dtype = getattr(array, "dtype", type(array).__name__)
        if array is not None and (isinstance(dtype, str) or dtype.kind not in "fc"):
            raise TypeError(f"{function}: {name} must be floating-point, not {dtype}")


def identity(x: Array) -> tuple[Array, Backward[Array]]:
    """Return (x, backward), where backward returns dy. It takes the place of an optional function that is not used."""

    def backward(dy):
        return dy

    return x, backward


TWINS: dict[Callable[..., Any], Callable[..., Any]] = {}  # {function: the function that runs in its place}; see above
_plain = ContextVar("plain", default=os.environ.get("MINITRANSFORMER_PLAIN", "0") not in ("", "0"))


class EditedTextbook(UserWarning):
    """Warning: a textbook function has been edited, so it is used instead of its twin."""


def faster(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that runs in place of a textbook function: its twin if it has one, else the function itself.

    For a partial(function, ...), the function within it is replaced.
    """
    if _plain.get():
        return function
    if isinstance(function, partial):
        return partial(faster(function.func), *function.args, **function.keywords)
    load_extension_of(__name__)  # fast/, which registers the twins
    return TWINS.get(function, function) if isinstance(function, FunctionType) else function


def is_plain() -> bool:
    """Return True if the engine is off."""
    return _plain.get()


@contextmanager
def plain(on: bool = True) -> Iterator[None]:
    """Turn the engine off inside a `with` block, so that only textbook functions run. If `on` is False, turn it on.

    The setting applies to the current thread, and to the threads and processes that it uses for training or analysis. A
    generator, such as generation's `stream`, uses the setting of the code that requests the next item.
    """
    token = _plain.set(on)
    try:
        yield
    finally:
        _plain.reset(token)


def apply(
    function: Callable[..., Any], *inputs: Array | Parameter | None, **options: Any
) -> tuple[Array, Callable[..., Any]]:
    """Call a differentiable function, or its faster twin, on arrays and Parameters.

    Returns (y, backward). backward(dy) accumulates the gradients of the Parameters and returns those of the arrays: one
    gradient, a tuple of several, or None. The closure keeps the Parameters but not the input arrays, because `function`
    saves the arrays that it needs.

    backward raises ValueError if dy does not have the shape of y. A dy that only broadcasts to this shape would give
    wrong gradients.
    """
    arrays = [value.data if isinstance(value, Parameter) else value for value in inputs]
    y, function_backward = faster(function)(*arrays, **options)
    # The Parameter of each gradient that function_backward returns, in order. None stands for an input array.
    owners = [
        value if isinstance(value, Parameter) else None
        for value, array in zip(inputs, arrays, strict=True)
        if is_differentiable(array)
    ]
    y_shape, name = np.shape(y), getattr(function, "__name__", repr(function))

    def backward(*dy):  # empty for a loss, whose backward has the default dloss=1.0
        if dy and np.shape(dy[0]) != y_shape:
            raise ValueError(f"the backward of {name}: dy must have y's shape {y_shape}, not {np.shape(dy[0])}")
        gradients = function_backward(*dy)
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        if len(gradients) != len(owners):
            raise ValueError(f"the backward of {name} must return {len(owners)} gradients, not {len(gradients)}")
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


class Module(Hookable):
    """A named tree of Parameters and Modules.

    A subclass assigns Parameters, Modules and lists of Modules as attributes. It defines
    `forward(*inputs, **options) -> (y, backward)`, where y is one array. Call the module itself, not `forward`: the
    call, defined in hooks.py, also applies the hooks, functions that a user installs to record or change a result.
    """

    def children(self) -> Iterator[tuple[str, "Parameter | Module"]]:
        """Yield (name, Parameter or Module) for each direct child, in the order of assignment."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Module)):
                yield name, value
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, (Parameter, Module)):
                        yield f"{name}.{i}", item

    def named_modules(self) -> Iterator[tuple[str, "Module"]]:
        """Yield (dotted name, Module) for every module below this one, parents first."""
        for name, child in self.children():
            if isinstance(child, Module):
                yield name, child
                for inner, module in child.named_modules():
                    yield f"{name}.{inner}", module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, Parameter) for each Parameter. A tied Parameter is yielded once, with its first name."""
        seen = set()
        for name, parameter in self._all_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, child in self.children():
            if isinstance(child, Parameter):
                yield name, child
            else:
                for inner, parameter in child._all_parameters():
                    yield f"{name}.{inner}", parameter

    def parameters(self) -> list[Parameter]:
        """Return a list of the Parameters. A tied Parameter appears once."""
        return [parameter for _, parameter in self.named_parameters()]


class Identity(Module):
    """A module that returns its input. It gives a name to an intermediate value, so that a hook can be installed."""

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Return (x, backward), where backward returns dy."""
        return apply(identity, x)
