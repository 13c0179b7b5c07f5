"""Compare one gradient with the complex step: first all entries together, by the adjoint identity, then each entry."""

from dataclasses import replace

import numpy as np

from gradcheck.adjoint_identity import FACTOR, PLACES, SHORTENED, nudged, sides
from gradcheck.central_differences import EPSILON
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, Direction, norm
from gradcheck.refine.by_central_differences import held_whole
from gradcheck.refine.doubt import DIRECTIONS
from gradcheck.refine.one_derivative import along_direction, along_entry, judge

TINY = 1e-3 * EPSILON  # relative to the outputs: backward uses rounded outputs, such as the 1 of a saturated softmax
LITTLE = 0.1  # relative to the largest entry: a larger error is not attributed to rounding


def by_complex_step(run, step, i, finding, terms, rng):
    """Return the Finding, with the verdicts of the complex step where it is more precise.

    Raises NotComplexSafe.
    """
    if "adjoint" in terms.oracles:
        finding, holds = _by_the_identity(run, step, i, finding, terms, rng)
        if holds and CANNOT_TELL not in finding.verdicts:
            return finding
    return _by_entries(run, step, i, finding, terms) if "complex" in terms.oracles else finding


def _by_the_identity(run, step, i, finding, terms, rng):
    """Return (finding, holds), where `holds` is True if the adjoint identity confirms the gradient.

    The identity is evaluated along a random direction that is zero at entries at a kink.
    """
    kinks = finding.entries[finding.verdicts == KINK]
    both = sides(run, step, i, rng, zero_at=kinks)
    if both.agree:
        return _direction_told(finding), True
    if finding.is_complete and "complex" in terms.oracles:
        return finding, False  # the entries are compared next
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
    """Return (Sides, allowed difference), for a gradient whose entries are not all compared one by one.

    An error e contributes ⟨e, v⟩ to the difference, which may be small by chance. If the difference for one v is
    allowed, many directions are tried. The root mean square of the differences estimates the norm of e, and that of the
    products dx v the norm of the gradient. If the ratio exceeds rtol, the Sides with the largest ratio are returned,
    and only rounding is allowed.
    """
    if terms.oracles == ("adjoint",):
        return both, both.rounding
    tolerance = both.rounding + terms.rtol * _norm(run, i, both)
    if not terms.strict:
        return both, tolerance + terms.atol * norm(both.v)
    if both.gap > tolerance:
        return both, tolerance
    many = [both, *(sides(run, step, i, rng, zero_at=kinks) for _ in range(DIRECTIONS - 1))]
    norms, gaps = [_norm(run, i, s) for s in many], [s.gap for s in many]
    allowed = terms.rtol * norm(norms) + both.rounding * DIRECTIONS**0.5
    if norm(gaps) <= allowed:
        return both, tolerance
    return many[int(np.argmax(np.divide(gaps, norms)))], both.rounding


def _norm(run, i, both):
    return norm(run.gradients[i] * both.v)


def _direction_told(finding):
    """Return the finding with an undecided random direction marked right.

    It is called when the adjoint identity holds.
    """
    if finding.direction_verdict not in (KINK, CANNOT_TELL):
        return finding
    return replace(finding, direction=replace(finding.direction, verdict=RIGHT))


def _by_entries(run, step, i, finding, terms):
    exact, lost = _along_entries(run, step, i, finding)
    _verify_complex_safety(run, i, finding, exact, lost, terms)
    undecided = finding.verdicts != KINK
    if "central" in terms.oracles:
        undecided &= finding.verdicts != WRONG
    error = np.abs(finding.analytic - exact)
    verdicts = finding.verdicts.copy()
    verdicts[undecided] = np.where(error <= terms.tolerance(exact), RIGHT, WRONG)[undecided]
    finding = _opened(run, i, replace(finding, exact=exact, verdicts=verdicts), error)
    verdicts = finding.verdicts
    if not terms.strict:
        return finding
    error = _beyond_rounding(run, i, finding, error, terms.rtol)
    held = held_whole(verdicts, error, exact, terms.rtol)
    if norm(exact * finding.scales) <= TINY * np.max(np.abs(run.dy * run.y)) and np.any(held != verdicts):
        held = np.where(held != verdicts, CANNOT_TELL, held)
        finding = replace(finding, doubt="all of the gradient is less than a thousandth of the last digit of an output")
    return replace(finding, verdicts=held)


def _opened(run, i, finding, error):
    """Return the finding, with wrong verdicts changed to CANNOT_TELL if rounding explains all of the errors.

    The complex step subtracts nothing, but the forward pass may: (10⁵ w)² − 10¹⁰ w² loses ten digits. Rounding is
    measured at perturbed arguments. The mean of the values at opposite perturbations cancels true changes of the
    derivative, so its difference from the unperturbed value is due to rounding.
    """
    wrong = finding.verdicts == WRONG
    if not wrong.any() or not np.max(error[wrong]) <= LITTLE * np.max(np.abs(finding.exact)):
        return finding
    try:
        values = [_along_entries(run, step, i, finding, SHORTENED)[0] for _, step in nudged(run, mirrored=True)]
    except NotComplexSafe:  # the perturbation changes the output by more than rounding
        return finding
    both = np.mean(np.reshape(values, (PLACES, 2, -1)), axis=1)
    open_to = FACTOR * np.max(np.abs(both - finding.exact), axis=0)
    if np.any(error[wrong] > open_to[wrong]):
        return finding
    doubt = f"rounding errors within the forward pass leave this open to ±{np.max(open_to[wrong]):.1g}"
    return replace(finding, verdicts=np.where(wrong, CANNOT_TELL, finding.verdicts), doubt=doubt)


def _along_entries(run, step, i, finding, shortened=1.0):
    """Return (exact, lost), two arrays with a value for each compared entry.

    `exact` is the derivative of L. `lost` is the contribution of outputs that change by less than their last digit,
    which central differences cannot detect.
    """
    shape = finding.argument.array.shape
    exact, lost = np.empty((2, len(finding.entries)))
    for k, (entry, scale) in enumerate(zip(finding.entries, finding.scales, strict=True)):
        slopes = step.along_entry(i, np.unravel_index(entry, shape), shortened * scale)
        still = np.abs(scale * slopes) < EPSILON * np.abs(run.y)
        exact[k], lost[k] = np.sum(run.dy * slopes), np.sum(np.abs(run.dy * slopes), where=still)
    return exact, lost


def _beyond_rounding(run, i, finding, error, rtol):
    """Return the part of the error that rounding does not explain.

    Rounding is measured only if the result depends on it, since that is slow.
    """
    counted = (finding.verdicts == RIGHT) & np.isfinite(error)
    limit = rtol * norm(finding.exact[counted])
    most = run.rounding / finding.scales
    if norm(error[counted]) <= limit:
        return error
    if norm(np.maximum(error - most, 0.0)[counted]) > limit:
        return error - most
    return error - np.minimum(_rounding_of_entries(run, i, finding), most)


def _rounding_of_entries(run, i, finding):
    """Return the difference that rounding explains at each entry (adjoint_identity.py)."""
    change = np.zeros(len(finding.entries))
    for gradients, step in nudged(run):
        values, _ = _along_entries(run, step, i, finding, SHORTENED)
        change = np.maximum(change, np.abs(values - finding.exact))
        change = np.maximum(change, np.abs(gradients[i] - finding.gradient).ravel()[finding.entries])
    typical = float(np.sqrt(np.mean(change * change))) if len(change) else 0.0
    return FACTOR * np.maximum(change, typical)  # an entry may be unchanged by chance


def _verify_complex_safety(run, i, finding, exact, lost, terms):
    """Raise NotComplexSafe if the complex step contradicts central differences.

    The difference must exceed the tolerance plus ten times the uncertainty.
    """
    atol = terms.atol
    if terms.strict and len(exact):
        atol = min(atol, terms.rtol * norm(exact) / len(exact) ** 0.5)
    slack = atol + terms.rtol * np.abs(exact) + lost
    if "central" in terms.oracles:
        known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL)
        suspects = np.flatnonzero(known & (np.abs(exact - finding.numeric) > slack + 10 * finding.uncertainty))[:1]
    else:
        error = np.abs(finding.analytic - exact)
        suspects = np.argsort(-error)[:1] if np.any(error > slack) else []
    for k in suspects:
        entry = int(finding.entries[k])
        estimates = along_entry(run, i, entry, finding.scales[k])
        judgement = judge(float(exact[k]), estimates, terms.rtol, atol + lost[k])
        if judgement.verdict == WRONG:
            where = f"at {[int(j) for j in np.unravel_index(entry, finding.argument.array.shape)]}"
            raise NotComplexSafe(_contradiction(finding, where, float(exact[k]), judgement))


def _contradiction(finding, where, exact, judgement):
    return (
        f"in {finding.argument.name} {where} the complex step gives {exact:.6g}, central differences give "
        f"{judgement.numeric:.6g} ± {judgement.uncertainty:.1g}"
    )
