"""A checker for gradients derived by hand. It needs NumPy, and nothing else.

    import numpy as np
    import gradcheck

    def softmax(x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)

        def backward(dy):
            return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

        return y, backward

    rng = np.random.default_rng(0)
    print(gradcheck.check(softmax, rng.normal(size=(2, 5))))

`backward(dy)` takes ∂L/∂y and returns ∂L/∂x for each floating-point array x among the positional arguments. If one of
them is wrong, `check` raises a GradientError, which is an AssertionError.

- `check(f, *inputs)` checks the gradients of a function;
- `check_module(module, *inputs)` checks the gradients of a module with respect to the inputs and the parameters;
- `adjoint(model, *inputs)` checks all entries at once, with one complex forward pass;
- `jacobian(f, *inputs)` returns the Jacobian matrix;
- `check_jvp`, `check_hvp`, `check_hessian`, `check_adjoint_operator` and `taylor` are for forward mode, second
  derivatives and linear operators (operators.py);
- `steps(f, *inputs)` finds the first wrong line of a backward pass;
- `certify(f, *inputs)` decides without a tolerance whether backward is right for all inputs, and `same(f, g, *inputs)`
  decides whether two functions are identical (certify/README.md);
- `from_pair`, `from_layer`, `from_torch` and others convert code with other interfaces (adapters/README.md);
- `check_update(adam, "adam")` compares the steps of an optimiser with an update formula, which is written for scalars;
- `Call`, `Case`, `load_cases` and `check_case` are for tables of cases, used by tests and `python -m gradcheck MODULE`.

The loss is L = ⟨dy, y⟩, so that ∂L/∂y is dy. Three oracles test the gradients of L with the forward pass alone: central
differences, the complex step, and the adjoint identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩. To read the code, begin with
checking.py.

Why dy = ones tests nothing. Each row of a softmax sums to 1 for every x, and each row of a layer norm sums to Σβ when γ
is constant. With dy = 1 the loss is therefore constant, the true gradient is zero, and a backward that returns zeros
passes. A random dy also reveals a backward that ignores dy, and a random γ reveals a γ in the wrong place. Therefore dy
and the parameters are random unless you pass them, and a constant dy is refused.
"""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_IMPORTS = re.findall(r"from (\S+) import (\([^)]*\)|.*)", Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_MODULE_OF = {name: module for module, names in _IMPORTS for name in re.findall(r" as (\w+)", names)}

__all__ = list(_MODULE_OF)


def __getattr__(name):
    """Load a public name or a submodule on first use, so that pytest starts fast."""
    module = _MODULE_OF.get(name, f"{__name__}.{name}")
    if name.startswith("_") or (name not in _MODULE_OF and not find_spec(module)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = import_module(module)
    if module != f"{__name__}.{name}":  # the module `certify` is itself callable
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
