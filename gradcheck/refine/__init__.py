"""Examine a gradient that the first measurements did not confirm.

The measurements and verdicts of one gradient are kept in a `Finding` (judgement.py). The functions of this package
update it. Each entry is compared with ever finer central differences until one of them is conclusive. A verdict of
WRONG is withdrawn if rounding errors within the forward pass may explain it. The adjoint identity is evaluated again
along a direction that is zero at kinks. If the identity fails, the complex step computes each entry, a thousand times
more precisely than central differences. Finally, entries that share a kink must have consistent gradients. README.md
explains the rules.
"""

from gradcheck.judgement import CANNOT_TELL, KINK
from gradcheck.refine.by_central_differences import compare, doubt, refine_uncertain, zero_to
from gradcheck.refine.by_complex_step import by_complex_step
from gradcheck.refine.kinks import compare_groups, withdraw_at_ties
from gradcheck.refine.noise import withdraw_noisy


def look_closer(finding):
    """Compare a gradient with all selected oracles, and update the verdicts on its entries.

    `finding` is a Finding, the measurements of this gradient. Raises NotComplexSafe if the complex step must not be
    used.
    """
    terms, step = finding.terms, finding.step
    if "central" in terms.oracles:
        first = finding.numeric
        compare(finding)
        withdraw_at_ties(finding)
        withdraw_noisy(finding, first)
    elif "complex" in terms.oracles:
        finding.select_entries(terms.max_entries)
    if step is not None:
        by_complex_step(finding)
    compare_groups(finding)
    alone = terms.strict and (step is None or not ("adjoint" in terms.oracles or finding.is_complete))
    if alone and finding.exact is None:
        refine_uncertain(finding)
    is_open = finding.direction_verdict in (KINK, CANNOT_TELL) or (alone and "central" in terms.oracles)
    if is_open and not finding.doubt:
        finding.doubt = doubt(finding)
    if finding.doubt and not finding.is_wrong and (zero := zero_to(finding)) is not None:
        finding.doubt, finding.zero_to = "", zero
