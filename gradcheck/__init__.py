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
them is wrong, `check` raises a GradientError. That is an AssertionError, so the call is a test as it stands. Without
the subtraction in `backward` it says:

    softmax: dx: 10 of 10 entries disagree; worst at [0, 0]: backward gives -0.004101, central differences give
    0.001461. dx is off by a multiple of y along axis 1: a term y · Σ over it, or with another factor that is one along
    it, is missing or wrong

`check_module(module, *inputs)` does so for every parameter of an object too. For a whole table of functions, list
them as `CASES` and run `python -m gradcheck MODULE` (see gradcheck/cases.py and `python -m gradcheck --help`). Without
MODULE, the modules that your setup.cfg or pyproject.toml names are checked (gradcheck/configuration.py).

Code of another shape needs no rewriting: `from_pair(forward, backward)` of gradcheck.adapters takes two functions with
a cache between them, `from_layer(layer)` an object with a forward, a backward and a cache of its own, with the layers
within it, `from_value_and_gradient(f, gradient)` what optimisers take, `from_jacobian(f, jacobian)` what filters do,
and `from_nested(f, params, x)` arrays in dictionaries and several outputs.

How it is done. L = ⟨dy, y⟩ is the loss, so that ∂L/∂y is dy. Three oracles, which know nothing of any derivation, say
what its derivatives are (gradcheck/measurement.py):

- central differences move each entry of each argument a little, forth and back, and divide the change of L by the
  move: that is the derivative, by its definition (gradcheck/central_differences.py);
- the complex step moves it by 1e-30 i instead, and looks at the imaginary part: exact to machine precision, for a
  forward pass that computes with complex numbers as with real ones (gradcheck/complex_step.py);
- the adjoint identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ compares all entries of all arguments in one complex forward pass:
  `adjoint(model, ids)` checks ten million parameters in seconds (gradcheck/adjoint_identity.py).

The first and the last look at everything, and the complex step at each entry of what they do not find right;
`oracles="central"` and the like choose. `jacobian(function, *inputs)` shows the matrix. To read how, begin with
gradcheck/checking.py: what nearly every right gradient meets, and nothing else, lies beside it; gradcheck/closer is
asked about what a first look did not find right.

How a finite difference fails. With a step h its error is truncation, which grows with h (the function is not straight),
plus rounding, which grows with 1/h (the difference of two nearly equal numbers has lost its leading digits). In
float32, with its 7 digits, no step leaves more than about 3 digits to a forward difference and 5 to a central one: too
few to tell a mistake from rounding. Hence float64, a formula of fourth order, and a step for each entry from its scale:
nine digits or more for a single layer, eight for a whole model; the derivation is in gradcheck/central_differences.py.
And a function may have a kink: at its 0, ReLU has one slope to the left and another to the right. There a difference
gives their mean, and neither 0 nor 1 is wrong (gradcheck/closer/one_derivative.py).

Why dy = ones tests nothing. Each row of a softmax sums to 1 whatever x is, and a layer norm's to Σβ when its γ is
constant. So with dy = 1 the loss is constant, the true gradient is zero, and a backward that returns zeros passes.
Likewise a random dy notices a backward that ignores it, and a γ that is random notices one that stands in the wrong
place. So dy and parameters are random here unless you give them, and a constant dy is refused.

How to read the report. There is a row for each argument:

      argument  entries  absolute  relative  oracle ±  verdict
      x              10   4.4e-14   2.3e-12   1.6e-10  right

`entries` is how many were compared (a large argument is sampled, and the rest checked together by one random direction;
where the adjoint identity alone was asked for, none is); `absolute` the largest |a − n|,
backward's entry a against the oracle's n; `relative` the largest |a − n| / (|n| + atol/rtol), which must not exceed
rtol; `oracle ±` how far n itself may be from the truth. Up to 1e-8 or so is a right gradient with its rounding errors;
a forgotten term shows as 1e-2 to 1. There is little between, and no tolerance to tune. The verdict is `right`, with the
number of entries at a kink, if any; `WRONG`; or `CANNOT TELL` where no oracle is surer than the difference, since the
output jumps, is not finite, drowns in rounding errors, or has detail finer than any step. A gradient must also be right
to rtol of its norm, however small it is beside the output. Where the complex step applies, that is found out; where
only central differences do, a gradient below their reach is one that they cannot tell, unless the output ignores the
argument and it is `right (zero to ±1e-14)`; `atol=1e-8` says that errors below that do not matter. A function that
changes what it was given, or whose backward gives something else when asked again, fails too: that is said first.

What is wrong. The difference between a wrong gradient and the true one has the shape of the mistake. Where it is simple
the report says so, in a sentence that holds to nine digits of the largest entry at every entry compared, to six by
central differences (gradcheck/diagnosis):
`dw is transposed`, `dx equals 5 × the truth: 5 is the length of axis 1 of x`, `dx differs only where mask is False`,
`dx does not depend on dy`. Otherwise it says nothing, and where the entries disagree is the clue: all of them point at
a formula; a few at an index, a mask or an edge; one argument alone at the line that computes it.

What else is here:

- `steps(f, *inputs)` and `python -m gradcheck steps MODULE` look at each line of a backward pass: what it computes
  under the name dx is compared with the true gradient of x, and the first line that is wrong is found. A failed check
  shows it (gradcheck/line_by_line), within a time limit (gradcheck/causes.py); `check(..., explain=False)` raises
  without an explanation, for a caller that needs only the verdict.
- `python -m gradcheck curve` draws the error of a difference against its step: the picture of all this, for the board
  (gradcheck/curve).
- `python -m gradcheck museum` walks through wrong gradients that real projects shipped, the checks that missed them,
  and why (gradcheck/museum).
- `python -m gradcheck audit MODULE` tests the checks: it makes mistakes in backward passes on purpose, and shows which
  go unnoticed, by the module's cases or by any test command (gradcheck/audit).
- in pytest, the fixture `gradcheck` and a table of the worst errors, `--gradcheck-report` (gradcheck/plugin.py); with
  Hypothesis, strategies for shapes, masks, cotangents and well-conditioned arrays (gradcheck/strategies.py); in a
  notebook, a report shows itself as a table, and so does that of an error (gradcheck/notebook.py).
- `check_update(adam, "adam")` holds the steps of an optimiser against a formula that is written in plain scalars, and
  names AdamW's usual mistakes (gradcheck/updates).
"""

TYPE_CHECKING = False  # but to a type checker it is true; from `typing` it would take longer than all that is here
if TYPE_CHECKING:  # what is loaded when it is asked for: see __getattr__
    from gradcheck.adapters import from_layer, from_pair
    from gradcheck.call import Call, borrowed, clear_gradients, parameters_of, randomize_parameters, to_float64
    from gradcheck.cases import Case, check_case, load_cases
    from gradcheck.checking import adjoint, check, check_call, check_module
    from gradcheck.given_derivatives import from_derivative, from_jacobian, from_value_and_gradient
    from gradcheck.html import report_html
    from gradcheck.jacobian_matrix import Jacobian, jacobian
    from gradcheck.line_by_line import steps, steps_of_call
    from gradcheck.nested import from_nested
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
    "adapters": ("from_layer", "from_pair"),
    "call": ("Call", "borrowed", "clear_gradients", "parameters_of", "randomize_parameters", "to_float64"),
    "cases": ("Case", "check_case", "load_cases"),
    "checking": ("check", "check_call", "check_module", "adjoint"),
    "given_derivatives": ("from_derivative", "from_jacobian", "from_value_and_gradient"),
    "html": ("report_html",),
    "jacobian_matrix": ("jacobian", "Jacobian"),
    "line_by_line": ("steps", "steps_of_call"),
    "nested": ("from_nested",),
    "report": ("Report", "ArgumentReport", "GradientError"),
    "updates": ("check_update",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # because a type checker that sees __getattr__ accepts any name

    def __getattr__(name):
        """Load a public name, or a module, on first use: pytest imports every package that has a plugin."""
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
