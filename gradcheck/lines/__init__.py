"""Examine a backward pass line by line: `steps` finds the first local gradient that is wrong.

A probe is inserted into the source after each assignment (instrument.py). The lines are then judged in four steps:

1. A name `dx` is compared with ∂L/∂x if forward binds `x` once and the shapes agree.
2. If a returned gradient is wrong, every local is compared with the quantities of the forward pass that it may hold
   (quantities.py), on two draws or more. The first local is to blame whose replacement by such a quantity makes a
   gradient right and none wrong, on every draw (search.py).
3. The mistake in its line is named if a correction makes the gradient right on every draw (repairs.py).
4. If no correction is known, and the line reads locals that nothing vouches for, it is named together with up to three
   of them. If there are more, the line is "not followed" (rows.py).
"""

from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

from numpy.typing import ArrayLike

from gradcheck.call import Call, Differentiable, is_module, prepared, stream
from gradcheck.examination import examine
from gradcheck.judgement import Terms
from gradcheck.lines.instrument import Probe, instrumented, planted
from gradcheck.lines.report import StepRow, StepsReport
from gradcheck.lines.rows import report_on
from gradcheck.lines.scene import Scene, other_scenes
from gradcheck.lines.shapes import shape_report
from gradcheck.lines.source import source_of
from gradcheck.report import GradientError

__all__ = ["steps", "steps_of_call", "StepRow", "StepsReport"]


def steps(
    function: Differentiable, /, *inputs: Any, seed: int = 0, dy: ArrayLike | None = None, **options: Any
) -> StepsReport:
    """Find the first wrong line of a backward pass.

    Returns a StepsReport, whose text is a table, also if all lines are right. `function(*inputs, **options)` returns
    (y, backward), as for `gradcheck.check`, or is a module, as for `gradcheck.check_module`. The parameters of a module
    are random during the call, and restored afterwards. A torch.autograd.Function is examined through `from_torch`.
    `seed` and `dy` have the same meaning as in `check`.

    Raises ValueError if the lines cannot be examined: there is no source, no `backward` defined within the function, or
    a gradient has another shape than its argument. Also raises the same TypeError and ValueError as `check`.
    """
    return steps_of_call(Call(function, *inputs, **options), seed=seed, dy=dy, randomize=is_module(function))


def steps_of_call(
    call: Call,
    *,
    seed: int = 0,
    dy: ArrayLike | None = None,
    randomize: bool = False,
    others: Iterable[Call] = (),
) -> StepsReport:
    """Find the first wrong line of the backward pass of a Call, like `steps`.

    `others` are Calls of the same target, on which a correction must hold as well. Without any, it is tested on other
    sizes, signs and masks that are derived from this Call.
    """
    try:
        with _opened(call, seed, dy, randomize, None, others) as (scene, again):
            return report_on(scene, again)
    except ValueError as error:
        report = shape_report(call, error)
        if report is None:
            raise
        return report


def lines_beside(report, call, *, seed, dy, randomize):
    """Return a StepsReport that adds to a Report, or None if it would add nothing.

    It adds nothing if backward binds no intermediate gradients and all wrong gradients already have a diagnosis.
    """
    with _opened(call, seed, dy, randomize, report) as (scene, again):
        has_names = any(not target.is_final for target in scene.targets)
        if not has_names and all(a.diagnosis for a in report.arguments if a.verdict == "WRONG"):
            return None
        found = report_on(scene, again)
        return found if has_names or any(row.is_named for row in found.rows) else None


@contextmanager
def _opened(call, seed, dy, randomize, report, others=()):
    """Yield (the Scene of a Call, a function that returns Scenes of other draws), with the probes inserted."""
    call = call.copy()
    with prepared(call, seed if randomize else None):
        returned = call.evaluate()
        backward = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
        source = source_of(backward, call.target, call.name)
        tree, sites = instrumented(source)
        probe = Probe()
        with planted(source, tree, probe):
            try:
                report = report or examine(call.copy(), dy, Terms(seed=seed)).report
                verdicts = [argument.verdict for argument in report.arguments]
                scene = Scene(call, dy, source, sites, probe, stream(seed, "dy"), verdicts)
            except GradientError as error:
                raise ValueError(f"{error}; correct this before the lines can be compared") from error
            yield scene, lambda: other_scenes(scene, stream(seed, "again"), others)
