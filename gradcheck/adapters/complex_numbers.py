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

    Returns the function, to be passed to `check`. This adapter is needed only for the convention "jax", and for a
    function with real inputs and a complex y. Raises ValueError if the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be {' or '.join(map(repr, CONVENTIONS))}, not {convention!r}")

    @functools.wraps(function)
    def with_convention(*inputs, **options):
        return function(*inputs, **options)

    with_convention.convention = convention  # type: ignore[attr-defined]
    return with_convention


def as_real(function: Any, inputs: tuple[Any, ...], dy: Any, argnums: Any) -> tuple[Any, tuple[Any, ...], Any, Any]:
    """Return the arguments of a check, with each complex array split into its real and imaginary parts."""
    sign, name = CONVENTIONS[getattr(function, "convention", "torch")], Call(function).name
    parts: list[Any] = []
    names: list[str] = []
    places: list[list[int]] = []
    for label, value in zip(Call(function, *inputs).input_names(), inputs, strict=True):
        places.append([len(parts), len(parts) + 1] if _has_parts(value) else [len(parts)])
        parts += [value.real.copy(), value.imag.copy()] if _has_parts(value) else [value]
        names += [f"{label}.real", f"{label}.imag"] if _has_parts(value) else [label]
    floating = [i for i, value in enumerate(inputs) if is_floating(value)]
    parameters = {name: (p, _parts(p)) for name, p in parameters_of(function).items()}

    @functools.wraps(function)
    def of_parts(*real, **options):
        if any(isinstance(part, np.ndarray) and part.dtype.kind == "c" for part in real):
            raise TypeError(f"{name} is a function of complex numbers")
        whole = [real[at[0]] + 1j * real[at[1]] if len(at) > 1 else real[at[0]] for at in places]
        for parameter, parts in parameters.values():
            parameter.data = parts[0].data if len(parts) == 1 else parts[0].data + 1j * parts[1].data
        y, backward = function(*whole, **options)
        has_parts = np.iscomplexobj(y)

        def backward_of_parts(dy):
            dy = dy[0] + sign * 1j * dy[1] if has_parts else dy
            returned = backward(dy)
            for parameter, parts in parameters.values():
                if parameter.grad is not None:
                    parts[-1].grad, parts[0].grad = sign * np.imag(parameter.grad), np.real(parameter.grad)
                    parameter.grad = None
            gradients = returned if isinstance(returned, tuple) else (returned,)
            if len(gradients) != len(floating):
                return gradients
            found = []
            for i, gradient in zip(floating, gradients, strict=True):
                if len(places[i]) > 1:
                    found += [np.real(gradient).copy(), sign * np.imag(gradient)]
                elif np.iscomplexobj(gradient) and np.any(np.imag(gradient)):
                    raise fault(name, f"the gradient of the real input {names[places[i][0]]} has an imaginary part")
                else:
                    found.append(np.real(gradient))
            return tuple(found)

        return np.stack([np.real(y), np.imag(y)]) if has_parts else y, backward_of_parts

    of_parts.names_of_inputs = names  # type: ignore[attr-defined]
    if is_module(function):
        named = {f"{n}{end}": q for n, (_, qs) in parameters.items() for q, end in zip(qs, _ends(qs), strict=True)}
        of_parts.named_parameters = named.items  # type: ignore[attr-defined]
    if argnums is not None:
        argnums = [at for n in Call(function, *inputs).only(argnums).argnums for at in places[n]]
    return of_parts, tuple(parts), np.stack([np.real(dy), np.imag(dy)]) if np.iscomplexobj(dy) else dy, argnums


def _parts(parameter):
    """List objects for the real and imaginary parts of a parameter, or one object for a real parameter."""
    data = parameter.data
    parts = [data.real.copy(), data.imag.copy()] if _has_parts(data) else [data]
    return [SimpleNamespace(data=part, grad=None) for part in parts]


def _ends(parts):
    return (".real", ".imag")[: len(parts)] if len(parts) > 1 else ("",)


def _has_parts(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "c"
