"""Compare every gradient that a backward pass returns with the true gradient.

A check runs forward and backward and detects side effects (contract.py), compares each gradient with the oracles
(examination.py), judges the measurements (judgement.py), and writes the report (report.py). If these steps do not
confirm a gradient, gradcheck/refine examines it further. gradcheck/diagnosis and gradcheck/lines explain a wrong
gradient. The last three packages are imported only when they are needed.
"""

import functools
import inspect
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike

from gradcheck.call import Call, Differentiable, OutOfTime, is_module, prepared
from gradcheck.examination import examine, find
from gradcheck.judgement import Terms
from gradcheck.report import GradientError, Report, fault

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
    """Check a target. The functions below have these options, which the docstring of `check` describes."""
    call = target if isinstance(target, Call) else Call(target, *inputs, **options)
    terms, call, found = Terms(rtol, atol, seed, max_entries, oracles), call.only(argnums).copy(), []
    began = time.monotonic()
    try:
        with prepared(call, terms.seed if randomize else None):
            examination = _examined(call, dy, terms)
            report, seconds = examination.report, max(LEAST, time.monotonic() - began)
            if explain and not report.is_right:
                call.deadline = time.monotonic() + seconds
                report = _diagnosed(examination, terms)
    except GradientError as error:
        if raises:
            raise
        return error.report
    if raises and not report.is_right:
        if explain and lines:
            found = _lines(report, call, dy, terms.seed, randomize, seconds)
        raise GradientError(report, found)
    return report


def _with_options(
    table: Callable[P, Report], *left_out: str, **defaults: Any
) -> Callable[[Callable[..., Report]], Callable[P, Report]]:
    """Give a function the options of `table` without those left out, and with other defaults.

    The function receives them as its first argument, {name: value}, so that they do not mix with those of its target.
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
def check(settings: Settings, function: Differentiable, /, *inputs: Any, **options: Any) -> Report:
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

    `dy` has y's shape and is drawn from the standard normal distribution by default. `seed` seeds all random numbers.
    If an input has more than `max_entries` entries, a sample of min(200, max_entries) entries is compared, and the
    others are checked along one random direction through all entries (not with `oracles="complex"`).

    GradientError also names the mistake and the wrong line of backward, if they are found. The search runs the function
    again, for at most the duration of the check or 5 seconds, whichever is longer; a pass that has begun is not
    interrupted. With `explain=False`, the error contains only the verdict.

    The real and imaginary parts of complex arrays are compared, with dz = ∂L/∂Re z + i ∂L/∂Im z as in PyTorch. For the
    convention of JAX, see gradcheck.adapters.from_complex. Functions of float32 and float16 arrays are first checked in
    float64. Then the gradients in the original precision are compared with those in float64 (low_precision.py).

    An option of the function that has the same name as an option of `check` must be bound beforehand:
    `functools.partial(function, seed=3)`. A random generator among inputs or options is copied before each evaluation,
    so that dropout uses the same mask each time.

    Raises TypeError or ValueError if the check would be meaningless, for example because `dy` is constant, no input is
    a floating-point array, or the function is not deterministic.
    """
    if is_module(function):
        name = Call(function).name
        raise TypeError(f"{name} has parameters, whose gradients check() does not compare: use check_module()")
    if hasattr(function, "convention") or any(np.iscomplexobj(value) for value in inputs):
        from gradcheck.adapters.complex_numbers import as_real

        real = as_real(function, inputs, settings["dy"], settings["argnums"])
        function, inputs, settings["dy"], settings["argnums"] = real
    wide = tuple(value.astype(np.float64) if is_low(value) else value for value in inputs)
    report = _checked(Call(function, *wide, **options), **settings)
    if report.is_right and any(map(is_low, inputs)):
        from gradcheck.low_precision import compared

        low, high = (Call(function, *arrays, **options).only(settings["argnums"]) for arrays in (inputs, wide))
        report = compared(report, low, high, settings["dy"], settings["seed"])
        if settings["raises"] and not report.is_right:
            raise GradientError(report)
    return report


def is_low(value):
    return isinstance(value, np.ndarray) and value.dtype.newbyteorder("=") in (np.float32, np.float16)


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
    call = Call(module, *inputs, **options)
    if not is_module(module):
        raise TypeError(f"{call.name} has no named_parameters(), so it is not a module: use check()")
    return _checked(call, **settings)


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
    """Check a Call of a function or of a module, like `check` and `check_module`.

    With `lines=False`, the explanation does not include the lines of backward.
    """
    return _checked(call, **settings)


def _examined(call, dy, terms):
    """Examine a Call. An exception in backward becomes a GradientError."""
    try:
        return examine(call, dy, terms)
    except GradientError:
        raise
    except Exception as error:
        from gradcheck.lines.shapes import exception_in_backward

        problem = exception_in_backward(call, error)
        if not problem:
            raise
        raise fault(call.name, problem) from error


def _diagnosed(examination, terms):
    """Return the report of an Examination, with diagnoses of the wrong gradients."""
    from gradcheck.diagnosis import what_is_wrong

    report, run, findings = examination
    arguments = list(report.arguments)
    with suppress(OutOfTime):
        for i, sentence in enumerate(what_is_wrong(run, findings, lambda other: find(other, terms)[0])):
            arguments[i] = replace(arguments[i], diagnosis=sentence)
    return replace(report, arguments=tuple(arguments))


def _lines(report, call, dy, seed, randomize, seconds):
    """Return the table of the lines of backward, or the reason for its absence, or []."""
    from gradcheck.lines import lines_beside

    try:
        found = lines_beside(report, call, dy=dy, seed=seed, randomize=randomize)
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
