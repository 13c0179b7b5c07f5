"""Recognise the mistake in a gradient by comparing it with the true gradient.

Each hypothesis is a function of the evidence (evidence.py). It makes an exact prediction, such as "dx is x.shape[1]
times the correct gradient", and returns an Explanation, that is, this sentence and the kind of mistake. It returns None
unless the prediction holds at every compared entry, to the precision of the oracle. A prediction that may hold by
chance must also hold for a second draw of the inputs.
"""

import contextlib
import functools
import warnings

import numpy as np

from gradcheck.call import stream
from gradcheck.contract import run_and_test
from gradcheck.diagnosis import code, places, relations
from gradcheck.diagnosis.evidence import Evidence
from gradcheck.mistakes import Explanation
from gradcheck.mistakes.draws import other_draws

HYPOTHESES = {  # True if another draw must give the same sentence; other hypotheses test other draws if necessary
    relations.identically_zero: False,
    relations.not_finite: False,
    relations.does_not_depend_on_dy: False,
    relations.of_another_argument: True,
    code.factor: False,
    places.wrong_on_a_slice: False,
    code.wrong_derivative: False,
    code.single_edit: False,
    relations.multiple_along_an_axis: True,
    relations.not_linear_in_dy: False,
    relations.off_by_little: False,
}


def diagnose(run, findings, find):
    """Yield an Explanation for each Finding of a Run.

    It is empty if the gradient is right or the mistake is not recognised. `find(run)` returns the Findings of another
    Run.
    """
    elsewhere = functools.cache(lambda: _on_another_draw(run, find))
    for evidence in _evidence(run, findings, elsewhere):
        yield _first(evidence) if evidence.is_wrong else Explanation()


def _first(evidence):
    with np.errstate(all="ignore"):
        for hypothesis, is_alike in HYPOTHESES.items():
            found = hypothesis(evidence)
            if found and (not is_alike or (evidence.twin and hypothesis(evidence.twin) == found)):
                return found
    return Explanation()


def _on_another_draw(run, find):
    """Return the evidence for another draw of the inputs, or [] if there is none."""
    rng = stream(0, "diagnosis")
    try:
        for call in other_draws(run, rng):
            with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(Exception):
                warnings.simplefilter("ignore")  # user code may not be written for these sizes and numbers
                other = run_and_test(call, None, rng)
                if np.isfinite(other.y).all():
                    return _evidence(other, find(other), list)
    finally:
        for argument in run.arguments:
            if argument.parameter is not None:
                argument.parameter.data = argument.array
    return []


def _evidence(run, findings, elsewhere):
    everything = []
    everything += [Evidence(run, finding, i, everything, elsewhere) for i, finding in enumerate(findings)]
    return everything
