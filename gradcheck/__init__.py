"""A checker for gradients derived by hand. It needs NumPy, and nothing else.

It checks functions that return their value and their own backward pass:

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
them is wrong, `check` raises a GradientError. This is an AssertionError, so the call can be used as a test. Without
the subtraction in `backward`, the message is:

    softmax: dx: 10 of 10 entries disagree; worst at [0, 0]: backward gives -0.004101, central differences give
    0.001461. dx is off by a multiple of y along axis 1: a term y · Σ over it, or with another factor that is one along
    it, is missing or wrong

`check_module(module, *inputs)` also checks every parameter of an object. To check many functions, list them as `CASES`
and run `python -m gradcheck MODULE` (see gradcheck/cases.py and `python -m gradcheck --help`). Without MODULE, the
command checks the modules named in your setup.cfg or pyproject.toml (gradcheck/configuration.py).

Code with other interfaces needs no rewriting. The adapters in gradcheck.adapters convert it:

- `from_pair(forward, backward)`: two functions that pass a cache from one to the other;
- `from_layer(layer)`: an object with forward, backward, a cache and possibly further layers as attributes;
- `from_value_and_gradient(f, gradient)`: a scalar function and its gradient, as optimisers take them;
- `from_jacobian(f, jacobian)`: a function and its Jacobian, as Kalman filters and least-squares fits take them;
- `from_nested(f, params, x)`: arrays in dictionaries or lists, and functions with several outputs.

Method. The loss is L = ⟨dy, y⟩, so that ∂L/∂y is dy. Three oracles compute its derivatives from the forward pass alone
(gradcheck/measurement.py):

- central differences perturb each entry of each argument by ±h and divide the change of L by 2h
  (gradcheck/central_differences.py);
- the complex step perturbs the entry by 1e-30 i and divides the imaginary part of L by 1e-30. It is exact to machine
  precision, but needs a forward pass that accepts complex numbers (gradcheck/complex_step.py);
- the adjoint identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ compares all entries of all arguments in one complex forward pass:
  `adjoint(model, ids)` checks ten million parameters in seconds (gradcheck/adjoint_identity.py).

Central differences and the adjoint identity examine every gradient. The complex step then examines each entry of a
gradient that they do not confirm. The option `oracles`, as in `oracles="central"`, selects among the three.
`jacobian(function, *inputs)` returns the Jacobian matrix. To read the code, begin with gradcheck/checking.py. The
modules next to it are those that confirm a right gradient; gradcheck/refine examines all other gradients.

Limits of finite differences. The error of a difference with step h has two parts: truncation, which grows with h
because the function is not linear, and rounding, which grows with 1/h because the leading digits of two nearly equal
numbers cancel. In float32, which has 7 digits, a forward difference has at most about 3 correct digits and a central
one 5, too few to distinguish a mistake from rounding. Therefore gradcheck uses float64, a fourth-order formula and a
step that depends on the scale of each entry. This gives nine digits or more for a single layer and eight for a whole
model; the derivation is in gradcheck/central_differences.py. A function may also have a kink: ReLU has slope 0 to the
left of 0 and slope 1 to the right. There a central difference returns the mean of both slopes, and neither 0 nor 1 is
wrong (gradcheck/refine/one_derivative.py).

Why dy = ones tests nothing. Each row of a softmax sums to 1 for every x, and each row of a layer norm sums to Σβ when
γ is constant. With dy = 1 the loss is therefore constant, the true gradient is zero, and a backward that returns zeros
passes. A random dy also reveals a backward that ignores dy, and a random γ reveals a γ in the wrong place. Therefore
dy and the parameters are random unless you pass them, and a constant dy is refused.

How to read the report. Each argument has one row:

      argument  entries  absolute  relative  oracle ±  verdict
      x              10   4.4e-14   2.3e-12   1.6e-10  right

- `entries`: the number of compared entries. A large argument is sampled, and one random direction through the whole
  argument checks the rest. With the adjoint identity alone, no single entry is compared.
- `absolute`: the largest |a − n|, where a is an entry of backward's gradient and n the value of the oracle.
- `relative`: the largest |a − n| / (|n| + atol/rtol), which must not exceed rtol.
- `oracle ±`: the estimated error of n.
- `verdict`: `right`, with the number of entries at a kink, if any; `WRONG`; or `CANNOT TELL` if the error of every
  oracle is larger than the difference, because the output jumps, is not finite, is dominated by rounding errors, or
  varies on a scale shorter than every step.

A right gradient has a relative error of at most about 1e-8, from rounding; a missing term gives 1e-2 to 1. Few errors
lie in between, so there is no tolerance to tune. A gradient must also be right to rtol of its norm, even if it is
small compared with the output. The complex step can verify this. Central differences alone cannot verify a gradient
below their precision, unless the output does not depend on the argument; its verdict is then
`right (zero to ±1e-14)`. Pass `atol=1e-8` to accept errors below 1e-8. The check also fails if the function modifies
its arguments, or if a second call of backward returns another gradient. The report lists these faults first.

Diagnosis. The difference between a wrong gradient and the true one often identifies the mistake. If it does, the report
names the mistake in one sentence. The sentence has been verified at every compared entry: to nine digits of the largest
entry, or to six if only central differences apply (gradcheck/diagnosis). Examples are
`dw is transposed`, `dx equals 5 × the truth: 5 is the length of axis 1 of x`, `dx differs only where mask is False`,
`dx does not depend on dy`. Without a diagnosis, look at which entries disagree. If all do, a formula is wrong; if only
a few do, an index, a mask or a boundary; if one argument is wrong, the line that computes its gradient.

Other tools:

- `steps(f, *inputs)` and `python -m gradcheck steps MODULE` find the first wrong line of a backward pass: the array
  that a line assigns to the name dx is compared with the true gradient of x (gradcheck/lines). A failed check
  includes this table, within a time limit (gradcheck/causes.py); `check(..., explain=False)` raises without it.
- `python -m gradcheck curve` plots the error of a finite difference against its step (gradcheck/curve).
- `python -m gradcheck museum` shows wrong gradients that real projects shipped, the checks that missed them, and why
  (gradcheck/museum).
- `python -m gradcheck audit MODULE` tests the checks: it plants mistakes in backward passes and reports which of them
  the module's cases, or any test command, do not detect (gradcheck/audit).
- In pytest, the fixture `gradcheck` checks gradients, and `--gradcheck-report` prints a table of the worst errors
  (gradcheck/plugin.py). For Hypothesis there are strategies for shapes, masks, cotangents and well-conditioned arrays
  (gradcheck/strategies.py). Notebooks display a report, or that of an error, as a table (gradcheck/notebook.py).
- `check_update(adam, "adam")` compares the steps of an optimiser with a formula in plain scalars, and names the usual
  mistakes in AdamW (gradcheck/updates).
"""

TYPE_CHECKING = False  # type checkers treat it as True; importing `typing` would take longer than this whole module
if TYPE_CHECKING:  # these names are loaded on first use: see __getattr__
    from gradcheck.adapters.derivatives import from_derivative, from_jacobian, from_value_and_gradient
    from gradcheck.adapters.layers import from_layer
    from gradcheck.adapters.nested import from_nested
    from gradcheck.adapters.pairs import from_pair
    from gradcheck.call import Call, borrowed, clear_gradients, parameters_of, randomize_parameters, to_float64
    from gradcheck.cases import Case, check_case, load_cases
    from gradcheck.checking import adjoint, check, check_call, check_module
    from gradcheck.html import report_html
    from gradcheck.jacobian_matrix import Jacobian, jacobian
    from gradcheck.lines import steps, steps_of_call
    from gradcheck.report import ArgumentReport, GradientError, Report
    from gradcheck.updates import check_update

__all__ = [
    "check",
    "check_module",
    "adjoint",
    "check_update",
    "jacobian",
    "Jacobian",
    "steps",
    "from_pair",
    "from_layer",
    "from_nested",
    "from_value_and_gradient",
    "from_derivative",
    "from_jacobian",
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
    "adapters.layers": ("from_layer",),
    "adapters.pairs": ("from_pair",),
    "call": ("Call", "borrowed", "clear_gradients", "parameters_of", "randomize_parameters", "to_float64"),
    "cases": ("Case", "check_case", "load_cases"),
    "checking": ("check", "check_call", "check_module", "adjoint"),
    "adapters.derivatives": ("from_derivative", "from_jacobian", "from_value_and_gradient"),
    "html": ("report_html",),
    "jacobian_matrix": ("jacobian", "Jacobian"),
    "lines": ("steps", "steps_of_call"),
    "adapters.nested": ("from_nested",),
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
