"""Checking what an optimiser does with gradients: each step against a formula that is written once, in plain scalars.

A wrong update trains, only worse: nothing in a loss curve says that ε stands inside the root. `check_update` lets the
code take a few steps with random gradients and settings, and compares where its parameters are after each:

    def adam(w, dw, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - lr * m_hat / np.sqrt(v_hat + eps), m, v

    gradcheck.check_update(adam, "adam")

raises a GradientError, which ends in `ε is inside the root: √(v + ε) in place of √v + ε`.

The formulas that are known by name (gradcheck/updates/formulas.py) are sgd, momentum, nesterov, adagrad, rmsprop, adam
and adamw, as PyTorch has them. Any other is given as a function of scalars, which is called for each entry by itself:

    def signed(theta, g, m, *, lr, beta):
        m = beta * m + (1 - beta) * g
        return theta - lr * math.copysign(1, m), m

    gradcheck.check_update(my_update, signed)

Its state, what stands between g and the star, is 0 before the first step; an argument `t` counts steps from 1.

**The code** may have one of five shapes.

A function of the parameter, its gradient, the state and the settings. It returns θ′, or θ′ followed by the state, or
nothing, if it changes them in place:

    check_update(adam, "adam")

A function with settings and state in a dictionary, `w, config = adam(w, dw, config)`:

    check_update(from_config(adam), "adam")

A class whose objects have a `step()`, made from a list of parameters that have `.data` and `.grad`:

    check_update(from_optimizer(AdamW), "adamw")

A class whose objects have an `update(w, dw)`, one object for each parameter; or one for all of them, if parameters
and gradients are held in dictionaries or lists:

    check_update(from_object(Adam), "adam")
    check_update(from_object(Adam, dict), "adam")

Anything else, as a generator that is given lists of arrays, takes the steps, and yields the parameters after each:

    def steps(parameters, gradients, lr):
        for gradient in gradients:
            my_step(parameters, gradient, lr)
            yield parameters

    check_update(from_steps(steps), "sgd")

Settings are passed by the names that the code has for them (`learning_rate`, `betas`, `epsilon`, `wd`, …: SPELLINGS in
gradcheck/updates/calling.py). One that is fixed in the code is told: `check_update(adam, "adam", eps=1e-8)`. Code that
clips its gradients has, or is told, a `max_norm`: the largest norm, of all parameters' gradients together where the
code sees them all, of each by itself where it does not.

**What is wrong** is named if one of the usual mistakes (gradcheck/updates/mistakes.py), or two of them, put into the
formula, give the same numbers to nine digits of every step; else nothing is said.
"""

import difflib
import inspect
import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.call import describe
from gradcheck.report import GradientError
from gradcheck.updates.calling import (
    OfConfig,
    OfFunction,
    OfObject,
    OfOptimizer,
    OfSteps,
    new_parameter,
    options_of,
)
from gradcheck.updates.following import entry_by_entry, read_formula
from gradcheck.updates.formulas import FORMULAS
from gradcheck.updates.report import UpdateReport
from gradcheck.updates.trying import SHAPES, compare, draw_course, draw_settings, walk

__all__ = ["check_update", "from_config", "from_object", "from_optimizer", "from_steps", "FORMULAS", "UpdateReport"]


def check_update(
    update: Callable[..., Any] | OfConfig | OfObject | OfOptimizer | OfSteps,
    formula: str | Callable[..., Any],
    /,
    *,
    seed: int = 0,
    explain: bool = True,
    **settings: float,
) -> UpdateReport:
    """Check the steps of an optimiser. Returns an UpdateReport; raises GradientError if one of them is wrong.

    `update` is a function `update(theta, g, *state, **settings)`, or what an adapter below makes of other code. All
    arrays that it is given are float64. `formula` is the name of one of FORMULAS, or a function of scalars: θ, g and
    the state are positional, t and settings keyword-only. `settings` are values of settings, by the formula's names;
    those that are not given are random. `seed` decides all that is random. With `explain=False` the usual mistakes are
    not tried on a wrong step.

    Two parameters take five steps, from a state of zeros: at first two of one shape, then two others. A step is right
    if it brings every entry to within 1e-9 of the step's length (and 1e-13 of θ, for rounding) of where it should be.

    Raises TypeError or ValueError where a check would mean nothing: an unknown formula, a setting that the code does
    not take and is not told, an update that returns what it should not.
    """
    rule, code = _formula(formula), _code(update)
    _refuse(settings, rule)
    arguments = _arguments(code, rule, settings)
    names = [name for name in (*rule.settings, "max_norm") if name in arguments or name in settings]
    unheard = {name: default for name, default in rule.settings.items() if name not in names}
    rng = np.random.default_rng([seed, *b"update"])
    for shapes in SHAPES:
        values = draw_settings(names, settings, rng)
        course = draw_course(shapes, unheard | values, code.jointly, rng)
        thetas, fault = walk(code, course, options_of(values, arguments))
        how = f"by the formula of {rule.name}, with {_said(values, arguments)}"
        if fault:
            raise GradientError(UpdateReport(code.name, rule.name, problems=(fault,), notes=(how,)))
        steps = compare(entry_by_entry(rule), course, thetas)
        report = UpdateReport(code.name, rule.name, tuple(steps), notes=(how,))
        if not report.is_right:
            raise GradientError(_diagnosed(report, rule, course, thetas) if explain else report)
    return report


def from_config(function: Callable[..., Any]) -> OfConfig:
    """Return for check_update the update of `function(w, dw, config) -> (w, config)`, which keeps its state in config.

    Its settings are what it looks up in an empty dictionary, or puts there for itself.
    """
    return OfConfig(_callable("from_config", function))


def from_optimizer(
    make: Callable[..., Any], parameter: Callable[..., Any] = new_parameter, gradient: Callable[..., Any] = np.asarray
) -> OfOptimizer:
    """Return for check_update the update of a class, or a function, that makes optimisers: objects with a `step()`.

    `make(parameters, **settings)` is given a list of what `parameter(array)` returns: objects with `.data`, which is
    read after each step, and `.grad`, where `gradient(array)` is put before. By default they have nothing else, and the
    gradient is an array. For PyTorch: `from_optimizer(torch.optim.AdamW, torch.tensor, torch.tensor)`.
    """
    return OfOptimizer(_callable("from_optimizer", make), parameter, gradient)


def from_object(
    make: Callable[..., Any], container: type[dict[Any, Any]] | type[list[Any]] | None = None, *, method: str = "update"
) -> OfObject:
    """Return for check_update the update of a class, or a function, that makes objects with an `update(w, dw)`.

    `make(**settings)` makes one for each parameter; `update` is given arrays, and returns the new parameter, or changes
    it in place. With a `container`, dict or list, there is one object, and `update` is given all parameters in one, all
    gradients in another. `method` is what `update` is called.

    Raises ValueError for another container.
    """
    if container not in (None, dict, list):
        raise ValueError(f"from_object: container must be dict, list or None, not {container!r}")
    return OfObject(_callable("from_object", make), method, container)


def from_steps(function: Callable[..., Any]) -> OfSteps:
    """Return for check_update the update of a generator function, `function(parameters, gradients, **settings)`.

    `parameters` is a list of arrays, `gradients` a list of such lists, one for each step. It yields after each step
    what the parameters are, as a list in the same order; or nothing, if it changes the arrays of the list in place.
    """
    return OfSteps(_callable("from_steps", function))


def _callable(adapter, function):
    if not callable(function):
        raise TypeError(f"{adapter}: {describe(function)} cannot be called")
    return function


def _formula(formula):
    """Return a Formula. Raises TypeError or ValueError if there is none."""
    if isinstance(formula, str):
        if formula not in FORMULAS:
            near = difflib.get_close_matches(formula, FORMULAS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"there is no formula {formula!r}; {hint}known are {', '.join(FORMULAS)}")
        formula = FORMULAS[formula]
    elif not callable(formula):
        raise TypeError(f"the formula is {describe(formula)}; it must be a name or a function of scalars")
    return read_formula(formula)


def _code(update):
    """Return what takes a course of steps. Raises TypeError for what needs an adapter, or has none."""
    if isinstance(update, (OfConfig, OfObject, OfOptimizer, OfSteps)):
        return update
    if inspect.isclass(update):
        raise TypeError(f"{update.__name__} is a class: see from_optimizer and from_object of gradcheck.updates")
    if hasattr(update, "step"):
        raise TypeError(
            f"{describe(update)} has its parameters already; give what makes it of a list of parameters to "
            "from_optimizer of gradcheck.updates"
        )
    return OfFunction(_callable("check_update", update))


def _refuse(settings, rule):
    """Raise TypeError or ValueError for a value of a setting that there is not, or that is no number."""
    for name, value in settings.items():
        if name not in (*rule.settings, "max_norm"):
            raise TypeError(f"{name} is no setting of {rule.name}, which has {', '.join(rule.settings)}")
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not np.isfinite(value):
            raise ValueError(f"{name} must be finite, not {value}")


def _arguments(code, rule, settings):
    """Return {setting: the code's name for it} of those that the code takes.

    Raises TypeError if it does not take one that the formula needs, nor is it given.
    """
    arguments = code.arguments(rule)
    for name, default in rule.settings.items():
        needed = default is inspect.Parameter.empty
        if name not in arguments and (needed or name in settings):
            if code.takes_any:
                arguments[name] = name
            elif name not in settings:
                raise TypeError(
                    f"{code.name} takes no {name}, which the formula of {rule.name} needs{code.understood(arguments)}; "
                    f"if its value is fixed in the code, give it: check_update(..., {name}=...)"
                )
    return arguments


def _said(values, arguments):
    """Say what the settings were, and what the code calls them."""
    names = [f"{name} ({arguments[name]})" if arguments.get(name, name) != name else name for name in values]
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, values.values(), strict=True))


def _diagnosed(report, rule, course, thetas):
    """Return the report with a sentence on what is wrong, if that is known."""
    from gradcheck.updates.naming import name_the_mistake

    formula = rule if FORMULAS.get(rule.name) is rule.function else entry_by_entry(rule)
    largest = max(step.relative for step in report.steps)
    return replace(report, diagnosis=name_the_mistake(formula, course, thetas, largest))
