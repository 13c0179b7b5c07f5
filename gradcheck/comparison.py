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

A gradient may be right entry by entry, to atol, and quite wrong as a whole, if all of it is small. So it must also be
right to rtol of its norm (unless the caller gives an atol: then that is what counts). Central differences know a
gradient to some ε Σ|dy y| / h and no better; where that is more than rtol of its norm, they cannot tell, and say so.
The complex step can: there nothing is subtracted, and its rounding errors are measured (rounding.py).
"""

import math

import numpy as np

from gradcheck import by_central_differences, by_complex_step
from gradcheck.complex_step import ComplexStep, NotComplexSafe
from gradcheck.finding import Finding
from gradcheck.judgement import CANNOT_TELL, RIGHT, WRONG
from gradcheck.lines import Lines, scales_of
from gradcheck.rounding import Rounding

ORACLES = ("central", "complex", "adjoint")
ROUNDING = 1e-12  # of Σ|dy y|: no rounding error of a gradient (of y's unit over x's) is larger


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
        self.measured = Rounding(call, arguments, gradients, y, dy)
        self.lines = Lines(call, arguments, y, dy)
        self.step = None if oracles == ("central",) else ComplexStep(call, arguments, y)
        self.notes = []

    def findings(self):
        """Return a Finding for each argument. Raises ValueError if the oracles asked for do not apply."""
        if self.oracles == ("adjoint",) and self._identity_holds_for_all_together():
            return list(map(Finding.unexamined, self.arguments, self.gradients))
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
        return abs(analytic - exact) <= by_complex_step.IDENTITY * size

    def _finding(self, i):
        size = self.arguments[i].array.size
        finding = Finding.unexamined(self.arguments[i], self.gradients[i])
        finding.entries = self._choose(size)
        if "central" in self.oracles:
            by_central_differences.judge_gradient(self, i, finding)
        else:
            finding.verdicts = np.full(len(finding.entries), RIGHT, dtype=object)
            finding.numeric = np.full(len(finding.entries), math.nan)
            finding.uncertainty = np.full(len(finding.entries), math.inf)
        if self.step is not None and size:
            try:
                by_complex_step.judge_gradient(self, i, finding)
            except NotComplexSafe as reason:
                self._put_complex_step_aside(str(reason))
        if finding.direction_verdict == CANNOT_TELL or (self.step is None and self.strict):
            finding.doubt = by_central_differences.doubt(self, i, finding)
        return finding

    def _choose(self, size):
        if self.oracles == ("adjoint",):
            return np.arange(0)
        if size <= self.max_entries:
            return np.arange(size)
        return np.sort(self.rng.choice(size, self.max_entries, replace=False))

    def hold_whole(self, finding, error, numeric):
        """Hold the error of all entries together against rtol ‖dx‖: atol alone lets small gradients be quite wrong."""
        counted = (finding.verdicts == RIGHT) & np.isfinite(error)
        limit = self.rtol * float(np.linalg.norm(numeric[counted]))
        if np.linalg.norm(error[counted]) > limit:
            share = limit / max(np.sum(counted), 1) ** 0.5
            finding.verdicts[counted & (error > share)] = WRONG

    def _put_complex_step_aside(self, reason):
        if "central" not in self.oracles:
            raise ValueError(
                f"{self.call.name}: the forward pass is not complex-safe: {reason}. "
                "Leave `oracles` out, or name central among them"
            )
        self.step = None
        self.notes.append(f"the complex step does not apply, since the forward pass is not complex-safe: {reason}")
