"""Adapters for other common interfaces of hand-written gradients.

gradcheck checks functions that return their value and a closure, `(y, backward)`. The adapters convert code with other
interfaces, so that it can be checked without rewriting:

    check(from_pair(affine_forward, affine_backward), x, w, b)      two functions that share a cache (pairs.py)
    check_module(from_layer(Affine(3, 2)), x)                       a layer with its cache on `self` (layers.py)
    check(from_value_and_gradient(rosenbrock, gradient), x)         a value and its gradient (derivatives.py)
    check(from_derivative(np.tanh, derivative), x)                  an elementwise function and f′
    check(from_jacobian(motion, jacobian), state, control=u)        a function and its Jacobian
    check(*from_nested(network, params, x))                         dictionaries, several outputs (nested.py)
    check(from_torch(Scale), x, w)                                  a torch.autograd.Function or an nn.Module
    check(from_complex(f, convention="jax"), z)                     complex gradients (complex_numbers.py)
    check(from_jax(softmax), x)                                     a function with jax.custom_vjp (frameworks.py)
"""

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
