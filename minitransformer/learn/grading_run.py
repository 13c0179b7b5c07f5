"""Test a learner's function on each case of its exercise."""

import functools
import inspect
from dataclasses import dataclass, replace

import numpy as np

from gradcheck import Call, GradientError, Problem, Report, check_call, randomize_parameters, to_float64
from minitransformer.learn.exercises import FORWARD, SLOPES
from minitransformer.learn.explaining import (
    IS_LIST,
    blank_rows,
    equation_numbers,
    explained,
    rows_by_form,
    rows_by_gradients,
)
from minitransformer.learn.loading import Fault, cotangent, faults, is_pair
from minitransformer.learn.questions import question_on_problem
from minitransformer.learn.variants import of_result
from minitransformer.learn.verdict import BEGUN, SOLVED, WRONG, Verdict
from minitransformer.learn.watched import unwatched

OF_NUMBER = ("no gradients", "parts of a gradient", "gradients added", "gradients dropped")  # kinds of problems
SEEDS = (0, 1)  # seeds of the random inputs of each case
ENTRIES = 200  # entries to compare in each argument if a gradient is wrong
LARGE = 1000  # factor for extreme inputs; exp overflows beyond 709
THOROUGH = {"oracles": None, "max_entries": 4}  # because a learner's forward pass may treat complex numbers differently


@dataclass
class Failure:
    case: str  # name of the case
    call: Call  # Call of the learner's function
    dy: np.ndarray  # upstream gradient
    seed: int  # seed of the random inputs
    report: Report  # gradcheck's report


def looked_at(call, dy, seed, **how):
    """Check the gradients of a call, and return None if all are right, otherwise the Report of gradcheck.

    `how` contains options of check_call. By default only the adjoint identity is tested. If the forward pass does not
    accept complex numbers, all oracles are used.
    """
    how = {"oracles": ("adjoint",), "explain": False, "max_entries": ENTRIES} | how
    try:
        check_call(call, dy=dy, seed=seed, **how)
    except GradientError as error:
        return error.report
    except ValueError:  # the forward pass does not accept complex numbers, or the call is invalid
        if how["oracles"] is None:
            raise
        return looked_at(call, dy, seed, **how | {"oracles": None})
    return None


class Attempt:
    """The test of a learner's function on all cases of its exercise."""

    def __init__(self, exercise, path, target, level, left):
        self.exercise, self.path, self.target, self.level = exercise, path, target, level
        self.blank = tuple(row for row in blank_rows(exercise, left) if row.equation or row.name == "backward")
        self.is_odd = False  # True if it returns lists, or None for some arguments
        self.is_class = isinstance(exercise.reference, type)
        self.numbers = equation_numbers(exercise) if level < SLOPES else {}

    def run_once(self, case, seed):
        """Run the forward and the backward pass on a case, and record whether the results have unusual types."""
        call = self.call(case, seed)
        dy = cotangent(call, seed)
        result = call.evaluate()
        gradients = result[1](dy)
        found = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
        has_others = any(g is None or np.asarray(g).dtype.kind in "biu" for g in found)
        self.is_odd |= has_others or isinstance(result, list) or isinstance(gradients, list)

    def verdicts(self):
        """Yield the result of grading and, if the function is wrong, a second result with an explanation."""
        right, wrong = [], []
        for seed in SEEDS:
            for case in self.exercise.cases() if not wrong else ():
                failure = self.tried(case, seed)
                (right if failure is None else wrong).append(failure or case.name)
        if not wrong:
            yield self.verdict(None)
            return
        failure = max(wrong, key=lambda failure: len(failure.call.options))  # options make mistakes distinguishable
        names = dict.fromkeys(failure.case for failure in wrong)
        right = [name for name in dict.fromkeys(right) if name not in names]
        remarks = (f"right on {'; '.join(right)}. Wrong on {'; '.join(names)}",) if right else ()
        first = self.verdict(failure, remarks)
        yield first
        try:
            with faults(self.path):
                if self.blank or failure.report.problems:
                    self.compare(failure)
                    yield self.verdict(failure, remarks)
                else:
                    rows, found = explained(self, failure)
                    yield Verdict(self.exercise.name, WRONG, self.level, rows=tuple(rows), remarks=(*found, *remarks))
        except Fault as fault:
            yield replace(first, remarks=(*first.remarks, f"the explanation failed: {fault}"))

    def compare(self, failure):
        """Compare all entries of the gradients. For a module this is slow, and its lines explain more."""
        if not self.is_class:
            how = {"oracles": None, "explain": not self.blank, "lines": False}
            failure.report = looked_at(failure.call, failure.dy, failure.seed, **how) or failure.report

    def verdict(self, failure, remarks=()) -> Verdict:
        """Return a Verdict without an explanation, with a Row for each blank and each gradient.

        If there are no blanks, the sentence of the Verdict is the first violation of gradcheck's contract, if any.
        """
        name, level = self.exercise.name, self.level
        problem = next(iter(failure.report.problems), Problem()) if failure else Problem()
        rows = rows_by_gradients(failure.report, self.numbers) if failure and not problem else []
        if problem and not self.exercise.given:
            rows = [row for row in rows_by_form(self) if row.kind == IS_LIST]
            problem = Problem() if rows else problem
        if self.blank:
            found = {row.name: row for row in (*rows, *self.blank)}
            order = [*self.numbers, *(row.name for row in self.blank), *found]
            rows = sorted(found.values(), key=lambda row: order.index(row.name))
            return Verdict(name, BEGUN, level, rows=tuple(rows))
        if failure:
            asked, sentence = question_on_problem(problem), str(problem)
            if problem.kind in OF_NUMBER and (absent := absent_in(failure.call)):
                sentence += f". Here {' and '.join(absent)} is None"
            about = (asked.line, *asked.names)
            return Verdict(name, WRONG, level, sentence, tuple(rows), remarks, question=asked.text, about=about)
        return Verdict(name, SOLVED, level, remarks=tuple(self.remarks()))

    def tried(self, case, seed):
        """Test the function on one case. Return None if all gradients are right, else a Failure with the details."""
        how = THOROUGH if self.level == FORWARD and not self.is_class and not self.blank else {}
        try:
            with faults(self.path):
                self.run_once(case, seed)
                call = self.call(case, seed)
                dy = cotangent(call, seed)
                if self.level == FORWARD:
                    self.compare_forward(case, seed)
                report = looked_at(call, dy, seed, **how)
        except Fault as fault:
            fault.args = (f"{fault} ({case.name})",)
            raise
        return None if report is None else Failure(case.name, call, dy, seed, report)

    def others(self, case_name):
        """Return calls on other inputs, on which the explanation of a failure in the case `case_name` is verified."""
        return [self.call(case, 2 if case.name == case_name else SEEDS[0]) for case in self.exercise.cases()]

    def call(self, case, seed, target=None):
        """Draw the inputs of a case, and return a Call of `target` (default: the learner's function) on them."""
        target = target or self.target
        call = case.draw(np.random.default_rng(seed))
        if self.is_class:
            to_float64(call.target)
            randomize_parameters(call.target, np.random.default_rng(seed + 100))
            for module in (call.target, *(module for _, module in call.target.named_modules())):
                if type(module) is self.exercise.reference:
                    module.__class__ = target
        else:
            call.target = as_promised(target) if self.blank or self.is_odd else target
        return call

    def compare_forward(self, case, seed):
        """Raise Fault if the forward pass differs from that of the package.

        For extreme inputs, each entry must only be finite if the package's entry is finite.
        """
        expected, y = self.both(case, seed, lambda x: x)
        if y.shape != expected.shape:
            raise Fault(f"forward: y has shape {y.shape}, expected {expected.shape}")
        different = ~np.isclose(y, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
        if different.any():
            raise Fault(f"forward: {different.sum()} of {y.size} entries of y are wrong")
        extremes = {f"{LARGE:,} times as large": lambda x: LARGE * x}
        if "−∞" in (self.exercise.reference.__doc__ or ""):
            extremes["of which some entries are −∞"] = with_infinities
        for inputs, change in extremes.items():
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

    def both(self, case, seed, change):
        """Return the package's y and the learner's y for a case, after `change` has been applied to the inputs."""
        calls = [self.call(case, seed, target) for target in (self.exercise.reference, self.target)]
        with np.errstate(all="ignore"):
            inputs = [[change(x) if is_real(x) else x for x in call.inputs] for call in calls]
            with unwatched():
                y = np.asarray(calls[0].on(inputs[0]).evaluate()[0])
            its_own = np.asarray(calls[1].on(inputs[1]).evaluate()[0])
        return of_result(self.exercise, y), its_own

    def remarks(self):
        """Yield a remark on the gradients that are not float32 if the inputs are."""
        if self.is_class:
            return
        call = self.call(self.exercise.cases()[0], 0)
        of_32_bits = {n: v.astype(np.float32) if is_real(v) else v for n, v in call.options.items()}
        call = call.on([x.astype(np.float32) if is_real(x) else x for x in call.inputs], of_32_bits)
        y, backward = call.evaluate()
        gradients = backward(np.asarray(y, np.float32))
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        names = [f"d{name}" for name, value in zip(call.input_names(), call.inputs) if is_real(value)]  # noqa: B905
        pairs = zip(names, gradients, strict=True)
        others = [f"{name} is {g.dtype}" for name, g in pairs if getattr(g, "dtype", None) != np.float32]
        if others:
            how = "values and arrays of 64 bits, such as np.ones(3), change the dtype, and Python numbers do not"
            yield f"for float32 inputs {', '.join(others)}: {how}"


def absent_in(call) -> list[str]:
    """Return the names of the arguments of a Call that are not given and have the default None."""
    found = [p for p in inspect.signature(call.target).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    return [p.name for p in found if p.default is None and p.name not in call.input_names()]


def is_real(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def with_infinities(x):
    x = x.copy()
    x[..., :1] = -np.inf
    x.reshape(-1, x.shape[-1])[:1] = -np.inf
    return x


def as_promised(function):
    """Wrap a learner's function so that unusual results of its backward pass can be checked.

    Blanks (`...`) become zeros, lists become tuples, and integers become floats. As in PyTorch, backward may return
    None for an argument without a gradient.
    """

    @functools.wraps(function)
    def promised(*inputs, **options):
        result = function(*inputs, **options)
        if not is_pair(result):
            return result
        y, its_backward = result
        shapes = [value.shape for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "fc"]

        def backward(*dy):
            gradients = its_backward(*dy)
            is_many = isinstance(gradients, (tuple, list))
            found = [g for g in gradients if g is not None] if is_many else [gradients]
            if gradients is None or len(found) != len(shapes):
                return tuple(gradients) if is_many else gradients
            filled = (np.zeros(shape) if g is ... else g for g, shape in zip(found, shapes, strict=True))
            return tuple(g * 1.0 if np.asarray(g).dtype.kind in "biu" else g for g in filled)

        return y, backward

    return promised
