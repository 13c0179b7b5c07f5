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

- `check(f, *inputs)` checks the gradients of a function, and `check_module(module, *inputs)` also those of its
  parameters;
- `adjoint(model, *inputs)` checks all entries at once with one complex forward pass;
- `jacobian(f, *inputs)` returns the Jacobian matrix;
- `check_jvp`, `check_hvp`, `check_hessian`, `check_adjoint_operator` and `taylor` are for forward mode, second
  derivatives and linear operators (operators.py);
- `steps(f, *inputs)` finds the first wrong line of a backward pass;
- `certify(f, *inputs)` decides whether backward is right as an identity, for all inputs and without a tolerance, and
  `same(f, g, *inputs)` whether two functions are identical (certify/README.md);
- `from_pair`, `from_layer`, `from_value_and_gradient`, `from_derivative`, `from_jacobian` and `from_nested` convert
  code with other interfaces, `from_torch` and `from_jax` gradients written by hand in PyTorch and JAX
  (gradcheck/adapters);
- `check_update(adam, "adam")` compares the steps of an optimiser with a formula in plain scalars;
- `Call`, `Case`, `load_cases`, `check_case`: tables of cases, for tests and for `python -m gradcheck MODULE`;
- `python -m gradcheck --help`: the commands; the fixture `gradcheck` of pytest and its option `--gradcheck-report`
  (plugin.py); strategies for Hypothesis (strategies.py).

Method. The loss is L = ⟨dy, y⟩, so that ∂L/∂y is dy. Three oracles compute its derivatives from the forward pass alone:

- central differences perturb each entry of each argument by ±h and divide the change of L by 2h. gradcheck uses
  float64, a fourth-order formula and a step that depends on the scale of each entry (central_differences.py);
- the complex step perturbs the entry by 1e-30 i and divides the imaginary part of L by 1e-30. It is exact to machine
  precision, but needs a forward pass that accepts complex numbers (complex_step.py);
- the adjoint identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ compares all entries of all arguments in one complex forward pass
  (adjoint_identity.py).

Central differences and the adjoint identity examine every gradient. The complex step then examines each entry of a
gradient that they do not confirm. To read the code, begin with checking.py.

Why dy = ones tests nothing. Each row of a softmax sums to 1 for every x, and each row of a layer norm sums to Σβ when
γ is constant. With dy = 1 the loss is therefore constant, the true gradient is zero, and a backward that returns zeros
passes. A random dy also reveals a backward that ignores dy, and a random γ reveals a γ in the wrong place. Therefore
dy and the parameters are random unless you pass them, and a constant dy is refused.

README.md explains how to read a report, and compares gradcheck with other checkers.
"""

TYPE_CHECKING = False  # type checkers treat it as True; importing it from `typing` would be slow
if TYPE_CHECKING:  # these names are loaded on first use: see __getattr__
    from gradcheck.adapters.derivatives import from_derivative, from_jacobian, from_value_and_gradient
    from gradcheck.adapters.frameworks import from_jax, from_torch
    from gradcheck.adapters.layers import from_layer
    from gradcheck.adapters.nested import from_nested
    from gradcheck.adapters.pairs import from_pair
    from gradcheck.call import Call, borrowed, clear_gradients, parameters_of, randomize_parameters, to_float64
    from gradcheck.cases import Case, check_case, load_cases
    from gradcheck.certify import Certificate, certify, same
    from gradcheck.checking import adjoint, check, check_call, check_module
    from gradcheck.html import report_html
    from gradcheck.jacobian_matrix import Jacobian, jacobian
    from gradcheck.lines import steps, steps_of_call
    from gradcheck.operators import Taylor, check_adjoint_operator, check_hessian, check_hvp, check_jvp, taylor
    from gradcheck.report import ArgumentReport, GradientError, Report
    from gradcheck.updates import check_update

__all__ = [
    "check",
    "check_module",
    "adjoint",
    "certify",
    "same",
    "Certificate",
    "check_update",
    "check_jvp",
    "check_hvp",
    "check_hessian",
    "check_adjoint_operator",
    "taylor",
    "Taylor",
    "jacobian",
    "Jacobian",
    "steps",
    "from_pair",
    "from_layer",
    "from_nested",
    "from_value_and_gradient",
    "from_derivative",
    "from_jacobian",
    "from_torch",
    "from_jax",
    "Call",
    "Case",
    "check_case",
    "load_cases",
    "check_call",
    "steps_of_call",
    "parameters_of",
    "randomize_parameters",
    "to_float64",
    "clear_gradients",
    "borrowed",
    "Report",
    "ArgumentReport",
    "GradientError",
    "report_html",
]

_MODULES = {
    "adapters.derivatives": ("from_derivative", "from_jacobian", "from_value_and_gradient"),
    "adapters.frameworks": ("from_jax", "from_torch"),
    "adapters.layers": ("from_layer",),
    "adapters.nested": ("from_nested",),
    "adapters.pairs": ("from_pair",),
    "call": ("Call", "borrowed", "clear_gradients", "parameters_of", "randomize_parameters", "to_float64"),
    "cases": ("Case", "check_case", "load_cases"),
    "certify": ("Certificate", "same"),  # `certify` itself is a module that can be called
    "checking": ("check", "check_call", "check_module", "adjoint"),
    "html": ("report_html",),
    "jacobian_matrix": ("jacobian", "Jacobian"),
    "lines": ("steps", "steps_of_call"),
    "operators": ("Taylor", "check_adjoint_operator", "check_hessian", "check_hvp", "check_jvp", "taylor"),
    "report": ("Report", "ArgumentReport", "GradientError"),
    "updates": ("check_update",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a type checker that sees __getattr__ accepts any name

    def __getattr__(name):
        """Load a public name or a submodule on first use.

        pytest imports every package that has a plugin, so the import of this package must be fast.
        """
        from importlib import import_module
        from importlib.util import find_spec

        if name in _MODULE_OF:
            value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            value = import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__():
    return sorted({*globals(), *__all__})
