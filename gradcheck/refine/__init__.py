"""Examine a gradient that the first measurements did not confirm.

The gradient may be right, wrong, at a kink, or undecidable. For each entry that is not confirmed, central differences
with ever shorter steps are computed until one is conclusive. The verdict WRONG is withdrawn if rounding errors within
the forward pass may explain it. The adjoint identity is evaluated again along a direction that excludes entries at a
kink. If the identity fails, the complex step computes each entry, with a thousand times the precision of central
differences. The gradients of entries that share a kink must also be consistent. README.md gives the rules.
"""

from gradcheck.judgement import CANNOT_TELL, KINK
from gradcheck.refine.by_central_differences import compare, doubt, make_surest, zero_to
from gradcheck.refine.by_complex_step import by_complex_step
from gradcheck.refine.kinks import at_ties, held_together
from gradcheck.refine.noise import doubt_noisy


def look_closer(finding):
    """Judge a Finding by all selected oracles.

    Raises NotComplexSafe if the complex step must not be used.
    """
    terms, step = finding.terms, finding.step
    if "central" in terms.oracles:
        first = finding.numeric
        compare(finding)
        at_ties(finding)
        doubt_noisy(finding, first)
    elif "complex" in terms.oracles:
        finding.take(terms.max_entries)
    if step is not None:
        by_complex_step(finding)
    held_together(finding)
    alone = terms.strict and (step is None or not ("adjoint" in terms.oracles or finding.is_complete))
    if alone and finding.exact is None:
        make_surest(finding)
    is_open = finding.direction_verdict in (KINK, CANNOT_TELL) or (alone and "central" in terms.oracles)
    if is_open and not finding.doubt:
        finding.doubt = doubt(finding)
    if finding.doubt and not finding.is_wrong and (zero := zero_to(finding)) is not None:
        finding.doubt, finding.zero_to = "", zero
