"""Check functions of float32 and float16 arrays in float64 and in low precision.

A difference quotient of float32 values has an error of about 1e-3, so a formula is checked in float64. Then backward
runs once in the precision of the inputs. The gradients must be finite, have the dtype of their inputs, and agree with
the float64 gradients to TIMES units of rounding, relative to the largest entry. A larger difference may come from
cancellation in a right formula, so the verdict is then CANNOT TELL.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.call import Call, stream
from gradcheck.report import Report

TIMES = 256  # units of rounding


def compared(report: Report, low: Call, wide: Call, dy: Any, seed: int) -> Report:
    """Compare the gradients in low precision with those in float64.

    `low` is the Call as it was passed to the check, and `wide` is the same Call in float64. `report` is the report on
    `wide`, in which all gradients are right. It is returned with the problems, doubts and note of the comparison.
    """
    low = low.copy()  # in the byte order of this machine
    y, backward = low.evaluate()
    wide_y, wide_backward = wide.evaluate()
    low.type_of_y, wide.type_of_y, y = type(y), type(wide_y), np.asarray(y)
    dy = (stream(seed, "dy").standard_normal(y.shape) if dy is None else np.asarray(dy)).astype(y.dtype)
    expected = wide.selected(_as_tuple(wide_backward(wide.as_y(dy.astype(np.float64)))))
    gradients = low.selected(_as_tuple(backward(low.as_y(dy))))
    problems, arguments, largest, coarsest = [], {a.name: a for a in report.arguments}, 0.0, np.dtype(np.float64)
    for i, gradient, truth in zip(low.differentiable(), map(np.asarray, gradients), expected, strict=True):
        name, dtype = low.input_names()[i], low.inputs[i].dtype
        if gradient.dtype != dtype:
            problems.append(f"d{name} is {gradient.dtype}, but {name} is {dtype}")
        elif not np.all(np.isfinite(gradient)):
            problems.append(f"d{name} is not finite in {dtype}, although it is in float64")
        elif dtype != np.float64:
            size = float(np.abs(truth).max(initial=0)) or 1.0
            error = float(np.abs(gradient.astype(np.float64) - truth).max(initial=0)) / size
            allowed, largest = TIMES * float(np.finfo(dtype).eps), max(largest, error)
            coarsest = max(coarsest, dtype, key=lambda each: np.finfo(each).eps)
            if error > allowed:
                doubt = f"in {dtype} it differs from that in float64 by {error:.1g} of its size, not {allowed:.1g}"
                arguments[name] = replace(arguments[name], doubt=doubt)
    note = f"in {coarsest}, the gradients are those of float64 to {largest:.1g} of their size"
    note += f"; {TIMES} units of rounding, {TIMES * np.finfo(coarsest).eps:.1g}, are allowed"
    every, notes = (*report.problems, *problems), (*report.notes, note)
    return replace(report, arguments=tuple(arguments.values()), problems=every, notes=notes)


def _as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)
