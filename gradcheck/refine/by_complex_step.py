"""Compare one gradient with the complex step.

The adjoint identity compares all entries together. If it does not confirm them, each entry is compared.
"""

import numpy as np

from gradcheck.adjoint_identity import FACTOR, PLACES, SHORTENED, perturbed_runs, sides
from gradcheck.central_differences import EPSILON, line_along, scales_of
from gradcheck.complex_step import NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, Direction, norm
from gradcheck.refine.by_central_differences import DIRECTIONS, compare_norm
from gradcheck.refine.one_derivative import along_direction, along_entry, estimates, judge

TINY = 1e-3 * EPSILON  # relative to the outputs: backward uses rounded outputs, such as 1 for a saturated softmax
LITTLE = 0.1  # relative to the largest entry: a larger error is not attributed to rounding


def by_complex_step(finding):
    """Compare a gradient with the complex step, and update the verdicts on its entries.

    `finding` is a Finding, the measurements of this gradient. Raises NotComplexSafe if the complex step contradicts
    central differences.
    """
    oracles = finding.terms.oracles
    if "adjoint" in oracles and _identity_holds(finding) and CANNOT_TELL not in finding.verdicts:
        return
    if "complex" in oracles:
        _by_entries(finding)


def _identity_holds(finding):
    """Return True if the adjoint identity confirms the gradient.

    The identity is evaluated along a random direction that is zero at kinks. Its result also decides the verdict on
    `finding.direction`.
    """
    terms, kinks = finding.terms, finding.entries[finding.verdicts == KINK]
    both = sides(finding, zero_at=kinks)
    if not both.agree:
        if finding.is_complete and "complex" in terms.oracles:
            return False  # the entries are compared next
        both, tolerance = _with_tolerance(finding, both, kinks)
        if not both.gap <= tolerance < np.inf:  # a gap may be NaN
            atol = min(terms.atol, terms.rtol * norm(finding.gradient * both.v)) if terms.strict else terms.atol
            judgement = judge(both.exact, along_direction(finding, both.v), terms.rtol, atol, is_one_entry=False)
            if judgement.verdict == WRONG:
                raise NotComplexSafe(_contradiction(finding, "along a random direction", both.exact, judgement))
            if finding.direction_verdict != WRONG and not _is_worst_wrong(finding, both):
                verdict = KINK if judgement.verdict == KINK else WRONG
                finding.direction = Direction(both.analytic, both.exact, "the complex step", verdict)
            return False
        _is_worst_wrong(finding, both)
    if finding.direction_verdict in (KINK, CANNOT_TELL):
        finding.direction = finding.direction._replace(verdict=RIGHT)
    return both.agree


def _with_tolerance(finding, both, kinks):
    """Return the two sides of the adjoint identity and the allowed difference.

    An error e of the gradient contributes ⟨e, v⟩ to the difference, which may be small by chance. If the difference for
    one direction v is allowed, many directions are tried. The root mean square of the differences estimates the norm of
    e, and the root mean square of ‖dx v‖ estimates the norm of the gradient. If the ratio of these norms exceeds rtol,
    the sides with the largest ratio are returned, and only rounding is allowed.
    """
    terms = finding.terms
    if terms.oracles == ("adjoint",):
        return both, both.rounding
    tolerance = both.rounding + terms.rtol * norm(finding.gradient * both.v)
    if not terms.strict:
        return both, tolerance + terms.atol * norm(both.v)
    if both.gap > tolerance:
        return both, tolerance
    many = [both, *(sides(finding, zero_at=kinks) for _ in range(DIRECTIONS - 1))]
    norms, gaps = [norm(finding.gradient * s.v) for s in many], [s.gap for s in many]
    if norm(gaps) <= terms.rtol * norm(norms) + both.rounding * DIRECTIONS**0.5:
        return both, tolerance
    return many[int(np.argmax(np.divide(gaps, norms)))], both.rounding


def _is_worst_wrong(finding, both):
    """Find the entry with the largest error by bisection and return True if it is wrong.

    If only a sample of the entries was compared, a single wrong entry may have been missed, because its error is small
    relative to the norm of the gradient. Each step of the bisection keeps the half of the entries for which the two
    sides of the adjoint identity differ more.
    """
    run, i, terms = finding.run, finding.position, finding.terms
    if "central" not in terms.oracles or finding.is_complete or not np.isfinite(both.gap):
        return False
    low, high, gap = 0, finding.array.size, both.analytic - both.exact
    while high - low > 1:
        middle = (low + high) // 2
        v = np.zeros(finding.array.shape)
        v.flat[low:middle] = both.v.flat[low:middle]
        first = float(np.sum(finding.gradient * v)) - float(np.sum(run.dy * finding.step.along({i: v})))
        low, high, gap = (low, middle, first) if abs(first) >= abs(gap - first) else (middle, high, gap - first)
    if low in finding.entries or not abs(gap) > both.rounding:
        return False
    scale, index = float(scales_of(finding.array).flat[low]), np.unravel_index(low, finding.array.shape)
    analytic, line = float(finding.gradient.flat[low]), line_along(run.call, finding.array, index=index)
    judgement = judge(analytic, estimates(line, run.y, run.dy, scale), terms.rtol, terms.atol)
    if judgement.verdict == WRONG:
        finding.add(low, analytic, scale, judgement)
    return judgement.verdict == WRONG


def _by_entries(finding):
    terms, run = finding.terms, finding.run
    exact, lost = _along_entries(finding, finding.step)
    _verify_complex_safety(finding, exact, lost)
    undecided = finding.verdicts != KINK
    if "central" in terms.oracles:
        undecided &= finding.verdicts != WRONG
    error = np.abs(finding.analytic - exact)
    judged = np.where(error <= terms.tolerance(exact), RIGHT, WRONG)
    finding.exact, finding.verdicts = exact, np.where(undecided, judged, finding.verdicts)
    wrong = finding.verdicts == WRONG
    if wrong.any() and np.max(error[wrong]) <= LITTLE * np.max(np.abs(exact)):
        open_to = _rounding_of_entries(finding)
        if np.all(error[wrong] <= open_to[wrong]):
            finding.verdicts = np.where(wrong, CANNOT_TELL, finding.verdicts)
            most = np.max(open_to[wrong])
            finding.doubt = f"rounding errors within the forward pass leave this open to ±{most:.1g}"
    if not terms.strict or np.array_equal(_norm_compared(finding, error), finding.verdicts):
        return
    error = error - np.minimum(_rounding_of_entries(finding), run.rounding / finding.scales)
    held = _norm_compared(finding, error)
    changed = held != finding.verdicts
    if changed.any() and norm(exact * finding.scales) <= TINY * np.max(np.abs(run.dy * run.y)):
        held = np.where(changed, CANNOT_TELL, held)
        finding.doubt = "all of the gradient is less than a thousandth of the last digit of an output"
    finding.verdicts = held


def _norm_compared(finding, error):
    return compare_norm(finding.verdicts, error, finding.exact, finding.terms.rtol)


def _rounding_of_entries(finding):
    """Return an upper bound on the rounding error of each compared entry.

    The complex step subtracts nothing, but the forward pass may: (10⁵ w)² − 10¹⁰ w² loses ten digits. Therefore both
    gradients are computed again at pairs of opposite perturbations of the arguments. True changes cancel in the mean of
    a pair, so the difference between this mean and the unperturbed value is due to rounding.
    """
    values, given = [], []
    try:
        for gradients, step in perturbed_runs(finding.run, mirrored=True):
            values.append(_along_entries(finding, step, SHORTENED)[0])
            given.append(gradients[finding.position].ravel()[finding.entries])
    except NotComplexSafe:  # the perturbation changes the output by more than rounding
        return np.zeros(len(finding.entries))
    pairs = zip((values, given), (finding.exact, finding.analytic), strict=True)
    change = np.max([np.abs(np.mean(np.reshape(v, (PLACES, 2, -1)), axis=1) - here) for v, here in pairs], axis=(0, 1))
    typical = float(np.sqrt(np.mean(change * change)))  # an entry may be unchanged by chance
    return FACTOR * np.maximum(change, typical)


def _along_entries(finding, step, shortened=1.0):
    """Compute the derivative in each compared entry by the complex step.

    Returns two arrays with one element per entry: the derivatives, and the parts of them that central differences
    cannot detect because an output changes by less than its last digit.
    """
    y, dy = finding.run.y, finding.run.dy
    exact, lost = np.empty((2, len(finding.entries)))
    for k, scale in enumerate(finding.scales):
        slopes = step.along_entry(finding.position, finding.index(k), shortened * scale)
        still = np.abs(scale * slopes) < EPSILON * np.abs(y)
        exact[k], lost[k] = np.sum(dy * slopes), np.sum(np.abs(dy * slopes), where=still)
    return exact, lost


def _verify_complex_safety(finding, exact, lost):
    """Raise NotComplexSafe if the complex step contradicts central differences.

    If the two differ by more than the tolerance plus ten times the uncertainty, finer central differences decide.
    """
    terms, atol = finding.terms, finding.terms.atol
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
        judgement = judge(float(exact[k]), along_entry(finding, k), terms.rtol, atol + lost[k])
        if judgement.verdict == WRONG:
            raise NotComplexSafe(_contradiction(finding, f"at {list(finding.index(k))}", float(exact[k]), judgement))


def _contradiction(finding, where, exact, judgement):
    return (
        f"in {finding.argument.name} {where} the complex step gives {exact:.6g}, central differences give "
        f"{judgement.numeric:.6g} ± {judgement.uncertainty:.1g}"
    )
