"""Award a point for each numbered line of backward, by the values that a learner's code computes.

The names and the form of the code do not count. The true values are those of the textbook's backward pass on the same
inputs. A gradient that is returned earns its point if it is right at its position, and another value if any expression
of the code has it. A right gradient earns the lines that lead to it. A line that is wrong must not cost the points of
the lines behind it. So the true value of one wrong line at a time is put in place of each value that may stand for it,
and lines behind it that become right earn their points.
"""

import ast
import inspect
import re
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from gradcheck.names import names_in
from minitransformer.book.observation import watched
from minitransformer.learn.cutting import File, functions_within, only_the_question, parts_of, statements_of, target_of
from minitransformer.learn.probing import Event, array_of, probed, with_stacks
from minitransformer.learn.verdict import FOLLOWS, RIGHT, WRONG_LINE
from minitransformer.learn.vocabulary import with_result_of
from minitransformer.learn.watched import unwatched
from minitransformer.module import Module

DIGITS = 1e-7  # two values are equal if they differ by at most this, relative to the largest entry
SECONDS = 6  # time for putting true values in place of wrong ones


@dataclass
class Credit:
    """The verdict on one numbered line of a learner's backward pass."""

    verdict: str = RIGHT  # RIGHT, WRONG_LINE, or FOLLOWS if only other lines make it wrong
    origins: tuple = ()  # names of these lines
    needs: frozenset = frozenset()  # names of all lines that lead to it in the textbook
    is_found: bool = True  # False if it has no point, and no value of the learner's code is known to stand for it


def credits(exercise, module, source, call_of, numbers) -> dict[str, Credit]:
    """Return {name: Credit} for each numbered value of an exercise, if the learner's code is not right.

    `numbers` maps the name of a value to the number of its equation. `call_of(case, seed, target)` returns a Call on
    the inputs of a case. It calls `target`, or the learner's function if `target` is None.
    """
    plan, deadline, found = Plan(exercise, numbers), time.monotonic() + SECONDS, []
    with probed(source, module) as probe:
        draws = [(case, 0) for case in exercise.cases()]
        for case, seed in [*draws, *((case, 1) for case, _ in draws[:2])]:
            trial = Trial(plan, probe, call_of, case, seed)
            found.append(trial.credits(deadline))
            if all(any(name in one and one[name] is None for one in found) for name in numbers):
                break
    results = {name: [one[name] for one in found if name in one] for name in numbers}
    merged = {name: merged_of(some, numbers) for name, some in results.items() if some}
    copied = {name: is_copied(some) for name, some in results.items()}
    proved = {origin for name, credit in merged.items() if not copied[name] for origin in credit.origins}
    for name, credit in merged.items():
        if copied[name] and not proved.intersection(credit.origins):
            merged[name] = Credit(WRONG_LINE)
    own = {*re.findall(r"\w+", source)}  # a name that the learner's code lacks is not mentioned
    assigned = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    shown = proved | assigned | {*trial.at.values()} | {*trial.writers.values()}
    for name, credit in merged.items():
        credit.is_found = credit.verdict != WRONG_LINE or name in shown
        known = (one if one in own else plan.owners.get(one, one) for one in credit.origins)
        credit.origins = tuple(dict.fromkeys(one for one in known if one != name))
        credit.needs = frozenset(plan.behind[name])
    return merged


def merged_of(results, numbers) -> Credit:
    reached = {origin for result in results if result for origin in result.origins}
    origins = tuple(sorted(reached, key=lambda name: [*numbers, name].index(name)))
    if None in results:
        return Credit(WRONG_LINE)
    is_lost = any(result.is_lost for result in results)
    return Credit(WRONG_LINE if is_lost else FOLLOWS if origins else RIGHT, origins)


def is_copied(results) -> bool:
    """Return True if a value is probably a copy of the true value that was put in place of another line.

    `results` contains a Reached for each case. The value is a copy if it is the same multiple of the true value in all
    cases. Otherwise `return w * dz, x * dz, 1`, in which 1 may stand for dz, would earn the point of db.
    """
    ratios = [result.ratio for result in results if result]
    return None not in ratios and len(ratios) > 0 and np.ptp(ratios) <= DIGITS


@dataclass
class Reached:
    """A line that earns its point on one case, perhaps after the correction of other lines."""

    origins: tuple = ()  # the lines whose true values were put in place
    ratio: float | None = None  # value of the line divided by the value put in place, if this is a number
    is_lost: bool = False  # True if the value put in place has no number, so that its mistake costs this point


class Plan:
    """The numbered lines of the textbook's backward pass, and the lines whose values each of them needs."""

    def __init__(self, exercise, numbers):
        self.exercise, self.numbers = exercise, numbers
        file = File(only_the_question(exercise.source.read_text("utf-8"), exercise))
        self.heads = file.needed(exercise.target)
        self.name = exercise.target if exercise.is_value else "backward"
        nodes = [node for name, node in file.nodes.items() if name in self.heads and hasattr(node, "body")]
        functions = [f for node in nodes for f in functions_within(node) if f.name == self.name and file.written(f)]
        self.reads = {}  # {name: names in its statement}
        self.owners = {}  # {name without a number: the name of the next numbered line, which has its point}
        self.aliases: set = set()  # positions at which a name without a number is returned
        waiting = []
        for statement in (s for function in functions for s in statements_of(function)):
            names = target_of(statement).split(", ")
            if isinstance(statement, ast.Return):
                parts = enumerate(parts_of(statement.value))
                self.aliases |= {k for k, part in parts if isinstance(part, ast.Name) and part.id not in numbers}
            values = parts_of(getattr(statement, "value", statement))
            for k, name in enumerate(names):
                for value in values if len(values) != len(names) else values[k : k + 1]:
                    self.reads.setdefault(name, set()).update(names_in(value))
            waiting += names
            if numbers.keys() & {*names}:
                self.owners |= {name: names[0] for name in waiting if name not in numbers}
                waiting = []
        self.behind = {name: self.needed(name) for name in numbers}  # which others lead to it

    def needed(self, name, without=()) -> set:
        """Return the values that `name` is computed from. Paths through the names `without` do not count."""
        found, todo = set(), [*self.reads.get(name, ())]
        while todo:
            one = todo.pop()
            if one not in found and one not in without:
                found.add(one)
                todo += self.reads.get(one, ())
        return found - {name}


class Trial:
    """The learner's function and the textbook's function on the same case, with the same seed."""

    def __init__(self, plan, probe, call_of, case, seed):
        self.plan, self.probe, self.draw = plan, probe, lambda target=None: call_of(case, seed, target)
        self.seed = seed
        self.truth, self.beside, self.at, self.gradients, self.writers = self.reference()

    def reference(self):
        """Run the textbook's function, and return the true values as a tuple of five dictionaries.

        They are {name: list of arrays} for the numbered values and for the others, {position: name} for the values that
        are returned, {parameter: gradient}, and {parameter: name}. The last one names the numbered line that computes
        the gradient.
        """
        exercise, plan = self.plan.exercise, self.plan
        call = self.draw(adapted(exercise))
        writers = {}
        with unwatched(), watched(inspect.getfile(inspect.unwrap(exercise.reference))) as frames:
            if exercise.is_value:
                results, self.dy = flat(call.evaluate()), None
            else:
                y, backward = call.evaluate()
                self.dy = np.random.default_rng([self.seed, 7]).standard_normal(np.shape(y))
                for parameter in parameters_of(call.target).values():
                    parameter.grad = None
                with written_by(call.target, plan, exercise, writers):
                    results = flat(backward(self.dy.copy()))
        values = {}
        for name, some in frames.items():
            head, _, last = name.partition(".")[0], *name.rpartition(".")[1:]
            if last == plan.name and head in plan.heads:
                values |= some[-1].names
        arrays = {name: [array_of(part) for part in flat(value)] for name, value in values.items()}
        truth = {name: arrays[name] for name in values if name in plan.numbers}
        beside = {name: arrays[name] for name in values if name in plan.owners and is_array(*arrays[name])}
        values = {name: values[name] for name in truth}
        names = {id(value): name for name, value in values.items()}
        at = {k: names[id(v)] for k, v in enumerate(results) if id(v) in names and k not in plan.aliases}
        return truth, beside, at, gradients_of(call.target), writers

    def run(self, changes):
        """Run the learner's code and return the Outcome, the record of the run.

        `changes` maps the keys of expressions' values to other values, which replace them during the run.
        """
        call, results = self.draw(), []
        try:
            if self.dy is None:
                with self.probe.running(changes) as events:
                    results = flat(call.evaluate())
            else:
                _, backward = call.evaluate()
                for parameter in parameters_of(call.target).values():
                    parameter.grad = None
                with self.probe.running(changes) as events:
                    results = gradients_in(backward(self.dy.copy()))
        except TimeoutError:
            raise
        except (Exception, SystemExit):  # the learner's code
            return Outcome([], [], {})
        if len(results) > len(self.at) > 0:
            results = [result for result in results if result is not None]
        results = [array_of(as_array(result)) for result in results]
        return Outcome(with_stacks(events), results, gradients_of(call.target))

    def right(self, outcome, names, without=()) -> set:
        """Return the names of the lines that are right in `outcome`, a run of the learner's code.

        These are the lines among `names` with a right value, and the lines that lead to a right result, except through
        a line in `without`.
        """
        found = {name for name in names if self.is_right(name, outcome)}
        results = found & {*self.at.values()}
        found |= {other for name in results for other in self.plan.needed(name, without)} & self.truth.keys()
        return {name for name in found if self.writes_right(name, outcome)}

    def is_right(self, name, outcome) -> bool:
        for position in (position for position, other in self.at.items() if other == name):
            given, (true,) = dict(enumerate(outcome.results)).get(position), self.truth[name]
            return given is not None and given.shape == true.shape and is_equal(given, true)
        return all(outcome.equal(true) for true in self.truth[name])

    def writes_right(self, name, outcome) -> bool:
        """Return True if the gradients of all parameters that the line `name` computes are right."""
        written = [parameter for parameter, writer in self.writers.items() if writer == name]
        return all(is_equal(outcome.gradients.get(one), self.gradients[one]) for one in written)

    def credits(self, deadline) -> dict:
        """Find the lines that earn their point on this case.

        Returns {name of the line: Reached}, in which a line without a point has None. The search ends at `deadline`.
        """
        put, changes = [], {}
        outcome = self.run(changes)
        found = {name: Reached() for name in self.right(outcome, self.truth)}
        while len(found) < len(self.truth) and time.monotonic() < deadline:
            step = self.step(outcome, found, put, changes, deadline)
            if step is None:
                break
            cause, changes, outcome, new = step
            put.append(cause)
            found |= new
        return {name: found.get(name) for name in self.truth}

    def step(self, outcome, found, put, changes, deadline):
        """Find the wrong line whose correction makes the most later lines right.

        Its true value replaces values of `outcome`, the last run. `found` contains the right lines, `put` the lines
        that are already corrected, and `changes` their replacements. Returns (name, new changes, Outcome, {name:
        Reached} for the lines that become right), or None.
        """
        for cause, parts in (self.truth | self.beside).items():
            ahead = {name for name in self.truth if cause in self.plan.behind[name]} - found.keys()
            owner = self.plan.owners.get(cause)
            ahead -= {owner}
            if cause in found or cause in put or not ahead or any(part.size > 1 for part in parts[1:]):
                continue
            true = np.ravel(parts) if len(parts) > 1 else parts[0]  # a list of numbers may be an array of the learner
            if owner in found and outcome.equal(true):
                continue
            best = None
            for group in groups(outcome, true):
                if time.monotonic() > deadline:
                    break
                tried = changes | group
                result = self.run(tried)
                earned = self.right(result, ahead, (*put, cause)) - found.keys()
                right = earned & ahead
                if right and (best is None or len(right) > len(best[3])):
                    best = cause, tried, result, {name: self.reached(name, (*put, cause)) for name in right}
                    best[3].update({name: Reached() for name in earned - ahead - {owner, cause, *put}})
                    if owner and owner in self.right(result, {owner}):
                        best[3][owner] = Reached((cause,), is_lost=True)
                    if right == ahead:
                        break
            if best is not None:
                return best
        return None

    def reached(self, name, put):
        return Reached(tuple(one for one in put if one in self.plan.behind[name]), self.ratio(name, put[-1]))

    def ratio(self, name, cause):
        """Return r if the true value of `name` is r times the true value of `cause`. Return None if there is no r."""
        true = self.truth | self.beside
        value, put = (np.concatenate([part.ravel() for part in true[of]]) for of in (name, cause))
        if value.size != put.size or not np.any(put):
            return None
        ratio = float(value @ put / (put @ put))
        return ratio if is_equal(value, ratio * put) else None


class Outcome:
    """The record of one run of the learner's code: values of expressions, results, and gradients of parameters."""

    def __init__(self, events, results, gradients):
        self.events, self.results, self.gradients = events, results, gradients
        by_size: dict = {}
        for event in events:
            if not event.is_missing:
                by_size.setdefault(event.value.size, []).append(event)
        self.tables = {size: (some, np.stack([e.value.ravel() for e in some])) for size, some in by_size.items()}

    def equal(self, value) -> list[Event]:
        """Return the Events, the records of expressions, whose values equal `value`."""
        events, table = self.tables.get(value.size, ([], np.zeros((0, value.size))))
        with np.errstate(all="ignore"):
            distances = np.max(np.abs(table - value.ravel()), axis=1, initial=0)
        return [events[k] for k in np.flatnonzero(distances <= tolerance(value))]


def groups(outcome, true):
    """Yield each set of values in `outcome`, a run of the learner's code, that the true value `true` may replace.

    A set is a dictionary from the keys of the values to their replacements. It contains either values that equal each
    other or a single value.
    """
    seen = {event.keys[0] for event in outcome.equal(true) if event.keys}
    in_code, singles = [event for event in outcome.events if event.keys], []
    alike = [event for event in in_code if event.is_missing or event.value.size == true.size]
    others = [event for event in in_code if event.value.size != true.size and len(event.keys) == 1]
    for some in (alike, others):
        for event in some:
            if event.is_missing:
                yield {event.keys[0]: true}
            elif event.keys[0] not in seen:
                equal = [e for e in outcome.equal(event.value) if e.keys] or [event]  # NaN does not equal itself
                seen.update(e.keys[0] for e in equal)
                if not any(e.is_fixed for e in equal):
                    yield {key: part for e in equal for key, part in zip(e.keys, split(true, e), strict=True)}
                    singles += equal if len(equal) > 1 else []
        if some is alike:
            for event in singles:
                yield dict(zip(event.keys, split(true, event), strict=True))


def split(true, event):
    """Divide a true value into one part for each iteration of the loop that `event` records."""
    return [true] if len(event.keys) == 1 else np.split(true.ravel(), np.cumsum(event.sizes)[:-1])


def adapted(exercise):
    """Return the textbook's function or class, changed to return the same result as the student's variant."""
    reference = exercise.reference
    if exercise.is_value:
        return reference
    if isinstance(reference, type):
        return type(reference.__name__, (reference,), {"forward": with_result_of(exercise, reference.forward)})
    return with_result_of(exercise, reference)


@contextmanager
def written_by(target, plan, exercise, found):
    """Within a `with` block, find the textbook's line that computes the gradient of each parameter.

    The lines are added to `found`, a dictionary from the names of parameters to the names of lines.
    """
    file, parameters = inspect.getfile(inspect.unwrap(exercise.reference)), parameters_of(target)
    lines = numbered_lines(exercise, plan) if parameters else {}
    at = {}

    def look(frame, event, argument):
        if frame.f_code.co_filename != file or frame.f_code.co_name != "backward":
            return None
        new = [name for name, parameter in parameters.items() if parameter.grad is not None and name not in found]
        for name in new:
            found[name] = lines.get(at.get(frame))
        at[frame] = frame.f_lineno
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def numbered_lines(exercise, plan) -> dict[int, str]:
    """Return {line number in the textbook's file: name of the numbered value that this line helps to compute}."""
    tree, found = ast.parse(exercise.source.read_text("utf-8")), {}
    for node in (node for node in tree.body if getattr(node, "name", "") in plan.heads):
        for function in (f for f in functions_within(node) if f.name == plan.name):
            waiting = []
            for statement in statements_of(function):
                waiting += range(statement.lineno, statement.end_lineno + 1)
                if target_of(statement) in plan.numbers:
                    found |= dict.fromkeys(waiting, target_of(statement))
                    waiting = []
    return found


def is_array(value=None, *others) -> bool:
    return value is not None and value.size > 1 and not others


def flat(value) -> list:
    """Return a list of the values in nested tuples and lists, in order."""
    return [part for inner in value for part in flat(inner)] if isinstance(value, (tuple, list)) else [value]


def gradients_in(returned) -> list:
    """Return the gradients that a learner's backward returns."""
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


def as_array(value):
    """Convert a list of numbers, nested or not, to an array. Return any other value."""
    with suppress(ValueError):  # of rows of different lengths
        return np.array(value) if isinstance(value, list) else value
    return None


def parameters_of(target) -> dict:
    module = getattr(target, "__self__", target)
    return dict(module.named_parameters()) if isinstance(module, Module) else {}


def gradients_of(target) -> dict:
    found = {name: parameter.grad for name, parameter in parameters_of(target).items()}
    return {name: np.array(gradient) for name, gradient in found.items() if gradient is not None}


def is_equal(value, true) -> bool:
    """Return True if two arrays have the same entries up to rounding. Their shapes may differ."""
    if value is None or np.size(value) != np.size(true):
        return False
    with np.errstate(all="ignore"):
        return bool(np.max(np.abs(np.ravel(value) - np.ravel(true)), initial=0) <= tolerance(true))


def tolerance(true) -> float:
    return DIGITS * np.max(np.abs(true), initial=1e-30)
