"""Validation of arguments and settings, with one-line messages that state the allowed values.

    k = check_int("logit_lens: k", k, minimum=1)

raises ValueError with the message `logit_lens: k must be at least 1, not 0`, or returns k as a Python number, because a
NumPy scalar would turn float32 into float64. A dataclass of settings declares the check of each field with `setting`.
check_fields applies the checks, `documented` adds the fields to the docstring, and commands/options.py turns the fields
into options.
"""

import dataclasses
import difflib
import inspect
import math
import numbers
import operator
import reprlib
import sys
from functools import partial

LIMITS = {
    "minimum": (operator.ge, "at least"),
    "above": (operator.gt, "more than"),
    "maximum": (operator.le, "at most"),
    "below": (operator.lt, "less than"),
}
MOST_SHOWN = 200  # characters of a value in a message; a value from a file may have a million
IN_WORDS = {"more than 0": "positive", "more than -inf": "a number", "less than inf": "finite"}


def check_int(name: str, value, **limits) -> int:
    """Return `value` as an int if it is an integer within the limits.

    The limits have the names in LIMITS, such as minimum=0. Raises TypeError for another type, and ValueError for a
    violated limit.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {brief(value)}")
    violated = {kind: limit for kind, limit in limits.items() if not LIMITS[kind][0](value, limit)}
    return within(name, int(value), violated)


def number(name: str, value, **limits) -> float:
    """Return `value` as a float if it is a number within the limits (see check_int). NaN violates every limit."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {brief(value)}")
    try:
        return within(name, float(value), limits)
    except OverflowError:
        largest = f"{sys.float_info.max:.2g}"
        raise ValueError(f"{name} must be at most {largest} in absolute value, the limit of float64") from None


def within(name: str, value, limits: dict):
    if not all(LIMITS[kind][0](value, limit) for kind, limit in limits.items()):
        words = [f"{LIMITS[kind][1]} {limit:,}" for kind, limit in limits.items()]
        allowed = " and ".join(IN_WORDS.get(word, word) for word in words)
        raise ValueError(f"{name} must be {allowed}, not {brief(value)}")
    return value


positive = partial(number, above=0, below=math.inf)
finite = partial(number, above=-math.inf, below=math.inf)


def of_type(name: str, value, kind: type, words: str):
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {words}, not {brief(value)}")
    return value


def true_or_false(name: str, value) -> bool:
    return of_type(name, value, bool, "True or False")


def text(name: str, value) -> str:
    return of_type(name, value, str, "a string")


def dictionary(name: str, value) -> dict:
    return of_type(name, value, dict, "a dictionary")


def texts(name: str, value):
    """Return `value` if it is a list or tuple of str, which may be empty. Otherwise raise TypeError."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, str) for entry in value):
        raise TypeError(f"{name} must be a list of strings, not {brief(value)}")
    return value


def one_of(name: str, value, *, known) -> str:
    """Return `value` if it is one of the `known` names. Otherwise raise ValueError."""
    if not isinstance(value, str) or value not in known:
        where, colon, what = name.rpartition(": ")
        raise ValueError(f"{where}{colon}unknown {what} {brief(value)}; choose from {', '.join(known)}")
    return value


def brief(value) -> str:
    """Return repr(value). If it is long, its middle is left out."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = MOST_SHOWN
    return short.repr(value)


def setting(default, means: str, check, *, optional: str | None = None, **limits):
    """Return a dataclass field with a default, a description, and the check that check_fields calls with the limits.

    If `optional` is given, the field may be None, and `optional` describes the meaning of None.
    """
    metadata = {"means": means, "check": partial(check, **limits), "optional": optional}
    return dataclasses.field(default=default, metadata=metadata)


def statements(cls) -> dict:
    """Return the metadata of each field of a dataclass of settings.

    The metadata of a field whose default a subclass overrides are those of the base class.
    """
    return {
        name: field.metadata
        for base in reversed(cls.__mro__)
        for name, field in getattr(base, "__dataclass_fields__", {}).items()
        if field.metadata
    }


def check_fields(settings) -> None:
    """Convert and check each field of a frozen dataclass. Error messages contain the class and the field."""
    for name, said in statements(type(settings)).items():
        value = getattr(settings, name)
        if value is not None or said["optional"] is None:
            object.__setattr__(settings, name, said["check"](f"{type(settings).__name__}: {name}", value))


def documented(cls):
    """Add the meanings of the fields of a dataclass to the docstring of the class."""
    lines = [inspect.cleandoc(cls.__doc__), ""]
    for name, said in statements(cls).items():
        check, optional = said["check"].keywords, said["optional"]
        known = check.get("known") or getattr(check.get("entry"), "keywords", {}).get("known")
        choices = f" ({', '.join(known)})" if known else ""
        lines.append(f"{name:<17} {said['means']}{choices}{f'; None: {optional}' if optional else ''}")
    cls.__doc__ = "\n".join(lines)
    return cls


def kinds(base) -> dict:
    """Return `base` and its imported subclasses in a dictionary with `kind` as key.

    Classes whose kind is None are left out.
    """
    classes = [base]
    for cls in classes:  # the list grows during the iteration
        classes += cls.__subclasses__()
    return {cls.kind: cls for cls in classes if cls.kind is not None}


def looked_up(name, known, what):
    """Return known[name]. Raises ValueError, with the closest name as a hint, if there is no such entry."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; it must be one of {', '.join(known)}"
    raise ValueError(f"there is no {what} {name!r}{hint}")
