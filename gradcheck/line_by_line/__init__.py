"""A backward pass line by line: `steps` says which is the first local gradient that is wrong.

A check of the whole says that dq and dk are wrong, and leaves it open where that begins. But what backward computes
on the way has names: `dscores` is ∂L/∂scores, and scores is a name of the forward pass. So the source is read, a probe
is put behind each assignment (instrument.py), the name is moved there, and what L = ⟨dy, y⟩ changes by (truth.py) is
compared with what backward computed under `dscores` (targets.py). A line is wrong if its value is, although all that
it reads is held at the truth (blame.py); all else follows from it. What it may have been meant to be is tried, and said
only if it makes the gradient right on two draws (words.py).

    print(gradcheck.steps(attention, q, k, v))

    attention.backward: 1 of 3 gradients right
       dv        right
       dweights  right
       dscores   WRONG: weights * sum(weights * dweights) over axis -1 is not subtracted
       dq        follows from dscores
       dk        follows from dscores

`backward` must be defined within the forward pass, or from_pair of gradcheck.adapters must have joined two functions.

How a line is judged:

1. A name `dx` is followed by name: it is compared with ∂L/∂x if forward binds `x` once and the shapes agree. A name
   that holds the gradient along some of the paths, to which others are added later, is recognised and left alone.
2. If a returned gradient is wrong, every other local is followed by its value (by_value.py). A local that equals a
   quantity of the forward pass (quantities.py) on two draws is right. Otherwise it holds a mistake if such a quantity,
   in its place, makes a gradient right and none wrong, on both draws.
3. A line is WRONG if it gives something else than the truth although all that it reads is held at the truth.
4. If such a line reads locals of which nothing is known, it is named together with those lines, at most three, for
   which some value makes the gradient right (solving.py). If there are more, it is "not followed".
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradcheck.call import Call, Differentiable, borrowed, is_module, randomize_parameters, to_float64
from gradcheck.checking import check_call
from gradcheck.line_by_line.instrument import instrumented, planted
from gradcheck.line_by_line.look import look_at, looks_again
from gradcheck.line_by_line.probe import Probe
from gradcheck.line_by_line.report import StepRow, StepsReport
from gradcheck.line_by_line.rows import report_on
from gradcheck.line_by_line.source import source_of
from gradcheck.report import GradientError

__all__ = ["steps", "steps_of_call", "StepRow", "StepsReport"]


def steps(
    function: Differentiable, /, *inputs: Any, seed: int = 0, dy: ArrayLike | None = None, **options: Any
) -> StepsReport:
    """Look at each line of a backward pass. Returns a StepsReport, whose text is a table, whether one is wrong or not.

    `function(*inputs, **options)` returns (y, backward), as for `gradcheck.check`, or is a module, as for
    `gradcheck.check_module`, whose parameters are then random, and afterwards what they were. `seed` and `dy` are as
    there.

    Raises ValueError where there is nothing to look at: no source, no `backward` defined within the function, a
    gradient of another shape than its argument. Raises TypeError or ValueError for what `check` refuses, too.
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
    """Look at each line of the backward pass of a Call; otherwise like `steps`.

    A repair is named only if it is one on the `others` as well, Calls of the same target. Without any, it is tried on
    other sizes, signs and masks that are made from the first.
    """
    return _look(call, seed, dy, randomize, lambda looked_at: _verdicts(looked_at, seed, dy), report_on, others=others)


def lines_beside(report, call, *, seed, dy, randomize):
    """Return a StepsReport on the lines of what a Report is on, or None if it would say no more than that does.

    That is so if backward has no gradient of a name in between, and it is said already what is wrong with the others.
    """

    def report_if_more(look, again):
        has_names = any(not target.is_final for target in look.targets)
        if not has_names and all(a.diagnosis for a in report.arguments if a.verdict == "WRONG"):
            return None
        found = report_on(look, again)
        return found if has_names or any(row.is_named for row in found.rows) else None

    verdicts = [argument.verdict for argument in report.arguments]
    return _look(call, seed, dy, randomize, lambda _: verdicts, report_if_more)


def _look(call, seed, dy, randomize, verdicts, answer, others=()):
    """Return answer(look, again): a Look at a Call, and a function that returns Looks at other draws (look.py)."""
    call = call.copy()
    with borrowed(call.target):
        to_float64(call.target)
        if randomize:
            randomize_parameters(call.target, _stream(seed, "parameters"))
        returned = call.evaluate()
        backward = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
        source = source_of(backward, call.target, call.name)
        tree, *instruments = instrumented(source)
        probe = Probe()
        with planted(source, call.target, tree, probe):
            try:
                look = look_at(call, dy, source, instruments, probe, _stream(seed, "dy"), lambda: verdicts(call))
            except GradientError as error:
                raise ValueError(f"{error}: there are no lines to compare before that is right") from error
            again = functools.cache(lambda: looks_again(look, instruments, _stream(seed, "again"), others))
            return answer(look, again)


def _verdicts(call, seed, dy):
    """Return the verdicts of a check on each argument of a Call."""
    try:
        report = check_call(call, seed=seed, dy=dy, explain=False)
    except GradientError as error:
        report = error.report
    return [argument.verdict for argument in report.arguments]


def _stream(seed, purpose):
    """A random stream for one purpose, the same as check's."""
    return np.random.default_rng([seed, *purpose.encode()])
