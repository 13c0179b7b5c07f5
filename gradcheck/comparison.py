"""Backward's gradients against the oracles, argument by argument.

Three oracles differentiate L = ⟨dy, y⟩ without any derivation:

- **central**: central differences (central_differences.py) along each entry. They ask nothing of the forward pass but
  float64, and see kinks; good for some ten digits.
- **adjoint**: the identity ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ along one random direction v, with J v from the complex step
  (complex_step.py): one evaluation for all entries of an argument, or of all arguments, and good for some thirteen
  digits. It says whether a gradient is wrong, not where.
- **complex**: the complex step along each entry: the same digits, and where.

Central differences judge each entry. The adjoint identity then looks at each argument with a thousand times their
precision; where it holds, nothing is left to say. Where it does not, the complex step goes through the entries.

Is the forward pass complex-safe? That it raises nothing proves little: |z|² differentiates to something else without a
word. The rule: if the complex step and central differences disagree by more than the uncertainty of the latter, the
forward pass is not complex-safe, the complex step is put aside with a note, and central differences decide alone.
"""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck.central_differences import estimates
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.judgement import CANNOT_TELL, KINK, RIGHT, WRONG, judge
from gradcheck.report import ArgumentReport

ORACLES = ("central", "complex", "adjoint")
IDENTITY = 1e-12  # to which the adjoint identity holds, of Σ|dx v|
ROUNDING = 1e-12  # of Σ|dy y|: below this a gradient (of y's unit over x's) is rounding, as that of a key's bias


@dataclass
class Finding:
    """What the oracles found about one gradient. Arrays run over the compared `entries`, indices into the flat array.

    `numeric` and `uncertainty` are central differences', `exact` is the complex step's or None.
    """

    argument: object
    gradient: np.ndarray
    missing: bool
    entries: np.ndarray
    scales: np.ndarray
    verdicts: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    exact: np.ndarray | None = None
    direction: tuple | None = None
    direction_oracle: str = "central differences"
    direction_disagrees: bool = False

    @property
    def analytic(self):
        """Backward's values at the compared entries."""
        return self.gradient.ravel()[self.entries]

    @property
    def truth(self):
        """The best value known for each compared entry."""
        return self.numeric if self.exact is None else self.exact

    @property
    def is_right(self):
        """Whether nothing that was compared is wrong or unknown."""
        return not self.direction_disagrees and bool(np.all((self.verdicts == RIGHT) | (self.verdicts == KINK)))


class Comparison:
    """Compares the gradients of one run of a call. `notes` collects what a reader should know of the oracles."""

    def __init__(self, call, arguments, gradients, y, dy, *, rtol, atol, strict, max_entries, oracles, rng):
        self.call = call
        self.arguments = arguments
        self.gradients = gradients
        self.y = y
        self.dy = dy
        self.rtol = rtol
        self.atol = atol
        self.strict = strict  # whether the gradient as a whole has to be right to rtol, however small its entries are
        self.max_entries = max_entries
        self.oracles = oracles
        self.rng = rng
        self.rounding = ROUNDING * float(np.sum(np.abs(dy * y)))
        self.step = None if oracles == ("central",) else ComplexStep(call, arguments, y)
        self.notes = []

    def findings(self):
        """Return a Finding for each argument. Raises ValueError if the oracles asked for do not apply."""
        if self.oracles == ("adjoint",) and self._identity_holds_for_all_together():
            return [self._unexamined(i) for i in range(len(self.arguments))]
        return [self._finding(i) for i in range(len(self.arguments))]

    def _identity_holds_for_all_together(self):
        """Whether ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for one random v through all arguments, in one evaluation."""
        directions = {
            i: scales_of(argument.array) * self.rng.standard_normal(argument.array.shape)
            for i, argument in enumerate(self.arguments)
        }
        pairs = [(self.gradients[i], v) for i, v in directions.items() if self.gradients[i] is not None]
        analytic = sum(float(np.vdot(gradient, v)) for gradient, v in pairs)
        size = sum(float(np.sum(np.abs(gradient * v))) for gradient, v in pairs)
        try:
            exact = float(np.sum(self.dy * self.step.along(directions)))
        except NotComplexSafe as reason:
            self._put_complex_step_aside(str(reason))
        self.notes.append(
            f"the adjoint identity through all arguments: backward gives {analytic:.15g}, the complex step gives "
            f"{exact:.15g}; the difference is {abs(analytic - exact) / max(size, np.finfo(float).tiny):.1e} of Σ|dx v|"
        )
        return abs(analytic - exact) <= IDENTITY * size

    def _unexamined(self, i):
        """A Finding of an argument whose entries were not looked at one by one, with nothing against it."""
        argument, gradient = self.arguments[i], self.gradients[i]
        nothing = np.empty(0)
        return Finding(
            argument=argument,
            gradient=np.zeros(argument.array.shape) if gradient is None else gradient,
            missing=gradient is None,
            entries=np.arange(0),
            scales=scales_of(argument.array),
            verdicts=np.empty(0, dtype=object),
            numeric=nothing,
            uncertainty=nothing,
        )

    def _finding(self, i):
        argument = self.arguments[i]
        array = argument.array
        finding = self._unexamined(i)
        finding.entries = self._choose(array.size)
        if "central" in self.oracles:
            self._judge_by_central_differences(i, finding)
        else:
            finding.verdicts = np.full(len(finding.entries), RIGHT, dtype=object)
            finding.numeric = np.full(len(finding.entries), math.nan)
            finding.uncertainty = np.full(len(finding.entries), math.inf)
        if self.step is not None and array.size:
            try:
                self._judge_by_complex_step(i, finding)
            except NotComplexSafe as reason:
                self._put_complex_step_aside(str(reason))
        return finding

    def _choose(self, size):
        if self.oracles == ("adjoint",):
            return np.arange(0)
        if size <= self.max_entries:
            return np.arange(size)
        return np.sort(self.rng.choice(size, self.max_entries, replace=False))

    # Central differences

    def _judge_by_central_differences(self, i, finding):
        array = finding.argument.array
        scales = finding.scales.ravel()[finding.entries].tolist()
        judgements = [
            judge(a, self._along_entry(i, entry, scale), self.rtol, self.atol)
            for a, entry, scale in zip(finding.analytic.tolist(), finding.entries.tolist(), scales, strict=True)
        ]
        finding.verdicts = np.array([judgement.verdict for judgement in judgements], dtype=object)
        finding.numeric = np.array([judgement.numeric for judgement in judgements])
        finding.uncertainty = np.array([judgement.uncertainty for judgement in judgements])
        if len(finding.entries) < array.size:
            v = finding.scales * self.rng.standard_normal(array.shape)
            self._judge_direction(i, finding, v)
        if self.strict:
            error = np.abs(finding.analytic - finding.numeric)
            self._judge_whole(finding, error - 10 * finding.uncertainty, finding.numeric)

    def _judge_direction(self, i, finding, v):
        """Compare the derivative along one random direction v through the whole argument.

        The entries' tolerances add up in quadrature, as independent errors do: ‖(atol + rtol |dx|) v‖.
        """
        analytic = float(np.vdot(finding.gradient, v))
        tolerance = float(np.linalg.norm((self.atol + self.rtol * np.abs(finding.gradient)) * v))
        judgement = judge(analytic, self._along_direction(i, v), 0.0, tolerance)
        finding.direction = analytic, judgement.numeric
        finding.direction_disagrees = judgement.verdict in (WRONG, CANNOT_TELL)

    def _judge_whole(self, finding, error, numeric):
        """Hold the error of all entries together against rtol ‖dx‖: atol alone lets small gradients be quite wrong.

        What is no larger than the rounding errors of L allow is no error: a gradient that is truly zero is noise.
        """
        error = np.maximum(error - self.rounding / finding.scales.ravel()[finding.entries], 0.0)
        counted = (finding.verdicts == RIGHT) & np.isfinite(error)
        limit = self.rtol * float(np.linalg.norm(numeric[counted]))
        if np.linalg.norm(error[counted]) > limit:
            share = limit / max(np.sum(counted), 1) ** 0.5
            finding.verdicts[counted & (error > share)] = WRONG

    def _along_entry(self, i, entry, scale):
        array = self.arguments[i].array
        index = np.unravel_index(entry, array.shape)
        here = float(array[index])

        def line(t):
            array[index] = here + t
            try:
                return self._output()
            finally:
                array[index] = here

        return estimates(line, self.y, self.dy, scale)

    def _along_direction(self, i, v):
        array = self.arguments[i].array
        here = array.copy()

        def line(t):
            array[...] = here + t * v
            try:
                return self._output()
            finally:
                array[...] = here

        return estimates(line, self.y, self.dy, 1.0)

    def _output(self):
        return np.array(self.call.evaluate()[0], dtype=np.float64)  # a copy: y may be the very array that moves

    # The complex step

    def _judge_by_complex_step(self, i, finding):
        holds = "adjoint" in self.oracles and self._identity_holds(i, finding)
        if holds and CANNOT_TELL not in finding.verdicts:
            return
        if "complex" not in self.oracles:
            return
        exact = self._complex_entries(i, finding)
        self._verify_complex_safety(i, finding, exact)
        finding.exact = exact
        error = np.abs(finding.analytic - exact)
        undecided = finding.verdicts != KINK
        if "central" in self.oracles:
            undecided &= finding.verdicts != WRONG
        agrees = error <= self.atol + self.rtol * np.abs(exact)
        finding.verdicts[undecided] = np.where(agrees[undecided], RIGHT, WRONG)
        if self.strict:
            self._judge_whole(finding, error, exact)

    def _identity_holds(self, i, finding):
        """Whether ⟨dy, J v⟩ = ⟨Jᵀ dy, v⟩ for one random v through the argument, away from entries at a kink."""
        v = finding.scales * self.rng.standard_normal(finding.gradient.shape)
        v.flat[finding.entries[finding.verdicts == KINK]] = 0.0
        analytic = float(np.vdot(finding.gradient, v))
        exact = float(np.sum(self.dy * self.step.along({i: v})))
        products = np.abs(finding.gradient * v)
        if abs(analytic - exact) <= IDENTITY * float(np.sum(products)) + self.rounding / 100:
            return True
        if len(finding.entries) == finding.argument.array.size and "complex" in self.oracles:
            return False  # the entries will tell
        tolerance = self.rtol * float(np.linalg.norm(products)) + self.rounding
        if not self.strict:
            tolerance += self.atol * float(np.linalg.norm(v))
        if self.oracles == ("adjoint",):
            tolerance = IDENTITY * float(np.sum(products)) + self.rounding / 100
        if not abs(analytic - exact) <= tolerance:
            judgement = judge(exact, self._along_direction(i, v), self.rtol, self.atol)
            if judgement.verdict == WRONG:
                raise NotComplexSafe(self._contradiction(finding, "along a random direction", exact, judgement))
            if judgement.verdict == RIGHT and not finding.direction_disagrees:
                finding.direction, finding.direction_oracle = (analytic, exact), "the complex step"
                finding.direction_disagrees = True
        return False

    def _complex_entries(self, i, finding):
        shape = finding.argument.array.shape
        scales = finding.scales.ravel()
        return np.array(
            [
                np.sum(self.dy * self.step.along_entry(i, np.unravel_index(entry, shape), scales[entry]))
                for entry in finding.entries
            ],
            dtype=np.float64,
        )

    def _verify_complex_safety(self, i, finding, exact):
        """Raise NotComplexSafe where the complex step differs from central differences by more than these may err."""
        if "central" in self.oracles:
            slack = self.atol + self.rtol * np.abs(exact) + 10 * finding.uncertainty
            known = (finding.verdicts != KINK) & (finding.verdicts != CANNOT_TELL)
            beyond = known & (np.abs(exact - finding.numeric) > slack)
            suspects = np.flatnonzero(beyond)[:1]
        else:
            error = np.abs(finding.analytic - exact)
            suspects = np.argsort(-error)[:1] if np.any(error > self.atol + self.rtol * np.abs(exact)) else []
        for k in suspects:
            entry = int(finding.entries[k])
            judgement = judge(
                float(exact[k]), self._along_entry(i, entry, float(finding.scales.flat[entry])), self.rtol, self.atol
            )
            if judgement.verdict == WRONG:
                where = f"at {[int(j) for j in np.unravel_index(entry, finding.argument.array.shape)]}"
                raise NotComplexSafe(self._contradiction(finding, where, float(exact[k]), judgement))

    def _contradiction(self, finding, where, exact, judgement):
        return (
            f"in {finding.argument.name} {where} the complex step gives {exact:.6g}, central differences give "
            f"{judgement.numeric:.6g} ± {judgement.uncertainty:.1g}"
        )

    def _put_complex_step_aside(self, reason):
        if "central" not in self.oracles:
            raise ValueError(
                f"{self.call.name}: the forward pass is not complex-safe: {reason}. "
                "Leave `oracles` out, or name central among them"
            )
        self.step = None
        self.notes.append(f"the complex step does not apply, since the forward pass is not complex-safe: {reason}")

    # The report

    def report(self, finding, diagnosis=""):
        """Sum a Finding up as an ArgumentReport."""
        verdicts = finding.verdicts
        shape = finding.argument.array.shape
        return ArgumentReport(
            name=finding.argument.name,
            label=finding.argument.label,
            shape=shape,
            entries=len(finding.entries),
            disagree=int(np.sum(verdicts == WRONG)),
            cannot_tell=int(np.sum(verdicts == CANNOT_TELL)),
            at_kink=int(np.sum(verdicts == KINK)),
            direction=finding.direction,
            direction_oracle=finding.direction_oracle,
            direction_disagrees=finding.direction_disagrees,
            missing=finding.missing,
            diagnosis=diagnosis,
            **self._worst(finding),
        )

    def _worst(self, finding):
        """Find the largest errors, and the entry that takes up the most of its tolerance, kinks left out.

        The relative error is |a − n| / (|n| + atol / rtol): it is the usual one where n matters, does not explode where
        the true gradient is zero, and must not exceed rtol.
        """
        counted = finding.verdicts != KINK
        if not counted.any():
            return {}
        by_complex_step = self._only_complex_step_shows_it(finding)
        numeric, uncertainty = finding.numeric, finding.uncertainty
        if by_complex_step:
            numeric = finding.exact
            uncertainty = self.rounding / 100 / finding.scales.ravel()[finding.entries] + 1e-13 * np.abs(numeric)
        error = np.where(counted, np.abs(finding.analytic - numeric), 0.0)
        error[np.isnan(error)] = math.inf
        size = np.abs(numeric) + (self.atol / self.rtol if self.rtol else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(error == 0, 0.0, error / size)
        relative[np.isnan(relative)] = math.inf
        blamed = finding.verdicts == (WRONG if WRONG in finding.verdicts else CANNOT_TELL)
        worst = int(np.argmax(np.where(blamed if blamed.any() else counted, relative, -1.0)))
        index = np.unravel_index(finding.entries[worst], finding.argument.array.shape)
        return {
            "worst_index": tuple(int(i) for i in index),
            "analytic": float(finding.analytic[worst]),
            "numeric": float(numeric[worst]),
            "worst_absolute": float(error.max()),
            "worst_relative": float(relative.max()),
            "uncertainty": float(np.max(uncertainty[counted])),
            "worst_uncertainty": float(uncertainty[worst]),
            "oracle": "the complex step" if by_complex_step else "central differences",
        }

    def _only_complex_step_shows_it(self, finding):
        """Whether the values to show are the complex step's: central differences have none, or do not tell them apart.

        Otherwise they are central differences': their word is the plainest.
        """
        if finding.exact is None:
            return False
        wrong = finding.verdicts == WRONG
        agrees = np.abs(finding.analytic - finding.numeric) <= self.atol + self.rtol * np.abs(finding.numeric)
        return "central" not in self.oracles or bool(np.all(agrees[wrong]))


def scales_of(array):
    """The length over which each entry matters, a power of two: its own size, or the array's mean if that is larger."""
    size = np.maximum(np.abs(array), np.mean(np.abs(array))) if array.size else np.abs(array)
    return np.where(size > 0, np.exp2(np.ceil(np.log2(np.where(size > 0, size, 1.0)))), 1.0)
