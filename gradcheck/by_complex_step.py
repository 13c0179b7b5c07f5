"""One gradient against the complex step: all entries at once by the adjoint identity; where that fails, one by one."""

import numpy as np

from gradcheck.by_central_differences import DIRECTIONS
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, judge

IDENTITY = 1e-12  # to which the adjoint identity holds, of Σ|dx v|


def judge_gradient(comparison, i, finding):
    """Overrule what central differences cannot tell, or tell less well. Raises NotComplexSafe if that shows."""
    holds = "adjoint" in comparison.oracles and _identity_holds(comparison, i, finding)
    if holds:
        _tell_direction(finding)
    if holds and CANNOT_TELL not in finding.verdicts:
        return
    if "complex" not in comparison.oracles:
        return
    exact = _entries(comparison, i, finding)
    _verify_complex_safety(comparison, i, finding, exact)
    finding.exact = exact
    error = np.abs(finding.analytic - exact)
    undecided = finding.verdicts != KINK
    if "central" in comparison.oracles:
        undecided &= finding.verdicts != WRONG
    agrees = error <= comparison.atol + comparison.rtol * np.abs(exact)
    finding.verdicts[undecided] = np.where(agrees[undecided], RIGHT, WRONG)
    if comparison.strict:
        comparison.hold_whole(finding, _beyond_rounding(comparison, i, finding, error, exact), exact)


def _beyond_rounding(comparison, i, finding, error, exact):
    """Return what of the error is not rounding. That is measured only where it decides, since it takes a while."""
    counted = (finding.verdicts == RIGHT) & np.isfinite(error)
    limit = comparison.rtol * np.linalg.norm(exact[counted])
    most = comparison.rounding / finding.entry_scales
    if np.linalg.norm(error[counted]) <= limit:
        return error
    if np.linalg.norm(np.maximum(error - most, 0.0)[counted]) > limit:
        return np.maximum(error - most, 0.0)
    measured = comparison.measured.of_entries(i, finding.entries, finding.entry_scales, exact)
    return np.maximum(error - np.minimum(measured, most), 0.0)


def _identity_holds(comparison, i, finding):
    """Whether ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for one random v through the argument, away from entries at a kink."""
    side = _Sides(comparison, i, finding)
    rounding = IDENTITY * side.sum
    if side.gap <= rounding:
        return True
    most = comparison.rounding / 100
    if side.gap <= rounding + most:
        rounding += min(most, comparison.measured.of_direction(i, side.v, side.exact))
        if side.gap <= rounding:
            return True
    if not (finding.is_complete and "complex" in comparison.oracles):  # otherwise the entries will tell
        _judge_direction(comparison, i, finding, side, rounding)
    return False


class _Sides:
    """Both sides of the identity for a random v: `analytic` = ⟨Jᵀ dy, v⟩ and `exact` = ⟨dy, J v⟩."""

    def __init__(self, comparison, i, finding):
        # As long for every entry, so that the gap is in proportion to the norm of the error.
        v = np.min(finding.scales) * comparison.rng.standard_normal(finding.gradient.shape)
        v.flat[finding.entries[finding.verdicts == KINK]] = 0.0
        products = finding.gradient * v
        self.v = v
        self.analytic = float(np.sum(products))
        self.exact = float(np.sum(comparison.dy * comparison.step.along({i: v})))
        self.gap = abs(self.analytic - self.exact)
        self.sum = float(np.sum(np.abs(products)))
        self.norm = float(np.linalg.norm(products))


def _judge_direction(comparison, i, finding, side, rounding):
    """Hold the two sides against what the tolerances allow where the entries compared are a sample, or none.

    An error e adds ⟨e, v⟩, which is small for some v by chance. So a gap that is allowed for one v is looked at for
    many: its root mean square is the norm of e, and that of the products the norm of the gradient.
    """
    tolerance = rounding
    if comparison.oracles != ("adjoint",):
        tolerance += comparison.rtol * side.norm
        if not comparison.strict:
            tolerance += comparison.atol * float(np.linalg.norm(side.v))
        elif side.gap <= tolerance:
            sides = [side, *(_Sides(comparison, i, finding) for _ in range(DIRECTIONS - 1))]
            gap, norm = np.linalg.norm([(s.gap, s.norm) for s in sides], axis=0)
            if gap > comparison.rtol * norm + rounding * DIRECTIONS**0.5:
                side = max(sides, key=lambda s: s.gap / s.norm)
                tolerance = rounding
    if side.gap <= tolerance:
        _tell_direction(finding)
        return
    judgement = judge(side.exact, comparison.lines.along_direction(i, side.v), comparison.rtol, comparison.atol)
    if judgement.verdict == WRONG:
        raise NotComplexSafe(_contradiction(finding, "along a random direction", side.exact, judgement))
    if judgement.verdict != KINK and finding.direction_verdict != WRONG:
        finding.direction, finding.direction_oracle = (side.analytic, side.exact), "the complex step"
        finding.direction_verdict = WRONG


def _tell_direction(finding):
    """What central differences cannot tell of a random direction is right by the identity."""
    if finding.direction_verdict == CANNOT_TELL:
        finding.direction_verdict = RIGHT


def _entries(comparison, i, finding):
    shape = finding.argument.array.shape
    step, dy = comparison.step, comparison.dy
    return np.array(
        [
            np.sum(dy * step.along_entry(i, np.unravel_index(entry, shape), scale))
            for entry, scale in zip(finding.entries, finding.entry_scales, strict=True)
        ],
        dtype=np.float64,
    )


def _verify_complex_safety(comparison, i, finding, exact):
    """Raise NotComplexSafe where the complex step differs from central differences by more than these may err."""
    rtol, atol = comparison.rtol, comparison.atol
    if comparison.strict and len(exact):
        atol = min(atol, rtol * float(np.linalg.norm(exact)) / len(exact) ** 0.5)
    if "central" in comparison.oracles:
        slack = atol + rtol * np.abs(exact) + 10 * finding.uncertainty
        known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL)
        suspects = np.flatnonzero(known & (np.abs(exact - finding.numeric) > slack))[:1]
    else:
        error = np.abs(finding.analytic - exact)
        suspects = np.argsort(-error)[:1] if np.any(error > atol + rtol * np.abs(exact)) else []
    for k in suspects:
        entry = int(finding.entries[k])
        estimates = comparison.lines.along_entry(i, entry, float(finding.entry_scales[k]))
        judgement = judge(float(exact[k]), estimates, rtol, atol)
        if judgement.verdict == WRONG:
            where = f"at {[int(j) for j in np.unravel_index(entry, finding.argument.array.shape)]}"
            raise NotComplexSafe(_contradiction(finding, where, float(exact[k]), judgement))


def _contradiction(finding, where, exact, judgement):
    return (
        f"in {finding.argument.name} {where} the complex step gives {exact:.6g}, central differences give "
        f"{judgement.numeric:.6g} ± {judgement.uncertainty:.1g}"
    )
