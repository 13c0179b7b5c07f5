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

    softmax: dx: 10 of 10 entries disagree; worst at [0, 0]: backward gives -0.004101, central differences give 0.001461

`check_module(module, *inputs)` does so for every parameter of an object too. For a whole table of functions, list
them as `CASES` and run `python -m gradcheck MODULE` (see gradcheck/cases.py and `python -m gradcheck --help`).

How it is done. L = ⟨dy, y⟩ is the loss, so that ∂L/∂y is dy. Each entry of each argument is moved a little, forth and
back, and the change of L is divided by the move: that is the derivative, by its definition, without any derivation.

How a finite difference fails. With a step h its error is truncation, which grows with h (the function is not straight),
plus rounding, which grows with 1/h (the difference of two nearly equal numbers has lost its leading digits). In
float32, with its 7 digits, no step leaves more than about 3 digits standing: too few to see a forgotten term. Hence
float64, a formula of fourth order, and a step for each entry from its scale: nine digits or more for a single layer,
eight for a whole model, whose derivation is in gradcheck/central_differences.py. And a function may have a kink: at
its 0, ReLU has one slope to the left and another to the right. There a difference gives their mean, and neither 0 nor 1
is wrong (gradcheck/judgement.py).

Why dy = ones tests nothing. Each row of a softmax sums to 1 whatever x is, and a layer norm's to Σβ when its γ is
constant. So with dy = 1 the loss is constant, the true gradient is zero, and a backward that returns zeros passes.
Likewise a random dy notices a backward that ignores it, and a γ that is random notices one that stands in the wrong
place. So dy is always random here, parameters are too, and a constant dy is refused.

How to read the report. There is a row for each argument:

      argument  entries  absolute  relative  verdict
      x              10   1.1e-13   1.7e-12  right

`entries` is how many were compared (a large argument is sampled, and the rest checked together by one random
direction); `absolute` the largest |a − n|, backward's entry a against the difference n; `relative` the largest
|a − n| / (|n| + atol/rtol), which must not exceed rtol. Up to 1e-8 or so is a right gradient with its rounding errors;
a forgotten term shows as 1e-2 to 1. There is little between, and no tolerance to tune. A failure of all entries points
at a formula; of a few, at an index, a mask or an edge; of one argument only, at the line that computes it.
"""

from gradcheck.call import Call
from gradcheck.cases import Case, check_case, load_cases
from gradcheck.checking import check, check_module
from gradcheck.parameters import randomize_parameters
from gradcheck.report import ArgumentReport, GradientError, Report

__all__ = [
    "check",
    "check_module",
    "Call",
    "Case",
    "check_case",
    "load_cases",
    "randomize_parameters",
    "Report",
    "ArgumentReport",
    "GradientError",
]
