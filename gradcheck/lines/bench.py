"""Run backward with other values, or other code, at one line, to explain one wrong gradient."""

import ast
import warnings

import numpy as np

from gradcheck.complex_step import NotComplexSafe
from gradcheck.lines.probe import close, is_real_array
from gradcheck.lines.source import closures, contents, names_read
from gradcheck.lines.targets import is_array

MOST_HELPERS = 6
MOST_ENTRIES = 200  # of a local whose true value is searched for
STEPS = 4  # of the Gauss–Newton method
NUDGE = 1e-6  # relative, of central differences
SOLVED = 1e-7  # relative
SCATTER = "__gradcheck_scatter__"


class Workbench:
    """One wrong Target of a Scene. Values and edits are tried at its line and at the lines of its helpers.

    A helper is another name that the line reads, such as `scale` after `scale = (dx_hat * x_hat).mean(...)`. It is
    assigned in backward. A name that is assigned in forward also counts, if forward itself does not use it. In every
    run, all known gradients are replaced with their true values.
    """

    def __init__(self, scene, target):
        self.scene, self.target, self.found = scene, target, scene.found
        self.truth = self.found.truths[target]
        doubtful = {t.key for t in self.found.unknown if t is not target}
        self.held = {key: value for key, value in self.found.held.items() if key not in doubtful and key != target.key}
        self.base = scene.backward(self.held)
        self.value = self.base.value(target)
        self.closure = self._closure()
        self.with_truth = {} if target.key is None else {target.key: self.truth}
        mended = scene.backward({**self.held, **self.with_truth})
        self.right = [t for t in self.found.truths if t is not target and self.found.is_true(t, mended)]
        self.known_names = {}

    def lines(self):
        """Return the Events of the lines that may be wrong, the Target's first."""
        return [event for event in [self.target.event, *self.helpers()] if self.runs_once(event)]

    def helpers(self):
        """Return the Events of operands that are not held at their true values."""
        own, known = self.target.event, self.held.keys() | self.scene.settled
        read = [e for e in self.scene.reads.through(own, self.held) if e.key not in known and self.runs_once(e)]
        return [*read[:MOST_HELPERS], *self._helpers_in_forward([own, *read])]

    def runs_once(self, event):
        events = self.scene.forward if self.scene.site(event).kind == "forward" else self.scene.plain.events
        return [e.site for e in events].count(event.site) == 1

    def expression(self, event):
        """Return the expression whose value a line binds, or None if it is unknown."""
        site = self.scene.site(event)
        statement = site.statement
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            return ast.BinOp(ast.Name(statement.target.id, ast.Load()), statement.op, statement.value)
        return None if site.is_written and not site.is_overwritten else site.value

    def names(self, event):
        """Return {name: value} for the names visible at a line: those bound before it or captured by backward."""
        if event.key not in self.known_names:
            self.known_names[event.key] = self._names(event, self.base, self.held)
        return self.known_names[event.key]

    def fits(self, event, expression):
        """Return True if another expression at a line makes the Target right, and no other right gradient wrong."""
        self.scene.run.call.keep_to_time()
        value = self._evaluated(event, expression, self.names(event))
        if value is None:
            return False
        if event.key == self.target.event.key and self.target.key is not None:
            return self._is_true(value)
        self.scene.runs += 1
        if not self._is_true(self.scene.backward({**self.held, event.key: value}).value(self.target)):
            return False
        mended = self.scene.backward({**self.held, event.key: value, **self.with_truth})
        return all(self.found.is_true(other, mended) for other in self.right)

    def solves(self, event, expression):
        """Return True if an edit alone, without true values at other lines, makes the gradient of every input right.

        The gradients of parameters are left out, because the original line may already have written into them.
        """
        value = self._evaluated(event, expression, self._names(event, self.scene.plain, {}))
        if value is None:
            return False
        passed = self.scene.backward({event.key: value})
        inputs = [t for t in self.found.truths if t.is_final and not self.scene.is_parameter(t)]
        return all(self.found.is_true(t, passed) for t in inputs)

    def wrong_within(self, node):
        """Return the names of the backward passes called in a line that are wrong.

        For example, forward contains `n, norm_backward = self.norm(x)`, and the line calls `norm_backward(dn)`. The
        arguments of the call in forward are perturbed, and the changes of its outputs are compared with the gradients
        that norm_backward returns.
        """
        called = [n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        return [name for name in dict.fromkeys(called) if name in self.closure and self._is_wrong_within(name)]

    def may_be_wrong(self, event):
        """Return True if some value of a local makes the Target right, or if this is unknown.

        The value is searched for with a few Gauss–Newton steps. If the local is bound in a loop, its values in all
        iterations are solved for together. A value with the shape of the gradient is tried too.
        """
        events = [e for e in self.base.events if e.site == event.site]
        is_one_array = all(is_real_array(e.value) for e in events) and len({np.shape(e.value) for e in events}) == 1
        values = np.stack([np.asarray(e.value, np.float64) for e in events]) if is_one_array else None
        if values is None or values.size > MOST_ENTRIES:
            return True
        tried, shape = [np.where(np.isfinite(values), values, 1.0)], np.shape(self.truth)
        if values.shape[1:] != shape and np.size(self.truth) * len(events) <= MOST_ENTRIES:
            tried.append(np.ones((len(events), *shape)))
        return any(self._is_solved([e.key for e in events], start) for start in tried)

    def _is_solved(self, keys, values):
        """Return True if Gauss–Newton steps from some values of a local make the Target right."""

        def off(values):
            given = self.scene.backward({**self.held, **dict(zip(keys, values, strict=True))}).value(self.target)
            is_comparable = is_real_array(given) and np.shape(given) == np.shape(self.truth)
            return given - self.truth if is_comparable else np.full(np.shape(self.truth), np.nan)

        for step in range(STEPS + 1):
            error = off(values)
            if not np.isfinite(error).all() or close(error + self.truth, self.truth, SOLVED) or step == STEPS:
                break
            nudges = np.eye(values.size).reshape(-1, *values.shape) * NUDGE * max(np.max(np.abs(values)), 1e-3)
            columns = [np.ravel(off(values + nudge) - off(values - nudge)) / (2 * np.max(nudge)) for nudge in nudges]
            jacobian = np.stack(columns, axis=1)
            if not np.isfinite(jacobian).all() or not jacobian.any():
                return False
            change, *_ = np.linalg.lstsq(jacobian, np.ravel(-error), rcond=1e-8)
            values = values + change.reshape(values.shape)
        return close(error + self.truth, self.truth, SOLVED)

    def _names(self, event, passed, held):
        bound, events = {}, self.scene.forward
        if self.scene.site(event).kind != "forward":
            bound = {**{name: held[-1].live for name, held in self.scene.names.items()}, **self.closure}
            bound[self.scene.source.parameter] = self.scene.run.dy
            events = passed.events
        for other in events:
            if other.key == event.key:
                break
            if self.scene.name(other):
                bound[self.scene.name(other)] = held.get(other.key, other.value)
        return {name: value for name, value in bound.items() if name}

    def _evaluated(self, event, expression, names):
        """Return the value of an expression at a line, or None if it raises."""
        site = self.scene.site(event)
        code = compile(ast.fix_missing_locations(ast.Expression(expression)), "<edit>", "eval")
        scope = {**self.scene.source.function.__globals__, "np": np, SCATTER: _scattered, **names}
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
        return self.scene.truth.same(value, self.truth, self.target.array)

    def _closure(self):
        code = self.scene.source.function.__code__
        for function in closures(self.base.function):
            if (function.__code__.co_firstlineno, function.__code__.co_name) == (code.co_firstlineno, code.co_name):
                return contents(function)
        return {}

    def _helpers_in_forward(self, events):
        """Return the Events of forward whose values only backward reads, so that y does not depend on them."""
        names, helpers = {name for event in events for name in self.scene.reads.names(event)}, {}
        pending = [name for name in self.scene.names if name in names]
        while pending:
            event, *others = self.scene.names[pending.pop()]
            value = self.scene.site(event).value
            if others or event.key in helpers or value is None or not self._is_unused(event):
                continue
            helpers[event.key] = event
            pending.extend(name for name in names_read(value) if name in self.scene.names)
        return list(helpers.values())[:MOST_HELPERS]

    def _is_unused(self, event):
        if not is_array(event.value):
            return False
        truth = self.scene.truth
        slope, _ = truth.along(event.key, event.value, truth.rng.standard_normal(event.value.shape))
        return abs(slope) <= self.scene.run.rounding

    def _is_wrong_within(self, name):
        """Return True if a backward pass is wrong, False if it is right or unknown."""
        scene = self.scene
        made = [e for e in scene.names.get(name, ()) if e.live is not None]
        statement = scene.site(made[0]).statement if len(made) == 1 else None
        if not isinstance(getattr(statement, "value", None), ast.Call):
            return False
        with scene.probe.running({}, with_parts=True) as events:
            scene.run.call.evaluate()
        there = [e for e in events if scene.site(e).statement is statement and is_array(e.value)]
        given = [e for e in there if any(scene.site(e).value is a for a in statement.value.args)]
        outputs = [e for e in there if scene.site(e).kind == "forward"]
        if not given or not outputs or any(e.nth for e in there):
            return False
        rng = np.random.default_rng(len(there))
        dy = [rng.standard_normal(e.value.shape) for e in outputs]
        try:
            with np.errstate(all="ignore"):
                returned = self.closure[name](*[d.copy() for d in dy])
        except Exception:  # it does not take one gradient for each output
            return False
        returned = returned if isinstance(returned, tuple) else (returned,)
        if len(returned) != len(given) or not all(is_array(r) for r in returned):
            return False
        for event, gradient in zip(given, returned, strict=True):
            if gradient.shape != event.value.shape:
                return True
            v = rng.standard_normal(gradient.shape)
            try:
                _, _, slopes = scene.truth.slopes(event.key, event.value, v)
            except NotComplexSafe:
                continue
            products = [d * slopes[e.key] for e, d in zip(outputs, dy, strict=True)]
            size = sum(float(np.sum(np.abs(p))) for p in (*products, gradient * v))
            if abs(sum(map(np.sum, products)) - np.sum(gradient * v)) > 10 * scene.truth.resolution * size:
                return True
        return False


def _scattered(array, index, values):
    """Return zeros like an array, with values added at an index that may repeat."""
    result = np.zeros_like(array)
    np.add.at(result, index, values)
    return result
