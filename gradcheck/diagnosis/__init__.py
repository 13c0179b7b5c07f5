"""What is wrong with a wrong gradient: hypotheses tested against the numbers, the most specific first.

A checker that has both the gradient given and the true one holds more than a verdict. Their difference has the shape of
the mistake: a sign, a size that was divided by twice, the positions of a mask, a term that is constant along an axis.
Each hypothesis here predicts something exact (`dx equals 5 × the truth`) and is stated only if that holds at every
compared entry, to within what the oracle knows, and would not hold by chance. If none does, nothing is said.

A sentence is about the numbers, and what it means is up to the reader: `equals 1/5 × the truth: 5 is the length of
axis 1 of x` may be a mean where a sum belongs, and in a check whose sizes all differ it most often is.
"""

import numpy as np

from gradcheck.diagnosis.arrangement import (
    exchanged,
    matrix_not_transposed,
    operand_not_transposed,
    operand_reversed,
    rearranged,
)
from gradcheck.diagnosis.earlier_state import right_once_emptied
from gradcheck.diagnosis.evidence import Evidence
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
)

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


def what_is_wrong(run, step, findings):
    """Yield one sentence for each Finding, empty if it is right or nothing is known. Runs the function again.

    `step` is the ComplexStep of the Run, None where it does not apply.
    """
    everything = [Evidence(run, step, finding, i) for i, finding in enumerate(findings)]
    for evidence in everything:
        evidence.others = everything
    for evidence in everything:
        yield _first(evidence) if evidence.is_wrong else ""


def _first(evidence):
    with np.errstate(all="ignore"):
        for hypothesis in HYPOTHESES:
            sentence = hypothesis(evidence)
            if sentence:
                return sentence[0].upper() + sentence[1:] if sentence.startswith("the ") else sentence
    return ""
