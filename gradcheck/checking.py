"""Compare every gradient that a backward pass returns with the true one: `check` and `check_module`.

The order is: refuse what cannot be checked; run forward and backward under watch (contract.py); compare with what the
oracles find (comparison.py), and judge (judgement.py); say what is wrong with what is wrong (diagnosis). Bad use raises
TypeError or ValueError; a wrong gradient, or a backward pass that is at fault in another way, raises GradientError.
"""

import numbers

import numpy as np

from gradcheck import diagnosis
from gradcheck.call import Call, is_module
from gradcheck.comparison import ORACLES, Comparison
from gradcheck.contract import arguments_of, run
from gradcheck.parameters import borrowed, randomize_parameters, to_float64
from gradcheck.report import GradientError, Report

MAX_ENTRIES = 2000


def check(
    function, /, *inputs, dy=None, rtol=1e-6, atol=None, seed=0, max_entries=MAX_ENTRIES, oracles=None, **options
):
    """Check the gradients of a differentiable function. Returns a Report; raises GradientError if any is wrong.

    `function(*inputs, **options)` returns (y, backward), y a float64 array or number, and backward(dy) returns one
    gradient for each floating-point array among `inputs`, in order; a single one bare. Each entry a of each gradient
    is compared with the derivative n of L = ⟨dy, y⟩ that an oracle finds, and is right if |a − n| ≤ atol + rtol |n|.
    Unless `atol` is given (it is 1e-8 otherwise), the gradient as a whole must besides be right to rtol of its norm.

    `oracles` names those to use: `"central"` (central differences along each entry), `"complex"` (the complex step
    along each entry), `"adjoint"` (the complex step along one random direction through each argument). By default all
    that apply: a forward pass that is not complex-safe is checked by central differences, and a note says why.

    `dy`, of y's shape, is drawn from the standard normal distribution unless given. `seed` decides all that is random.
    Of an input with more than `max_entries` entries, that many are sampled, and the rest checked together by one
    random direction through all of them; but with `oracles="complex"` alone, not at all.

    An option of the function that has one of these names is bound beforehand: `functools.partial(function, seed=3)`.
    A random generator among inputs or options is copied before each evaluation, so that dropout repeats itself.

    Raises TypeError or ValueError where a check would mean nothing: float32 inputs, constant `dy`, nothing to
    differentiate, a function that does not repeat itself.
    """
    call = Call(function, *inputs, **options)
    if is_module(function):
        raise TypeError(f"{call.name} has parameters, whose gradients check() would not see: use check_module()")
    return check_call(call, dy=dy, rtol=rtol, atol=atol, seed=seed, max_entries=max_entries, oracles=oracles)


def check_module(
    module,
    /,
    *inputs,
    dy=None,
    rtol=1e-6,
    atol=None,
    seed=0,
    max_entries=MAX_ENTRIES,
    oracles=None,
    randomize=True,
    **options,
):
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
        call, dy=dy, rtol=rtol, atol=atol, seed=seed, max_entries=max_entries, oracles=oracles, randomize=randomize
    )


def check_call(
    call,
    *,
    dy=None,
    rtol=1e-6,
    atol=None,
    seed=0,
    max_entries=MAX_ENTRIES,
    oracles=None,
    randomize=False,
    diagnose=True,
):
    """Check a Call, of a function or of a module alike: what `check` and `check_module` share.

    With `diagnose` False a wrong gradient is not asked what is wrong with it, which takes longer than to find that it
    is wrong.
    """
    strict = atol is None
    atol = 1e-8 if atol is None else atol
    _refuse_settings(rtol, atol, max_entries, seed)
    oracles = _named(oracles)
    call = call.copy()
    with borrowed(call.target):
        to_float64(call.target)
        if randomize:
            randomize_parameters(call.target, _stream(seed, "parameters"))
        arguments = arguments_of(call)
        y, dy, gradients = run(call, arguments, dy, _stream(seed, "dy"))
        comparison = Comparison(
            call,
            arguments,
            gradients,
            y,
            dy,
            rtol=rtol,
            atol=atol,
            strict=strict,
            max_entries=max_entries,
            oracles=oracles,
            rng=_stream(seed, "entries"),
        )
        findings = comparison.findings()
        diagnoses = diagnosis.diagnose(comparison, findings) if diagnose else [""] * len(findings)
        pairs = zip(findings, diagnoses, strict=True)
        reports = tuple(finding.report(comparison, sentence) for finding, sentence in pairs)
        report = Report(call.name, reports, notes=tuple(comparison.notes))
    if not report.is_right:
        raise GradientError(report)
    return report


def _refuse_settings(rtol, atol, max_entries, seed):
    """Raise TypeError or ValueError, in one line, for a setting that means nothing."""
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a number, not {value!r}")
    if not (rtol >= 0 and atol >= 0):
        raise ValueError(f"rtol and atol must not be negative: {rtol}, {atol}")
    if not isinstance(max_entries, numbers.Integral):
        raise TypeError(f"max_entries must be a whole number, not {max_entries!r}")
    if max_entries < 1:
        raise ValueError(f"max_entries must be at least 1, not {max_entries}")
    if not isinstance(seed, numbers.Integral) or seed < 0:
        kind = ValueError if isinstance(seed, numbers.Integral) else TypeError
        raise kind(f"seed must be a whole number of at least 0, not {seed!r}")


def _named(oracles):
    """Return the oracles asked for as a tuple, all of them if None. Raises ValueError for a name that is none."""
    if oracles is None:
        return ORACLES
    named = (oracles,) if isinstance(oracles, str) else tuple(oracles)
    unknown = [name for name in named if name not in ORACLES]
    if unknown or not named:
        raise ValueError(f"oracles are {', '.join(ORACLES)}; not {', '.join(map(repr, unknown)) or 'none at all'}")
    return tuple(name for name in ORACLES if name in named)


def _stream(seed, purpose):
    """A random stream for one purpose: inputs drawn from `default_rng(seed)` must not reappear as dy."""
    return np.random.default_rng([seed, *purpose.encode()])
