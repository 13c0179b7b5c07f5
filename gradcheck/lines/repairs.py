"""Name the mistake in a wrong line.

The explanations are tried in the order of SEARCHES, and the first one that fits on every draw is reported. The edits of
the table of mistakes are tried at the line and at its helpers, which are the lines that compute the local variables it
reads. An edit is accepted only if it makes the gradient right.
"""

import ast
import copy
import functools
import itertools
import sys
import time
import warnings
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from gradcheck.lines.instrument import Event, as_array, as_tensor, is_real_array
from gradcheck.lines.report import joined
from gradcheck.lines.search import is_start
from gradcheck.lines.source import closures, contents, is_gradient, names_read
from gradcheck.lines.targets import is_array
from gradcheck.mistakes.patterns import same
from gradcheck.mistakes.repairing import Names, exchanged, repairs
from gradcheck.mistakes.row import Edit, Reader

MOST_HELPERS = 6
MOST_FITTING = 8  # edits of a line that fit the first draw and are tried on the others
MOST_SECONDS = 3.0  # of processor time, for all edits of one target
MOST_IN_A_FRACTION = 4  # largest numerator and denominator of a factor that is shown
ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # the ranks of repairs
RESULT = "__gradcheck_result__"  # the name of an expression's value


@dataclass(frozen=True)
class Mistake:
    """A mistake that may be in the line of an `Event`."""

    event: Event
    sentence: str
    code: ast.AST | None = None  # the corrected statement, or the corrected value of the statement
    edit: Edit | None = None  # the Edit that produces this code
    is_whole: bool = False  # True if the edit replaces the whole value
    is_of_helper: bool = False  # True if the edit replaces a name whose own value may be wrong
    is_sure: bool = True  # False if the mistake may also be in another line
    factor: float = 1.0  # true value / value of the line, if the sentence says that one is a multiple of the other


class Bench:
    """A wrong gradient (`Target`) and the lines at which edits are tried.

    In every run, the values of the other mistakes are replaced with the true values.
    """

    def __init__(self, scene, target):
        self.scene, self.target, self.event = scene, target, target.event
        self.truth, self.end = scene.truths[target.place], time.process_time() + MOST_SECONDS
        self.held = {key: value for key, value in scene.held().items() if key != target.place}
        self.base = scene.backward(self.held)
        self.value = self.base.value(target)
        self.right = scene.right(scene.mended(), target.place)
        key = scene.source.function.__code__.co_firstlineno, scene.source.function.__code__.co_name
        own = [f for f in closures(self.base.function) if (f.__code__.co_firstlineno, f.__code__.co_name) == key]
        self.closure = contents(own[0]) if own else {}
        by_site = {e.site: e for e in reversed(scene.doubtful(self.event)) if e.site != self.event.site}
        self.helpers = list(by_site.values())[::-1][:MOST_HELPERS]

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def readers(self, event):
        """Return the places of the wrong gradients that a mistake in one line may explain."""
        targets = [t for t in self.scene.targets if t.place in self.scene.mistakes and not self.scene.is_parameter(t)]
        return {t.place for t in targets if event.site in {e.site for e in self.scene.doubtful(t.event)}}

    def parts(self, event):
        """List (part, function) for the parts of a line that may be repaired.

        The parts are the value, the place that the line writes into, as in `dx[t] = da @ w.T`, and the whole statement.
        The function returns the corrected code of the line, given the repaired part.
        """
        site = self.scene.site(event)
        statement, value, parts = site.statement, site.value, []
        target = (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]
        if site.is_written:
            parts = [(statement.value, lambda code: exchanged(statement, statement.value, code))]
        elif value is not None:
            parts = [(value, lambda code: code)]
        if isinstance(target, ast.Subscript):

            def put(code):
                is_entry = isinstance(code, ast.Subscript) and code.value is target.value
                code = ast.Subscript(target.value, code.slice, ast.Store()) if is_entry else None
                return code and exchanged(statement, target, code)

            parts.append((ast.Subscript(target.value, target.slice, ast.Load()), put))
        if parts and isinstance(target, (ast.Name, ast.Subscript)) and not isinstance(statement, ast.For):
            parts.append((statement, lambda code: code))
        return parts

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def names(self, event):
        """Return {name: value} for the names that are bound before a line or captured by backward."""
        bound, events = {}, self.scene.forward
        if self.scene.site(event).kind != "forward":
            inputs = {a.name: a.array for a in self.scene.run.arguments if a.parameter is None}
            held = {name: as_array(held[-1].live) for name, held in self.scene.names.items()}
            bound = inputs | held | self.closure
            bound[self.scene.source.parameter] = self.scene.run.dy
            events = self.base.events
        before = itertools.takewhile(lambda other: other.key != event.key, events)
        bound |= {self.scene.name(other): self.held.get(other.key, other.value) for other in before}
        return {name: value for name, value in bound.items() if name}

    def fits(self, event, code):
        """Return True if `code` makes the Target right and no other gradient wrong."""
        self.scene.run.call.keep_to_time()
        values, is_own = [], event.key == self.event.key
        edited = self.edited(event, code, values)
        if edited is None:
            return False
        if is_own and len(edited) == 1 and self.target.key is not None:
            return self.is_true(edited[event.key])
        passed = self.scene.backward(self.held | edited)
        value = values[-1] if values and is_own else passed.value(self.target)
        right = self.right | (self.readers(event) - {self.target.place})
        return self.is_true(value) and right <= self.scene.right(passed)

    def edited(self, event, code, values):
        """Run `code` in place of a line. Return {key: value}, or None if it fails.

        In a loop, the dictionary has one key for each iteration, and a function in place of the value. The function
        runs the code with the variables of that iteration, appends the result to `values`, and returns the result.
        """
        if isinstance(code, ast.expr):
            code = ast.Assign([ast.Name(RESULT, ast.Store())], code)
        try:
            code = compile(ast.fix_missing_locations(ast.Module([code], [])), "<edit>", "exec")
        except (SyntaxError, ValueError):
            return None
        keys = [e.key for e in [*self.scene.forward, *self.scene.plain.events] if e.site == event.site]
        if len(keys) > 1:
            return dict.fromkeys(keys, functools.partial(self._in_loop, event, code, self.names(event), values))
        value = self._run(event, code, self.names(event))
        return None if value is None else {event.key: value}

    def _in_loop(self, event, code, names, values, now):
        own = self.scene.name(event)
        before = [*(e.value for e in self.scene.probe.events[:-1] if self.scene.name(e) == own), *values][-1:]
        names = {**names, **sys._getframe(3).f_locals, **({own: before[0]} if before else {})}
        values.append(self._run(event, code, names))
        return now if values[-1] is None else values[-1]

    def _run(self, event, code, names):
        site = self.scene.site(event)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if RESULT not in code.co_names:  # a statement, which may write into these objects
                    held = {n: v for n, v in names.items() if isinstance(v, (np.ndarray, list, dict))}
                    names = {**names, **copy.deepcopy(held)}
                if self.scene.source.has_tensors:
                    names = {name: as_tensor(value) for name, value in names.items()}
                scope = {**self.scene.source.function.__globals__, "np": np, **names}
                exec(code, scope)
                value = scope[RESULT] if RESULT in scope else scope[site.name]
                is_one_of_many = RESULT in scope and site.count > 1 and site.kind != "return"
                return as_array(value[site.position] if is_one_of_many else value)
            except Exception:  # an edit of the user's line may raise anything
                return None

    def is_true(self, value):
        if not isinstance(value, (np.ndarray, np.floating, float)) or np.shape(value) != np.shape(self.target.array):
            return False
        return self.scene.truth.same(value, self.truth, self.target.array)

    def wrong_within(self):
        """Return the names of the wrong backward passes that the line calls.

        For example, if the line `n, norm_backward = self.norm(x)` is in forward, `norm_backward` is called with the
        true gradient of n. It must return the gradient of x along the path through this call.
        """
        site = self.scene.site(self.event)
        nodes = ast.walk(site.statement if site.value is None or self.scene.is_parameter(self.target) else site.value)
        called = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        return [name for name in dict.fromkeys(called) if name in self.closure and self._is_wrong(name)]

    def _is_wrong(self, name):
        scene = self.scene
        made = [e for e in scene.names.get(name, ()) if e.live is not None]
        statement = scene.site(made[0]).statement if len(made) == 1 else None
        if not isinstance(getattr(statement, "value", None), ast.Call):
            return False
        with scene.probe.running({}, with_parts=True) as events:
            scene.run.call.evaluate()
        there = [e for e in events if scene.site(e).statement is statement and is_array(e.value)]
        given = [e for e in there if any(scene.site(e).value is argument for argument in statement.value.args)]
        outputs = [scene.truth.entries(e.key, e.value) for e in there if scene.site(e).kind == "forward"]
        try:
            returned = self.closure[name](*[output.copy() for output in outputs])
        except Exception:  # it does not take one gradient for each output
            return False
        returned = returned if isinstance(returned, tuple) else (returned,)
        if len(returned) != len(given) or any(e.nth for e in there) or not all(map(is_array, returned)):
            return False
        return not all(scene.truth.is_gradient(g, e.key, e.value) for g, e in zip(returned, given, strict=True))


def mistake_in(scenes, target):
    """Return the simplest Mistake that explains a Target on all Scenes, or None.

    `target` belongs to the first Scene. If several lines may contain the mistake, the line that explains the most
    Targets is chosen, and ties are all named. If the explanations edit only helpers' lines, a missing factor in the
    Target's line is considered too, because it is equally simple.
    """
    bench, *others = _benches(scenes, target)
    within = [name for name in bench.wrong_within() if all(name in other.wrong_within() for other in others)]
    if within:
        return Mistake(bench.event, f"the mistake is within {joined(within)}, which the line calls")
    if bench.value is None or not is_real_array(bench.value):
        return None
    if not np.all(np.isfinite(bench.value)):
        at = f"{np.sum(~np.isfinite(bench.value))} of {np.size(bench.value)} entries"
        return Mistake(bench.event, f"it is not finite at {at}", is_sure=False)
    if not np.any(bench.value):
        zero = [e for e in bench.helpers if not np.any(e.value) and not is_start(bench.scene, e)]
        return Mistake((zero or [bench.event])[-1], "it is zero", is_sure=bool(zero))
    for search in SEARCHES if others else ():
        found = _verified(bench, others, search, search(bench))
        if search is one_change and found and all(mistake.event.key != bench.event.key for mistake in found):
            more = _verified(bench, others, one_factor, one_factor(bench))
            found += [m for m in more if m.event.key not in {mistake.event.key for mistake in found}]
        if found:
            return _chosen(bench, found)
    return None


def _chosen(bench, found):
    explained = [1 if mistake.event is bench.event else len(bench.readers(mistake.event)) for mistake in found]
    ties = [mistake for mistake, count in zip(found, explained, strict=True) if count == max(explained)]
    first, *rest = sorted(ties, key=lambda mistake: mistake.is_of_helper)
    name, sentence = bench.scene.label(first.event), first.sentence
    for label, other in [(bench.scene.label(other.event), other) for other in rest]:
        sentence += f"; or where {label} is computed{' above' if label == name else ''}, {other.sentence}"
    return replace(first, sentence=sentence)


def _benches(scenes, target):
    found = [Bench(scenes[0], target)]
    for scene in scenes[1:] if None not in scenes else ():
        found += [Bench(scene, twin) for twin in twins(scene, target)]
    return found


def twins(scene, target):
    """Return [the Target of `scene` at the place of `target`], or [] if the true value is unknown."""
    return [t for t in scene.targets if t.place == target.place and t.place in scene.truths][:1]


def _verified(bench, others, search, found):
    verified = {}
    for mistake in found:
        if all(_holds(other, search, mistake) for other in others):
            verified.setdefault(mistake.event.key, []).append(mistake)
    return list(map(_joined, verified.values()))


def _holds(bench, search, mistake):
    if mistake.code is None:
        if not is_real_array(bench.value) or not np.any(bench.value):
            return False
        alike = [m for m in search(bench) if (m.event.key, m.sentence) == (mistake.event.key, mistake.sentence)]
        return any(np.isclose(m.factor, mistake.factor) for m in alike)
    events = [event for event in (bench.event, *bench.helpers) if event.key == mistake.event.key]
    return bool(events) and bench.fits(events[0], mistake.code)


def _joined(found):
    """Return the first of the Mistakes of a line. If another differs in a single name, show both names."""
    first, *others = found
    for other in others:
        a, b = first.edit, other.edit
        if a is None or b is None or (a.row, a.old) != (b.row, b.old):
            continue
        holes = [hole for hole in a.row.answer if not same(a.bound[hole], b.bound[hole])]
        if len(holes) == 1 and all(isinstance(edit.bound[holes[0]], ast.Name) for edit in (a, b)):
            either = " or ".join(ast.unparse(edit.bound[holes[0]]) for edit in (a, b))
            edit = replace(a, bound=a.bound | {holes[0]: either})
            return replace(first, edit=edit, sentence=edit.sentence(Reader(), first.is_whole))
    return first


# Each search returns a list of the Mistakes that explain the Target of a bench on one draw


def _fitting(rank, bench):
    """Return a Mistake for each edit of a rank that makes the Target right.

    The Target's own line comes first. For each line, at most MOST_FITTING edits are returned. For FUNCTION and TERM,
    the search ends at the first line with such an edit.
    """
    found, helpers = [], {bench.scene.name(e) for e in bench.helpers}
    for event in [bench.event, *bench.helpers]:
        here, statement = [], bench.scene.site(event).statement
        names = Names(bench.names(event), names_read(statement), helpers, is_gradient)
        edits = ((put, *repair) for part, put in bench.parts(event) for repair in repairs(part, names, rank))
        for put, edit, repaired, is_whole in edits:
            if time.process_time() > bench.end or len(here) == MOST_FITTING:
                break
            code = put(repaired)
            if code is not None and bench.fits(event, code):
                old = getattr(edit.old, "id", "") if edit.row.kind == "name replaced" else ""
                sentence = edit.sentence(Reader(), is_whole) + (f" (here, or in {old})" if old in helpers else "")
                here.append(Mistake(event, sentence, code, edit, is_whole, old in helpers))
        found += here
        if here and rank in (FUNCTION, TERM):
            break
    return found


def _rebound(bench):
    """Recognise a name that forward assigns again after the definition of backward."""
    scene, inner = bench.scene, bench.scene.source.inner
    for name in names_read(inner):
        lines = {event.key: scene.site(event).line for event in scene.names.get(name, ())}
        before = [event.value for event in scene.names.get(name, ()) if lines[event.key] < inner.lineno]
        after = {key: before[-1] for key, line in lines.items() if before and line > inner.end_lineno}
        if after and bench.is_true(scene.backward(bench.held | after).value(bench.target)):
            sentence = f"backward reads the value that {name} gets after its definition, in line {max(lines.values())}"
            return [Mistake(bench.event, sentence)]
    return []


def _missing_path(bench):
    """Recognise a gradient that is right if another variable is held constant."""
    scene, at = bench.scene, bench.target.at
    if at is None:
        return []
    of = scene.run.arguments[at].name if isinstance(at, int) else scene.sites[at[0]].name
    single = {n: held[0] for n, held in scene.names.items() if len(held) == 1 and is_real_array(held[0].value)}
    later = [n for n, e in single.items() if n != of and e.live is not scene.output]
    for name in later:
        if scene.truth.is_gradient(bench.value, at, bench.target.array, {single[name].key: single[name].value}):
            sentence = f"the path from {of} to the output through {name} is missing"
            return [Mistake(bench.event, sentence, is_sure=False)]
    return []


def _scaled(bench):
    """Recognise a value that is a multiple of the true one."""
    value, truth = bench.value, bench.truth
    if not bench.parts(bench.event):
        return []
    factor = float(np.sum(value * truth) / np.sum(value * value))
    if not factor or not bench.scene.truth.same(factor * value, truth, bench.target.array):
        return []
    fraction = Fraction(1 / factor).limit_denominator(MOST_IN_A_FRACTION)
    is_simple = abs(fraction.numerator) <= MOST_IN_A_FRACTION and abs(1 / factor - fraction) <= 1e-9
    sentence = f"it is {fraction} times the correct gradient" if is_simple else "it is off by a constant factor"
    return [Mistake(bench.event, sentence, is_sure=False, factor=factor)]


def _left_out(bench):
    """Recognise a missing term that backward computes but never reads."""
    scene, own = bench.scene, bench.event
    read = {e.key for before in scene.before.values() for e in before}
    order = [event.key for event in scene.plain.events]
    for event in bench.base.events:
        is_unread = scene.site(event).kind == "backward" and event.key not in read and event.key != own.key
        if not is_unread or not is_gradient(scene.name(event)) or np.shape(event.value) != np.shape(bench.value):
            continue
        if scene.truth.same(bench.value + event.value, bench.truth, bench.target.array):
            where, name = own, scene.name(event)
            if order.index(event.key) > order.index(own.key):
                where = next((e for e in scene.plain.events if own in scene.before.get(e.key, ())), own)
            is_own = scene.name(own) == name
            sentence = f"the earlier value of {name} is left out" if is_own else f"{name} is computed and left out"
            return [Mistake(where, sentence)]
    return []


one_change, one_factor = functools.partial(_fitting, ANOTHER), functools.partial(_fitting, FACTOR)
one_function, one_term = functools.partial(_fitting, FUNCTION), functools.partial(_fitting, TERM)
SEARCHES = (_rebound, _left_out, one_change, _missing_path, one_factor, _scaled, one_function, one_term)


def repaired_statement(site, code):
    return ast.unparse(code if isinstance(code, ast.stmt) else exchanged(site.statement, site.value, code))
