"""Find a statement of backward, an edit of which makes every returned gradient right.

Each edit of the table of mistakes is made in the source, and both passes are run again. It therefore does not matter
how often a line is executed, under which conditions, or whether its value is the gradient of a part of the forward
pass. Functions that only backward calls are edited in the same way. An edit is accepted if all gradients are right on
every draw of the inputs.
"""

import ast
import copy
import functools
import inspect
import itertools
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gradcheck.lines.instrument import Event, Site, as_array, close, instrumented, is_real_array
from gradcheck.lines.repairs import Author, Mistake
from gradcheck.lines.source import holders_of, is_gradient
from gradcheck.lines.targets import Target
from gradcheck.mistakes.planter import codes_of, key_of, planted, with_node
from gradcheck.mistakes.repairing import Names, edits_of, entries_in
from gradcheck.mistakes.row import Edit
from gradcheck.names import OWN_SCOPE, names_bound, names_in, names_read

MOST_SECONDS = 3.5  # of processor time
BLOCKS = ("body", "orelse", "finalbody")  # the fields of a statement that contain others
RANKS = (1, 2, 3, 4)  # of edits, the simplest first
HEADED = (ast.For, ast.If, ast.With, ast.Try)
MOST_UNSOLVED = 2  # largest rank of edits of statements whose true values are unknown
MOST_UNKNOWNS = 100  # largest number of entries, over all iterations, for which true values are solved
SOLVED = 1e-6  # largest relative error of solved values


MOST_NAMED = 3  # largest number of lines in a sentence


def find_edit(scenes):
    """Find an edit of one statement that makes every returned gradient right on every draw of the inputs.

    `scenes` lists the draws (scene.py), None for one that the function does not accept. Returns {Target: Mistake} for
    the wrong gradients, or {} if there is no such edit. The values of the edited run are stored in each Scene as the
    true ones.
    """
    source, nodes = scenes[0].source, [*ast.walk(scenes[0].source.inner)]
    is_in_reach = source.returned is not None or scenes[0].called or any(isinstance(node, ast.For) for node in nodes)
    may_not_end = any(isinstance(node, (ast.While, ast.Lambda)) for node in nodes)
    if not is_in_reach or may_not_end or None in scenes or len(scenes) < 2:
        return {}
    reruns = Reruns(scenes)
    ties = [(one, reruns.values(one)) for one in reruns.find()]
    if not ties:
        return {}
    scores = [reruns.score(values[0]) for _, values in ties]
    ties = [pair for pair, score in zip(ties, scores, strict=True) if score == max(scores)]
    counters = {*names_in(*(node.target for node in nodes if isinstance(node, ast.For)))}
    ties.sort(key=lambda pair: _preference(pair[0], reruns.home(pair[0].statement), counters))
    lines = {}
    for found, values in ties:
        lines.setdefault(id(found.statement), (found, values))
    return reruns.blame([*lines.values()])


def _preference(found, home, counters):
    """Return a sort key of the edits that are equally right, the most plausible one first.

    A changed loop or sign can hide other mistakes. In a product with a vector, a transpose is lost more often than the
    order of its operands. It is simpler to remove code than to replace it, or to add some, and to use names that the
    line reads already, or that nothing else reads. A line that only reads a saved value is seldom wrong, and one that
    only copies another local variable has lost something. The line that defines a local derivative comes before those
    that use it. Otherwise the last line is preferred. `home` is (the tree of the function with the line, how far
    it is from the innermost function), and `counters` are names that count.
    """
    function, distance = home
    is_order = found.edit.row.kind in ("operands exchanged", "names exchanged")
    is_sign = found.edit.row.kind == "sign flipped" and not isinstance(found.edit.old, ast.UnaryOp)
    new = ({*names_read(found.code)} - {*names_read(found.statement)} - counters) & {*names_read(function)}
    sizes = [sum(1 for _ in ast.walk(node)) for node in (found.code, found.statement)]
    change = 0 if sizes[0] == sizes[1] else -1 if sizes[0] < sizes[1] and not new else 1
    is_loop, line = isinstance(found.statement, ast.For), -found.statement.lineno
    is_name = isinstance(found.statement, ast.Assign) and isinstance(found.statement.targets[0], ast.Name)
    is_saved = is_name and isinstance(found.statement.value, (ast.Attribute, ast.Subscript))
    is_copy = is_name and getattr(found.statement.value, "id", "") in names_bound(*function.body)
    copies = is_saved, not is_copy, not found.edit.is_whole
    return is_loop, is_sign, is_order, change, len(new), *copies, distance, line, sizes[0]


@dataclass(frozen=True)
class Found:
    """An edit of a statement, with the corrected statement."""

    statement: ast.AST
    edit: Edit
    code: ast.AST


class Reruns:
    """Runs both passes with edits of backward, on several draws of the inputs."""

    def __init__(self, scenes):
        self.scenes, self.scene, self.source = scenes, scenes[0], scenes[0].source
        self.holders, self.tree = holders_of(self.source), copy.deepcopy(self.source.tree)
        self.blocks = {}  # {id of a statement: (list that contains its copy in the tree, index)}
        for node, copied in zip(ast.walk(self.source.tree), ast.walk(self.tree), strict=True):
            for field in BLOCKS if isinstance(node, (ast.stmt, ast.mod, ast.excepthandler)) else ():
                for i, statement in enumerate(getattr(node, field, ())):
                    self.blocks[id(statement)] = getattr(copied, field), i
        self.end = time.process_time() + MOST_SECONDS
        self.entries = entries_in(self.source.outer, self.source.inner)
        self.wrong = {t.argument for t in self.finals(self.scene) if t.place in self.scene.wrong}
        self.called = {id(statement): called for called in self.scene.called for statement in called.statements}
        self.within = [statement for called in self.scene.called for statement in called.statements]

    @staticmethod
    def finals(scene):
        return [t for t in scene.targets if t.argument is not None and t.place in scene.truths]

    def find(self):
        """Return the edits of the smallest rank that make all gradients right, in the order of the statements.

        A statement that affects a right gradient too is less likely to be wrong. It is edited last, and only with the
        simplest edits.
        """
        suspects, partial, further = self.suspects
        first, *others = RANKS
        for rank, statements in [
            (first, suspects + self.within),
            (first, partial),
            *((r, suspects + self.within) for r in others),
            (first, further),
        ]:
            tried = itertools.chain.from_iterable(self._edited(statement, rank) for statement in statements)
            found = [one for one in tried if self.makes_all_right(one.statement, one.code)]
            if found:
                return found
        return []

    def _edited(self, statement, rank):
        """Yield the edits of a statement that may make all gradients right, as far as its values tell."""
        called = self.called.get(id(statement))
        required = None if called else self._required(statement)
        is_headed = isinstance(getattr(statement, "targets", [statement])[0], (ast.Tuple, *HEADED))
        if required == [] or (required is None and not called and rank > (1 if is_headed else MOST_UNSOLVED)):
            return
        known, entries = (called.names, called.entries) if called else (self.names, self.entries)
        names = Names(known, names_read(statement), (), is_gradient, entries)
        edits = edits_of(statement, names, rank)
        for edit, code in itertools.takewhile(lambda _: time.process_time() < self.end, edits):
            if not _is_idle(edit, code) and (required is None or _gives(code, required)):
                yield Found(statement, edit, code)

    def home(self, statement):
        """Return the tree of the function with a statement, and its distance from the innermost function called."""
        functions, called = self.scene.called, self.called.get(id(statement))
        return (called.node, functions.index(called)) if called else (self.source.inner, len(functions))

    @functools.cached_property
    def names(self):
        """The values of the names that backward can read, by name. The latest comes first."""
        scene = self.scene
        inputs = {a.name: a.array for a in scene.run.arguments if a.parameter is None}
        held = {name: as_array(held[-1].live) for name, held in scene.names.items()}
        used = {n: self.source.function.__globals__.get(n) for n in names_read(self.source.inner)}
        called = {name: value for name, value in used.items() if inspect.isfunction(value)}
        found = {**called, **inputs, **held, self.source.parameter: scene.run.dy}
        for event in scene.plain.events:
            found.pop(scene.name(event), None)
            found[scene.name(event)] = event.value
        return {name: value for name, value in found.items() if name}

    @functools.cached_property
    def suspects(self):
        """The statements that affect exactly the wrong gradients, only some of them, and others too.

        A statement may write into the wrong array, so that it affects only some of the wrong gradients, or none.
        """
        reached = [(self._reached(statement), statement) for statement in self._statements()]
        found = [s for affected, s in reached if self.wrong in affected]
        written = [s for affected, s in reached if any(part < self.wrong for part in affected)]
        further = [s for affected, s in reached if any(part > self.wrong for part in affected)]
        return found, [s for s in written if s not in found], [s for s in further if s not in found]

    def _statements(self):
        """Yield the statements of backward that the forward pass does not contain, in the order of the source."""
        pending = list(self.source.inner.body)
        while pending:
            statement = pending.pop(0)
            if isinstance(statement, OWN_SCOPE):
                continue
            if not self.scene.is_shared(statement):
                yield statement
            parts = [getattr(statement, field, None) or [] for field in BLOCKS]
            pending[:0] = [inner for part in parts for inner in part]

    def _reached(self, statement):
        """Perturb the values of each name to which a statement assigns. Return the sets of gradients that change."""
        scene, every = self.scene, {t.argument for t in self.finals(self.scene)}
        events = [e for e in scene.plain.events if scene.site(e).statement is statement]
        if not events or not all(is_real_array(e.value) for e in events):
            return [every]
        rng, plain, reached = np.random.default_rng(0), scene.plain.gradients, []
        for site in dict.fromkeys(e.site for e in events):
            own = [e for e in events if e.site == site]
            moved = scene.backward({e.key: e.value + rng.uniform(0.5, 1.0, np.shape(e.value)) for e in own}).gradients
            reached.append({i for i in every if not moved or not np.array_equal(moved[i], plain[i], equal_nan=True)})
        return reached

    @functools.cache  # noqa: B019 (as long as the report)
    def _required(self, statement):
        """Solve for the values of a statement that make all gradients right.

        The gradients are linear in the values of most lines. Returns [(value, values of the names that it reads)] for
        the first and the last iteration, an empty list if no values make all gradients right, or None if the values
        cannot be determined.
        """
        scene = self.scene
        events = [e for e in scene.plain.events if scene.site(e).statement is statement]
        is_plain = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        is_plain |= isinstance(statement, ast.Return) and not isinstance(statement.value, ast.Tuple)
        sizes = [np.size(e.value) if is_real_array(e.value) else np.inf for e in events]
        if not is_plain or not 0 < sum(sizes) <= MOST_UNKNOWNS:
            return None
        base, columns = self._flat(scene.plain.gradients), []
        for event in events:
            for unit in np.eye(np.size(event.value)).reshape(-1, *np.shape(event.value)):
                columns.append(self._shifted({event.key: unit}) - base)
        missing = np.concatenate([np.ravel(scene.truths[t.place]) for t in self.finals(scene)]) - base
        if any(column.shape != base.shape for column in columns) or not np.isfinite(columns).all():
            return None
        matrix = np.array(columns).T
        halves = self._shifted(dict.fromkeys([e.key for e in events], 0.5))
        if not close(halves - base, matrix @ np.full(matrix.shape[1], 0.5), SOLVED):
            return None
        change, _, rank, _ = np.linalg.lstsq(matrix, missing)
        if not close(matrix @ change, missing, SOLVED):
            return []
        if rank < len(change):
            return None
        parts = np.split(change, np.cumsum(sizes)[:-1])
        shifts = {e.key: part.reshape(np.shape(e.value)) for e, part in zip(events, parts, strict=True)}
        found, names = {}, dict(self.names)
        for event in scene.backward({key: partial(np.add, shift) for key, shift in shifts.items()}).events:
            value = event.value
            if event.key in shifts:
                value = value + shifts[event.key]
                found[event.key] = value, {**self.source.function.__globals__, **names}
            names[scene.name(event)] = value
        return [found[key] for key in dict.fromkeys([events[0].key, events[-1].key]) if key in found]

    def _shifted(self, shifts):
        changes = {key: partial(np.add, shift) for key, shift in shifts.items()}
        return self._flat(self.scene.backward(changes).gradients)

    def _flat(self, gradients):
        finals = self.finals(self.scene)
        return np.concatenate([np.ravel(gradients[t.argument]) for t in finals]) if gradients else np.array([np.nan])

    def makes_all_right(self, statement, code):
        self.scene.run.call.keep_to_time()
        try:
            changes = self._changes(statement, code)
        except (SyntaxError, ValueError):
            return False
        with planted(changes):
            return all(map(self._is_right, self.scenes))

    def _changes(self, statement, code):
        """Return [(function in memory, its code with a corrected statement)]."""
        if called := self.called.get(id(statement)):
            return [(called.function, called.edited(statement, code))]
        block, at = self.blocks[id(statement)]
        try:
            block[at], before = ast.fix_missing_locations(code), block[at]
            codes = codes_of(self.tree, self.source.file)
        finally:
            block[at] = before
        return [(function, codes[key_of(function.__code__)]) for function in self.holders]

    def _is_right(self, scene):
        return self._has_right_gradients(scene, scene.backward({}, on_copies=True).gradients)

    def _has_right_gradients(self, scene, gradients):
        pairs = [(gradients[t.argument], t) for t in self.finals(scene)] if gradients else []
        return bool(pairs) and all(
            is_real_array(value) and scene.truth.same(value, scene.truths[t.place], t.array) for value, t in pairs
        )

    @property
    def negated(self):
        """The names of values of forward that may have the wrong sign.

        If such a value is negated, the output remains the same, and all gradients are right. An example is a difference
        that forward squares.
        """
        read, found = names_read(self.source.inner), []
        for event in self.scene.forward:
            name = self.scene.name(event)
            if name not in read or len(self.scene.names[name]) > 1 or not is_real_array(event.value):
                continue
            passes = [(scene, scene.backward({event.key: np.negative})) for scene in self.scenes]
            if all(
                np.array_equal(one.output, scene.output) and self._has_right_gradients(scene, one.gradients)
                for scene, one in passes
            ):
                found.append(self.source.shown(name))
        return found

    def score(self, values):
        """Return how many of the gradients whose true value is known are right in the edited run."""
        known = [t for t in self.scene.targets if t.key is not None and t.place in self.scene.truths]
        same = self.scene.truth.same
        return sum(t.key in values and same(values[t.key], self.scene.truths[t.place], t.array) for t in known)

    def blame(self, ties):
        (found, values), *others = ties
        sentence, also = self._sentence(found), ""
        for other, _ in others[: MOST_NAMED - 1]:
            label = self._label(other.statement)
            is_called = id(other.statement) in self.called
            where = f"in line {other.statement.lineno} of {label}" if is_called else f"where {label} is computed"
            also += f"; or {where}, {self._sentence(other)}"
        for name in self.negated:
            also += f"; or {name} has the wrong sign, which does not affect the value"
        for scene, true in zip(self.scenes, values, strict=True):
            self._store(scene, found.statement, true)
        own = [t for t in self.scene.targets if t.key in self.scene.mistakes]
        if not own:
            own = self._at_return(found.statement) or [self._header(found.statement)]
        kind, event = found.edit.row.kind, own[0].event
        called = self.called.get(id(found.statement))
        mistake = Mistake(event, sentence + also, kind, found.code, found.edit, also, is_proved=True, called=called)
        wrong = [t for t in self.scene.targets if t.place in self.scene.wrong and t not in own]
        return {t: replace(mistake, event=t.event) for t in own} | dict.fromkeys(wrong, mistake)

    def _sentence(self, found):
        return found.edit.sentence(Author(getattr(self.called.get(id(found.statement)), "source", self.source)))

    def _label(self, statement):
        if called := self.called.get(id(statement)):
            return called.function.__qualname__
        names = [self.scene.name(e) for e in self.scene.plain.events if self.scene.site(e).statement is statement]
        return self.source.shown(names[0]) if any(names) else "the returned value" if names else _first_line(statement)

    def _at_return(self, statement):
        """Move a wrong gradient to `statement`, which returns it, and return it in a list, or an empty list."""
        scene = self.scene
        events = [e for e in scene.plain.events if scene.site(e).statement is statement]
        finals = [t for t in self.finals(scene) if t.argument in self.wrong]
        if not isinstance(statement, ast.Return) or not len(events) == len(finals) == 1:
            return []
        target, truth = finals[0], scene.truths[finals[0].place]
        target.name, target.event = f"d{scene.run.arguments[target.argument].name}", events[0]
        target.key = target.event.key
        scene.truths[target.key] = truth
        scene.wrong.add(target.key)
        return [target]

    def _header(self, statement):
        """Add an Event for a statement to the first Scene, such as the first line of a loop, and return its Target."""
        scene = self.scene
        name = _first_line(statement) if isinstance(statement, HEADED) else self._label(statement)
        scene.sites.append(Site("backward", name, statement.lineno, statement))
        event = Event(len(scene.sites) - 1, 0, None, None)
        inside = {id(node) for node in ast.walk(statement)}
        events = scene.plain.events
        at = next((i for i, e in enumerate(events) if id(scene.site(e).statement) in inside), 0)
        events.insert(at, event)
        scene.before[event.key] = []
        target = Target(scene.name(event), event, key=event.key)
        scene.targets.append(target)
        return target

    @staticmethod
    def _store(scene, statement, true):
        """Store the values of the edited run in a Scene as the true ones. Those of the statement are the mistakes."""
        plain = scene.plain.values
        changed = {key for key in plain.keys() & true.keys() if _differ(scene, plain[key], true[key])}
        lines = {e.key for e in scene.plain.events if scene.site(e).statement is statement}
        scene.mistakes = {key: true[key] for key in changed & lines}
        scene.vouched = plain.keys() - scene.mistakes.keys()
        last = {key[0]: key for key in scene.mistakes}
        targets = []
        for target in scene.targets:
            if target.key in true and target.key[0] in last and target.key != last[target.key[0]]:
                continue
            if target.argument is None and target.key in plain.keys() & true.keys() and is_real_array(true[target.key]):
                scene.truths[target.key] = true[target.key]
                target.at, target.array, target.reason = None, np.asarray(target.event.value), ""
                (scene.wrong.add if target.key in changed else scene.wrong.discard)(target.key)
            targets.append(target)
        scene.targets = targets

    def values(self, found):
        """Return, for each draw, {key of an Event of the plain run: value in the edited run}."""
        source = self.source
        if id(found.statement) in self.called:
            with planted(self._changes(found.statement, found.code)):
                return [scene.backward({}, on_copies=True).values for scene in self.scenes]
        inner = with_node(source.inner, found.statement, _probed(found))
        outer = with_node(source.outer, source.inner, inner)
        tree = with_node(with_node(source.tree, source.outer, outer), source.inner, inner)
        tree, sites = instrumented(replace(source, tree=tree, outer=outer, inner=inner))
        places = {_place(site): i for i, site in enumerate(self.scene.sites) if site.kind != "part"}
        own = {i: places.get(_place(site)) for i, site in enumerate(sites) if site.kind != "part"}
        codes = codes_of(tree, source.file)
        with planted([(function, codes[key_of(function.__code__)]) for function in self.holders]):
            passes = [scene.backward({}, on_copies=True) for scene in self.scenes]
        return [{(own[site], nth): value for (site, nth), value in one.values.items()} for one in passes]


def _place(site):
    return site.kind, site.name, site.statement.lineno, site.statement.col_offset, site.position


def _probed(found):
    """Return the corrected statement, in a form that assigns to the same names."""
    target = getattr(found.statement, "target", None)
    if isinstance(found.code, ast.Pass) and isinstance(found.statement, ast.AugAssign):
        zero = ast.AugAssign(target, ast.Add(), ast.Constant(0))
        return ast.fix_missing_locations(ast.copy_location(zero, found.statement))
    return found.code


def _differ(scene, a, b):
    if is_real_array(a) and is_real_array(b):
        return np.shape(a) != np.shape(b) or not scene.truth.same(a, b, np.asarray(a))
    return is_real_array(a) or is_real_array(b)


def _is_idle(edit, code):
    """Return True for an assignment such as `u = u`, and for zeros that need not be zeros."""
    is_start = getattr(getattr(edit.old, "func", None), "attr", "").startswith(("zeros", "empty"))
    return is_start or (isinstance(code, ast.Assign) and ast.unparse(code.targets[0]) == ast.unparse(code.value))


def _gives(code, required):
    """Return True if a corrected assignment computes the required values."""
    if not isinstance(code, (ast.Assign, ast.Return)):
        return False
    try:
        compiled = compile(ast.fix_missing_locations(ast.Expression(code.value)), "<edit>", "eval")
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = [eval(compiled, dict(names)) for _, names in required]
    except NameError:  # the code uses an object, such as self, that only the running code has
        return True
    except Exception:  # an edit of the user's line may raise anything
        return False
    return all(is_real_array(v) and close(v, true, SOLVED) for v, (true, _) in zip(values, required, strict=True))


def _first_line(statement):
    """Return the first line of a loop or condition as code."""
    return ast.unparse(statement).partition("\n")[0].rstrip(":")
