"""Compare every gradient that a backward pass returns with the true gradient.

A check runs both passes and detects side effects (contract.py), compares each gradient with the oracles
(examination.py), judges the measurements (judgement.py), and writes the report (report.py). If these steps do not
confirm a gradient, gradcheck/refine examines it further. gradcheck/diagnosis and gradcheck/lines explain a wrong
gradient. The last three packages are imported only when they are needed.
"""

import functools
import inspect
import operator
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike

from gradcheck.call import (
    Call,
    Differentiable,
    OutOfTime,
    borrowed,
    is_low_precision,
    is_module,
    parameters_of,
    prepared,
    stream,
)
from gradcheck.examination import examine, find
from gradcheck.judgement import Terms
from gradcheck.report import GradientError, Report, fault

__tracebackhide__ = operator.methodcaller("errisinstance", GradientError)  # pytest's traceback ends in the test

LEAST = 5.0  # seconds that an explanation may take after a short check
P = ParamSpec("P")
Settings = dict[str, Any]


def _checked(
    target: Differentiable | Call,
    /,
    *inputs: Any,
    dy: ArrayLike | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    seed: int = 0,
    max_entries: int = 2000,
    oracles: str | Collection[str] | None = None,
    argnums: int | Collection[int] | None = None,
    explain: bool = True,
    raises: bool = True,
    randomize: bool = False,
    lines: bool = True,
    **options: Any,
) -> Report:
    """Check a function or module, and return a Report or raise GradientError.

    The docstring of `check` describes the options. A Call is checked in float64, and also in the precision of its
    inputs, or of its code, if that is lower.
    """
    call = (target if isinstance(target, Call) else Call(target, *inputs, **options)).only(argnums)
    terms = Terms(rtol, atol, seed, max_entries, oracles, dy, randomize)
    dtype = getattr(call.target, "checked_dtype", None)

    def in_float64(call):
        return _in_float64(call.copy(), terms, explain, lines and raises)

    try:
        if dtype is None and not any(map(is_low_precision, call.inputs)):
            try:
                return in_float64(call)
            except (TypeError, GradientError) as error:
                is_single = any(is_low_precision(parameter.data) for parameter in parameters_of(call.target).values())
                if not hasattr(error, "precision") or not (is_single or isinstance(error, TypeError)):
                    raise
                dtype = error.precision
        from gradcheck.low_precision import in_both_precisions

        report = in_both_precisions(call, dtype, terms, in_float64)
        if not report.is_right:
            raise GradientError(report)
        return report
    except GradientError as error:
        if raises:
            raise
        return error.report


def _in_float64(call, terms, explain, lines):
    began, found = time.monotonic(), []
    with prepared(call, terms.parameter_seed):
        examination = _examine(call, terms)
        report, seconds = examination.report, max(LEAST, time.monotonic() - began)
        if explain and not report.is_right:
            call.deadline = time.monotonic() + seconds
            report = _with_diagnoses(examination, terms)
    if not report.is_right:
        if explain and lines:
            found = _table_of_lines(report, call, terms, seconds)
        raise GradientError(report, found)
    return report


def _with_options(
    table: Callable[P, Report], *left_out: str, **defaults: Any
) -> Callable[[Callable[..., Report]], Callable[P, Report]]:
    """Return a decorator that adds the keyword options of `table` to a function.

    The options in `left_out` are omitted, and `defaults` override the defaults. The function receives the options in a
    dictionary as its first argument, so that they are kept apart from the options of the function under test.
    """

    def decorate(function):
        named = inspect.signature(table).parameters.values()
        options = [p for p in named if p.kind is p.KEYWORD_ONLY and p.name not in left_out]
        options = [option.replace(default=defaults.get(option.name, option.default)) for option in options]
        own = inspect.signature(function)
        _, *positional = own.parameters.values()
        further = [positional.pop()] if positional[-1].kind is inspect.Parameter.VAR_KEYWORD else []

        @functools.wraps(function)
        def with_defaults(*inputs, **given):
            settings = {option.name: given.pop(option.name, option.default) for option in options}
            return function(settings, *inputs, **given)

        with_defaults.__signature__ = own.replace(parameters=[*positional, *options, *further])
        return with_defaults

    return decorate


@_with_options(_checked, "randomize", "lines")
def check(settings: Settings, function: Differentiable, /, *inputs: Any, order: int = 1, **options: Any) -> Report:
    """Check the gradients of a differentiable function.

    Returns a Report; raises GradientError if a gradient is wrong.

    `function(*inputs, **options)` returns (y, backward), where y is a float64 array or number. backward(dy) returns one
    gradient for each floating-point array among `inputs`, in order, as a tuple; a single gradient needs no tuple. Each
    entry a of each gradient is compared with the derivative n of L = ⟨dy, y⟩ that an oracle computes, and is right if
    |a − n| ≤ atol + rtol |n|. If `atol` is not given, it is 1e-8, and the gradient as a whole must also be right to
    rtol of its norm.

    `argnums` gives the positions of the inputs whose gradients are compared (default: all floating-point arrays).
    backward may return the gradients of these inputs only, or of all floating-point arrays. With `raises=False`, the
    Report is returned even if a gradient is wrong.

    `oracles` selects among `"central"` (central differences along each entry), `"adjoint"` (the complex step along one
    random direction through each argument) and `"complex"` (the complex step along each entry, if the direction has not
    settled the verdict). By default, all oracles that apply are used. A forward pass that is not complex-safe is
    checked by central differences, and a note in the report gives the reason.

    With `order=2`, the gradients are also checked as functions of the inputs and dy, as torch.autograd.gradgradcheck
    does. This needs from_torch or from_jax; for second derivatives by hand, see check_hessian and check_hvp.

    `dy` has y's shape and is drawn from the standard normal distribution by default. `seed` seeds all random numbers.
    If an input has more than `max_entries` entries, a sample of min(200, max_entries) entries is compared, and the
    others are checked along one random direction through all entries (not with `oracles="complex"`).

    GradientError also names the mistake and the wrong line of backward, if they are found. The search runs the function
    again, for at most the duration of the check or 5 seconds, whichever is longer; a pass that has begun is not
    interrupted. With `explain=False`, the error contains only the verdict.

    The real and imaginary parts of complex arrays are compared, with dz = ∂L/∂Re z + i ∂L/∂Im z as in PyTorch. For the
    convention of JAX, see gradcheck.adapters.from_complex. Functions that take or return float32 or float16 arrays are
    first checked in float64. Then the gradients in the original precision are compared with those in float64
    (low_precision.py).

    An option of the function that has the same name as an option of `check` must be bound beforehand:
    `functools.partial(function, seed=3)`. A random generator among inputs or options is copied before each evaluation,
    so that dropout uses the same mask each time.

    Raises TypeError or ValueError if the check would be meaningless, for example because `dy` is constant, no input is
    a floating-point array, or the function is not deterministic.
    """
    if parameters_of(function):
        name = Call(function).name
        raise TypeError(f"{name} has parameters, whose gradients check() does not compare: use check_module()")
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, not {order!r}")

    def checked(function, inputs, **changed):
        if not any(np.iscomplexobj(value) for value in inputs):
            try:
                return _checked(Call(function, *inputs, **options), **settings | changed)
            except TypeError as error:
                if not getattr(error, "is_complex", False):
                    raise
        return _checked_as_real(settings | changed, function, inputs, options)

    report = checked(function, inputs)
    if order == 1 or not report.is_right:
        return report
    y, rng = np.asarray(function(*inputs, **options)[0]), stream(settings["seed"], "order 2")
    upstream = rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape) * np.iscomplexobj(y)
    upstream = np.asarray(upstream if np.iscomplexobj(y) else np.real(upstream), y.dtype)
    chosen = settings["argnums"]
    if chosen is not None:
        chosen = [*Call(function, *inputs).only(chosen).differentiable(), len(inputs)]
    second = checked(_gradients_of(function, inputs), (*inputs, upstream), dy=None, argnums=chosen)
    renamed = (replace(a, name=f"{a.name}, order 2", label=f"{a.label} of the gradients") for a in second.arguments)
    every = {name: getattr(report, name) + getattr(second, name) for name in ("problems", "notes")}
    return replace(report, arguments=(*report.arguments, *renamed), **every)


def _checked_as_real(settings, target, inputs, options):
    """Check a function of complex arrays as one of their real and imaginary parts."""
    from gradcheck.adapters.complex_numbers import as_real

    target, inputs, dy, argnums = as_real(target, inputs, settings["dy"], settings["argnums"])
    return _checked(Call(target, *inputs, **options), **settings | {"dy": dy, "argnums": argnums})


def _gradients_of(function, inputs):
    """Return a differentiable function of the inputs and dy that computes the gradients."""
    if not hasattr(function, "of_gradients"):
        raise TypeError(
            f"{Call(function).name}: order=2 needs from_torch or from_jax, whose frameworks differentiate the "
            "gradients; for second derivatives by hand, see check_hessian and check_hvp"
        )
    gradients = function.of_gradients(inputs)
    if not hasattr(gradients, "names_of_inputs"):
        gradients.names_of_inputs = [*Call(function, *inputs).input_names(), "dy"]
    return gradients


@_with_options(_checked, "lines", randomize=True)
def check_module(settings: Settings, module: Differentiable, /, *inputs: Any, **options: Any) -> Report:
    """Check the gradients of a module with respect to its inputs and parameters.

    `module(*inputs, **options)` returns (y, backward), and `module.named_parameters()` yields (name, parameter) with
    `parameter.data`, `parameter.grad` and, if it can be frozen, `parameter.requires_grad`. backward(dy) returns the
    gradients of the inputs (None if no input has one) and stores those of the parameters in `.grad`. The module may
    also be a method of such an object. The options are those of `check`.

    During the check, every parameter is float64 and requires a gradient. By default `randomize_parameters` draws new
    values, because initial values hide bugs: if γ = 1, a layer norm with γ in the wrong place looks right. The data,
    gradients and flags of all parameters are restored afterwards, even after an exception.
    """
    if not is_module(module):
        raise TypeError(f"{Call(module).name} has no named_parameters(), so it is not a module: use check()")
    if any(np.iscomplexobj(value) for value in [*inputs, *(p.data for p in parameters_of(module).values())]):
        with borrowed(module):
            return _checked_as_real(settings, module, inputs, options)
    return _checked(Call(module, *inputs, **options), **settings)


@_with_options(_checked, "rtol", "atol", "max_entries", "oracles", "argnums", "raises", "lines", randomize=True)
def adjoint(settings: Settings, target: Differentiable, /, *inputs: Any, **options: Any) -> Report:
    """Check every gradient of a function or module with the adjoint identity.

    Equivalent to `check` or `check_module` with `oracles="adjoint"`. A whole model needs one complex forward pass, in
    addition to the passes that test the contract. If the identity fails, it is evaluated for each argument separately,
    so that the report names the wrong gradients. To find the wrong entries, use `check`.

    Raises the same exceptions as `check`, and ValueError if the forward pass is not complex-safe.
    """
    return _checked(Call(target, *inputs, **options), oracles="adjoint", **settings)


@_with_options(_checked)
def check_call(settings: Settings, call: Call) -> Report:
    """Check a Call, like `check` for a function and `check_module` for a module.

    With `lines=False`, the explanation does not include the lines of backward.
    """
    return _checked(call, **settings)


def _examine(call, terms):
    """Examine a Call, and convert an exception in backward to a GradientError."""
    try:
        return examine(call, terms)
    except GradientError:
        raise
    except Exception as error:
        from gradcheck.lines.shapes import exception_in_backward

        problem = exception_in_backward(call, error)
        if not problem:
            raise
        raise fault(call.name, problem) from error


def _with_diagnoses(examination, terms):
    """Add the mistakes that are recognised to the report of an examination."""
    from gradcheck.diagnosis import diagnose

    report, run, findings = examination
    arguments = list(report.arguments)
    with suppress(OutOfTime):
        for i, found in enumerate(diagnose(run, findings, lambda other: find(other, terms)[0])):
            told = {"diagnosis": found.sentence, "kind": found.kind, "equals": found.argument}
            arguments[i] = replace(arguments[i], **told)
    return replace(report, arguments=tuple(arguments))


def _table_of_lines(report, call, terms, seconds):
    """Examine the lines of backward, and return the result as lines of text."""
    from gradcheck.lines import lines_beside

    try:
        found = lines_beside(report, call, dy=terms.dy, seed=terms.seed, randomize=terms.randomize)
    except (TypeError, ValueError):
        return []
    except OutOfTime:
        return [
            f"(the explanation is incomplete: it stopped after {seconds:.0f} s; "
            "gradcheck.steps has no time limit, and smaller arrays need less time)"
        ]
    except Exception as error:
        message = " ".join(str(error).split())
        return [f"(the lines of backward could not be examined: {type(error).__name__}: {message})"]
    return str(found).split("\n") if found is not None and found.first_wrong else []
