"""Compare every gradient that a backward pass returns with the true one: `check`, `check_module` and `adjoint`.

Everything that a right gradient meets lies beside this file, and the numbers go one way: run forward and backward under
watch (contract.py); measure what the oracles say of each gradient (measurement.py); judge by the measurements
(judgement.py); report (summary.py, report.py). Only if the first look does not confirm a gradient, gradcheck/closer
looks again, and only if a gradient is not right, gradcheck/causes.py explains it. Neither is loaded before.

Bad use raises TypeError or ValueError; a wrong gradient, or a backward pass that is at fault in another way, raises
GradientError.
"""

import numbers
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradcheck.adjoint_identity import sides_of_all
from gradcheck.call import Call, Differentiable, borrowed, is_module, randomize_parameters, refusals, to_float64
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.contract import run_under_watch
from gradcheck.judgement import first_look, unexamined
from gradcheck.measurement import ORACLES, Terms, by_central_differences, by_the_identity
from gradcheck.report import GradientError, Report
from gradcheck.summary import summarise

MAX_ENTRIES = 2000


def check(
    function: Differentiable,
    /,
    *inputs: Any,
    dy: ArrayLike | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    seed: int = 0,
    max_entries: int = MAX_ENTRIES,
    oracles: str | Collection[str] | None = None,
    explain: bool = True,
    **options: Any,
) -> Report:
    """Check the gradients of a differentiable function. Returns a Report; raises GradientError if any is wrong.

    `function(*inputs, **options)` returns (y, backward), y a float64 array or number, and backward(dy) returns one
    gradient for each floating-point array among `inputs`, in order; a single one bare. Each entry a of each gradient
    is compared with the derivative n of L = ⟨dy, y⟩ that an oracle finds, and is right if |a − n| ≤ atol + rtol |n|.
    Unless `atol` is given (it is 1e-8 otherwise), the gradient as a whole must besides be right to rtol of its norm.

    `oracles` names those to use: `"central"` (central differences along each entry), `"adjoint"` (the complex step
    along one random direction through each argument), `"complex"` (the complex step along each entry, where the
    direction has not settled it). By default all that apply: a forward pass that is not complex-safe is checked by
    central differences, and a note says why.

    `dy`, of y's shape, is drawn from the standard normal distribution unless given. `seed` decides all that is random.
    Of an input with more than `max_entries` entries, 200 are sampled, or `max_entries` if that is less, and the rest
    checked together by one random direction through all of them; but with `oracles="complex"` alone, not at all.

    A wrong gradient is explained before GradientError is raised: the mistake, if its numbers show it, and the line of
    backward that makes it. That runs the function again, for as long as the check took at most, or 5 seconds if that
    is more; a forward or backward pass that has begun is not interrupted. `explain=False` raises at once, with the
    verdict alone. Printing the error runs nothing.

    An option of the function that has one of these names is bound beforehand: `functools.partial(function, seed=3)`.
    A random generator among inputs or options is copied before each evaluation, so that dropout repeats itself.

    Raises TypeError or ValueError where a check would mean nothing: float32 inputs, constant `dy`, nothing to
    differentiate, a function that does not repeat itself.
    """
    call = Call(function, *inputs, **options)
    if is_module(function):
        raise TypeError(f"{call.name} has parameters, whose gradients check() would not see: use check_module()")
    return check_call(
        call, dy=dy, rtol=rtol, atol=atol, seed=seed, max_entries=max_entries, oracles=oracles, explain=explain
    )


def check_module(
    module: Differentiable,
    /,
    *inputs: Any,
    dy: ArrayLike | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    seed: int = 0,
    max_entries: int = MAX_ENTRIES,
    oracles: str | Collection[str] | None = None,
    explain: bool = True,
    randomize: bool = True,
    **options: Any,
) -> Report:
    """Check the gradients of a module: those of every input and of every parameter. Otherwise like `check`.

    `module(*inputs, **options)` returns (y, backward), and `module.named_parameters()` yields (name, parameter) with
    `parameter.data`, `parameter.grad` and, if it can be frozen, `parameter.requires_grad`. backward(dy) returns the
    inputs' gradients (None if no input has one) and leaves the parameters' in `.grad`. A method of
    a module will do too.

    During the check every parameter is float64 and requires its gradient. Its values are random, as by
    `randomize_parameters`, since those that it starts from hide bugs (at γ = 1 a layer norm with γ in the wrong place
    looks right); `randomize=False` checks at the module's own. Afterwards, also after an exception, data, gradients
    and flags are what they were.
    """
    call = Call(module, *inputs, **options)
    if not is_module(module):
        raise TypeError(f"{call.name} has no named_parameters(), so it is not a module: use check()")
    return check_call(
        call,
        dy=dy,
        rtol=rtol,
        atol=atol,
        seed=seed,
        max_entries=max_entries,
        oracles=oracles,
        explain=explain,
        randomize=randomize,
    )


def adjoint(
    target: Differentiable,
    /,
    *inputs: Any,
    dy: ArrayLike | None = None,
    seed: int = 0,
    explain: bool = True,
    randomize: bool = True,
    **options: Any,
) -> Report:
    """Check every gradient of a function or module by the adjoint identity. Returns a Report; raises as `check` does.

    The same as `check` or `check_module` with `oracles=("adjoint",)`, for either: one forward pass in complex numbers
    for a whole model, besides those that find out whether the function keeps its contract. Where the identity fails, it
    is tried for each argument by itself, which tells whose gradient is wrong. Which entries, and why, is then a matter
    for `check` on the component that it belongs to. Raises ValueError, with the reason, if the forward pass is not
    complex-safe.
    """
    call = Call(target, *inputs, **options)
    return check_call(call, dy=dy, seed=seed, oracles=("adjoint",), explain=explain, randomize=randomize)


def check_call(
    call: Call,
    *,
    dy: ArrayLike | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    seed: int = 0,
    max_entries: int = MAX_ENTRIES,
    oracles: str | Collection[str] | None = None,
    explain: bool = True,
    randomize: bool = False,
    lines: bool = True,
) -> Report:
    """Check a Call, of a function or of a module alike: what `check` and `check_module` share.

    `lines=False` leaves the lines of backward out of the explanation.
    """
    began = time.monotonic()
    strict, atol = atol is None, 1e-8 if atol is None else atol
    _refuse_settings(rtol, atol, max_entries, seed)
    terms = Terms(rtol, atol, strict, max_entries, _named(oracles))
    call = call.copy()
    with borrowed(call.target):
        to_float64(call.target)
        if randomize:
            randomize_parameters(call.target, _stream(seed, "parameters"))
        run = run_under_watch(call, dy, _stream(seed, "dy"))
        findings, step, notes = _find(run, terms, seed)
        arguments = tuple(summarise(finding, run, terms) for finding in findings)
        report = Report(call.name, arguments, (run.problem,) if run.problem else (), tuple(notes))
        if explain and not report.is_right:
            from gradcheck.causes import Explanation

            explanation = Explanation(began)
            report = explanation.with_sentences(
                report, run, step, findings, lambda other: _find(other, terms, seed)[:2]
            )
    if not report.is_right:
        raise GradientError(report, explanation.lines(report, call, dy, seed, randomize) if explain and lines else ())
    return report


def _find(run, terms, seed):
    """Return (a Finding for each gradient, the ComplexStep, notes on how they were found, for a reader).

    The step is None where it was not asked for or the forward pass is not complex-safe. That may show late, and then
    everything is judged again without it. Raises ValueError if nothing else was asked for.
    """
    rng, notes = _stream(seed, "entries"), []
    measurements = [by_central_differences(run, i, terms, rng) for i in range(len(run.arguments))]
    if terms.oracles != ("central",):
        step = ComplexStep(run.call, run.arguments, run.y)
        try:
            if terms.oracles == ("adjoint",):
                together = sides_of_all(run, step, rng)
                notes.append(_both_sides(together))
                if together.agree:
                    return [unexamined(m) for m in measurements], step, notes
            both = [by_the_identity(run, step, i, m, terms, rng) for i, m in enumerate(measurements)]
            return [_judged(run, step, i, m, terms, rng) for i, m in enumerate(both)], step, notes
        except NotComplexSafe as reason:
            if "central" not in terms.oracles:
                raise refusals().not_complex_safe(run.call.name, reason) from reason
            notes = [f"the complex step does not apply, since the forward pass is not complex-safe: {reason}"]
    terms = replace(terms, oracles=("central",))
    return [_judged(run, None, i, m, terms, rng) for i, m in enumerate(measurements)], None, notes


def _judged(run, step, i, measurement, terms, rng):
    """Return the Finding on the gradient of argument i. Raises NotComplexSafe if that shows."""
    finding = first_look(measurement, run, terms)
    if finding is None:
        from gradcheck.closer import look_closer

        finding = look_closer(run, step, i, measurement, terms, rng)
    return finding


def _both_sides(together):
    share = min(together.gap / max(together.size, np.finfo(float).tiny), 1.0)
    return (
        f"the adjoint identity through all arguments: backward gives {together.analytic:.15g}, the complex step gives "
        f"{together.exact:.15g}; the difference is {share:.1e} of Σ|dx v|"
    )


def _refuse_settings(rtol, atol, max_entries, seed):
    """Raise TypeError or ValueError, in one line, for a setting that means nothing."""
    are_numbers = isinstance(rtol, numbers.Real) and isinstance(atol, numbers.Real) and rtol >= 0 and atol >= 0
    whole = [isinstance(value, numbers.Integral) and not isinstance(value, bool) for value in (max_entries, seed)]
    if not (are_numbers and all(whole) and max_entries >= 1 and seed >= 0):
        raise refusals().settings(rtol, atol, max_entries, seed)


def _named(oracles):
    """Return the oracles asked for as a tuple, all of them if None. Raises ValueError for a name that is none."""
    if oracles is None:
        return ORACLES
    named = (oracles,) if isinstance(oracles, str) else oracles
    if not isinstance(named, (tuple, list, set)) or not named or any(name not in ORACLES for name in named):
        raise refusals().oracles(oracles, ORACLES)
    return tuple(name for name in ORACLES if name in named)


def _stream(seed, purpose):
    """A random stream for one purpose: inputs drawn from `default_rng(seed)` must not reappear as dy."""
    return np.random.default_rng([seed, *purpose.encode()])
