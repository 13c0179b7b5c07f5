"""Name the mistake in a wrong line.

The edits of the table of mistakes are tried at the line and at its helpers, which are the lines that compute the local
variables it reads. An edit is accepted only if it makes the gradient right on every draw. If no edit of the first rank
does, the path through another variable may be missing.
"""

import ast
import copy
import functools
import itertools
import sys
import time
import warnings
from dataclasses import dataclass, replace

import numpy as np

from gradcheck.lines.instrument import Event, as_array, as_tensor, bound, is_real_array
from gradcheck.lines.report import joined
from gradcheck.lines.search import is_start
from gradcheck.lines.source import closures, contents, is_gradient, names_read
from gradcheck.lines.targets import is_array
from gradcheck.mistakes.repairing import Names, exchanged, repairs
from gradcheck.mistakes.row import Edit, Reader

MOST_HELPERS = 6
MOST_FITTING = 8  # edits of a line that fit the first draw and are tried on the others
MOST_SECONDS = 3.0  # of processor time, for all edits of one target
RANKS = ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # of repairs
RESULT = "__gradcheck_result__"  # the name of a returned value


@dataclass(frozen=True)
class Mistake:
    """A mistake that may be in the line of an `Event`."""

    event: Event
    sentence: str
    code: ast.AST | None = None  # the corrected statement
    edit: Edit | None = None  # the Edit that produces this code
    is_of_helper: bool = False  # True if the edit replaces a name whose own value may be wrong
    is_sure: bool = True  # False if the mistake may also be in another line


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

    def edits(self, event, rank):
        """Yield (Edit, corrected statement) for each edit of a rank in a line.

        The value, the place that the line writes into, as in `dx[t] = da @ w.T`, and the whole statement are edited.
        """
        site, helpers = self.scene.site(event), {self.scene.name(e) for e in self.helpers}
        statement = site.statement
        names = Names(self.names(event), names_read(statement), helpers, is_gradient)
        target = (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]
        value = getattr(statement, "value", None) if site.is_written else site.value
        parts = [(value, value)]
        if isinstance(target, ast.Subscript):
            parts.append((ast.Subscript(target.value, target.slice, ast.Load()), target))
        if isinstance(target, (ast.Name, ast.Subscript)) and not isinstance(statement, ast.For):
            parts.append((statement, statement))
        for part, place in parts if value is not None else ():
            for edit, code in repairs(part, names, rank):
                yield edit, exchanged(statement, place, code)

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def names(self, event):
        """Return {name: value} for the names that are bound before a line or captured by backward."""
        found, events = {}, self.scene.forward
        if self.scene.site(event).kind != "forward":
            inputs = {a.name: a.array for a in self.scene.run.arguments if a.parameter is None}
            held = {name: as_array(held[-1].live) for name, held in self.scene.names.items()}
            found = {**inputs, **held, **self.closure, self.scene.source.parameter: self.scene.run.dy}
            events = self.base.events
        before = itertools.takewhile(lambda other: other.key != event.key, events)
        found |= {self.scene.name(other): self.held.get(other.key, other.value) for other in before}
        return {name: value for name, value in found.items() if name}

    def fits(self, event, code):
        """Return True if a corrected statement makes the Target right and no other gradient wrong."""
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
        """Run a corrected statement. Return {key: value}, or None if it fails.

        In a loop, the dictionary has one key for each iteration, and a function in place of the value. The function
        runs the code with the variables of that iteration, appends the result to `values`, and returns the result.
        """
        if isinstance(code, (ast.Return, ast.Lambda)):
            code = ast.Assign([ast.Name(RESULT)], code.value if isinstance(code, ast.Return) else code.body)
        try:
            run = compile(ast.unparse(ast.fix_missing_locations(code)), "<edit>", "exec"), bound(code)[1]
        except SyntaxError:
            return None
        keys = [e.key for e in [*self.scene.forward, *self.scene.plain.events] if e.site == event.site]
        if len(keys) > 1:
            return dict.fromkeys(keys, functools.partial(self._in_loop, event, run, self.names(event), values))
        value = self._run(event, run, self.names(event))
        return None if value is None else {event.key: value}

    def _in_loop(self, event, run, names, values, now):
        own = self.scene.name(event)
        before = [*(e.value for e in self.scene.probe.events[:-1] if self.scene.name(e) == own), *values][-1:]
        names = {**names, **sys._getframe(3).f_locals, **({own: before[0]} if before else {})}
        values.append(self._run(event, run, names))
        return now if values[-1] is None else values[-1]

    def _run(self, event, run, names):
        site, (code, is_written) = self.scene.site(event), run
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if is_written:
                    held = {n: v for n, v in names.items() if isinstance(v, (np.ndarray, list, dict))}
                    names = {**names, **copy.deepcopy(held)}
                if self.scene.source.has_tensors:
                    names = {name: as_tensor(value) for name, value in names.items()}
                scope = {**self.scene.source.function.__globals__, "np": np, **names}
                exec(code, scope)
                if site.name:
                    return as_array(scope[site.name])
                return as_array(scope[RESULT] if site.position is None else scope[RESULT][site.position])
            except Exception:  # an edit of the user's line may raise anything
                return None

    def is_true(self, value):
        if not is_real_array(value) or np.shape(value) != np.shape(self.target.array):
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
    scene, *further = scenes
    bench = Bench(scene, target)
    others = [Bench(other, twin) for other in further if None not in further for twin in twins(other, target)]
    within = [name for name in bench.wrong_within() if all(name in other.wrong_within() for other in others)]
    if within:
        return Mistake(bench.event, f"the mistake is within {joined(within)}, which the line calls")
    if bench.value is None or not is_real_array(bench.value):
        return None
    if not np.all(np.isfinite(bench.value)):
        at = f"{np.sum(~np.isfinite(bench.value))} of {np.size(bench.value)} entries"
        return Mistake(bench.event, f"it is not finite at {at}", is_sure=False)
    if not np.any(bench.value):
        zero = [e for e in bench.helpers if not np.any(e.value) and not is_start(scene, e)]
        return Mistake((zero or [bench.event])[-1], "it is zero", is_sure=bool(zero))
    for rank in RANKS if others else ():
        found = _corrected(bench, others, rank)
        if rank == ANOTHER and found and bench.event not in {mistake.event for mistake in found}:
            found += [mistake for mistake in _corrected(bench, others, FACTOR) if mistake.event is bench.event]
        if found:
            return _chosen(bench, found)
        path = _missing_path([bench, *others]) if rank == ANOTHER else ""
        if path:
            return Mistake(bench.event, path, is_sure=False)
    return None


def twins(scene, target):
    """Return [the Target of `scene` at the place of `target`], or [] if the true value is unknown."""
    return [t for t in scene.targets if t.place == target.place and t.place in scene.truths][:1]


def _corrected(bench, others, rank):
    """Return a Mistake for each line that an edit of a rank corrects on every draw.

    The Target's own line comes first. For FUNCTION and TERM, the search ends at the first such line.
    """
    found, helpers = [], {bench.scene.name(event) for event in bench.helpers}
    for event in [bench.event, *bench.helpers]:
        edits = itertools.takewhile(lambda _: time.process_time() < bench.end, bench.edits(event, rank))
        fitting = ((edit, code) for edit, code in edits if bench.fits(event, code))
        for edit, code in itertools.islice(fitting, MOST_FITTING):
            twin_lines = [[e for e in (other.event, *other.helpers) if e.key == event.key] for other in others]
            if all(lines and other.fits(lines[0], code) for other, lines in zip(others, twin_lines, strict=True)):
                old = getattr(edit.old, "id", "") if edit.row.kind == "name replaced" else ""
                sentence = edit.sentence(Reader()) + (f" (here, or in {old})" if old in helpers else "")
                found.append(Mistake(event, sentence, code, edit, old in helpers))
                break
        if found and rank in (FUNCTION, TERM):
            break
    return found


def _chosen(bench, found):
    explained = [1 if mistake.event is bench.event else len(bench.readers(mistake.event)) for mistake in found]
    ties = [mistake for mistake, count in zip(found, explained, strict=True) if count == max(explained)]
    first, *rest = sorted(ties, key=lambda mistake: mistake.is_of_helper)
    name, sentence = bench.scene.label(first.event), first.sentence
    for label, other in [(bench.scene.label(other.event), other) for other in rest]:
        sentence += f"; or where {label} is computed{' above' if label == name else ''}, {other.sentence}"
    return replace(first, sentence=sentence)


def _missing_path(benches):
    """Name the variable that must be held constant so that the value is the gradient on every draw, or return ""."""
    scene, at = benches[0].scene, benches[0].target.at
    of = scene.run.arguments[at].name if isinstance(at, int) else scene.sites[at[0]].name if at else ""
    for name, held in scene.names.items() if at is not None else ():
        if name != of and held[0].live is not scene.output and all(_is_without(bench, name) for bench in benches):
            return f"the path from {of} to the output through {name} is missing"
    return ""


def _is_without(bench, name):
    held, target = bench.scene.names.get(name, ()), bench.target
    if len(held) != 1 or not is_real_array(held[0].value) or target.at is None:
        return False
    return bench.scene.truth.is_gradient(bench.value, target.at, target.array, {held[0].key: held[0].value})
