"""Check functions that compute in float32 or float16.

A difference quotient of float32 values has an error of about 1e-3, so the formulas are checked in float64. If the code
converts to float32 itself, they are checked again with np.float32 standing for np.float64. Then backward runs once in
the precision of the inputs. The gradients must be finite, have the dtype of their inputs, and agree with the float64
gradients to TIMES units of rounding, relative to the largest entry. A larger difference may come from cancellation in a
right formula, so the verdict is then CANNOT TELL.

Code that computes in float32 in every case, for example because it is compiled, is compared with central differences of
its float32 outputs. Their steps are long, and their tolerance follows from the rounding: an entry is wrong if it
differs by more than ten times the estimated error, and right if this tolerance is at most COARSE of the largest entry.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from gradcheck.call import Call, is_floating, parameters_of, prepared, stream
from gradcheck.central_differences import line_along, scales_of
from gradcheck.contract import arguments_of, run_and_test, run_backward, with_zeros
from gradcheck.examination import summary
from gradcheck.judgement import CANNOT_TELL, RIGHT, SAMPLE, WRONG, Direction, Finding, Terms
from gradcheck.report import GradientError, Report

TIMES = 256  # units of rounding
COARSE = 0.05
UNCHANGED = ("numpy.", "scipy.", "gradcheck.", "torch.", "jax.", "jaxlib.")  # modules in which np.float32 is itself
STEPS = 2.0 ** -np.arange(1, 11)  # relative to the scale of an entry


def in_both_precisions(call: Call, dtype: Any, terms: Terms, check: Callable) -> Report:
    """Check a Call in float64 with `check`, which raises GradientError, and in `dtype` or that of its inputs."""
    low = call.on(_cast(value, dtype) if dtype is not None else value for value in call.inputs)
    wide = low.on(_cast(value, np.float64) for value in low.inputs)
    coarsest = max((v.dtype for v in low.inputs if is_floating(v)), key=lambda d: np.finfo(d).eps)
    for precision in (nullcontext, _in_double):
        try:
            with precision(wide):
                report = check(wide)
                with prepared(wide, terms.parameter_seed):
                    truth = _gradients(wide, terms, coarsest)[0]
        except (TypeError, GradientError) as error:
            if not hasattr(error, "precision") and not (precision is _in_double and _is_undecided(error)):
                raise
            coarsest = getattr(error, "precision", coarsest)
        else:
            return _compared(report, low, truth, coarsest, terms)
    return _by_differences(wide, coarsest, terms)


def _cast(value, dtype):
    return value.astype(dtype) if is_floating(value) else value


def _is_undecided(error):
    """Return True if no gradient is wrong, because code may still round to float32, such as in a default argument."""
    report = getattr(error, "report", None)
    return report is not None and not report.problems and all(a.verdict != "WRONG" for a in report.arguments)


def _in_double(call):
    """Return a context for a Call in which np.float32 and np.float16 stand for np.float64."""
    from gradcheck.certify.arrays import replaced

    numpy_in_double = ModuleType("numpy")
    vars(numpy_in_double).update(vars(np) | dict.fromkeys(("float32", "float16", "single", "half"), np.float64))
    return replaced([(np, numpy_in_double, UNCHANGED)], call)


def _compared(report, low, truth, coarsest, terms):
    """Compare the gradients in low precision with those in float64.

        low       the Call in its original precision
        truth     its gradients in float64
        report    the report on them, in which all are right

    Returns the report with the result of the comparison added.
    """
    low = low.copy()  # in the byte order of this machine
    with prepared(low, terms.parameter_seed):
        for parameter in parameters_of(low.target).values():
            parameter.data = _cast(parameter.data, coarsest)
        try:
            gradients, arguments, size_of_loss = _gradients(low, terms, coarsest)
        except GradientError as error:
            return replace(report, problems=(*report.problems, *error.report.problems))
    reports, problems, largest = {a.name: a for a in report.arguments}, [], 0.0
    for argument, gradient, expected in zip(arguments, gradients, truth, strict=True):
        if not np.all(np.isfinite(gradient)):
            problems.append(f"{argument.label} is not finite in {gradient.dtype}, although it is in float64")
        elif gradient.dtype != np.float64:
            noise = size_of_loss / (TIMES * (np.mean(np.abs(argument.array)) or 1.0)) if argument.array.size else 0.0
            size = float(np.abs(expected).max(initial=noise)) or 1.0  # a gradient of zero is the remainder of terms
            gap = float(np.abs(gradient.astype(np.float64) - expected).max(initial=0)) / size
            allowed, largest = TIMES * float(np.finfo(gradient.dtype).eps), max(largest, gap)
            if gap > allowed:
                doubt = (
                    f"in {gradient.dtype} it differs from that in float64 by {gap:.1g} of its size, not {allowed:.1g}"
                )
                reports[argument.name] = replace(reports[argument.name], doubt=doubt)
    note = f"in {coarsest}, the gradients are those of float64 to {largest:.1g} of their size"
    note += f"; {TIMES} units of rounding, {TIMES * np.finfo(coarsest).eps:.1g}, are allowed"
    every, notes = (*report.problems, *problems), (*report.notes, note)
    return replace(report, arguments=tuple(reports.values()), problems=every, notes=notes)


def _gradients(call, terms, dtype):
    """Run both passes once and return (gradients, arguments, Σ|dy y|)."""
    y, backward = call.evaluate()
    arguments, call.type_of_y, y = arguments_of(call, any_precision=True), type(y), np.asarray(y)
    dy = stream(terms.seed, "dy").standard_normal(y.shape) if terms.dy is None else np.asarray(terms.dy)
    dy = dy.astype(dtype).astype(y.dtype)
    gradients = with_zeros(run_backward(call, backward, dy, arguments), arguments)
    return gradients, arguments, float(np.sum(np.abs(dy * y), dtype=np.float64))


class _Widened:
    """A target that computes in low precision, with results converted to float64."""

    def __init__(self, call, dtype):
        self.target, self.dtype, self.__name__ = call.target, dtype, call.name
        self.names_of_inputs = call.input_names()
        if parameters_of(call.target):
            self.named_parameters = parameters_of(call.target).items

    def __call__(self, *inputs, **options):
        y, backward = self.target(*(_cast(value, self.dtype) for value in inputs), **options)

        def wide_backward(dy):
            returned = backward(np.asarray(dy, self.dtype))
            for parameter in parameters_of(self.target).values():
                parameter.grad = None if parameter.grad is None else np.asarray(parameter.grad, np.float64)
            gradients = returned if isinstance(returned, tuple) else (returned,)
            widened = tuple(_cast(np.asarray(g), np.float64) if is_floating(np.asarray(g)) else g for g in gradients)
            return widened if isinstance(returned, tuple) else widened[0]

        return np.asarray(y, np.float64), wide_backward


def _by_differences(call, dtype, terms):
    """Check a function that computes in low precision whatever the dtype of its inputs."""
    call = call.copy()
    wide = Call(_Widened(call, dtype), *call.inputs, **call.options).only(call.argnums)
    with prepared(wide, terms.parameter_seed):
        run, rng = run_and_test(wide, terms.dy, stream(terms.seed, "dy")), stream(terms.seed, "entries")
        reports = tuple(_measured(run, i, float(np.finfo(dtype).eps), rng) for i in range(len(run.arguments)))
    note = f"the function computes in {dtype}: tolerances are ten times the estimated error of central differences"
    return Report(call.name, reports, (run.problem,) if run.problem else (), (note,))


def _measured(run, i, epsilon, rng):
    """Compare a gradient with central differences of outputs rounded to `epsilon`."""
    finding = Finding(run, i, Terms(max_entries=SAMPLE), rng)
    array, scales = finding.array, finding.scales
    if not finding.is_complete:
        v = np.min(scales_of(array)) * rng.standard_normal(array.shape)
        terms, (numeric, error) = finding.gradient * v, _derivative(line_along(run.call, array, v), run, epsilon)
        is_wrong = abs(np.sum(terms) - numeric) > 10 * error + TIMES * epsilon * np.sum(np.abs(terms))
        finding.direction = Direction(float(np.sum(terms)), numeric, verdict=WRONG if is_wrong else RIGHT)
    lines = [line_along(run.call, array, scale, finding.index(k)) for k, scale in enumerate(scales)]
    measured = np.array([_derivative(line, run, epsilon) for line in lines]).reshape(-1, 2) / scales[:, None]
    finding.numeric, uncertainty = measured.T
    size, largest = (np.max(np.abs(values), initial=0) for values in (finding.numeric, finding.analytic))
    finding.uncertainty = tolerance = 10 * uncertainty + TIMES * epsilon * size
    is_fine = tolerance <= COARSE * max(size, largest)
    finding.verdicts = np.where(finding.gap > tolerance, WRONG, np.where(is_fine, RIGHT, CANNOT_TELL))
    return summary(finding)


def _derivative(line, run, epsilon):
    """Return the derivative of ⟨dy, line(t)⟩ at 0 and its error, from the best step."""
    with np.errstate(all="ignore"):
        changes = [line(h) - line(-h) for h in STEPS]
        slopes = np.array([np.sum(run.dy * change) / (2 * h) for change, h in zip(changes, STEPS, strict=True)])
        values = (4 * slopes[1:] - slopes[:-1]) / 3
        noise = epsilon * np.sum(np.abs(run.dy * run.y), where=np.any(changes, axis=0)) / STEPS[1:]
        change = np.abs(np.diff(values))
        errors = np.maximum(change[:-1], change[1:]) + noise[1:-1]
    best = int(np.nanargmin(errors)) if np.isfinite(errors).any() else 0
    return float(values[best + 1]), float(errors[best])
