"""Examine a backward pass line by line to find the first wrong local gradient.

Each assigned value is recorded. A local variable `dx` is compared with ∂L/∂x if the forward pass assigns to `x` exactly
once and the shapes agree. If a returned gradient is wrong, search.py finds the first wrong line. If a correction of
this line makes the gradient right on every draw of the inputs, repairs.py names the mistake. Otherwise the report names
the line, and up to three variables in it that may be wrong instead. README.md lists the files.
"""

from collections.abc import Iterable
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from numpy.typing import ArrayLike

from gradcheck.call import Call, Differentiable, is_module, prepared, stream
from gradcheck.examination import examine
from gradcheck.judgement import Terms
from gradcheck.lines.component import Component, typical
from gradcheck.lines.instrument import Probe, instrumented, modified
from gradcheck.lines.lowering import lowered
from gradcheck.lines.report import StepRow, StepsReport
from gradcheck.lines.rows import report_on
from gradcheck.lines.scene import Scene, other_scenes
from gradcheck.lines.shapes import exception_in_backward, exception_report
from gradcheck.lines.source import source_of
from gradcheck.report import GradientError, Report

__all__ = ["Component", "StepRow", "StepsReport", "steps", "steps_of_call", "typical"]


def steps(
    function: Differentiable,
    /,
    *inputs: Any,
    seed: int = 0,
    dy: ArrayLike | None = None,
    component: Component | None = None,
    **options: Any,
) -> StepsReport:
    """Find the first wrong line of a backward pass.

    Returns a StepsReport. `str(report)` is a table of the gradients that the backward pass computes, in the order of
    the lines.

    `function(*inputs, **options)` returns (y, backward), as for `gradcheck.check`. A module can be passed instead, as
    for `gradcheck.check_module`. The parameters of a module are random during the call and are restored afterwards. A
    torch.autograd.Function is examined through `from_torch`, and a jax.custom_vjp through `from_jax`. For an nn.Module,
    or another function of JAX, the report is that of the first wrong rule among those that it calls. `seed` and `dy`
    have the same meaning as in `check`. A `Component` contains a right version of the function, and typical mistakes,
    which the report then names.

    Raises ValueError if the source cannot be read, if no `backward` is defined within the function, or if a gradient
    does not have the shape of its argument. Invalid arguments raise TypeError and ValueError as in `check`.
    """
    return steps_of_call(
        Call(function, *inputs, **options), seed=seed, dy=dy, randomize=is_module(function), component=component
    )


def steps_of_call(
    call: Call,
    *,
    seed: int = 0,
    dy: ArrayLike | None = None,
    randomize: bool = False,
    others: Iterable[Call] = (),
    file: str = "",
    component: Component | None = None,
    report: Report | None = None,
) -> StepsReport:
    """Find the first wrong line of the backward pass of a Call, as `steps` does.

    A correction is tested on other inputs, derived from `call`, and on `others`, which are further Calls of the same
    function. With `randomize`, the parameters of a module are random during the call. If a `file` is given, only a
    backward pass in that file is examined. `report` is the Report of an earlier check of this call, if there is one.
    """
    if hasattr(call.target, "calls_within"):
        return _within_a_module(call, seed)
    try:
        with _opened(call, seed, dy, randomize, report, others, file) as (scene, again):
            return report_on(scene, again, component)
    except Exception as error:
        found, problem = exception_report(call, error), exception_in_backward(call, error)
        if found is None and problem:
            raise ValueError(f"{call.name}: {problem}") from error
        if found is None:
            raise
        return found


def _within_a_module(call, seed):
    """Return the report on the first wrong rule, a torch.autograd.Function or jax.custom_vjp, that a function calls.

    If all are right, the report is that on the last one.
    """
    with prepared(call, seed):
        calls = call.target.calls_within(call.inputs, call.options)
    if not calls:
        raise ValueError(
            f"{call.name}: its forward pass calls no {call.target.kind_of_rule}, so there are no lines to examine; for "
            "one that it calls elsewhere, pass that to steps"
        )
    for inner in calls:
        inner.deadline, report = call.deadline, None
        with suppress(GradientError):
            report = examine(inner.copy(), Terms(seed=seed)).report
        if report is None or not report.is_right:
            break
    return steps_of_call(inner, seed=seed, report=report)


def lines_beside(report, call, *, seed, dy, randomize):
    """Examine the lines of a call whose gradients have been checked.

    `report` is the Report of that check. Returns a StepsReport, or None if the lines add nothing to the Report.
    """
    if hasattr(call.target, "calls_within"):
        found = _within_a_module(call, seed)
        return None if found.passed else found
    with _opened(call, seed, dy, randomize, report) as (scene, again):
        has_names = any(not target.is_final for target in scene.targets)
        if not has_names and all(a.diagnosis for a in report.arguments if a.verdict == "WRONG"):
            return None
        found = report_on(scene, again)
        return found if has_names or any(row.is_named for row in found.rows) else None


@contextmanager
def _opened(call, seed, dy, randomize, report, others=(), file=""):
    """Within a `with` block, insert probes into a function, and yield (scene, draw_others).

    `scene` is a Scene, the record of one draw of the inputs, and draw_others() returns Scenes with other inputs.
    """
    call = call.copy()
    with prepared(call, seed if randomize else None), getattr(call.target, "precise", nullcontext)():
        call, source = lowered(call) or (call, None)
        if source is None:
            returned = call.evaluate()
            backward = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
            source = source_of(backward, call.target, call.name, file)
        tree, sites = instrumented(source)
        probe = Probe()
        try:
            report = report or examine(call.copy(), Terms(seed=seed, dy=dy)).report
        except GradientError as error:
            raise ValueError(f"{error}; this must be corrected before the lines can be compared") from error
        verdicts = [argument.verdict for argument in report.arguments]
        with modified(source, tree, probe):
            scene = Scene(call, dy, source, sites, probe, stream(seed, "dy"), verdicts)
            yield scene, lambda: other_scenes(scene, stream(seed, "again"), others)
