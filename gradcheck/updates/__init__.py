"""Check the steps of an optimiser against its update formula, which is written once for scalars.

A model still trains with a wrong update, only worse: a loss curve does not show that ε is inside the root.
`check_update` runs the code for a few steps with random gradients and settings, and compares the parameters after each
step with the formula:

    def adam(w, dw, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - lr * m_hat / np.sqrt(v_hat + eps), m, v

    gradcheck.check_update(adam, "adam")

raises a GradientError whose message ends with `ε is inside the root: √(v + ε) in place of √v + ε`.

The built-in formulas (gradcheck/updates/formulas.py) are sgd, momentum, nesterov, adagrad, rmsprop, adam and adamw.
They follow PyTorch's conventions. Any other formula is passed as a function of scalars, which is called once for each
entry:

    def signed(theta, g, m, *, lr, beta):
        m = beta * m + (1 - beta) * g
        return theta - lr * math.copysign(1, m), m

    gradcheck.check_update(my_update, signed)

The state is the positional arguments after θ and g (here m), and is 0 before the first step. A keyword-only argument
`t` counts the steps from 1.

**The code** may have one of five interfaces.

A function of the parameter, its gradient, the state and the settings. It returns θ′, or θ′ followed by the new state,
or None if it changes them in place:

    check_update(adam, "adam")

A function that keeps its settings and state in a dictionary, `w, config = adam(w, dw, config)`:

    check_update(from_config(adam), "adam")

A class whose objects have a method `step()` and are created from a list of parameters with `.data` and `.grad`:

    check_update(from_optimizer(AdamW), "adamw")

A class whose objects have a method `update(w, dw)`. There is one object for each parameter, or one for all of them if
parameters and gradients are stored in dictionaries or lists:

    check_update(from_object(Adam), "adam")
    check_update(from_object(Adam, dict), "adam")

Any other code, wrapped in a generator that takes lists of arrays and yields the parameters after each step:

    def steps(parameters, gradients, lr):
        for gradient in gradients:
            my_step(parameters, gradient, lr)
            yield parameters

    check_update(from_steps(steps), "sgd")

Settings are passed under the code's own names for them (`learning_rate`, `betas`, `epsilon`, `wd`, …; see SPELLINGS in
gradcheck/updates/calling.py). If the code fixes the value of a setting, pass that value to the check:
`check_update(adam, "adam", eps=1e-8)`. If the code clips its gradients, it must take an argument `max_norm`, or the
value must be passed to the check. If the code receives the gradients of all parameters at once, `max_norm` bounds their
common norm. Otherwise it bounds the norm of each gradient.

**The mistake** is named if the formula with one or two of the usual mistakes (gradcheck/updates/mistakes.py) gives the
same numbers, to nine digits of every step. The message also points out a parameter that never moves, steps that are
all the same multiple of the correct ones, errors as small as those of float32, and the division by 1 − β⁰ = 0 (see
gradcheck/updates/naming.py). In all other cases it gives no cause.
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
    """Check the steps of an optimiser against a formula.

    Returns an UpdateReport. Raises GradientError if a step is wrong or changes the shape or dtype of a parameter.

    `update` is a function `update(theta, g, *state, **settings)`, or the result of one of the adapters below for code
    with another interface. All arrays passed to it are float64. `formula` is the name of one of FORMULAS, or a function
    of scalars with positional arguments θ, g and the state, and keyword-only arguments t and the settings. `settings`
    are values of settings under the formula's names; the other settings of the code are drawn at random. Settings
    that the code does not take have the formula's default. `seed` determines every random number. With `explain=False`,
    a wrong step is reported without a search for the mistake.

    The code takes five steps with two parameters, twice: first with two parameters of the same shape, then with two
    of different shapes. The state is 0 before the first step. A step is right if the error of every entry is at most
    1e-9 of the distance that the formula moves the entry, plus 1e-13 of the entry's size for rounding.

    Raises TypeError or ValueError if the check is not possible: the formula is unknown, the code does not take a
    setting that the formula needs and no value is given, or the update returns the wrong number or kind of values.
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
    """Adapt a function `function(w, dw, config) -> (w, config)` for check_update.

    The function keeps its settings and its state in the dictionary `config`. To find the settings, the check calls it
    with an empty dictionary: they are the keys that it looks up with `config[key]` or adds.
    """
    return OfConfig(_callable("from_config", function))


def from_optimizer(
    make: Callable[..., Any], parameter: Callable[..., Any] = new_parameter, gradient: Callable[..., Any] = np.asarray
) -> OfOptimizer:
    """Adapt a class or function that creates optimisers with a method `step()`, for check_update.

    `make(parameters, **settings)` receives a list of parameters, each created by `parameter(array)`. A parameter has
    the attributes `.grad`, which is set to `gradient(array)` before each step, and `.data`, which is read after each
    step. By default a parameter has no other attributes, and the gradient is an array. For PyTorch:
    `from_optimizer(torch.optim.AdamW, torch.tensor, torch.tensor)`.
    """
    return OfOptimizer(_callable("from_optimizer", make), parameter, gradient)


def from_object(
    make: Callable[..., Any], container: type[dict[Any, Any]] | type[list[Any]] | None = None, *, method: str = "update"
) -> OfObject:
    """Adapt a class or function that creates objects with a method `update(w, dw)`, for check_update.

    `make(**settings)` creates one object for each parameter. Its `update` takes two arrays, and returns the new
    parameter or changes it in place. With a `container` (dict or list), there is a single object, whose `update` takes
    one container of all parameters and one of all gradients. `method` is the name of the method, "update" by default.

    Raises ValueError if `container` is not dict, list or None.
    """
    if container not in (None, dict, list):
        raise ValueError(f"from_object: container must be dict, list or None, not {container!r}")
    return OfObject(_callable("from_object", make), method, container)


def from_steps(function: Callable[..., Any]) -> OfSteps:
    """Adapt a generator function, `function(parameters, gradients, **settings)`, for check_update.

    `parameters` is a list of arrays, and `gradients` contains one such list for each step. After each step the
    generator yields the list of parameters in the same order, or None if it changed `parameters` in place.
    """
    return OfSteps(_callable("from_steps", function))


def _callable(adapter, function):
    if not callable(function):
        raise TypeError(f"{adapter}: {describe(function)} cannot be called")
    return function


def _formula(formula):
    """Return the Formula of a name or function. Raises ValueError for an unknown name, TypeError for another object."""
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
    """Return an adapter for the code. Raises TypeError if the user must choose one, or if it cannot be called."""
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
    """Raise TypeError for an unknown setting or a value that is not a number, ValueError if it is not finite."""
    for name, value in settings.items():
        if name not in (*rule.settings, "max_norm"):
            raise TypeError(f"{name} is no setting of {rule.name}, which has {', '.join(rule.settings)}")
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not np.isfinite(value):
            raise ValueError(f"{name} must be finite, not {value}")


def _arguments(code, rule, settings):
    """Return {setting: the code's name for it} for the settings that the code takes.

    Raises TypeError if the code does not take a setting that the formula needs and `settings` has no value for it.
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
    """Describe the values of the settings, with the code's names where they differ."""
    names = [f"{name} ({arguments[name]})" if arguments.get(name, name) != name else name for name in values]
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, values.values(), strict=True))


def _diagnosed(report, rule, course, thetas):
    """Return the report with a sentence that names the mistake, if it is known."""
    from gradcheck.updates.naming import name_the_mistake

    formula = rule if FORMULAS.get(rule.name) is rule.function else entry_by_entry(rule)
    largest = max(step.relative for step in report.steps)
    return replace(report, diagnosis=name_the_mistake(formula, course, thetas, largest))
