"""Name the mistake in a wrong line by the first explanation that fits on this draw and on the others.

The explanations are tried in the order of SEARCHES: a computed term that is not added, an edit from the table of
mistakes, a write to repeated indices, a missing path, a missing factor, a value that is a multiple of the true one, a
missing function, and a missing term. The edits are tried at the line and at its helpers, the lines of local variables
that it reads. An edit is accepted only if it makes the gradient right.
"""

import ast
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
EDITS_PER_LOOK = 32  # edits between two looks at the clock, because process_time is slow on some systems
MOST_IN_A_FRACTION = 4  # largest numerator and denominator of a factor that is shown
ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # the ranks of repairs
SCATTER, PUT = "__gradcheck_scatter__", "__gradcheck_put__"


@dataclass(frozen=True)
class Mistake:
    """A mistake that may be in the line of an `Event`.

    event         the recorded value of the line
    sentence      description of the mistake
    expression    a corrected expression for the line, or None if the mistake was recognised without an edit
    edit          the Edit that produces this expression, or None
    is_whole      True if the edit replaces the whole expression
    is_of_helper  True if the edit replaces a name whose own value may be wrong
    is_sure       False if the mistake may also be in another line
    factor        true value divided by the value of the line, if the sentence says that one is a multiple of the other
    """

    event: Event
    sentence: str
    expression: ast.expr | None = None
    edit: Edit | None = None
    is_whole: bool = False
    is_of_helper: bool = False
    is_sure: bool = True
    factor: float = 1.0


class Bench:
    """A wrong gradient (`Target`) and the lines at which edits are tried to correct it.

    These are the line of the Target and the lines of its helpers. A helper is another local variable that the line
    reads and that may be wrong itself, such as `scale` after `scale = (dx_hat * x_hat).mean(...)`. In every run, the
    other mistakes are replaced with their true values.
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
        """Return the places of the wrong gradients that depend on the line of an Event.

        A mistake in that line may explain any of them.
        """
        targets = [t for t in self.scene.targets if t.place in self.scene.mistakes and not self.scene.is_parameter(t)]
        return {t.place for t in targets if event.site in {e.site for e in self.scene.doubtful(t.event)}}

    def parts(self, event):
        """List the parts of a line that may be repaired, as pairs (part, value_of).

        `value_of(repaired part)` is the expression whose value the line binds after the repair. If the line writes into
        an array, as `dx[t] = da @ w.T` does, the target `dx[t]` is a part as well, and the value is that of the whole
        array.
        """
        site = self.scene.site(event)
        statement, target = site.statement, _target_of(site.statement)
        is_update = isinstance(statement, ast.AugAssign)
        if is_update and isinstance(target, ast.Name):
            return [(ast.BinOp(ast.Name(target.id, ast.Load()), statement.op, statement.value), lambda part: part)]
        if not site.is_written or site.is_overwritten:
            return [] if site.value is None else [(site.value, lambda part: part)]
        if not _is_entry(target):
            return []

        def put(place, value):
            return _written(PUT, place, ast.BinOp(place, statement.op, value) if is_update else value)

        place = ast.Subscript(target.value, target.slice, ast.Load())
        return [
            (statement.value, lambda part: put(place, part)),
            (place, lambda part: put(part, statement.value) if _is_entry(part, target.value) else None),
        ]

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def names(self, event):
        """Return {name: value} for the names that are visible at a line.

        These are the names bound before the line and those captured by backward.
        """
        bound, events = {}, self.scene.forward
        if self.scene.site(event).kind != "forward":
            bound = {**{name: as_array(held[-1].live) for name, held in self.scene.names.items()}, **self.closure}
            bound[self.scene.source.parameter] = self.scene.run.dy
            events = self.base.events
        before = itertools.takewhile(lambda other: other.key != event.key, events)
        bound |= {self.scene.name(other): self.held.get(other.key, other.value) for other in before}
        return {name: value for name, value in bound.items() if name}

    def fits(self, event, expression):
        """Return True if a line with another expression makes the Target right.

        No other gradient may become wrong. In a loop, the expression is evaluated in every iteration, with the values
        of that iteration.
        """
        self.scene.run.call.keep_to_time()
        values, is_own = [], event.key == self.event.key
        edited = self.edited(event, expression, values)
        if edited is None:
            return False
        if is_own and len(edited) == 1 and self.target.key is not None:
            return self.is_true(edited[event.key])
        passed = self.scene.backward(self.held | edited)
        value = values[-1] if values and is_own else passed.value(self.target)
        right = self.right | (self.readers(event) - {self.target.place})
        return self.is_true(value) and right <= self.scene.right(passed)

    def edited(self, event, expression, values):
        """Evaluate an expression that replaces the expression of a line.

        Returns {key of the Event: value}, or None if the expression raises an exception. In a loop, the dictionary has
        a key for each iteration, and its values are functions. When such a function is called with the computed value,
        it evaluates the expression, appends the result to `values`, and returns it.
        """
        names = self.names(event)
        code = compile(ast.fix_missing_locations(ast.Expression(expression)), "<edit>", "eval")
        keys = [e.key for e in [*self.scene.forward, *self.scene.plain.events] if e.site == event.site]
        if len(keys) > 1:
            return dict.fromkeys(keys, functools.partial(self._in_loop, event, code, names, values))
        value = self._evaluated(event, code, names)
        return None if value is None else {event.key: value}

    def _in_loop(self, event, code, names, values, now):
        own = self.scene.name(event)
        before = [*(e.value for e in self.scene.probe.events[:-1] if self.scene.name(e) == own), *values][-1:]
        names = {**names, **sys._getframe(3).f_locals, **({own: before[0]} if before else {})}
        values.append(self._evaluated(event, code, names))
        return now if values[-1] is None else values[-1]

    def _evaluated(self, event, code, names):
        site = self.scene.site(event)
        if self.scene.source.has_tensors:
            names = {name: as_tensor(value) for name, value in names.items()}
        scope = {**self.scene.source.function.__globals__, "np": np, SCATTER: _scattered, PUT: _put, **names}
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = eval(code, scope)
                return as_array(value[site.position] if site.count > 1 and site.kind != "return" else value)
            except Exception:  # an edit of the user's line may raise anything
                return None

    def is_true(self, value):
        if not isinstance(value, (np.ndarray, np.floating, float)) or np.shape(value) != np.shape(self.target.array):
            return False
        return self.scene.truth.same(value, self.truth, self.target.array)

    def wrong_within(self):
        """Return the names of the wrong backward passes that the line calls.

        For example, forward contains `n, norm_backward = self.norm(x)`, and the line calls `norm_backward(dn)`. Given
        the true gradient of n, `norm_backward` must return the gradient of x along the path through this call.
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
    """Return the simplest `Mistake` that explains a wrong Target, or None.

    The Target belongs to the first Scene, and the Mistake must explain it in all Scenes. If several lines may contain
    the mistake, the line that explains the largest number of Targets is chosen. If several lines explain equally many,
    the sentence names all of them. If edits explain the Target at the lines of helpers but not at its own line, a
    missing factor is considered as well, because it is equally simple.
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
    """Return a Bench for a Target, and one for the same Target on each other draw.

    If a Scene is missing (None), only the first Bench is returned.
    """
    found = [Bench(scenes[0], target)]
    for scene in scenes[1:] if None not in scenes else ():
        found += [Bench(scene, twin) for twin in twins(scene, target)]
    return found


def twins(scene, target):
    """Return a list with the Target of a Scene at the same place as `target`.

    The list is empty if there is no such Target, or if its true gradient is unknown.
    """
    return [t for t in scene.targets if t.place == target.place and t.place in scene.truths][:1]


def _verified(bench, others, search, found):
    verified = {}
    for mistake in found:
        if all(_holds(other, search, mistake) for other in others):
            verified.setdefault(mistake.event.key, []).append(mistake)
    return list(map(_joined, verified.values()))


def _holds(bench, search, mistake):
    if mistake.expression is None:
        if not is_real_array(bench.value) or not np.any(bench.value):
            return False
        alike = [m for m in search(bench) if (m.event.key, m.sentence) == (mistake.event.key, mistake.sentence)]
        return any(np.isclose(m.factor, mistake.factor) for m in alike)
    events = [event for event in (bench.event, *bench.helpers) if event.key == mistake.event.key]
    return bool(events) and bench.fits(events[0], mistake.expression)


def _joined(found):
    """Combine several Mistakes of one line into one.

    All of them fit on every draw. If two of them differ in a single name, the sentence contains both names.
    """
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

    The edits of the Target's own line come first, then those of its helpers. At most MOST_FITTING edits of each line
    are returned, the simplest first. If the rank is FUNCTION or TERM, the search ends after the first line with an edit
    that fits.
    """
    found, helpers = [], {bench.scene.name(e) for e in bench.helpers}
    for event in [bench.event, *bench.helpers]:
        parts, here = bench.parts(event), []
        names = Names(bench.names(event), names_read(bench.scene.site(event).statement), helpers, is_gradient)
        edits = ((value_of, *repair) for part, value_of in parts for repair in repairs(part, names, rank))
        for number, (value_of, edit, repaired, is_whole) in enumerate(edits):
            is_late = number % EDITS_PER_LOOK == 0 and time.process_time() > bench.end
            if is_late or len(here) == MOST_FITTING:
                break
            expression = value_of(repaired)
            if expression is not None and bench.fits(event, expression):
                old = getattr(edit.old, "id", "") if edit.row.kind == "name replaced" else ""
                sentence = edit.sentence(Reader(), is_whole) + (f" (here, or in {old})" if old in helpers else "")
                here.append(Mistake(event, sentence, expression, edit, is_whole, old in helpers))
        found += here
        if here and rank in (FUNCTION, TERM):
            break
    return found


def _missing_path(bench):
    """Recognise a gradient that lacks a path.

    An input x affects the output directly and through other variables. If one of these variables is held constant while
    x is perturbed, the result is the gradient along all other paths. If the line computes this gradient, the path
    through the variable is missing.
    """
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
    """Recognise a value that is a multiple of the true one.

    The sentence names the factor if it is a simple fraction.
    """
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


def _scattering(bench):
    """Recognise a write to repeated indices, such as `a[ids] = b` or `a[ids] += b`.

    Such a statement applies only one of the writes to an index. The correction is `np.add.at`.
    """
    statement = bench.scene.site(bench.event).statement
    target = _target_of(statement)
    if not _is_entry(target) or any(isinstance(n, ast.Slice) for n in ast.walk(target.slice)):
        return []
    call = _written(SCATTER, target, statement.value)
    sentence = f"places of {target.value.id} that come twice get one of their gradients, not the sum"
    return [Mistake(bench.event, sentence, call)] if bench.fits(bench.event, call) else []


def _target_of(statement):
    return (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]


def _is_entry(node, array=None):
    """Return True for code such as `dx[t]`, the entries of a named array.

    If `array` is given, the indexed array must be this node.
    """
    is_named = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    return is_named and (array is None or node.value is array)


def _written(function, place, value):
    """Return the code of a call of `_put` or `_scattered`.

    The result of this call is the array after a write at a place such as `dx[t]`.
    """
    index = ast.Subscript(ast.Attribute(ast.Name("np", ast.Load()), "s_", ast.Load()), place.slice, ast.Load())
    return ast.Call(ast.Name(function, ast.Load()), [place.value, index, value], [])


def _put(array, index, value):
    result = array.copy()
    result[index] = value
    return result


def _scattered(array, index, values):
    result = np.zeros_like(array)
    np.add.at(result, index, values)
    return result


one_change, one_factor = functools.partial(_fitting, ANOTHER), functools.partial(_fitting, FACTOR)
one_function, one_term = functools.partial(_fitting, FUNCTION), functools.partial(_fitting, TERM)
SEARCHES = (_left_out, one_change, _scattering, _missing_path, one_factor, _scaled, one_function, one_term)


def repaired_statement(site, expression):
    """Return the statement of a Site with another expression, as text.

    Returns an empty string if the statement cannot be repaired in this way.
    """
    statement = site.statement
    if expression is None or site.value is None:
        return ""
    function = getattr(getattr(expression, "func", None), "id", "")
    if function in (PUT, SCATTER):
        array, index, value = map(ast.unparse, (expression.args[0], expression.args[1].slice, expression.args[2]))
        return f"np.add.at({array}, {index}, {value})" if function == SCATTER else f"{array}[{index}] = {value}"
    if isinstance(statement, ast.AugAssign):
        return f"{ast.unparse(statement.target)} = {ast.unparse(expression)}"
    return ast.unparse(exchanged(statement, site.value, expression))
