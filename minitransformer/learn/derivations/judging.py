"""Judge each line of a derivation: it holds, defines a name, fails, or is undecided.

A line holds if both sides agree to 40 digits on two draws of random numbers that differ in the lengths of axes. If a
derivative or a length has several readings, those in which the line does not hold are excluded in later lines.
"""

import decimal
import itertools
import re
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.arrays import Array, Axis, NoValue, Unequal, copies_numbered
from minitransformer.learn.derivations.translation import equations, normal, readings
from minitransformer.learn.derivations.world import DIGITS, DOT, PARTIAL, TOTAL, World, scope_of

HOLDS, DEFINES, FALSE, UNDECIDED = "holds", "defines", "does not hold", "cannot tell"
EQUAL = decimal.Decimal("1e-40")
DRAWS = ((0, (3, 4, 2, 5)), (1, (4, 2, 5, 3)))  # (seed, lengths of the axes)
EXAMPLES = ((1, (1,)), (1, (1, 2)), (1, (-1, 1)), (2, (1, 2)), (2, (2, -1, 1)), (3, (1, 2, 3)))  # (length, entries)
ON_RANDOM_NUMBERS = "the sides differ for random numbers, but for none of the small ones that were tried"
IDENTITY, ONES, MATRIX = "I", "1", "matrix"  # keys of choices: of which size I and the column 1 are, and whether
# ∂y/∂x of an elementwise function is a matrix; these choices do not bind later lines
LENGTHS = "ABCDEFGHKMNPQRTVmn"
MOST = 6  # largest number of derivatives and lengths in a line whose readings are tried


@dataclass(frozen=True)
class Judgement:
    line: int
    verdict: str
    remark: str = ""


def judged(derivation) -> tuple[list[Judgement], list[str]]:
    """Judge the lines of a derivation.

    Returns a list of Judgements, and the names of the gradients that still lack a closed form.
    """
    with decimal.localcontext(prec=DIGITS):
        judge, found, before = Judge(derivation), [], ""
        for line, text in derivation.lines:
            found_here = equations(text, judge.worlds[0])
            judge.conditions = [condition for condition in map(judge.condition, found_here) if condition]
            for equation in found_here:
                equation = f"{before} {equation}" if equation.startswith("=") else equation
                before = equation.partition("=")[0].strip()
                if judge.condition(equation):
                    continue
                verdict, remark = judge.verdict(equation)
                if "".join(equation.split()) not in "".join(normal(text).split()):
                    remark = "; ".join(filter(None, [f"read as {equation}", remark]))
                found.append(Judgement(line, verdict, remark))
        closed = judge.closed()
    return found, [f"d{name}" for name in derivation.asked if f"d{name}" not in closed]


class Judge:
    """Judges the lines of a derivation one after another.

    Some notation is ambiguous, such as a derivative, which may be total or partial, and a letter, which may be the
    length of several axes. `alive` maps each ambiguous derivative (a pair of names) or letter to the readings that are
    consistent with the earlier lines.
    """

    def __init__(self, derivation):
        self.forward = forward = derivation.forward
        self.asked = [x for x in forward.inputs if x in derivation.asked]
        self.alive, self.forms, self.own, self.conditions = {}, [], [], []
        self.worlds = [World.drawn(forward, *draw) for draw in DRAWS]
        self.moving = [*forward.inputs]  # the inputs that moved in the last line with ẋ

    def name_of(self, node):
        return scope_of(self.worlds[0]).name_of(node)

    def verdict(self, text):
        try:
            parses = {self.rewritten(parse): remark for parse, remark in readings(text).items()}
            first = next(iter(parses))
            if set(first.relations) != {"="}:
                return UNDECIDED, "only equations are judged"
            new = self.new_name(first.sides[0])
            if new is None or len(first.sides) > 2:
                rest = parses if new is None else {n.Equation(p.sides[1:], p.relations[1:]): parses[p] for p in parses}
                verdict, remark = self.decided(rest)
                if new is None or verdict != HOLDS:
                    return verdict, remark
            self.define(*new, first.sides[1])
            return DEFINES, ""
        except n.NotationError as error:
            return UNDECIDED, f"column {error.column}: {error}"
        except NoValue as reason:
            return UNDECIDED, str(reason)
        except Unequal as reason:
            return FALSE, str(reason)

    def rewritten(self, node):
        """Return an expression with abbreviations replaced by their meaning.

        If the forward pass has a single input x, y′ becomes ∂y/∂x. In `1ᵀ y` and `W 1`, 1 becomes a column of ones.
        """
        one, column = n.Number("1"), n.Symbol(ONES)
        if node == n.Transpose(one):
            return n.Transpose(column)
        if isinstance(node, n.Beside) and one in node.factors:
            at = node.factors.index(one)
            if at > 0 or isinstance(node.factors[1], n.Transpose):
                return self.rewritten(n.Beside((*node.factors[:at], column, *node.factors[at + 1 :])))
        name, _, letters = node.text.partition("_") if isinstance(node, n.Symbol) else ("", "", "")
        if name.endswith("′") and name[:-1] in self.worlds[0] and len(self.forward.inputs) == 1:
            index = f"_{letters}" if letters else ""
            return n.Derivative(n.Symbol(name[:-1] + index), n.Symbol(next(iter(self.forward.inputs)) + index))
        return node if isinstance(node, n.Symbol) else rebuilt(node, self.rewritten)

    def condition(self, text):
        found = re.fullmatch(r"([a-z]) ([=≠]) ([a-z])", text)
        return found.groups() if found and not any(found[at] in self.worlds[0] for at in (1, 3)) else None

    # Definitions

    def new_name(self, side):
        base = side.base if isinstance(side, n.Power) and side.exponent == n.Number("2") else side
        if not isinstance(base, n.Symbol) or self.name_of(side):
            return None
        name, _, letters = base.text.partition("_")
        return (name, letters) if base is side else (f"{name}²", "")

    def define(self, name, letters, expression):
        """Define `name` as an expression, with the indices `letters`.

        If the forward pass contains the expression, the pass is rewritten to compute and use the name.
        """
        plain = self.without_indices(expression)

        def routed(node):
            """Replace the expression with the name. If the expression is 1/X, a/X also becomes a · name."""
            if not is_dataclass(node):
                return node
            if self.without_indices(node) == plain:
                return n.Symbol(name)
            if isinstance(node, n.Fraction) and self.without_indices(n.Fraction(n.Number("1"), node.below)) == plain:
                return n.Dot(routed(node.above), n.Symbol(name))
            return rebuilt(node, routed)

        definitions = [(known, routed(node)) for known, node in self.forward.definitions]
        changed = [at for at, pair in enumerate(self.forward.definitions) if definitions[at] != pair]
        if changed:
            definitions.insert(changed[0], (name, plain))
            if self.reroute(replace(self.forward, definitions=definitions)):
                return
        for world in self.worlds:
            self.give(world, name, letters, expression)
        self.own.append((name, letters, expression))
        self.forms.append((name, expression))

    def give(self, world, name, letters, expression):
        choices = {key: found for key, found in self.choices(expression).items() if isinstance(key, str)}
        choices |= {key: found[:1] for key, found in choices.items() if key in (DOT, MATRIX)}
        if several := [key for key, found in choices.items() if len(found) > 1 and key not in (IDENTITY, ONES)]:
            raise NoValue(f"{several[0]} may be the length of several axes")
        chosen = (dict(zip(choices, each, strict=True)) for each in itertools.product(*choices.values()))
        scopes = [self.scope(world, readings_of) for readings_of in chosen]
        if len(scopes) > 1:  # I and 1 have the axes of the other terms
            scopes = sorted(scopes, key=lambda scope: rank_of(expression, scope))
        world.define(name, letters, expression, scopes[0])

    def reroute(self, forward):
        """Replace the forward pass with an equivalent one, and return True.

        If the new pass computes other values, nothing is replaced, and the result is False.
        """
        try:
            worlds = [World(forward, w.sizes, w.inputs, lambda shape, w=w: w.dy.values) for w in self.worlds]
        except (NoValue, Unequal):
            return False
        for new, old in zip(worlds, self.worlds, strict=True):
            if not all(close(new.values[name], value) for name, value in old.values.items()):
                return False
            new.locals, new.definitions = old.locals, old.definitions
        self.forward, self.worlds = forward, worlds
        return True

    def without_indices(self, node):
        found = self.name_of(node)
        return n.Symbol(found[0]) if found and found[1] else rebuilt(node, self.without_indices)

    # Equations

    def decided(self, parses):
        """Judge an equation that can be parsed in several ways.

        `parses` maps each parse to a remark on it. The equation holds if it holds in one of the parses.
        """
        failures = []
        for equation, said in parses.items():
            choices = self.choices(equation)
            holding, found = self.holding(equation, choices)
            if holding:
                words = [said] if said else []
                for key, possible in choices.items():
                    if key in (IDENTITY, ONES, MATRIX, DOT):
                        continue
                    self.alive[key] = [each for each in possible if any(chosen[key] == each for chosen in holding)]
                    if len(self.alive[key]) < min(len(possible), 2):
                        what = f"∂{key[0]}/∂{key[1]} is" if isinstance(key, tuple) else f"{key} is the length of"
                        words.append(f"{what} {self.alive[key][0]}")
                self.moving = holding[0].get(DOT, self.moving)
                fixed = [{*self.asked} - {*chosen[DOT]} for chosen in holding if DOT in chosen]
                if fixed and all(fixed):
                    words.append(f"with {', '.join(x for x in self.asked if x in fixed[0])} held fixed")
                self.note(equation)
                return HOLDS, "; ".join(words)
            failures += found
        wrong = next((failure for failure in failures if not isinstance(failure, NoValue)), None)
        if wrong is None:
            raise failures[0]
        return FALSE, str(wrong)

    def choices(self, equation):
        """Return the possible readings of each ambiguous part of an equation, as a dictionary of lists.

        The key of a derivative is a pair of names, and the key of a length is its letter. MATRIX, DOT, IDENTITY and
        ONES are the keys of other ambiguous notation.
        """
        found, known, moving = {}, self.worlds[0], []
        for node in n.every_node(equation):
            if isinstance(node, n.Derivative):
                pair = tuple((self.name_of(part) or ("",))[0] for part in (node.of, node.by))
                if "" not in pair:
                    found[pair] = self.alive.get(pair, [TOTAL, PARTIAL])
                if not (self.name_of(node.by) or ("", ""))[1]:
                    found[MATRIX] = [False, True]
            elif isinstance(node, n.Symbol) and DOT in node.text:
                moving += [x for x in self.forward.inputs if node.text.partition("_")[0] == x + DOT]
                found[DOT] = [[*self.forward.inputs], self.asked, moving or self.moving]
            elif isinstance(node, n.Symbol) and node.text not in known and node.text in {*LENGTHS, IDENTITY, ONES}:
                found[node.text] = self.alive.get(node.text, self.forward.axes)
        return dict(itertools.islice(found.items(), MOST))

    def holding(self, equation, choices):
        """Evaluate an equation with every combination of readings of its ambiguous parts.

        `choices` maps each ambiguous part to its possible readings. Returns a list of the combinations with which the
        equation holds, as dictionaries, and a list of the reasons why it fails with the others.
        """
        holding, failures = [], []
        for chosen in itertools.product(*choices.values()):
            readings_of = dict(zip(choices, chosen, strict=True))
            try:
                found = [self.difference(equation, world, readings_of) for world in self.worlds]
            except (NoValue, Unequal) as failure:
                failures.append(failure)
                continue
            if any(found):
                failures.append(
                    self.example(equation, readings_of) or next(filter(None, found))[2] or ON_RANDOM_NUMBERS
                )
            else:
                holding.append(readings_of)
        return holding, failures

    def scope(self, world, readings_of):
        found = {}
        for key, label in readings_of.items():
            if key in (IDENTITY, ONES):
                values, axes = (np.eye, 2) if key == IDENTITY else (np.ones, 1)
                found[key] = Array(
                    values(world.sizes[label], dtype=object) * decimal.Decimal(1), copies_numbered([Axis(label)] * axes)
                )
            elif isinstance(key, str) and key in LENGTHS:
                found[key] = Array(decimal.Decimal(world.sizes[label]))
        world = world.with_names(found)
        world.moving = readings_of.get(DOT, world.moving)

        def jacobian(of, by):
            whole = world.derivative(of, by, readings_of.get((of, by), TOTAL))
            return replace(whole, labels=copies_numbered(whole.labels)) if readings_of.get(MATRIX) else whole

        return scope_of(world, jacobian=jacobian)

    def difference(self, equation, world, readings_of):
        scope = self.scope(world, readings_of)
        scope.infer(*equation.sides)
        sides = [scope.evaluate(side) for side in equation.sides]
        if any(isinstance(side, tuple) for side in sides):
            raise NoValue("a list of expressions cannot be evaluated in a derivation")
        for left, right in itertools.pairwise(sides):
            left, right, remark = scope.aligned(left, right)
            for i, relation, j in self.conditions:  # the line's conditions, such as "for i ≠ j"
                if {i, j} <= {*left.labels}:
                    kept = scope.evaluate(n.Indicator(n.Condition(n.Symbol(i), relation, n.Symbol(j))))
                    left, right = (scope.combined(np.multiply, side, kept) for side in (left, right))
            if not close(left, right):
                return left, right, remark
        return None

    def example(self, equation, readings_of):
        """Describe the first of EXAMPLES for which an equation is false, or return None.

        `readings_of` maps each ambiguous part of the equation to its reading.
        """
        for length, entries in EXAMPLES:
            cycle = itertools.cycle(map(decimal.Decimal, entries))
            draw = lambda shape, cycle=cycle: np.reshape([next(cycle) for _ in np.ndindex(shape)], shape)  # noqa: E731
            try:
                world = World.on(self.forward, dict.fromkeys(self.forward.axes, length), draw)
                for name, letters, expression in self.own:
                    self.give(world, name, letters, expression)
                found = self.difference(equation, world, readings_of)
            except (NoValue, Unequal):
                continue
            if found:
                given = world.inputs | ({} if self.forward.output == "L" else {f"d{self.forward.output}": world.dy})
                numbers = ", ".join(f"{name} = {shown(value)}" for name, value in given.items())
                left, right, remark = found
                begin = f"{remark}; " if remark else ""
                return f"{begin}{numbers}: the left is {shown(left)}, the right {shown(right)}"
        return None

    def note(self, equation):
        for side, other in itertools.permutations(equation.sides, 2):
            found = self.name_of(side)
            if isinstance(side, n.Derivative) and side.of == n.Symbol("L"):
                found = self.name_of(n.Symbol(f"d{(self.name_of(side.by) or ('?',))[0]}"))
            if found:
                self.forms.append((found[0], other))
            elif isinstance(side, n.Derivative):
                self.forms.append((side, other))

    def closed(self):
        closed, before = {f"d{self.forward.output}"}, None
        while closed != before:
            before = set(closed)
            closed |= {name for name, node in self.forms if self.is_closed(node, closed)}
        return closed

    def is_closed(self, node, closed):
        found = self.name_of(node)
        if found:
            return found[0] in self.worlds[0].values or found[0] in closed
        if isinstance(node, n.Derivative):  # of a number with respect to a number, whose form has been derived
            names = [self.name_of(part) for part in (node.of, node.by)]
            return node in closed and all(name and not self.worlds[0][name[0]].labels for name in names)
        return all(self.is_closed(child, closed) for child in n.children(node))


def rank_of(expression, scope):
    """Return the number of axes of an expression's value, or infinity if the expression cannot be evaluated."""
    try:
        return len(scope.summand(expression, "").labels)
    except (NoValue, Unequal):
        return np.inf


def close(a, b):
    left, right = a.values, b.values
    entries = [*np.ravel(left), *np.ravel(right)]
    if not all(entry.is_finite() for entry in entries):
        raise NoValue("a number is not finite")
    return bool(np.all(abs(left - right) <= EQUAL * max([decimal.Decimal(1), *map(abs, entries)])))


def rebuilt(node, change):
    if isinstance(node, tuple):
        return tuple(rebuilt(part, change) if isinstance(part, tuple) else change(part) for part in node)
    if not is_dataclass(node) or isinstance(node, n.Symbol):
        return node
    parts = {f.name: getattr(node, f.name) for f in fields(node)}
    return type(node)(**{name: change(p) if is_dataclass(p) else rebuilt(p, change) for name, p in parts.items()})


def shown(a):
    def text(entry):
        if isinstance(entry, list):
            return f"({', '.join(map(text, entry))})"
        return format(float(entry) if abs(entry) > EQUAL else 0.0, ".3g").replace("-", "−")

    return text(a.values.tolist())
