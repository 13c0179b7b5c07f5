"""A closer look at a gradient that a first look did not confirm: wrong, right after all, at a kink, or cannot tell.

Central differences are made finer, entry by entry, until they tell (one_derivative.py, estimates.py), unless rounding
errors within the forward pass drown them (drowned.py). The adjoint identity is tried again, away from the entries at a
kink; where it fails, the complex step goes through the entries, with a thousand times the precision of central
differences (by_complex_step.py). What entries are given at a kink that they share must hold together (kinks.py).

Is the forward pass complex-safe? That it raises nothing proves little. The rule: if the complex step and central
differences disagree by more than ten times the uncertainty of the latter and the tolerance, the forward pass is not
complex-safe, and central differences decide alone.

A gradient may be right entry by entry, to atol, and quite wrong as a whole, if all of it is small. So it must also be
right to rtol of its norm (unless the caller gives an atol: then that is what counts). Central differences know a
gradient to some ε Σ|dy y| / h and no better; where that is more than rtol of its norm, they cannot tell, and say so
(doubt.py), but for the zero of an argument that the output ignores (zero.py). The complex step can: there nothing is
subtracted, and its rounding errors are measured.
"""

from dataclasses import replace

from gradcheck.closer.by_central_differences import refined
from gradcheck.closer.by_complex_step import by_complex_step
from gradcheck.closer.doubt import doubt, surest
from gradcheck.closer.drowned import drowned
from gradcheck.closer.kinks import held_together
from gradcheck.closer.zero import zero_to
from gradcheck.judgement import CANNOT_TELL, KINK, unexamined
from gradcheck.measurement import nothing_known


def look_closer(run, step, i, measurement, terms, rng):
    """Return the Finding on the gradient of argument i of a Run. Raises NotComplexSafe if that shows.

    `step` is the ComplexStep, or None where central differences are all there is.
    """
    if "central" in terms.oracles:
        finding = drowned(run, refined(run, i, measurement, terms, rng), measurement)
    else:
        finding = unexamined(nothing_known(run, i, terms.max_entries if "complex" in terms.oracles else 0, rng))
    if step is not None:
        finding = by_complex_step(run, step, i, finding, terms, rng)
    finding = held_together(run, i, finding, terms)
    alone = terms.strict and (step is None or not ("adjoint" in terms.oracles or finding.is_complete))
    if alone and finding.exact is None:
        finding = surest(run, i, finding, terms)
    is_open = finding.direction_verdict in (KINK, CANNOT_TELL) or (alone and "central" in terms.oracles)
    if is_open and not finding.doubt:
        finding = replace(finding, doubt=doubt(run, i, finding, terms, rng))
    if finding.doubt and not finding.is_wrong and (zero := zero_to(run, i)) is not None:
        return replace(finding, doubt="", zero_to=zero)
    return finding
