"""One gradient by the complex step: all entries at once by the adjoint identity; where that fails, one by one."""

from dataclasses import replace

import numpy as np

from gradcheck.adjoint_identity import sides
from gradcheck.closer.by_central_differences import held_whole
from gradcheck.closer.doubt import DIRECTIONS
from gradcheck.closer.estimates import along_direction, along_entry
from gradcheck.closer.one_derivative import judge
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, Direction
from gradcheck.rounding import FACTOR, SHORTENED, nudged


def by_complex_step(run, step, i, finding, terms, rng):
    """Return the Finding with what central differences cannot tell, or tell less well, overruled.

    Raises NotComplexSafe if that shows.
    """
    if "adjoint" in terms.oracles:
        finding, holds = _by_the_identity(run, step, i, finding, terms, rng)
        if holds and CANNOT_TELL not in finding.verdicts:
            return finding
    return _by_entries(run, step, i, finding, terms) if "complex" in terms.oracles else finding


def _by_the_identity(run, step, i, finding, terms, rng):
    """Return (the Finding, whether ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for a random v), v being away from entries at a kink."""
    kinks = finding.entries[finding.verdicts == KINK]
    both = sides(run, step, i, rng, zero_at=kinks)
    if both.agree:
        return _direction_told(finding), True
    if finding.is_complete and "complex" in terms.oracles:
        return finding, False  # the entries will tell
    both, tolerance = _with_tolerance(run, step, i, both, kinks, terms, rng)
    if both.gap <= tolerance:
        return _direction_told(finding), False
    atol = min(terms.atol, terms.rtol * _norm(run, i, both)) if terms.strict else terms.atol
    judgement = judge(both.exact, along_direction(run, i, both.v), terms.rtol, atol, is_one_entry=False)
    if judgement.verdict == WRONG:
        raise NotComplexSafe(_contradiction(finding, "along a random direction", both.exact, judgement))
    if finding.direction_verdict == WRONG:
        return finding, False
    verdict = KINK if judgement.verdict == KINK else WRONG
    return replace(finding, direction=Direction(both.analytic, both.exact, "the complex step", verdict)), False


def _with_tolerance(run, step, i, both, kinks, terms, rng):
    """Return (Sides, how far apart they may be), where the entries compared are a sample, or none.

    An error e adds ⟨e, v⟩, which is small for some v by chance. So a gap that is allowed for one v is looked at for
    many: its root mean square is the norm of e, and that of the products dx v the norm of the gradient. Where that is
    too much, the sides are those that show it best, and nothing but rounding is allowed.
    """
    if terms.oracles == ("adjoint",):
        return both, both.rounding
    tolerance = both.rounding + terms.rtol * _norm(run, i, both)
    if not terms.strict:
        return both, tolerance + terms.atol * float(np.linalg.norm(both.v))
    if both.gap > tolerance:
        return both, tolerance
    many = [both, *(sides(run, step, i, rng, zero_at=kinks) for _ in range(DIRECTIONS - 1))]
    norms, gaps = [_norm(run, i, s) for s in many], [s.gap for s in many]
    allowed = terms.rtol * np.linalg.norm(norms) + both.rounding * DIRECTIONS**0.5
    if np.linalg.norm(gaps) <= allowed:
        return both, tolerance
    return many[int(np.argmax(np.divide(gaps, norms)))], both.rounding


def _norm(run, i, both):
    """Return ‖dx v‖, of the products whose sum is one side of the identity."""
    return float(np.linalg.norm(run.gradients[i] * both.v))


def _direction_told(finding):
    """What central differences cannot tell of a random direction is right by the identity."""
    if finding.direction_verdict not in (KINK, CANNOT_TELL):
        return finding
    return replace(finding, direction=replace(finding.direction, verdict=RIGHT))


def _by_entries(run, step, i, finding, terms):
    exact = _along_entries(run, step, i, finding)
    _verify_complex_safety(run, i, finding, exact, terms)
    undecided = finding.verdicts != KINK
    if "central" in terms.oracles:
        undecided &= finding.verdicts != WRONG
    error = np.abs(finding.analytic - exact)
    verdicts = finding.verdicts.copy()
    verdicts[undecided] = np.where(error <= terms.tolerance(exact), RIGHT, WRONG)[undecided]
    finding = replace(finding, exact=exact, verdicts=verdicts)
    if not terms.strict:
        return finding
    error = _beyond_rounding(run, i, finding, error, terms.rtol)
    return replace(finding, verdicts=held_whole(verdicts, error, exact, terms.rtol))


def _along_entries(run, step, i, finding, shortened=1.0):
    """Return the derivative of L by each compared entry, by the complex step."""
    shape = finding.argument.array.shape
    return np.array(
        [
            np.sum(run.dy * step.along_entry(i, np.unravel_index(entry, shape), shortened * scale))
            for entry, scale in zip(finding.entries, finding.scales, strict=True)
        ],
        dtype=np.float64,
    )


def _beyond_rounding(run, i, finding, error, rtol):
    """Return what of the error is not rounding. That is measured only where it decides, since it takes a while."""
    counted = (finding.verdicts == RIGHT) & np.isfinite(error)
    limit = rtol * np.linalg.norm(finding.exact[counted])
    most = run.rounding / finding.scales
    if np.linalg.norm(error[counted]) <= limit:
        return error
    if np.linalg.norm(np.maximum(error - most, 0.0)[counted]) > limit:
        return error - most
    return error - np.minimum(_rounding_of_entries(run, i, finding), most)


def _rounding_of_entries(run, i, finding):
    """Return by how much backward's value and the complex step's may differ, rightly, at each entry (rounding.py)."""
    change = np.zeros(len(finding.entries))
    for gradients, step in nudged(run):
        values = _along_entries(run, step, i, finding, SHORTENED)
        change = np.maximum(change, np.abs(values - finding.exact))
        change = np.maximum(change, np.abs(gradients[i] - finding.gradient).ravel()[finding.entries])
    typical = float(np.sqrt(np.mean(change * change))) if len(change) else 0.0
    return FACTOR * np.maximum(change, typical)  # one that did not change has done so by chance


def _verify_complex_safety(run, i, finding, exact, terms):
    """Raise NotComplexSafe where the complex step differs from central differences by more than these may err."""
    atol = terms.atol
    if terms.strict and len(exact):
        atol = min(atol, terms.rtol * float(np.linalg.norm(exact)) / len(exact) ** 0.5)
    slack = atol + terms.rtol * np.abs(exact)
    if "central" in terms.oracles:
        known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL)
        suspects = np.flatnonzero(known & (np.abs(exact - finding.numeric) > slack + 10 * finding.uncertainty))[:1]
    else:
        error = np.abs(finding.analytic - exact)
        suspects = np.argsort(-error)[:1] if np.any(error > slack) else []
    for k in suspects:
        entry = int(finding.entries[k])
        judgement = judge(float(exact[k]), along_entry(run, i, entry, finding.scales[k]), terms.rtol, atol)
        if judgement.verdict == WRONG:
            where = f"at {[int(j) for j in np.unravel_index(entry, finding.argument.array.shape)]}"
            raise NotComplexSafe(_contradiction(finding, where, float(exact[k]), judgement))


def _contradiction(finding, where, exact, judgement):
    return (
        f"in {finding.argument.name} {where} the complex step gives {exact:.6g}, central differences give "
        f"{judgement.numeric:.6g} ± {judgement.uncertainty:.1g}"
    )
