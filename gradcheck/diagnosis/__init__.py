"""Recognise the mistake in a wrong gradient from its numbers.

A checker that has both the given and the true gradient can report more than a verdict, because their difference shows
the mistake: a sign, a second division by a size, the positions of a mask, a term that is constant along an axis. Each
hypothesis makes an exact prediction (`dx is x.shape[1] times the correct gradient`). It is reported only if the
prediction holds at every compared entry, to the precision of the oracle, and on a second draw of the inputs, with other
values and lengths. The hypotheses are tried roughly from the most specific to the least. If none passes, no diagnosis
is reported.
"""

import contextlib
import functools
import warnings

import numpy as np

from gradcheck.contract import run_under_watch
from gradcheck.diagnosis import code, places, probes, relations
from gradcheck.diagnosis.evidence import Evidence, stream
from gradcheck.mistakes.draws import other_draws

HYPOTHESES = (
    relations.identically_zero,
    relations.not_finite,
    relations.works_in_float32,
    relations.does_not_depend_on_dy,
    probes.captured_name_rebound,
    probes.right_once_emptied,
    relations.exchanged,
    code.factor,
    relations.rearranged,
    places.wrong_on_a_slice,
    relations.equals_dy,
    code.recognised,
    relations.only_the_diagonal,
    code.edited,
    relations.constant_along_axes,
    probes.operand_turned,
    relations.matrix_not_transposed,
    relations.multiple_along_an_axis,
    probes.right_once_all_ones,
    relations.not_linear_in_dy,
    places.right_once_indices_differ,
    places.right_when_summed,
    places.wrong_through_a_part_of_y,
    places.right_with_an_axis_less,
    relations.factors_wrong,
    relations.off_by_little,
)
ALIKE = {  # these must give the same sentence on another draw; the others describe this draw, or use both draws
    *(probes.right_once_emptied, relations.exchanged, relations.rearranged, relations.equals_dy),
    *(relations.only_the_diagonal, relations.constant_along_axes, probes.operand_turned),
    *(relations.matrix_not_transposed, relations.multiple_along_an_axis, probes.right_once_all_ones),
    relations.factors_wrong,
}


def what_is_wrong(run, step, findings, find):
    """Yield one sentence per Finding.

    The sentence is empty if the gradient is right or no hypothesis explains the mistake. The function is run again.
    `step` is the ComplexStep of the Run, or None if the complex step does not apply. `find(run)` returns the Findings
    and the ComplexStep of another Run.
    """
    elsewhere = functools.cache(lambda: _on_another_draw(run, find))
    for evidence in _evidence(run, step, findings, elsewhere):
        yield _first(evidence) if evidence.is_wrong else ""


def _first(evidence):
    """Return the sentence of the first hypothesis that holds, or an empty string."""
    with np.errstate(all="ignore"):
        for hypothesis in HYPOTHESES:
            sentence = hypothesis(evidence)
            if sentence and hypothesis in ALIKE and not (evidence.twin and hypothesis(evidence.twin) == sentence):
                continue
            if sentence:
                return sentence[0].upper() + sentence[1:] if sentence.startswith("the ") else sentence
    return ""


def _on_another_draw(run, find):
    """Return the Evidence on another draw of the inputs, or an empty list if the function accepts no other draw."""
    rng = stream("another draw")
    try:
        for call in other_draws(run, rng):
            with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
                warnings.simplefilter("ignore")  # user code may not be written for these sizes and numbers
                other = run_under_watch(call, None, rng)
                if np.isfinite(other.y).all():
                    findings, step = find(other)
                    return _evidence(other, step, findings, list)
    finally:
        for argument in run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
    return []


def _evidence(run, step, findings, elsewhere):
    everything = []
    everything += [Evidence(run, step, findings, i, everything, elsewhere) for i in range(len(findings))]
    return everything
