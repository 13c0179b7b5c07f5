"""Check functions of complex arrays, as functions of their real and imaginary parts.

For a real loss L and z = a + ib, the two conventions are

    torch   dz = ∂L/∂a + i ∂L/∂b     the direction of steepest ascent; also dy is ∂L/∂Re y + i ∂L/∂Im y
    jax     dz = ∂L/∂a − i ∂L/∂b     its conjugate; dy likewise. For a holomorphic f, dz = f′(z) dy

Every function is covered, holomorphic or not, since only real derivatives are compared.
"""

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradcheck.call import Call, Differentiable, is_floating, is_module, parameters_of
from gradcheck.report import fault

CONVENTIONS = {"torch": 1, "jax": -1}  # the sign of the imaginary parts of dy and dz


def from_complex(function: Differentiable, *, convention: str = "torch") -> Differentiable:
    """Select the convention of a function's complex gradients, "torch" or "jax".

    Returns a function to be passed to `check`, which otherwise assumes the convention "torch". Functions with complex
    inputs that follow this convention need no adapter. A function with real inputs and a complex y needs it for both
    conventions. Raises ValueError if the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be {' or '.join(map(repr, CONVENTIONS))}, not {convention!r}")

    @functools.wraps(function)
    def with_convention(*inputs, **options):
        return function(*inputs, **options)

    with_convention.convention = convention  # type: ignore[attr-defined]
    return with_convention


def as_real(function: Any, inputs: tuple[Any, ...], dy: Any, argnums: Any) -> tuple[Any, tuple[Any, ...], Any, Any]:
    """Split each complex array among the arguments of a check into two real arrays, the real and imaginary parts."""
    sign, name = CONVENTIONS[getattr(function, "convention", "torch")], Call(function).name
    split = [_parts(*named) for named in zip(Call(function, *inputs).input_names(), inputs, strict=True)]
    floating = [i for i, value in enumerate(inputs) if is_floating(value)]
    parameters = [
        (
            parameter,
            {part: SimpleNamespace(data=data, grad=None) for part, data in _parts(name, parameter.data).items()},
        )
        for name, parameter in parameters_of(function).items()
    ]

    @functools.wraps(function)
    def of_parts(*real, **options):
        if any(isinstance(part, np.ndarray) and part.dtype.kind == "c" for part in real):
            raise TypeError(f"{name} is a function of complex numbers")
        supply = iter(real)
        whole = [_joined([next(supply) for _ in parts]) for parts in split]
        for parameter, parts in parameters:
            parameter.data = _joined([part.data for part in parts.values()])
        y, backward = function(*whole, **options)
        has_parts = np.iscomplexobj(y)

        def backward_of_parts(dy):
            dy = dy[0] + sign * 1j * dy[1] if has_parts else dy
            returned = backward(dy)
            for parameter, parts in parameters:
                if parameter.grad is not None:
                    own = [*parts.values()]
                    own[-1].grad, own[0].grad = sign * np.imag(parameter.grad), np.real(parameter.grad)
                    parameter.grad = None
            gradients = returned if isinstance(returned, tuple) else (returned,)
            if len(gradients) != len(floating):
                return gradients
            found = []
            for i, gradient in zip(floating, gradients, strict=True):
                if len(split[i]) > 1:
                    found += [np.real(gradient).copy(), sign * np.imag(gradient)]
                elif np.iscomplexobj(gradient) and np.any(np.imag(gradient)):
                    raise fault(name, f"the gradient of the real input {next(iter(split[i]))} has an imaginary part")
                else:
                    found.append(np.real(gradient))
            return tuple(found)

        return np.stack([np.real(y), np.imag(y)]) if has_parts else y, backward_of_parts

    named = [(i, name, part) for i, parts in enumerate(split) for name, part in parts.items()]
    of_parts.names_of_inputs = [name for _, name, _ in named]  # type: ignore[attr-defined]
    if is_module(function):
        of_parts.named_parameters = {n: q for _, qs in parameters for n, q in qs.items()}.items  # type: ignore[attr-defined]
    if argnums is not None:
        chosen = Call(function, *inputs).only(argnums).argnums
        argnums = [at for at, (i, _, _) in enumerate(named) if i in chosen]
    dy = np.stack([np.real(dy), np.imag(dy)]) if np.iscomplexobj(dy) else dy
    return of_parts, tuple(part for _, _, part in named), dy, argnums


def _parts(name, value):
    """Return {name: array} with the real and imaginary parts of a complex array.

    Any other value is returned as it is, under its name.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "c":
        return {f"{name}.real": value.real.copy(), f"{name}.imag": value.imag.copy()}
    return {name: value}


def _joined(parts):
    return parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
