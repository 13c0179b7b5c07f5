"""Grade an exercise: run the file, and compare the gradients with derivatives.

The derivatives are computed from the forward pass in the same file. The package's function is called only at the last
level, at which the learner's y is compared with the package's y. Grading runs in a separate process with a time limit
(system/bounded.py).
"""

import ast
import linecache
import signal
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from gradcheck.front.streams import joined
from gradcheck.names import names_bound, names_in
from minitransformer.book.observation import parsed
from minitransformer.learn.authorship import Watch, watching
from minitransformer.learn.credit import Credit, credits
from minitransformer.learn.cutting import blanks, completed, cut
from minitransformer.learn.exercises import FORWARD, NOTHING, SLOPES
from minitransformer.learn.explaining import (
    blank_rows,
    equation_numbers,
    rows_by_form,
    rows_by_shapes,
    small_numbers,
    with_credits,
    with_returns,
)
from minitransformer.learn.grading_run import Attempt
from minitransformer.learn.loading import INSIDE, Fault, Printed, faults, functions_of_numpy, loaded, replaced
from minitransformer.learn.planting import hunted
from minitransformer.learn.questions import Question
from minitransformer.learn.refusing import Refusal, is_untouched, of_header, refuse_other_tasks, source_of
from minitransformer.learn.verdict import (
    BEGUN,
    FAILED,
    FOLLOWS,
    MISSING,
    REFUSED,
    RIGHT,
    UNTOUCHED,
    WRONG_LINE,
    Verdict,
)
from minitransformer.learn.without_backward import graded_value
from minitransformer.learn.workspace import exercise_in
from minitransformer.module import plain
from minitransformer.system.version import __version__

NEEDED_LATER = (  # imported once, before the first request, so that no child has to import them
    "minitransformer.learn.lessons",
    "minitransformer.learn.vocabulary",
    "gradcheck.refine",
    "gradcheck.diagnosis",
    "gradcheck.lines",
    "gradcheck.lines.shapes",
    "numpy.ma",
)


def grade(path, name: str, is_package_allowed=False):
    """Run and grade the file of an exercise. Yield the result and, for some mistakes, again with an explanation.

    A file that takes its answer from this package is refused, unless `is_package_allowed`.
    """
    path = Path(path)
    exercise, level = exercise_in(path.parent, name), None
    if not path.is_file():
        yield Verdict(name, MISSING, sentence=f"{path.name} does not exist: `minitransformer learn start` adds it")
        return
    try:
        text = source_of(path)
        tree = parsed(text)
        exercise, level, header = of_header(exercise, text)
        if exercise.given:
            level = 1 if level is None else level
        elif header.get("version") != __version__:
            level = FORWARD
        given = ast.parse(cut(exercise, level))
        if is_untouched(tree, given):
            yield Verdict(name, UNTOUCHED, level, student=exercise.student)
            return
        refuse_other_tasks(exercise, text, tree, given, level)
    except Refusal as refusal:
        yield Verdict(name, FAILED if level is None else REFUSED, level, str(refusal))
        return
    attempt = Trying(exercise, path, text, tree, level, Watch(exercise, path, is_package_allowed))
    if "seed" not in header:
        yield from attempt.verdicts()
    else:
        yield hunted(exercise, header, tree, next(attempt.verdicts(has_points=False)))


class Trying:
    """One run of a learner's file, with the verdict on it."""

    def __init__(self, exercise, path, text, tree, level, watch):
        self.exercise, self.path, self.text, self.tree, self.level = exercise, path, text, tree, level
        self.left, self.printed, self.watch = blanks(tree), Printed(), watch
        self.numpy, self.numbers = functions_of_numpy(), equation_numbers(exercise)
        self.module = self.call_of = None  # the file as a module, and a function that returns the Call of a case
        self.attempt = None  # the test of its function, unless it has no backward pass

    def verdicts(self, has_points=True):
        """Yield the Verdict on the file and, for some mistakes, a second Verdict that also explains the mistake.

        If `has_points` is True, the verdicts contain the points for each numbered line.
        """
        credits = None
        with watching(self.watch):
            for verdict in self.without_points():
                if has_points and not verdict.is_solved:
                    credits = self.credits(verdict) if credits is None else credits
                    has_equations = self.level < (NOTHING if self.exercise.is_value else SLOPES)
                    verdict = self.with_blanks(with_credits(verdict, credits, self.numbers, has_equations))
                if self.attempt is not None and not (verdict.is_solved or self.left or self.exercise.given):
                    self.watch.is_on = False
                    with redirect_stdout(Printed()):
                        verdict = with_returns(self.attempt, verdict)
                self.watch.is_on = False  # an explanation runs the package's function
                verdict = replace(verdict, printed=self.printed.getvalue(), student=self.exercise.student)
                if self.watch.found and not self.watch.is_allowed:
                    yield self.of_package(verdict)
                    return
                yield replace(verdict, remarks=(*verdict.remarks, *uses(self.watch)))
        if verdict.status == BEGUN and has_points and not self.exercise.given:
            yield from self.named(verdict)

    def with_blanks(self, verdict) -> Verdict:
        """Let a wrong line follow from a blank without a number that it reads, whose true value may not be tried."""
        blank, reads = {name for _, some in self.left for name in some.split(", ")} - self.numbers.keys(), {}
        for node in (node for node in ast.walk(self.tree) if isinstance(node, ast.Assign) and blank):
            reads |= dict.fromkeys(names_bound(*node.targets), blank.intersection(names_in(node.value)))

        def judged(row):
            origins = tuple(sorted(reads.get(row.name, ()))) * (row.verdict == WRONG_LINE and not row.kind)
            words = f"from {joined(origins)}" if origins else ""
            return replace(row, verdict=FOLLOWS, sentence=words, origins=origins) if origins else row

        return replace(verdict, rows=tuple(map(judged, verdict.rows)))

    def named(self, verdict):
        """Yield the verdict again, with the mistakes of the lines that are not blank, if these are known.

        They are those of the file whose blanks are filled with the textbook's lines, which the learner does not see.
        """
        wrong = [row for row in verdict.rows if row.verdict == WRONG_LINE and not row.kind]
        wrong += [row for row in verdict.rows if row.verdict == FOLLOWS and self.numbers.keys().isdisjoint(row.origins)]
        text = completed(self.exercise, self.text) if wrong else None
        if text is None:
            return
        lines = text.splitlines(keepends=True)
        linecache.cache[str(self.path)] = len(text), None, lines, str(self.path)  # which gradcheck examines
        with redirect_stdout(Printed()):
            module = loaded(self.path, text)
            attempt = Attempt(self.exercise, self.path, defined(module, self.exercise, self.tree, self.level), 0, ())
            found = rows_by_shapes(attempt, [row.name for row in wrong])
            try:
                *_, verdict_on_filled = attempt.verdicts()
                points = credits(self.exercise, module, text, attempt.call, self.numbers)
                found += with_credits(verdict_on_filled, points, self.numbers, has_equations=True).rows
                if verdict_on_filled.is_solved:
                    found += tuple(replace(row, verdict=RIGHT, sentence="", origins=()) for row in wrong)
            except Fault as fault:
                raising = (n for n in ast.walk(self.tree) if isinstance(n, ast.Assign) and n.lineno == fault.line)
                found += tuple(replace(r, sentence=str(fault)) for r in wrong if r.name in names_bound(*raising))
        known = {row.name: row for row in found if row.verdict == RIGHT or (row.verdict == WRONG_LINE and row.sentence)}
        rows = tuple(known.get(row.name, row) if row in wrong else row for row in verdict.rows)
        if rows != verdict.rows:
            yield replace(verdict, rows=rows)

    def of_package(self, verdict) -> Verdict:
        (sentence,) = uses(self.watch)
        return replace(
            verdict, status=REFUSED, sentence=f"{sentence}; it has no points", rows=(), remarks=(), earned=()
        )

    def credits(self, verdict) -> dict:
        if self.exercise.given:
            return {row.name: Credit(row.verdict) for row in verdict.rows if row.name in self.numbers}
        if self.call_of is None or replaced(self.numpy, self.path):
            return {}
        with redirect_stdout(self.printed):
            return credits(self.exercise, self.module, self.text, self.call_of, self.numbers)

    def without_points(self):
        try:
            with faults(self.path):
                for verdict in self.judged():
                    if sentence := replaced(self.numpy, self.path):
                        raise Fault(sentence)
                    yield verdict
        except Fault as fault:
            yield self.of_fault(fault, replaced(self.numpy, self.path) or str(fault))

    def judged(self):
        exercise, level = self.exercise, self.level
        with redirect_stdout(self.printed):
            self.module = loaded(self.path, self.text)
        self.watch.look_for_copies()
        self.watch.is_on = True
        target = defined(self.module, exercise, self.tree, level)
        with redirect_stdout(self.printed):
            if exercise.is_value:
                self.call_of = partial(call_of_value, target)
                return [graded_value(exercise, target, level, self.left)]
            self.attempt = Attempt(exercise, self.path, target, level, self.left)
            self.call_of = self.attempt.call
            self.attempt.run_once(exercise.cases()[0], 0)
            return self.attempt.verdicts()

    def of_fault(self, fault, sentence) -> Verdict:
        tree, blank = self.tree, {name: name for _, some in self.left for name in some.split(", ")}
        for node in ast.walk(tree):  # names such as dc in dc = ds
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in blank:
                blank |= {name: f"{name} = {node.value.id}" for name in names_bound(*node.targets)}
        at_the_line = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.lineno == fault.line)
        read = next((blank[n.id] for n in at_the_line if n.id in blank and isinstance(n.ctx, ast.Load)), None)
        if fault.line in dict(self.left):
            sentence = f"line {fault.line} is still blank"
        elif read:
            sentence = f"line {fault.line} reads {read}, which is still blank"
        is_of_blank = read or fault.line in dict(self.left)
        asked = Question() if is_of_blank else fault.question
        rows, status = blank_rows(self.exercise, self.left), BEGUN if self.left else FAILED
        about = asked.line, *asked.names
        is_comparable = self.attempt is not None and not self.exercise.given and not replaced(self.numpy, self.path)
        if fault.is_about_values and is_comparable and not self.left:
            self.watch.is_on = False  # it runs the package's function
            with redirect_stdout(Printed()):
                rows = rows_by_form(self.attempt)
        return Verdict(self.exercise.name, status, self.level, sentence, rows, question=asked.text, about=about)


def uses(watch) -> list[str]:
    return [f"it uses the package's answer: {watch.found}"] if watch.found else []


def call_of_value(target, case, seed, other=None):
    call = case.draw(np.random.default_rng(seed))
    call.target = other or target
    return call


def defined(module, exercise, tree, level):
    """Return the function or class of an exercise from the learner's module.

    Raises Fault if its name was assigned again after the definition.
    """
    target = vars(module).get(exercise.target)
    if callable(target) and (level == FORWARD or exercise.is_value):
        return target
    nodes = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    node = nodes[exercise.target]
    code = getattr(getattr(target, "forward", target), "__code__", None)
    file = "" if code is None else code.co_filename
    if file.startswith(INSIDE) or (file == module.__file__ and node.lineno <= code.co_firstlineno <= node.end_lineno):
        return target
    raise Fault(f"{exercise.target} is reassigned after its definition on line {node.lineno}")


def numbers(path, name: str) -> dict:
    """Return the small numbers of a learner's file beside the right ones (see explaining.py)."""
    path = Path(path)
    text = source_of(path)
    exercise, level, _ = of_header(exercise_in(path.parent, name), text)
    if exercise.is_value or exercise.given:
        return {"numbers": [], "example": ""}
    with faults(path):
        tree = parsed(text)
        target = defined(loaded(path, text), exercise, tree, level)
        return small_numbers(Attempt(exercise, path, target, level, blanks(tree)))


def slopes(path, name: str) -> dict:
    """Compare the derivative of an elementwise function by the learner's backward pass with central differences."""
    path, exercise = Path(path), exercise_in(Path(path).parent, name)
    x, h = np.linspace(-4, 4, 401), 1e-5
    with faults(path):
        function = getattr(loaded(path, source_of(path)), exercise.target)
        yours = np.broadcast_to(np.asarray(function(x)[1](np.ones_like(x)), np.float64), x.shape)
        true = (function(x + h)[0] - function(x - h)[0]) / (2 * h)
    return {"x": x.tolist(), "yours": yours.tolist(), "true": true.tolist()}


def answers(request):
    """Yield the answers to a request, a dictionary with the entries "file", "name" and "seconds"."""

    def late(number, frame):
        raise TimeoutError(f"it did not end within {request['seconds']:g} seconds")

    if hasattr(signal, "setitimer"):  # before the process is killed, so that the line is known
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.9 * request["seconds"])
    try:
        if request.get("slopes"):
            yield slopes(request["file"], request["name"])
            return
        if request.get("numbers"):
            with plain():
                yield numbers(request["file"], request["name"])
            return
        with plain():  # a learner compares with the textbook
            for verdict in grade(request["file"], request["name"], request["is_package_allowed"]):
                if hasattr(signal, "setitimer"):
                    signal.setitimer(signal.ITIMER_REAL, 0)
                yield verdict.to_json()
    except Fault as fault:
        yield {"fault": str(fault)}
    except MemoryError:
        yield Verdict(request["name"], FAILED, sentence="the code needs more memory than is available").to_json()
    except RecursionError:
        yield Verdict(request["name"], FAILED, sentence="the code is nested too deeply to be examined").to_json()


def prepare():
    for module in NEEDED_LATER:
        import_module(module)
