"""Diagnosis of a wrong gradient: test hypotheses against the numbers, roughly from the most specific to the least.

A checker that has both the given and the true gradient can report more than a verdict, because their difference shows
the mistake: a sign, a second division by a size, the positions of a mask, a term that is constant along an axis. Each
hypothesis makes an exact prediction (`dx equals 5 × the truth`). It is reported only if the prediction holds at every
compared entry, to the precision of the oracle, and would not hold by chance. If no hypothesis passes, no diagnosis is
reported.

A sentence describes the numbers, and the reader has to interpret it. For example, `equals 1/5 × the truth: 5 is the
length of axis 1 of x` may indicate a mean where a sum belongs. In a check whose sizes all differ, it usually does.
"""

import contextlib
import functools
import warnings

import numpy as np

from gradcheck.contract import run_under_watch
from gradcheck.diagnosis.arrangement import (
    exchanged,
    matrix_not_transposed,
    operand_not_transposed,
    operand_reversed,
    rearranged,
)
from gradcheck.diagnosis.earlier_state import right_once_emptied
from gradcheck.diagnosis.evidence import Evidence, stream
from gradcheck.diagnosis.formulas import derivative_at_the_wrong_place, factors_wrong
from gradcheck.diagnosis.places import (
    right_once_indices_differ,
    right_when_summed,
    right_with_an_axis_less,
    wrong_through_a_part_of_y,
)
from gradcheck.diagnosis.precision import off_by_little, works_in_float32
from gradcheck.diagnosis.rebinding import captured_name_rebound
from gradcheck.diagnosis.slices import wrong_on_a_slice
from gradcheck.diagnosis.terms import (
    equals_dy,
    factor_missing,
    mean_not_removed,
    multiple_missing,
    only_the_diagonal,
    right_once_all_ones,
    summed_over_the_wrong_axis,
)
from gradcheck.diagnosis.whole import (
    does_not_depend_on_dy,
    identically_zero,
    not_finite,
    not_linear_in_dy,
    off_by_a_factor,
    verified,
)
from gradcheck.mistakes.draws import other_draws

HYPOTHESES = (
    identically_zero,
    not_finite,
    works_in_float32,
    does_not_depend_on_dy,
    captured_name_rebound,
    right_once_emptied,
    exchanged,
    off_by_a_factor,
    rearranged,
    wrong_on_a_slice,
    equals_dy,
    derivative_at_the_wrong_place,
    only_the_diagonal,
    summed_over_the_wrong_axis,
    factor_missing,
    mean_not_removed,
    operand_not_transposed,
    operand_reversed,
    matrix_not_transposed,
    multiple_missing,
    right_once_all_ones,
    not_linear_in_dy,
    right_once_indices_differ,
    right_when_summed,
    wrong_through_a_part_of_y,
    right_with_an_axis_less,
    factors_wrong,
    off_by_little,
)
OBSERVATIONS = (  # these describe the numbers of this draw only, so they are not tested on another
    identically_zero,
    not_finite,
    works_in_float32,
    does_not_depend_on_dy,
    captured_name_rebound,
    wrong_on_a_slice,
    not_linear_in_dy,
    right_once_indices_differ,
    right_when_summed,
    wrong_through_a_part_of_y,
    right_with_an_axis_less,
    off_by_little,
)


def what_is_wrong(run, step, findings, find):
    """Yield a sentence for each Finding, empty if the gradient is right or no hypothesis explains it.

    The function is run again. `step` is the ComplexStep of the Run, or None if the complex step does not apply.
    `find(run)` returns (Findings, ComplexStep) of another Run.
    """
    everything, elsewhere = _evidence(run, step, findings), functools.cache(lambda: _on_another_draw(run, find))
    for evidence in everything:
        yield _first(evidence, elsewhere) if evidence.is_wrong else ""


def _verified(hypothesis, sentence, evidence, other):
    """Return the sentence of a hypothesis if it also holds on the other draw, and an empty string if not."""
    if hypothesis is off_by_a_factor:
        return verified(evidence, other) or ""
    return sentence if hypothesis(other) == sentence else ""


def _on_another_draw(run, find):
    """Return the Evidence on another draw of the inputs, or an empty list if the function accepts no other draw."""
    rng = stream("another draw")
    try:
        for call in other_draws(run, rng):
            with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
                warnings.simplefilter("ignore")  # user code on sizes and numbers that it was not written for
                other = run_under_watch(call, None, rng)
                if np.isfinite(other.y).all():
                    findings, step = find(other)
                    return _evidence(other, step, findings)
    finally:
        for argument in run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
    return []


def _evidence(run, step, findings):
    """Return the Evidence of each Finding, with references to all of them in `others`."""
    everything = [Evidence(run, step, finding, i) for i, finding in enumerate(findings)]
    for evidence in everything:
        evidence.others = everything
    return everything


def _first(evidence, elsewhere):
    """Return the sentence of the first hypothesis that holds, or an empty string.

    Hypotheses that are not OBSERVATIONS must also hold on another draw.
    """
    with np.errstate(all="ignore"):
        for hypothesis in HYPOTHESES:
            sentence = hypothesis(evidence)
            if sentence and hypothesis not in OBSERVATIONS:
                other = elsewhere()[evidence.position] if elsewhere() else None
                sentence = _verified(hypothesis, sentence, evidence, other) if other is not None else ""
            if sentence:
                return sentence[0].upper() + sentence[1:] if sentence.startswith("the ") else sentence
    return ""
