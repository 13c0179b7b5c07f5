"""Find the edit of a line that makes a gradient right, and confirm it on other numbers.

The search covers the line of the wrong gradient, and the lines of the other names that it reads: helpers such as
`scale = (dx_hat * x_hat).mean(...)`, in backward, or in forward if only backward uses them.
"""

import ast
import itertools
import time
import warnings
from dataclasses import dataclass

import numpy as np

from gradcheck.lines.blame import is_true
from gradcheck.lines.probe import Event, is_real_array
from gradcheck.lines.source import closures, contents, is_gradient, names_read
from gradcheck.mistakes.repairing import Names, exchanged, repairs
from gradcheck.mistakes.row import Edit, Reader

MOST_FITTING = 8  # edits that fit the first draw, of which one has to fit the second too
MOST_HELPERS = 6
MOST_RUNS = 2000  # runs of backward for all edits of helpers
MORE_RUNS = 200  # of these, to find other lines that may hold the mistake
MOST_TRIED, LEAST_TRIED = 2000, 150  # edits of the target's line, or of all helpers; at least for each of these
MOST_SECONDS = 5.0  # of processor time, for all edits of one target of one rank
SCALED = 1e-6  # a factor nearer to 1 is ignored
REPLACED = "name replaced"
SCATTER = "__gradcheck_scatter__"


@dataclass(frozen=True)
class Repair:
    """An edit that fits: with `expression` at the line of `event`, the gradient is right.

    `phrase` names the mistake. `edit` is the Edit of the table from which the repair comes, or None, and `is_whole` is
    True if it replaces the whole line. `is_of_helper` is True if it replaces a helper, which may itself be wrong.
    """

    event: Event
    phrase: str
    expression: ast.expr | None = None
    edit: Edit | None = None
    is_whole: bool = False
    is_of_helper: bool = False


class Workbench:
    """One wrong Target of a Look, and the data needed to try edits.

    Edits are tried at the line of the Target and at the lines of its helpers.
    """

    def __init__(self, look, target):
        self.look, self.target = look, target
        self.scene, self.found = look.scene, look.found
        doubtful = {t.key for t in self.found.unknown if t is not target}
        self.held = {key: value for key, value in self.found.held.items() if key not in doubtful and key != target.key}
        self.base = self.scene.backward(self.held)
        self.closure = self._closure()
        self.with_truth = {} if target.key is None else {target.key: self.found.truths[target]}
        mended = self.scene.backward({**self.held, **self.with_truth})
        self.right = [t for t in self.found.truths if t is not target and is_true(self.scene, self.found, t, mended)]

    def lines(self):
        """Return the Events of the lines that may be wrong, the Target's first."""
        return [event for event in [self.target.event, *self.helpers()] if self.runs_once(event)]

    def helpers(self):
        """Return the Events of operands that are not held at their true values.

        Operands computed in forward are included.
        """
        own = self.target.event
        known = self.held.keys() | self.look.settled
        read = [e for e in self.look.reads.through(own, self.held) if e.key not in known and self.runs_once(e)]
        return [*read[:MOST_HELPERS], *self._helpers_in_forward([own, *read])]

    def runs_once(self, event):
        """Return True if the line of an Event was executed once."""
        events = self.scene.forward if self.scene.sites[event.site].kind == "forward" else self.scene.plain.events
        return [e.site for e in events].count(event.site) == 1

    def expression(self, event):
        """Return the expression whose value a line binds, or None if it is unknown."""
        site = self.scene.sites[event.site]
        statement = site.statement
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            return ast.BinOp(ast.Name(statement.target.id, ast.Load()), statement.op, statement.value)
        return None if site.is_written and not site.is_overwritten else site.value

    def names(self, event, held=None):
        """Return {name: value} of the names that a line could read.

        These are the names bound before it, and those that backward has captured. `held` are the values of held
        names; None stands for those of this bench.
        """
        held, events = (self.held, self.base.events) if held is None else (held, self.scene.plain.events)
        bound = {}
        if self.scene.sites[event.site].kind != "forward":
            forward = {name: held[-1].live for name, held in self.scene.names.items()}
            bound = {**forward, **self.closure}
            if self.look.source.parameter:
                bound[self.look.source.parameter] = self.scene.run.dy
        for other in self.scene.forward if not bound else events:
            if other.key == event.key:
                break
            if self.scene.sites[other.site].kind in ("forward", "backward"):
                bound[self.scene.sites[other.site].name] = held.get(other.key, other.value)
        return bound

    def fits(self, repair_event, expression, names):
        """Return True if another expression at a line makes the Target right.

        No other right gradient may become wrong.
        """
        self.scene.run.call.keep_to_time()
        value = self._value(repair_event, expression, names)
        if value is None:
            return False
        if repair_event.key == self.target.event.key and self.target.key is not None:
            return self._is_true(value)
        self.look.runs += 1
        passed = self.scene.backward({**self.held, repair_event.key: value})
        if not self._is_true(passed.value(self.target)):
            return False
        mended = self.scene.backward({**self.held, repair_event.key: value, **self.with_truth})
        return all(is_true(self.scene, self.found, other, mended) for other in self.right)

    def solves(self, repair):
        """Return True if the gradient of every input is right with a Repair alone, and nothing held at the truth.

        Those of parameters are left out, because the line's first value leaves its own there too.
        """
        value = self._value(repair.event, repair.expression, self.names(repair.event, held={}))
        if value is None:
            return False
        passed = self.scene.backward({repair.event.key: value})
        inputs = [t for t in self.found.truths if t.is_final and not self.look.is_parameter(t)]
        return all(is_true(self.scene, self.found, t, passed) for t in inputs)

    def _value(self, event, expression, names):
        site = self.scene.sites[event.site]
        code = compile(ast.fix_missing_locations(ast.Expression(expression)), "<edit>", "eval")
        scope = {**self.look.source.function.__globals__, "np": np, SCATTER: _scattered, **names}
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value = eval(code, scope)
                return value[site.position] if site.count > 1 and site.kind != "return" else value
            except Exception:  # an edit of the user's line may raise anything
                return None

    def _is_true(self, value):
        if not isinstance(value, (np.ndarray, np.floating, float)) or np.shape(value) != np.shape(self.target.array):
            return False
        return self.scene.truth.same(value, self.found.truths[self.target], self.target.array)

    def _closure(self):
        code = self.look.source.function.__code__
        for function in closures(self.base.function):
            if (function.__code__.co_firstlineno, function.__code__.co_name) == (code.co_firstlineno, code.co_name):
                return contents(function)
        return {}

    def _helpers_in_forward(self, events):
        """Return the Events of forward whose values only backward reads.

        The output y does not change with them.
        """
        names = {name for event in events for name in self.look.reads.names(event)}
        helpers, pending = {}, [name for name in self.scene.names if name in names]
        while pending:
            held = self.scene.names[pending.pop()]
            event = held[0]
            site = self.scene.sites[event.site]
            if len(held) > 1 or event.key in helpers or site.value is None or not self._is_unused(event):
                continue
            helpers[event.key] = event
            pending.extend(name for name in names_read(site.value) if name in self.scene.names)
        return list(helpers.values())[:MOST_HELPERS]

    def _is_unused(self, event):
        if not isinstance(event.value, np.ndarray) or event.value.dtype.kind != "f":
            return False
        v = self.scene.truth.rng.standard_normal(event.value.shape)
        return abs(self.scene.truth.along(event.key, v)[0]) <= self.scene.run.rounding


def fitting(bench, rank, most_runs=MOST_RUNS, is_one_enough=False):
    """Return the Repairs of a rank that make the Target right on these numbers.

    Those at its line come first, then those at its helpers. For each line the simplest come first, up to a maximum. If
    `is_one_enough`, the search ends after the first line with a Repair.
    """
    found, end = [], time.process_time() + MOST_SECONDS
    lines = bench.lines()
    helpers = {bench.scene.sites[e.site].name for e in bench.helpers()}
    for event in lines:
        expression, here = bench.expression(event), 0
        if expression is None:
            continue
        values = bench.names(event)
        names = Names(values, names_read(expression), helpers, is_gradient)
        most = MOST_TRIED if event is bench.target.event else max(MOST_TRIED // len(lines), LEAST_TRIED)
        for edit, repaired, is_whole in itertools.islice(repairs(expression, names, rank), most):
            is_over = bench.look.runs >= min(most_runs, MOST_RUNS) and event is not bench.target.event
            if is_over or time.process_time() > end:
                break
            if bench.fits(event, repaired, values):
                of_helper = edit.row.kind == REPLACED and getattr(edit.old, "id", "") in helpers
                phrase = edit.sentence(Reader(), is_whole)
                found.append(Repair(event, phrase, repaired, edit, is_whole, of_helper))
                here += 1
                if here == MOST_FITTING:
                    break
        if here and is_one_enough:
            break
    return found


def multiple(bench):
    """Return (Event, factor) for each line that is wrong by a constant factor.

    Without the factor, the Target would be right.
    """
    truth, found = bench.found.truths[bench.target], []
    for event in bench.lines():
        expression = bench.expression(event)
        if expression is None or not is_real_array(event.value):
            continue
        value, rest = bench.base.value(bench.target), 0.0
        if event.key != bench.target.event.key:
            passed = bench.scene.backward({**bench.held, event.key: np.zeros_like(event.value)})
            rest = passed.value(bench.target)
        if rest is None or np.shape(rest) not in ((), np.shape(value)):
            continue
        change, wanted = value - rest, truth - rest
        if not np.all(np.isfinite(change)):
            continue
        factor = float(np.sum(change * wanted) / np.sum(change * change)) if np.any(change) else 0.0
        if factor and abs(factor - 1) > SCALED:
            edited = ast.BinOp(expression, ast.Mult(), ast.Constant(factor))
            if bench.fits(event, edited, bench.names(event)):
                found.append((event, 1 / factor))
    return found


def of_another(bench):
    """Return a list with a Repair if the value is that of another gradient."""
    target = bench.target
    value = bench.base.value(target)
    mine = bench.found.truths[target]
    others = [(t, truth) for t, truth in bench.found.truths.items() if np.shape(truth) == np.shape(value)]
    for other, truth in others:
        is_another = np.any(truth) and not bench.scene.truth.same(truth, mine, target.array)
        if is_another and bench.scene.truth.same(value, truth, other.array):
            return [Repair(target.event, f"it is what {other.name} should be")]
    return []


def left_out(bench):
    """Return a list with a Repair if the gradient lacks a computed value.

    Backward computes that value, but does not read it.
    """
    value, truth = bench.base.value(bench.target), bench.found.truths[bench.target]
    read = {e.key for before in bench.look.reads.before.values() for e in before}
    readers = [key for key, before in bench.look.reads.before.items() if bench.target.event in before]
    for event in bench.base.events:
        site = bench.scene.sites[event.site]
        is_unread = site.kind == "backward" and event.key not in read and event.key != bench.target.event.key
        if not is_unread or not is_gradient(site.name) or np.shape(event.value) != np.shape(value):
            continue
        if bench.scene.truth.same(value + event.value, truth, bench.target.array):
            where = bench.target.event
            if _place(bench, event) > _place(bench, where):
                where = next((e for e in bench.scene.plain.events if e.key in readers), where)
            own = bench.scene.sites[bench.target.event.site].name == site.name
            phrase = f"what {site.name} held before is left out" if own else f"{site.name} is computed and left out"
            return [Repair(where, phrase)]
    return []


def _place(bench, event):
    return next(i for i, other in enumerate(bench.scene.plain.events) if other.key == event.key)


def scattered(bench):
    """Return a list with a Repair for a write to repeated indices.

    Examples are `a[ids] = b` and `a[ids] += b`.
    """
    event = bench.target.event
    statement = bench.scene.sites[event.site].statement
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    if not isinstance(targets[0], ast.Subscript) or not isinstance(targets[0].value, ast.Name):
        return []
    name = ast.unparse(targets[0].value)
    call = ast.Call(ast.Name(SCATTER, ast.Load()), [targets[0].value, targets[0].slice, statement.value], [])
    if any(isinstance(n, ast.Slice) for n in ast.walk(targets[0].slice)):
        return []
    repair = Repair(event, f"places of {name} that come twice get one of their gradients, not the sum", call)
    return [repair] if bench.fits(event, call, bench.names(event)) else []


def _scattered(array, index, values):
    """Return zeros like an array, with values added at an index that may repeat."""
    result = np.zeros_like(array)
    np.add.at(result, index, values)
    return result


def still_fits(bench, repair):
    """Return True if a Repair also makes the Target of another bench right."""
    events = [event for event in bench.lines() if event.key == repair.event.key]
    return bool(events) and bench.fits(events[0], repair.expression, bench.names(events[0]))


def repaired_statement(site, expression):
    """Return the text of a Site's statement with another expression, or ""."""
    statement = site.statement
    if expression is None or site.value is None:
        return ""
    if isinstance(expression, ast.Call) and getattr(expression.func, "id", "") == SCATTER:
        return f"np.add.at({', '.join(map(ast.unparse, expression.args))})"
    if isinstance(statement, ast.AugAssign):
        return f"{ast.unparse(statement.target)} = {ast.unparse(expression)}"
    return ast.unparse(exchanged(statement, site.value, expression))
