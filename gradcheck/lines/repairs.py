"""Name the mistake in a wrong line.

The edits of the table of mistakes are tried in the line, and in the lines that compute the local variables it reads. An
edit is accepted only if it makes the gradient right on every draw. If no edit of the first rank does, the path through
another variable may be missing.
"""

import ast
import copy
import functools
import inspect
import itertools
import time
import warnings
from dataclasses import dataclass, replace

import numpy as np

from gradcheck.front.streams import joined
from gradcheck.lines.called import Called
from gradcheck.lines.instrument import Event, as_array, as_tensor, bound, is_real_array
from gradcheck.lines.quantities import is_broadcast
from gradcheck.lines.search import is_start
from gradcheck.lines.source import closures, contents, is_gradient
from gradcheck.lines.targets import is_array
from gradcheck.mistakes.kinds import KINDS
from gradcheck.mistakes.patterns import same
from gradcheck.mistakes.planter import key_of, with_node
from gradcheck.mistakes.repairing import BEFORE, Names, entries_in, exchanges, loop_repairs, repairs
from gradcheck.mistakes.row import Edit, Reader
from gradcheck.names import names_read

MOST_HELPERS = 6
MOST_FITTING = 8  # edits of a line that fit the first draw and are tried on the others
ANOTHER, FACTOR, FUNCTION, TERM = 1, 2, 3, 4  # ranks of repairs
WITHIN, ZERO = "mistake within a call", "gradient replaced by zeros"  # kinds of mistakes without an edit
REPLACED = ("name replaced", "gradient replaced")  # kinds of edits that replace a name
RESULT = "__gradcheck_result__"  # the name of a returned value


class Author(Reader):
    """A Reader who wrote the code, so that messages quote expressions as they are written in the user's file."""

    def __init__(self, source):
        self.source = source

    def text(self, code):
        return self.source.code(code) if isinstance(code, ast.AST) else super().text(code)


@dataclass(frozen=True)
class Mistake:
    """A possible mistake in one line of the code, with its description and its correction."""

    event: Event
    sentence: str
    kind: str = ""  # a key of KINDS, or "" if the sentence names no mistake
    code: ast.AST | None = None  # the corrected statement
    edit: Edit | None = None  # the Edit that produces this code
    also: str = ""  # the rest of the sentence, on other lines that may be wrong instead, without the corrected code
    is_of_helper: bool = False  # True if the edit replaces a name whose own value may be wrong
    is_sure: bool = True  # False if the mistake may also be in another line
    is_proved: bool = False  # True if all gradients are right with the corrected code
    called: Called | None = None  # the function that contains the line, if backward only calls it

    @property
    def is_pair(self):
        """True if the mistake is that two results of a call are exchanged."""
        return self.edit is not None and isinstance(self.edit.old, ast.Tuple)


class Bench:
    """Tests edits of the code, to find one that corrects a wrong gradient.

    The gradient is the Target `target` in the Scene `scene`, a draw of the inputs (targets.py, scene.py). In every run,
    other wrong values are replaced with the true ones. In the methods, `event` is the record of a value
    (instrument.py), and stands for the line that computes this value.
    """

    def __init__(self, scene, target):
        self.scene, self.target, self.event = scene, target, target.event
        self.truth = scene.truths[target.place]
        self.held = {key: value for key, value in scene.held().items() if key != target.place}
        self.base = scene.backward(self.held)
        self.value = self.base.value(target)
        self.right = scene.right(scene.mended(), target.place)
        key = key_of(scene.source.function.__code__)
        own = [function for function in closures(self.base.function) if key_of(function.__code__) == key]
        self.closure = contents(own[0]) if own else {}
        by_site = {e.site: e for e in reversed(scene.doubtful(self.event)) if e.site != self.event.site}
        lines = [e for e in by_site.values() if not isinstance(scene.site(e).statement, ast.For)]
        copied = [e for e in scene.before[self.event.key] if isinstance(scene.site(e).value, ast.Name)]
        # A product may have lost a factor, so that only a copy remains.
        self.copies = [e for e in copied if e.site not in by_site and scene.site(e).kind == "backward"]
        self.helpers = lines[::-1][:MOST_HELPERS]
        # Results of a call may be right but have each other's name, which is unknown if the name says no gradient.
        known = {t.key for t in scene.targets if t.at is not None}
        unpacked = [e for e in scene.reads(self.event) if self.is_unpacked(e) and e.key not in known]
        self.unpacked = [e for e in unpacked if e.site not in by_site]

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def readers(self, event):
        """Return the wrong gradients that depend on the line of `event`, each given by its `Target.place`."""
        targets = [t for t in self.scene.targets if t.place in self.scene.mistakes and not self.scene.is_parameter(t)]
        return {t.place for t in targets if event.site in {e.site for e in self.scene.doubtful(t.event)}}

    def is_product(self, edit):
        """Return True if the edit replaces `a` with `b`, and forward defines `b = a * c`.

        The mistake is then a missing factor c.
        """
        names = getattr(edit.old, "id", ""), getattr(edit.new, "id", "")
        for made in self.scene.names.get(names[1], ()) if edit.row.kind in REPLACED and all(names) else ():
            value = self.scene.site(made).value
            if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult):
                return names[0] in {getattr(side, "id", "") for side in (value.left, value.right)}
        return False

    def is_unpacked(self, event):
        """Return True if the line of `event` assigns to several names, as in `a, b = f(x)`."""
        statement = self.scene.site(event).statement
        return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple)

    def explained(self, mistake):
        """Return the wrong gradients that a mistake may explain, each given by its `Target.place`."""
        if mistake.is_pair:
            statement = self.scene.site(mistake.event).statement
            beside = {e.key for e in self.base.events if self.scene.site(e).statement is statement}
            targets = [t for t in self.scene.targets if t.place in self.scene.mistakes]
            return {t.place for t in targets if beside & {e.key for e in (t.event, *self.scene.reads(t.event))}}
        return {self.target.place} if mistake.event is self.event else self.readers(mistake.event)

    def edits(self, event, rank):
        """Yield (Edit, corrected statement) for each edit of the given rank in the line of `event`.

        Three parts of the line are edited: the assigned value, the target if it has an index, such as `dx[t]`, and the
        whole statement.
        """
        site, helpers = self.scene.site(event), {self.scene.name(e) for e in self.helpers}
        statement = site.statement
        entries = entries_in(self.scene.source.outer)
        names = Names(self.names(event), names_read(statement), helpers, is_gradient, entries)
        target = (getattr(statement, "targets", None) or [getattr(statement, "target", None)])[0]
        value = getattr(statement, "value", None) if site.is_written else site.value
        parts = [(value, value)]
        if isinstance(target, ast.Subscript):
            parts.append((ast.Subscript(target.value, target.slice, ast.Load()), target))
        if isinstance(target, (ast.Name, ast.Subscript)) and not isinstance(statement, ast.For):
            at = 0 if isinstance(statement, ast.AugAssign) else len(parts)  # a statement too much is simpler
            parts.insert(at, (statement, statement))
        for edit in exchanges(target) if rank == ANOTHER and self.is_unpacked(event) else ():
            yield edit, with_node(statement, target, edit.new)
        is_saved = site.kind == "forward" and isinstance(value, ast.Name)  # for backward; another name may be meant
        for part, place in parts if value is not None and event not in self.unpacked else ():
            for edit, code in repairs(part, names, rank):
                if is_saved and edit.row.kind not in REPLACED:
                    continue
                yield edit, with_node(statement, place, code)
        if rank == ANOTHER:
            for loop in self.loops(event):
                for edit in loop_repairs(loop.iter, names):
                    yield edit, with_node(loop, loop.iter, edit.new)

    def loops(self, event):
        """Return the loops of backward that contain the line of `event`."""
        statement = self.scene.site(event).statement
        loops = [node for node in ast.walk(self.scene.source.inner) if isinstance(node, ast.For)]
        around = [loop for loop in loops if any(node is statement for inner in loop.body for node in ast.walk(inner))]
        return [loop for loop in around if not self.scene.is_shared(loop)]

    @functools.cache  # noqa: B019 (a Bench lives as long as the report)
    def names(self, event):
        """Return {name: value} for the names that are defined before the line of `event`."""
        found, events = {}, self.scene.forward
        if self.scene.site(event).kind != "forward":
            inputs = {a.name: a.array for a in self.scene.run.arguments if a.parameter is None}
            held = {name: as_array(held[-1].live) for name, held in self.scene.names.items()}
            used = {n: self.scene.source.function.__globals__.get(n) for n in names_read(self.scene.source.inner)}
            called = {name: value for name, value in used.items() if inspect.isfunction(value)}
            found = {**called, **inputs, **held, **self.closure, self.scene.source.parameter: self.scene.run.dy}
            events = self.base.events
        sites = {}
        for other in itertools.takewhile(lambda other: other.key != event.key, events):
            name = self.scene.name(other)
            if sites.setdefault(name, other.site) != other.site:
                found[name + BEFORE] = found[name]
            found.pop(name, None)  # the latest names come first
            found[name], sites[name] = self.held.get(other.key, other.value), other.site
        return {name: value for name, value in found.items() if name}

    def fits(self, event, code):
        """Return True if `code`, a corrected line, makes the gradient right and no right gradient wrong."""
        self.scene.run.call.keep_to_time()
        values, is_own = [], event.key == self.event.key
        edited = self.edited(event, code, values)
        if edited is None:
            return False
        is_local = is_own and self.target.key is not None and not callable(edited.get(event.key))
        if is_local and len(edited) == 1 and not isinstance(code, ast.For):
            return self.is_true(edited[event.key])
        passed = self.scene.backward(self.held | edited)
        if isinstance(code, ast.For):  # the values of earlier iterations are unknown
            finals = [t for t in self.scene.targets if t.argument is not None and t.place in self.scene.truths]
            given = [(passed.gradients[t.argument], t) for t in finals if passed.gradients]
            return bool(given) and all(
                self.scene.truth.same(gradient, self.scene.truths[t.place], t.array)
                for gradient, t in given
                if not self.scene.is_parameter(t)
            )
        value = values[-1] if values and is_own else edited[event.key] if is_local else passed.value(self.target)
        right = self.right | (self.readers(event) - {self.target.place})
        return self.is_true(value) and right - edited.keys() <= self.scene.right(passed)

    def edited(self, event, code, values):
        """Run `code`, a corrected line, and return {key: value} for the names that it assigns.

        Returns None if an exception is raised. If the line is in a loop, there is one key for each iteration, and each
        value is a function. This function runs the code with the variables of the iteration, appends the result to
        `values`, and returns it.
        """
        is_written = bound(code)[1] or isinstance(code, ast.For)
        if isinstance(code, (ast.Return, ast.Lambda)):
            code = ast.Assign([ast.Name(RESULT)], code.value if isinstance(code, ast.Return) else code.body, lineno=0)
        try:
            run = compile(ast.unparse(code), "<edit>", "exec"), is_written
        except SyntaxError:
            return None
        if isinstance(code, ast.For):
            return self._edited_loop(event, code, run)
        keys = [e.key for e in (*self.scene.forward, *self.scene.plain.events) if e.site == event.site]
        if len(keys) > 1:
            return dict.fromkeys(keys, functools.partial(self._in_loop, event, run, self.names(event), values))
        statement = self.scene.site(event).statement
        beside = [e for e in self.scene.plain.events if self.scene.site(e).statement is statement]
        is_many = isinstance(statement, ast.Assign) and len(beside) > 1
        return self._run(beside if is_many else [event], run, self.names(event))

    def _edited_loop(self, event, code, run):
        """Run a corrected loop, and return {key: value} for the last value of each name that it assigns."""
        nodes = {id(node) for loop in self.loops(event) if loop.lineno == code.lineno for node in ast.walk(loop)}
        inside = [e for e in self.scene.plain.events if id(self.scene.site(e).statement) in nodes]
        last = {self.scene.name(e): e for e in inside if is_real_array(e.value)}
        return self._run(last.values(), run, self.names(inside[0]))

    def _in_loop(self, event, run, names, values, now):
        """Run a corrected statement in one iteration of a loop, whose probe has computed the value `now`."""
        own, probe = self.scene.name(event), self.scene.probe
        before = [probe.changed.get(e.key, e.value) for e in probe.events[:-1] if self.scene.name(e) == own][-1:]
        names = {**names, **self.scene.probe.names, **({own: before[0]} if before else {})}
        values.append((self._run([event], run, names) or {}).get(event.key))
        return now if values[-1] is None else values[-1]

    def _run(self, events, run, names):
        """Run compiled code with the variables `names`, and return {key: value} for each of `events` that it computes.

        Returns None if an exception is raised.
        """
        code, is_written = run
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if is_written:
                    held = {n: v for n, v in names.items() if isinstance(v, (np.ndarray, list, dict))}
                    names = {**names, **copy.deepcopy(held)}
                if framework := self.scene.source.framework:
                    names = {name: as_tensor(value, framework) for name, value in names.items()}
                scope = {**self.scene.source.function.__globals__, "np": np, **names}
                exec(code, scope)
                sites = [(event.key, self.scene.site(event)) for event in events]
                result = {key: scope[site.name or RESULT] for key, site in sites}
                at = {key: site.position for key, site in sites if not site.name and site.position is not None}
                return {key: as_array(value[at[key]] if key in at else value) for key, value in result.items()}
            except Exception:  # an edit of the user's line may raise anything
                return None

    def is_true(self, value):
        if not is_real_array(value):
            return False
        shape = np.shape(self.truth)
        if self.target.at is None and is_broadcast(np.shape(value), shape):  # to the shape of a quantity
            value = np.broadcast_to(value, shape)
        if np.shape(value) != shape:
            return False
        return self.scene.truth.same(value, self.truth, self.target.array)

    def wrong_within(self):
        """Return the names of the wrong backward functions that the line calls.

        For example, if the forward pass contains `n, norm_backward = self.norm(x)`, then `norm_backward` is called with
        the true gradient of n, and its result is compared with the gradient of x along the path through this call.
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
    """Return the simplest mistake that explains a wrong gradient on all draws of the inputs, or None.

    `scenes` lists the draws, and `target` is the gradient in the first of them.
    """
    scene, *further = scenes
    bench = Bench(scene, target)
    others = [Bench(other, twin) for other in further if None not in further for twin in twins(other, target)]
    within = [name for name in bench.wrong_within() if all(name in other.wrong_within() for other in others)]
    if within:
        return Mistake(bench.event, f"the mistake is within {joined(within)}, which the line calls", WITHIN)
    if bench.value is None or not is_real_array(bench.value):
        return None
    is_compared = others and np.any(bench.truth)  # a factor of zeros makes every value zero
    return _not_finite_or_zero(bench) or (_simplest_edit(bench, others) if is_compared else None)


def _not_finite_or_zero(bench):
    if not np.all(np.isfinite(bench.value)):
        at = f"{np.sum(~np.isfinite(bench.value))} of {np.size(bench.value)} entries"
        return Mistake(bench.event, f"it is not finite at {at}", "not finite", is_sure=False)
    if np.any(bench.value):
        return None
    zero = [e for e in bench.helpers if not np.any(e.value) and not is_start(bench.scene, e)]
    return Mistake((zero or [bench.event])[-1], "it is zero", ZERO, is_sure=bool(zero))


def _simplest_edit(bench, others):
    """Return the simplest edit that corrects a gradient on every draw of the inputs, or None.

    `bench` tests edits on the first draw, and `others` on the other draws. A missing path is considered too. If several
    lines may contain the mistake, the line that explains the most gradients is chosen, and all lines that explain as
    many are named.
    """
    found, of_forward = _other_names(bench, others)
    if found:
        return _chosen(bench, found, of_forward)
    path = _missing_path([bench, *others])
    if path:
        return Mistake(bench.event, path, "path dropped", is_sure=False)
    for rank in (FACTOR, FUNCTION, TERM):
        found = _corrected(bench, others, rank)
        if found:
            return _chosen(bench, found, of_forward)
    return _chosen(bench, of_forward) if of_forward else None


def _other_names(bench, others):
    """Return the mistakes of the first rank, separately for lines that repeat the forward pass.

    Lines that repeat the forward pass are less likely to be wrong if a line, such as `d_exp = d_log`, may lack a step.
    If the explanations edit only lines of helper variables, a missing factor in the line of the gradient is considered
    too, because it is equally simple.
    """
    scene, found, of_forward = bench.scene, _corrected(bench, others, ANOTHER), []
    read = [(scene.name(event), scene.site(event).value) for event in (bench.event, *scene.reads(bench.event))]
    if any(is_gradient(name) and isinstance(value, ast.Name) for name, value in read):
        of_forward = [mistake for mistake in found if _is_in_forward(scene, mistake.event)]
        found = [mistake for mistake in found if mistake not in of_forward]
    if found and bench.event not in {mistake.event for mistake in found}:
        found += [mistake for mistake in _corrected(bench, others, FACTOR) if mistake.event is bench.event]
    return found, of_forward


def _is_in_forward(scene, event):
    """Return True if the line of `event` computes an expression that the forward pass contains."""
    value, inner = scene.site(event).value, {id(node) for node in ast.walk(scene.source.inner)}
    outer = [n for n in ast.walk(scene.source.outer) if isinstance(n, ast.expr) and id(n) not in inner]
    return value is not None and any(same(value, node) for node in outer)


def twins(scene, target):
    """Find the gradient `target` in another Scene. Return it in a list, which is empty if its true value is unknown."""
    return [t for t in scene.targets if t.place == target.place and t.place in scene.truths][:1]


def _corrected(bench, others, rank):
    """Return a Mistake for each line that an edit of the given rank corrects on every draw of the inputs.

    `bench` tests edits on the first draw, and `others` on the other draws. The line of the wrong gradient comes first.
    For the ranks FUNCTION and TERM, the search ends at the first line that is corrected.
    """
    found, helpers = [], {bench.scene.name(event) for event in bench.helpers}
    further = {ANOTHER: bench.unpacked, FACTOR: bench.copies}.get(rank, ())
    for event in [bench.event, *bench.helpers, *further]:
        edits = itertools.takewhile(lambda _: time.process_time() < bench.scene.end, bench.edits(event, rank))
        fitting = ((edit, code) for edit, code in edits if bench.fits(event, code))
        for edit, code in itertools.islice(fitting, MOST_FITTING):
            lines = [(other.event, *other.helpers, *other.unpacked, *other.copies) for other in others]
            twin_lines = [[e for e in some if e.site == event.site] for some in lines]  # a loop may be longer
            if all(lines and other.fits(lines[0], code) for other, lines in zip(others, twin_lines, strict=True)):
                if bench.is_product(edit):
                    continue
                old = getattr(edit.old, "id", "") if edit.row.kind in REPLACED else ""
                also = f" (here, or in {bench.scene.source.shown(old)})" if old in helpers else ""
                sentence = edit.sentence(Author(bench.scene.source)) + also
                found.append(Mistake(event, sentence, edit.row.kind, code, edit, also, old in helpers))
                break
        if found and rank in (FUNCTION, TERM):
            break
    # A factor is missing where the factor's product is computed, rather than where it is used.
    copied = {bench.scene.name(m.event) for m in found if m.event in bench.copies}
    return [m for m in found if m.event is not bench.event or getattr(m.edit.old, "id", "") not in copied]


def _chosen(bench, found, of_forward=()):
    explained = [len(bench.explained(mistake)) for mistake in found]
    ties = [mistake for mistake, count in zip(found, explained, strict=True) if count == max(explained)]
    first, *rest = sorted(ties, key=_is_vague)
    name, sentence, also = bench.scene.label(first.event), first.sentence, first.also
    for label, other in [(bench.scene.label(other.event), other) for other in (*rest, *of_forward)]:
        where = f"; or where {label} is computed{' above' if label == name else ''}, "
        sentence += where + other.sentence
        if first.event is not bench.event or other in of_forward:
            also += where + KINDS[other.edit.row.kind].sentence
    return replace(first, sentence=sentence, also=also)


def _is_vague(mistake):
    """Return a sort key that puts specific mistakes before a changed loop or sign, which can hide other mistakes."""
    old, is_sign = mistake.edit.old, mistake.edit.row.kind == "sign flipped"
    return isinstance(mistake.code, ast.For), is_sign and not isinstance(old, ast.UnaryOp), mistake.is_of_helper


def _missing_path(benches):
    """Return a sentence on a path that the gradient leaves out on every draw, or "" if there is none.

    A path through a variable is missing if the computed gradient is right when this variable is held constant.
    """
    scene, at = benches[0].scene, benches[0].target.at

    def is_without(bench, name):
        held, target = bench.scene.names.get(name, ()), bench.target
        if len(held) != 1 or not is_real_array(held[0].value) or target.at is None:
            return False
        return bench.scene.truth.is_gradient(bench.value, target.at, target.array, {held[0].key: held[0].value})

    of = scene.run.arguments[at].name if isinstance(at, int) else scene.sites[at[0]].name if at else ""
    for name, held in scene.names.items() if at is not None else ():
        if name != of and held[0].live is not scene.output and all(is_without(bench, name) for bench in benches):
            from_, through = map(scene.source.shown, (of, name))
            return f"the path from {from_} to the output through {through} is missing"
    return ""
