"""Examine a gradient that the first measurements did not confirm: it may be right, wrong, at a kink, or undecidable.

For each such entry, central differences with ever shorter steps are computed until one is conclusive
(one_derivative.py), unless rounding errors within the forward pass dominate them (drowned.py). The adjoint identity is
evaluated again along a direction that excludes entries at a kink. If it fails, the complex step computes each entry,
with a thousand times the precision of central differences (by_complex_step.py). The gradients of entries that share a
kink must also be consistent with each other (kinks.py).

A forward pass may not be complex-safe although it accepts complex numbers. It is treated as unsafe if the complex step
and central differences disagree by more than the tolerance plus ten times the uncertainty of central differences.
Central differences then decide alone.

A gradient may be right to atol in each entry and still have a large relative error, if all of it is small. Therefore it
must also be right to rtol of its norm, unless the caller sets atol. The uncertainty of central differences is about ε
Σ|dy y| / h. If that exceeds rtol of the norm, the verdict is CANNOT TELL (doubt.py), except for an argument that the
output ignores, whose gradient is zero. The complex step has no such limit, since it subtracts nothing, and its rounding
errors are measured.
"""

from dataclasses import replace

from gradcheck.judgement import CANNOT_TELL, KINK, nothing_known, unexamined
from gradcheck.refine.by_central_differences import refined
from gradcheck.refine.by_complex_step import by_complex_step
from gradcheck.refine.doubt import doubt, surest, zero_to
from gradcheck.refine.drowned import drowned
from gradcheck.refine.kinks import at_ties, held_together


def look_closer(run, step, i, measurement, terms, rng):
    """Return the Finding on the gradient of argument i of a Run.

    `step` is the ComplexStep, or None if only central differences apply. Raises NotComplexSafe.
    """
    if "central" in terms.oracles:
        finding = at_ties(run, step, i, refined(run, i, measurement, terms, rng))
        finding = drowned(run, step, finding, measurement)
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
