"""Adapters for other common interfaces of hand-written gradients. README.md lists them."""

from gradcheck.adapters.complex_numbers import from_complex
from gradcheck.adapters.derivatives import from_derivative, from_jacobian, from_value_and_gradient
from gradcheck.adapters.frameworks import from_jax, from_torch
from gradcheck.adapters.layers import from_layer
from gradcheck.adapters.nested import from_nested
from gradcheck.adapters.pairs import from_pair

__all__ = [
    "from_complex",
    "from_derivative",
    "from_jacobian",
    "from_jax",
    "from_layer",
    "from_nested",
    "from_pair",
    "from_torch",
    "from_value_and_gradient",
]
