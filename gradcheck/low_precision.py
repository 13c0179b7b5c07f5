"""Check functions of float32 and float16 arrays, first in float64 and then in their own precision.

A difference quotient of float32 values has an error of about 1e-3, so a formula is checked in float64. Then backward
runs once in the precision of the inputs. Its gradients must be finite, have the dtype of their inputs, and agree with
those in float64 to TIMES units of rounding, relative to the largest entry. A larger difference may come from
cancellation in a right formula, so the verdict is then CANNOT TELL.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.call import Call, stream
from gradcheck.report import Report

TIMES = 256  # units of rounding


def compared(report: Report, low: Call, wide: Call, dy: Any, seed: int) -> Report:
    """Compare the gradients of `low`, the Call as it was passed to the check, with those of `wide`, in float64.

    Returns the report on `wide`, which has no wrong gradient, with the problems, doubts and the note of the comparison.
    """
    low = low.copy()  # in the byte order of this machine
    inputs = low.inputs
    y, backward = low.evaluate()
    wide_y, wide_backward = wide.evaluate()
    low.type_of_y, wide.type_of_y, y = type(y), type(wide_y), np.asarray(y)
    dy = (stream(seed, "dy").standard_normal(y.shape) if dy is None else np.asarray(dy)).astype(y.dtype)
    expected = _as_tuple(wide_backward(wide.as_y(dy.astype(np.float64))))
    gradients = _as_tuple(backward(low.as_y(dy)))
    problems, arguments, largest = [], list(report.arguments), 0.0
    names = [low.input_names()[i] for i in low.differentiable()]
    values = [inputs[i] for i in low.differentiable()]
    for name, value, gradient, truth in zip(names, values, gradients, expected, strict=False):
        gradient, at = np.asarray(gradient), [argument.name for argument in arguments]
        if gradient.dtype != value.dtype:
            problems.append(f"d{name} is {gradient.dtype}, but {name} is {value.dtype}")
        elif not np.all(np.isfinite(gradient)):
            problems.append(f"d{name} is not finite in {value.dtype}, although it is in float64")
        elif name in at and value.dtype != np.float64:
            size = float(np.abs(truth).max(initial=0)) or 1.0
            error = float(np.abs(gradient.astype(np.float64) - truth).max(initial=0)) / size
            allowed, largest = TIMES * float(np.finfo(value.dtype).eps), max(largest, error)
            if error > allowed:
                doubt = (
                    f"in {value.dtype} it differs from that in float64 by {error:.1g} of its size, not {allowed:.1g}"
                )
                arguments[at.index(name)] = replace(arguments[at.index(name)], doubt=doubt)
    dtype = max((value.dtype for value in values if value.dtype != np.float64), key=lambda dtype: np.finfo(dtype).eps)
    note = f"in {dtype}, the gradients are those of float64 to {largest:.1g} of their size"
    note += f"; {TIMES} units of rounding, {TIMES * np.finfo(dtype).eps:.1g}, are allowed"
    return replace(
        report, arguments=tuple(arguments), problems=(*report.problems, *problems), notes=(*report.notes, note)
    )


def _as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)
