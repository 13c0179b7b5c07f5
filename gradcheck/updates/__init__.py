"""Check the steps of an optimiser against an update formula for scalars.

`check_update(adam, "adam")` runs `adam` for a few steps with random gradients and settings. If `adam` adds ε inside the
root, the error message ends with `ε is inside the root: …`, followed by the wrong line and the right one. README.md
describes how to write a formula, and which interfaces the code may have.
"""

import inspect
import itertools
import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.call import describe
from gradcheck.report import GradientError
from gradcheck.updates.calling import Code, OfFunction, from_config, from_object, from_optimizer, from_steps, options_of
from gradcheck.updates.course import ANOTHER, RANGES, SHAPES, compare, draw_course, read_formula, walk
from gradcheck.updates.formulas import FORMULAS
from gradcheck.updates.report import UpdateReport

__all__ = ["check_update", "from_config", "from_object", "from_optimizer", "from_steps", "FORMULAS", "UpdateReport"]


def check_update(
    update: Callable[..., Any] | Code,
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
    of scalars whose positional arguments are θ, g and the state, and whose keyword-only arguments are t and the
    settings. `settings` fixes the values of some settings, under the names that the formula uses. All other settings
    that the code accepts are drawn at random. A setting that the code does not accept has the default of the formula.
    `seed` determines every random number. With `explain=False`, a wrong step is reported without a search for the
    mistake.

    The code takes five steps with two parameters of the same shape, and then five steps with two parameters of
    different shapes. The state is 0 before the first step. A step is right if the error of every entry is at most 1e-9
    of the distance that the formula moves the entry, plus 1e-13 of the entry's size for rounding.

    Raises TypeError or ValueError if the check is not possible because the formula is unknown, the code does not accept
    a required setting whose value is not given, or the update returns the wrong number or kind of values.
    """
    rule, code = read_formula(formula), _code(update)
    arguments = _arguments(code, rule, settings)
    names = [name for name in (*rule.settings, "max_norm") if name in arguments or name in settings]
    unaccepted = {name: default for name, default in rule.settings.items() if name not in names}
    rng = np.random.default_rng([seed, *b"update"])

    def walked(shapes):
        values = {
            name: settings[name] if name in settings else rng.uniform(*RANGES.get(name, ANOTHER)) for name in names
        }
        course = draw_course(shapes, unaccepted | values, code.jointly, rng)
        fault = walk(code, course, options_of(values, arguments))
        steps = () if fault else tuple(compare(rule, course))
        notes = (f"by the formula of {rule.name}, with {_settings_text(values, arguments)}",)
        return course, UpdateReport(code.name, rule.name, steps, (fault,) if fault else (), notes=notes)

    for shapes, others in itertools.permutations(SHAPES):
        course, report = walked(shapes)
        if report.problems or not (report.is_right or explain):
            raise GradientError(report)
        if not report.is_right:
            from gradcheck.updates.mistakes import name_the_mistake

            try:
                another = walked(others)[0]
            except Exception:  # the code mixes up arrays of different shapes, such as the states of two parameters
                another = walked(SHAPES[0])[0]
            largest = max(step.relative for step in report.steps)
            diagnosis, hints = name_the_mistake(rule, (course, another), largest)
            pairs, kinds = tuple(hint[:2] for hint in hints), tuple(kind for *_, kind in hints)
            raise GradientError(replace(report, diagnosis=diagnosis, hints=pairs, kinds=kinds))
    return report


def _code(update):
    if inspect.isclass(update) or hasattr(update, "step"):
        given = update if inspect.isclass(update) else describe(update)
        known = "from_optimizer or from_object of gradcheck.updates"
        raise TypeError(f"check_update needs a function, or a class in {known}, not {given}")
    return update if isinstance(update, Code) else OfFunction(update)


def _arguments(code, rule, settings):
    for name, value in settings.items():
        if name not in (*rule.settings, "max_norm"):
            raise TypeError(f"{name} is not a setting of {rule.name}; its settings are {', '.join(rule.settings)}")
        if not isinstance(value, numbers.Real) or not np.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value!r}")
    arguments = code.arguments(rule)
    for name, default in rule.settings.items():
        needed = default is inspect.Parameter.empty
        if name not in arguments and (needed or name in settings):
            if code.takes_any:
                arguments[name] = name
            elif name not in settings:
                taken = ", ".join(dict.fromkeys(arguments.values())) or "no setting"
                state = f"; its state is taken to be {', '.join(code.state)}" if code.state else ""
                raise TypeError(
                    f"{code.name} takes no {name}, which the formula of {rule.name} needs (it takes {taken}{state}); "
                    f"if the code fixes its value, pass that value: check_update(..., {name}=...)"
                )
    return arguments


def _settings_text(values, arguments):
    names = [f"{name} ({arguments[name]})" if arguments.get(name, name) != name else name for name in values]
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, values.values(), strict=True))
