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

- `check(f, *inputs)` checks the gradients of a function, `check_module(module, *inputs)` those of a module with respect
  to its inputs and its parameters, and `adjoint(model, *inputs)` all entries at once with one complex forward pass;
- `jacobian(f, *inputs)` returns the Jacobian matrix;
- `check_jvp`, `check_hvp`, `check_hessian`, `check_adjoint_operator` and `taylor` are for forward mode, second
  derivatives and linear operators (operators.py);
- `steps(f, *inputs)` finds the first wrong line of a backward pass;
- `certify(f, *inputs)` decides whether backward is right as an identity, for all inputs and without a tolerance, and
  `same(f, g, *inputs)` whether two functions are identical (certify/README.md);
- `from_pair`, `from_layer`, `from_torch` and others convert code with other interfaces (adapters/README.md);
- `check_update(adam, "adam")` compares the steps of an optimiser with its update formula, which is written for scalars;
- `Call`, `Case`, `load_cases` and `check_case` define tables of cases, for tests and for `python -m gradcheck MODULE`.

The loss is L = ⟨dy, y⟩, so that ∂L/∂y is dy. Three oracles compute its derivatives from the forward pass alone: central
differences, the complex step, and the adjoint identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩. To read the code, begin with
checking.py.

Why dy = ones tests nothing. Each row of a softmax sums to 1 for every x, and each row of a layer norm sums to Σβ when γ
is constant. With dy = 1 the loss is therefore constant, the true gradient is zero, and a backward that returns zeros
passes. A random dy also reveals a backward that ignores dy, and a random γ reveals a γ in the wrong place. Therefore dy
and the parameters are random unless you pass them, and a constant dy is refused.
"""

_PUBLIC = {  # {module: its public names}; __init__.pyi lists the same names for type checkers
    "checking": ("check", "check_module", "adjoint", "check_call"),
    "certify": ("certify", "same", "Certificate"),
    "updates": ("check_update",),
    "operators": ("check_jvp", "check_hvp", "check_hessian", "check_adjoint_operator", "taylor", "Taylor"),
    "jacobian_matrix": ("jacobian", "Jacobian"),
    "lines": ("steps", "steps_of_call"),
    "adapters.pairs": ("from_pair",),
    "adapters.layers": ("from_layer",),
    "adapters.nested": ("from_nested",),
    "adapters.complex_numbers": ("from_complex",),
    "adapters.derivatives": ("from_value_and_gradient", "from_derivative", "from_jacobian"),
    "adapters.frameworks": ("from_torch", "from_jax"),
    "cases": ("Case", "check_case", "load_cases"),
    "call": ("Call", "parameters_of", "randomize_parameters", "to_float64", "clear_gradients", "borrowed"),
    "report": ("Report", "ArgumentReport", "GradientError"),
    "html": ("report_html",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = list(_MODULE_OF)


def __getattr__(name):
    """Load a public name or a submodule on first use.

    pytest imports every package that has a plugin, so the import of this package must be fast.
    """
    from importlib import import_module
    from importlib.util import find_spec

    module = _MODULE_OF.get(name, name)
    if name.startswith("_") or (name not in _MODULE_OF and not find_spec(f"{__name__}.{name}")):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = import_module(f"{__name__}.{module}")
    globals()[name] = value if module == name else getattr(value, name)  # the module `certify` can be called
    return globals()[name]


def __dir__():
    return sorted({*globals(), *__all__})
