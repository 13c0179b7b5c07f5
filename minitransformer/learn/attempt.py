"""Test a learner's function on each case of its exercise."""

from dataclasses import replace
from functools import partial

import numpy as np

from gradcheck import randomize_parameters, to_float64
from minitransformer.learn.equations import blank_rows, equation_numbers, rows_by_gradients
from minitransformer.learn.failing import Failure, remark_on
from minitransformer.learn.loading import Fault, faults
from minitransformer.learn.looking import as_promised, cotangent, in_front, is_single, looked_at, single
from minitransformer.learn.verdict import BEGUN, SOLVED, WRONG, Verdict

SEEDS = (0, 1)  # of the draws of each case
LARGE = 1000  # factor for extreme inputs; exp overflows beyond 709
THOROUGH = {"oracles": None, "max_entries": 4}  # for a forward pass that may treat complex numbers differently


class Attempt:
    """The test of a learner's function. `blank` are the Rows of the remaining blanks."""

    def __init__(self, exercise, path, target, level, left, package):
        self.exercise, self.path, self.target, self.level = exercise, path, target, level
        self.blank = tuple(row for row in blank_rows(exercise, left) if row.equation or row.name == "backward")
        self.package, self.has_lists = package, False

    def run_once(self):
        """Run forward and backward on the first case, and record whether they return lists."""
        call, _ = self.call(self.exercise.cases()[0], SEEDS[0])
        dy = cotangent(call, SEEDS[0])
        result = call.evaluate()
        self.has_lists = isinstance(result, list) or isinstance(result[1](dy), list)

    def verdicts(self):
        """Yield a Verdict and, if the function is wrong, a second one with an explanation."""
        right, wrong = [], []
        for seed in SEEDS:
            for case in self.exercise.cases():
                failure = self.tried(case, seed)
                (right if failure is None else wrong).append(failure or case.name)
            if wrong:
                break
        if not wrong:
            yield self.without_failure()
            return
        failure = max(wrong, key=lambda failure: len(failure.call.options))  # options make mistakes distinguishable
        remark = remark_on(right, [failure.case for failure in wrong])
        first = self.partial(failure) if self.blank else failure.verdict(self, remark)
        yield first
        try:
            with faults(self.path):
                failure.look_closer(explain=not self.blank)
                yield self.partial(failure) if self.blank else failure.explained(self, remark)
        except Fault as fault:
            yield replace(first, remarks=(*first.remarks, f"the explanation failed: {fault}"))

    def without_failure(self) -> Verdict:
        name, level = self.exercise.name, self.level
        if self.blank:
            return self.partial(None)
        sentence = self.with_another_axis()
        if sentence:
            return Verdict(name, WRONG, level, sentence)
        return Verdict(name, SOLVED, level, remarks=tuple(self.remarks()))

    def partial(self, failure) -> Verdict:
        """Return the Verdict on a file with blanks. It has a Row for each blank and each gradient."""
        found = {row.name: row for row in self.blank}
        if failure is not None and not failure.report.problems:
            for row in rows_by_gradients(failure, self.numbers):
                found.setdefault(row.name, row)
        order = [*self.numbers, *found]
        rows = tuple(sorted(found.values(), key=lambda row: order.index(row.name)))
        return Verdict(self.exercise.name, BEGUN, self.level, rows=rows)

    @property
    def numbers(self):
        """Return {name: equation number} of the numbered lines, or {} if the file has no derivation."""
        return equation_numbers(self.exercise) if self.level < 2 else {}

    def tried(self, case, seed):
        """Test one case. Return None if it is right, else a Failure."""
        call, arguments = self.call(case, seed)
        how = THOROUGH if self.level == 3 and not self.is_class and not self.blank else {}
        try:
            with faults(self.path):
                dy = cotangent(call, seed)
                with self.package:
                    call.evaluate()[1](dy)
                if self.level == 3:
                    self.compare_forward(case, seed)
                report = looked_at(call, dy, seed, **how)
        except Fault as fault:
            fault.args = (f"{fault} ({case.name})",)
            raise
        return (
            None if report is None else Failure(case.name, call, arguments, dy, seed, report, lambda: self.others(case))
        )

    def others(self, case):
        """Return (Call, arguments) of further cases, for verifying an explanation.

        They are the other cases, this case with other random inputs, and the first case with an additional axis.
        """
        cases = self.exercise.cases()
        calls = [self.call(other, 2 if other.name == case.name else SEEDS[0]) for other in cases]
        return [*calls, *filter(None, [self.wider()])]

    def call(self, case, seed, target=None):
        """Return (Call, {name of an argument: value}) of a case.

        The Call is that of `target`, by default the learner's function.
        """
        target = target or self.target
        call = case.draw(np.random.default_rng(seed))
        arguments = dict(zip(call.input_names(), call.inputs, strict=True)) | call.options
        if self.exercise.make is not None:
            call = self.exercise.make(call)
        if self.is_class:
            to_float64(call.target)
            randomize_parameters(call.target, np.random.default_rng(seed + 100))
            for module in (call.target, *(module for _, module in call.target.named_modules())):
                if type(module) is self.exercise.reference:
                    module.__class__ = target
            arguments["self"] = call.target
        else:
            call.target = as_promised(target) if self.blank or self.has_lists else target
        return call, arguments

    @property
    def is_class(self):
        return isinstance(self.exercise.reference, type)

    def with_another_axis(self) -> str:
        """Test an additional leading axis. Return a sentence on the failure, or ""."""
        wider, _ = self.wider() or (None, None)
        if wider is None:
            return ""
        x = self.call(self.exercise.cases()[0], 0)[0].inputs[0]
        try:
            with faults(self.path):
                if looked_at(wider, cotangent(wider, 0), 0) is None:
                    return ""
                how = ""
        except Fault as fault:
            how = f" ({fault})"
        return f"right for shape {x.shape}, wrong for {wider.inputs[0].shape}: allow any number of leading axes{how}"

    def wider(self):
        """Return (Call, arguments) of the first case with an additional leading axis.

        Returns None for classes and for teachers' exercises, which need not accept one.
        """
        if self.is_class or self.exercise.given:
            return None
        call, arguments = self.call(self.exercise.cases()[0], 0)
        x = call.inputs[0]
        options = {name: in_front(value, x) for name, value in call.options.items()}
        arguments = {name: in_front(value, x) for name, value in arguments.items()}
        return call.on([in_front(value, x) for value in call.inputs], options), arguments

    def compare_forward(self, case, seed):
        """Raise Fault if y differs from the package's.

        For extreme inputs, y must be finite wherever the package's is.
        """
        expected, y = self.both(case, seed, lambda x: x)
        if y.shape != expected.shape:
            raise Fault(f"forward: y has shape {y.shape}, expected {expected.shape}")
        different = ~np.isclose(y, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
        if different.any():
            raise Fault(f"forward: {different.sum()} of {y.size} entries of y are wrong")
        for inputs, change in self.extremes():
            try:
                with faults(self.path):
                    expected, y = self.both(case, seed, change)
            except Fault as fault:
                fault.args = (f"{fault}, for inputs {inputs}",)
                raise
            lost = np.isfinite(expected) & ~np.isfinite(y)
            if lost.any():
                raise Fault(
                    f"forward is not stable: for inputs {inputs}, {lost.sum()} of {y.size} entries of y are "
                    f"{y[lost][0]}, where a stable formula gives finite numbers"
                )

    def extremes(self):
        """Yield (description, function of an array) for extreme inputs.

        Infinite inputs are included if the docstring of the forward pass mentions −∞.
        """
        yield f"{LARGE:,} times as large", lambda x: LARGE * x
        if "−∞" in (self.exercise.reference.__doc__ or ""):
            yield "of which some entries are −∞", with_infinities

    def both(self, case, seed, change):
        """Return [the package's y, the learner's y] after applying `change` to the inputs."""
        calls = [self.call(case, seed, target)[0] for target in (self.exercise.reference, self.target)]
        with np.errstate(all="ignore"):
            return [np.asarray(call.on(map(partial(changed, change), call.inputs)).evaluate()[0]) for call in calls]

    def remarks(self):
        """Yield a remark for each gradient that is not float32 although the inputs are."""
        if self.is_class:
            return
        call, _ = self.call(self.exercise.cases()[0], 0)
        call = call.on([single(value) for value in call.inputs], {k: single(v) for k, v in call.options.items()})
        y, backward = call.evaluate()
        gradients = backward(np.asarray(y, np.float32)) if np.ndim(y) else backward()
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        names = [f"d{name}" for name, value in zip(call.input_names(), call.inputs) if is_single(value)]  # noqa: B905
        for name, gradient in zip(names, gradients, strict=True):
            if getattr(gradient, "dtype", None) != np.float32:
                yield f"for float32 inputs {name} is {gradient.dtype}: a value of another dtype enters its computation"


def changed(change, value):
    return change(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def with_infinities(x):
    """Return a copy with −∞ in the first row and in the first entry of every row."""
    x = x.copy()
    x[..., :1] = -np.inf
    x.reshape(-1, x.shape[-1])[:1] = -np.inf
    return x
