"""Grading: an exercise's file, run as a module of its own, and its gradients held against its own forward pass.

What is graded is what the file defines. The package's function of that name is asked for nothing in it, except, at
level 3, what y is. This runs in a process that is ended if it takes too long (see bounded.py).
"""

import ast
import functools
import linecache
import sys
import traceback
import types
from pathlib import Path

import numpy as np

from gradcheck import GradientError
from gradcheck.call import clear_gradients, parameters_of, randomize_parameters, to_float64
from gradcheck.cases import error_in_words
from gradcheck.checking import check_call
from minitransformer.bounded import serve
from minitransformer.learn.catalogue import named
from minitransformer.learn.cutting import cut
from minitransformer.learn.equations import NO_WORDS, equation_numbers, rows_by_gradients, rows_by_steps
from minitransformer.learn.refusing import Refusal, blanks, is_untouched, level_of, parsed, refuse_other_tasks
from minitransformer.learn.updates import graded_update
from minitransformer.learn.verdict import BEGUN, FAILED, MISSING, REFUSED, SOLVED, UNTOUCHED, WRONG, Row, Verdict
from minitransformer.learn.workspace import exercise_in
from minitransformer.version import __version__

SEEDS = (0, 1)  # of the draws of each case
ENTRIES = 200  # of an argument that are looked at one by one, where something is wrong


class Fault(Exception):  # noqa: N818
    """The learner's code fails; the message says where and how."""


def grade(path, name: str) -> Verdict:
    """Return the Verdict on an exercise's file."""
    path = Path(path)
    exercise = exercise_in(path.parent, name)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Verdict(name, MISSING, sentence=f"{path.name} is not there: `minitransformer learn start` adds it")
    except (OSError, UnicodeDecodeError) as error:
        return Verdict(name, FAILED, sentence=f"{path.name} cannot be read: {error_in_words(error)}")
    try:
        tree = parsed(text, path.name)
    except Refusal as refusal:
        return Verdict(name, FAILED, sentence=str(refusal))
    level, version = level_of(tree)
    if not exercise.given and (level is None or version != __version__):
        level = 3
    given = ast.parse(cut(exercise, level))
    if is_untouched(tree, given):
        return Verdict(name, UNTOUCHED, level)
    try:
        refuse_other_tasks(exercise, tree, given, level)
    except Refusal as refusal:
        return Verdict(name, REFUSED, level, str(refusal))
    try:
        target = getattr(loaded(path, text), exercise.target)
        if exercise.is_update:
            return graded_update(exercise, target, level, blanks(tree))
        return Attempt(exercise, path, target, level, blanks(tree)).verdict()
    except Fault as fault:
        left = blank_rows(exercise, blanks(tree))
        return Verdict(name, BEGUN if left else FAILED, level, str(fault), left)


def loaded(path, text):
    """Run a file as a module. Raises Fault, with the place, where that fails."""
    name = f"learn_{path.stem}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    linecache.checkcache(str(path))
    with faults(path):
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    return module


class faults:  # noqa: N801 — it is used as a function
    """Within the block, whatever the code of a file raises is a Fault, which names its line."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None or isinstance(error, (Fault, GradientError)):
            return False
        lines = [n for frame, n in traceback.walk_tb(trace) if frame.f_code.co_filename == str(self.path)]
        where = f"{self.path.name}, line {lines[-1]}: " if lines else ""
        words = error_in_words(error) if lines or not isinstance(error, (TypeError, ValueError)) else str(error)
        raise Fault(where + words) from None


class Attempt:
    """A learner's function, and what came of it on each case."""

    def __init__(self, exercise, path, target, level, left):
        self.exercise, self.path, self.target, self.level = exercise, path, target, level
        self.blank = blank_rows(exercise, left)

    def verdict(self) -> Verdict:
        """Grade it."""
        right, wrong = [], []
        for seed in SEEDS:
            for case in self.exercise.cases():
                failure = self.tried(case, seed)
                (right if failure is None else wrong).append(failure or case.name)
            if wrong:
                break
        name, level = self.exercise.name, self.level
        failure = max(wrong, key=lambda failure: len(failure.call.options), default=None)  # on which least coincides
        if failure is not None:
            failure.look_closer(diagnose=not self.blank)
        if self.blank:
            return Verdict(name, BEGUN, level, rows=self.partial(failure))
        if failure is None:
            sentence = self.with_another_axis()
            if sentence:
                return Verdict(name, WRONG, level, sentence)
            return Verdict(name, SOLVED, level, remarks=tuple(self.remarks()))
        return failure.verdict(self, remark_on(right, [failure.case for failure in wrong]))

    def partial(self, failure) -> tuple:
        """Return the Rows of a file in which there are blanks: of these, and of the gradients that there are."""
        found = {row.name: row for row in self.blank}
        if failure is not None and not failure.report.problems:
            for row in rows_by_gradients(failure, self.numbers):
                found.setdefault(row.name, row)
        order = [*self.numbers, *found]
        return tuple(sorted(found.values(), key=lambda row: order.index(row.name)))

    @property
    def numbers(self):
        """The numbers of the lines of its backward, where its derivation stands in the file."""
        return equation_numbers(self.exercise) if self.level < 2 else {}

    def tried(self, case, seed):
        """Return None if a case is right, else a Failure."""
        call, arguments = self.call(case, seed)
        with faults(self.path):
            dy = cotangent(call, seed)
            if self.level == 3:
                self.compare_forward(case, seed, call)
            report = looked_at(call, dy, seed)
        return None if report is None else Failure(case.name, call, arguments, dy, seed, report)

    def call(self, case, seed):
        """Return the Call of the learner's function on a case, and {name: input or option} of the textbook's."""
        call = case.draw(np.random.default_rng(seed))
        arguments = dict(zip(call.input_names(), call.inputs, strict=True)) | call.options
        if self.exercise.make is not None:
            call = self.exercise.make(call)
        reference = self.exercise.reference
        if isinstance(reference, type):
            to_float64(call.target)
            randomize_parameters(call.target, np.random.default_rng(seed + 100))
            for module in (call.target, *(module for _, module in call.target.named_modules())):
                if type(module) is reference:
                    module.__class__ = self.target
            arguments["self"] = call.target
        else:
            call.target = without_blanks(self.target) if self.blank else self.target
        return call, arguments

    def with_another_axis(self) -> str:
        """Say that it is wrong where there is one more axis in front; nothing where it is not, or none was promised."""
        if isinstance(self.exercise.reference, type) or self.exercise.given:
            return ""
        call, _ = self.call(self.exercise.cases()[0], 0)
        x = call.inputs[0]
        wider = call.on(
            [in_front(value, x) for value in call.inputs], {k: in_front(v, x) for k, v in call.options.items()}
        )
        try:
            with faults(self.path):
                if looked_at(wider, cotangent(wider, 0), 0) is None:
                    return ""
                how = ""
        except Fault as fault:
            how = f" ({fault})"
        return f"right for {x.shape}, but not with an axis more, {wider.inputs[0].shape}: there may be any number{how}"

    def compare_forward(self, case, seed, call):
        """Raise Fault unless y is what the package computes."""
        given = case.draw(np.random.default_rng(seed))
        given = given if self.exercise.make is None else self.exercise.make(given)
        if isinstance(self.exercise.reference, type):
            to_float64(given.target)
            randomize_parameters(given.target, np.random.default_rng(seed + 100))
        expected, y = np.asarray(given.evaluate()[0]), call.evaluate()
        if not isinstance(y, tuple) or len(y) != 2:
            raise Fault(f"{self.exercise.target} must return two things, y and backward")
        y = np.asarray(y[0])
        if y.shape != expected.shape:
            raise Fault(f"forward: y has the shape {y.shape}, and should have {expected.shape} ({case.name})")
        different = ~np.isclose(y, expected, rtol=1e-9, atol=1e-12, equal_nan=True)
        if different.any():
            raise Fault(
                f"forward: {different.sum()} of {y.size} entries of y are not what they should be ({case.name})"
            )

    def remarks(self):
        """Yield what is worth knowing of a right gradient: that it is float64 for float32 inputs."""
        if isinstance(self.exercise.reference, type):
            return
        call, _ = self.call(self.exercise.cases()[0], 0)
        call = call.on([single(value) for value in call.inputs], {k: single(v) for k, v in call.options.items()})
        with faults(self.path):
            y, backward = call.evaluate()
            gradients = backward(np.asarray(y, np.float32)) if np.ndim(y) else backward()
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        names = [f"d{name}" for name, value in zip(call.input_names(), call.inputs) if is_single(value)]  # noqa: B905
        for name, gradient in zip(names, gradients, strict=True):
            if getattr(gradient, "dtype", None) != np.float32:
                yield f"for float32 inputs {name} is {gradient.dtype}: a NumPy number made it so, which costs time"


def looked_at(call, dy, seed, **how):
    """Return None if every gradient is right, else gradcheck's Report.

    Unless `how` asks for more, it is the adjoint identity, which looks at all of them at once in a moment; where the
    forward pass takes no complex numbers, central differences.
    """
    how = {"oracles": ("adjoint",), "diagnose": False, "max_entries": ENTRIES} | how
    try:
        check_call(call, dy=dy, seed=seed, **how)
    except GradientError as error:
        return error.report
    except ValueError:  # the forward pass takes no complex numbers, or it is refused in any case
        if how["oracles"] is None:
            raise
        return looked_at(call, dy, seed, **how | {"oracles": None})
    return None


def in_front(value, x):
    """Return an array that begins with x's first axis with an axis before that; anything else as it is."""
    is_like = isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[0] == x.shape[0]
    return value[None] if is_like else value


def single(value):
    """An array of float64 as float32; anything else as it is."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def is_single(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def cotangent(call, seed):
    """Return a random dy for a Call."""
    result = call.evaluate()
    if not isinstance(result, tuple) or len(result) != 2:
        raise Fault(f"{call.name} must return two things, y and backward")
    return np.random.default_rng([seed, 7]).standard_normal(np.shape(result[0]))


def without_blanks(function):
    """Return a function whose backward gives zeros for a gradient that is still blank."""

    @functools.wraps(function)
    def filled(*inputs, **options):
        result = function(*inputs, **options)
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            return result
        y, backward = result
        arrays = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "fc"]

        def filled_backward(dy):
            gradients = backward(dy)
            given = gradients if isinstance(gradients, tuple) else (gradients,)
            if not any(gradient is ... for gradient in given) or len(given) != len(arrays):
                return gradients
            given = tuple(np.zeros(x.shape) if g is ... else g for g, x in zip(given, arrays, strict=True))
            return given if isinstance(gradients, tuple) else given[0]

        return y, filled_backward

    return filled


class Failure:
    """A case on which something is wrong: its name, the Call, what it was given, and gradcheck's report."""

    def __init__(self, case, call, arguments, dy, seed, report):
        self.case, self.call, self.arguments, self.dy, self.seed = case, call, arguments, dy, seed
        self.report = report

    def look_closer(self, diagnose):
        """Look at each entry; but not of a module, which would take long, and whose lines say more."""
        if not hasattr(self.call.target, "named_parameters"):
            closer = looked_at(self.call, self.dy, self.seed, oracles=None, diagnose=diagnose)
            self.report = closer or self.report

    def verdict(self, attempt, remark) -> Verdict:
        """Say what is wrong: the contract, the equation, what gradcheck says of the gradient, the catalogue."""
        name, level = attempt.exercise.name, attempt.level
        if self.report.problems:
            return Verdict(name, WRONG, level, self.report.problems[0])
        with faults(attempt.path):
            rows, sentences = rows_by_steps(self, attempt)
            of_gradients = rows_by_gradients(self, attempt.numbers)
        said = {row.name: row.sentence for row in of_gradients}
        rows = in_other_words(rows or of_gradients, lambda name: [said.get(name, ""), self.by_value(attempt.exercise)])
        return Verdict(name, WRONG, level, rows=tuple(rows), remarks=tuple(filter(None, (*sentences, remark))))

    def by_value(self, exercise) -> str:
        """Return what the catalogue of known mistakes says of the numbers, or nothing."""
        parameters = parameters_of(self.call.target)
        clear_gradients(self.call.target)
        gradients = self.call.evaluate()[1](self.dy)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        labels = [argument.label for argument in self.report.arguments]
        wrong = dict(zip(labels, gradients)) | {name: p.grad for name, p in parameters.items()}  # noqa: B905
        wrong = {name: value for name, value in wrong.items() if value is not None and np.isfinite(value).all()}
        return named(exercise.name, self.arguments, wrong, self.dy) or ""


def in_other_words(rows, sentences_on) -> list[Row]:
    """Return Rows, of which the first that is wrong says how, if one of the sentences on it does."""
    for k, row in enumerate(rows):
        if row.verdict == "WRONG":
            told = [row.sentence, *(sentences_on(row.name) if NO_WORDS.search(row.sentence) else [])]
            said = next((sentence for sentence in told if not NO_WORDS.search(sentence)), row.sentence)
            said = said.removeprefix(f"{row.equation} {row.name}: ").removeprefix(f"{row.name}: ")
            return [*rows[:k], Row(row.equation, row.name, row.verdict, said), *rows[k + 1 :]]
    return list(rows)


def remark_on(right, wrong):
    """Say on which inputs it is right, where it is on some."""
    right = [name for name in dict.fromkeys(right) if name not in wrong]
    if not right:
        return ""
    return f"right on {'; '.join(right)}. Wrong on {'; '.join(dict.fromkeys(wrong))}"


def blank_rows(exercise, left) -> tuple:
    """Return a Row for each blank that is left and has an equation, or is a body."""
    numbers = equation_numbers(exercise)
    return tuple(
        Row(numbers.get(name, ""), name or "backward", "blank", f"line {line}")
        for line, name in left
        if name in numbers or not name
    )


def answer(request):
    """Answer a request of bounded.py: {"file": …, "name": …}."""
    try:
        return grade(request["file"], request["name"]).to_json()
    except MemoryError:
        return Verdict(request["name"], FAILED, sentence="it asks for more memory than there is").to_json()


if __name__ == "__main__":
    serve(answer)
