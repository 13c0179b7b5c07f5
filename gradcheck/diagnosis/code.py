"""Find code that turns the given gradient into the true one, without the source.

Each repair of the table of mistakes that changes a name, such as `A` → `A * B`, is applied to the given gradient A,
where B is an array of the call. If a repair turns the true gradient into the given one instead, the row for the reverse
change describes the mistake. Expressions contain names of the call, lengths and small numbers, but no fitted numbers.
They must hold on two draws of the inputs.
"""

import ast
import itertools
import re
from fractions import Fraction

import numpy as np

from gradcheck.mistakes import ROWS, Edit, Reader
from gradcheck.mistakes.patterns import text_of
from gradcheck.mistakes.repairing import FORMS, Names, repairs

LARGEST = 4  # bound on the numerator and denominator of a reported fraction
GRADIENT = "gradient_"  # the name of the given gradient in code
RANKS = (1, 2, 3, 4)
OF_A_SIZE = ("np.sqrt({})", "1 / np.sqrt({})", "{} ** 2", "1 / {} ** 2")
OF_A_LENGTH = ("{0} / ({0} - 1)", "({0} - 1) / {0}")  # n − 1 instead of n
OF_A_NUMBER = ("(1 - {})", "1 / (1 - {})")
DERIVATIVES = ("{0}", "{0} * (1 - {0})", "2 * {0}", "0.5 / {0}", *FORMS)
INVERSE = {(ast.dump(row.right), ast.dump(row.wrong)): row for row in ROWS if row.at == "expression"}


class Scope(Names):
    """The arrays and numbers of a call, which may fill the holes of repairs."""

    def __init__(self, evidence):
        call = evidence.run.call
        numbers = [(name, value) for name, value in call.options.items() if isinstance(value, (int, float, np.number))]
        numbers = [(name, float(value)) for name, value in numbers if not isinstance(value, (bool, np.bool_))]
        named = [(evidence.name, evidence.array), *evidence.arrays("fbiu"), ("y", evidence.y), ("dy", evidence.dy)]
        self.spelling, values = {}, {}  # the argument comes first: its lengths have precedence
        for name, value in [*named, *numbers]:
            values.setdefault(variable(name), value)
            self.spelling[variable(name)] = name
        super().__init__(values, (), (), lambda name: name == "dy")
        self.evidence, self.known, self.keep_to_time = evidence, {**values, "np": np}, call.keep_to_time
        axes = [ast.Constant(axis) for axis in (None, *range(evidence.given.ndim))]
        # The hypothesis `factor` tries the numbers.
        self.lists |= {"axes": lambda bound: axes, "factors": self.lists["arrays"]}

    def value(self, code, **others):
        """Evaluate code with further variables, and return the result, or None if it raises an exception."""
        self.keep_to_time()  # large arrays take long
        try:
            expression = ast.parse(code, mode="eval") if isinstance(code, str) else ast.Expression(code)
            with np.errstate(all="ignore"):
                return eval(compile(ast.fix_missing_locations(expression), "<code>", "eval"), self.known | others)
        except Exception:  # the code is a guess and may raise anything
            return None

    def gives(self, code, target, **others):
        value = self.value(code, **others)
        return isinstance(value, np.ndarray) and value.shape == target.shape and self.evidence.same(value, target)

    def spelled(self, text):
        """Replace the variables in a text with the names in the call."""
        return re.sub(r"\w+", lambda found: self.spelling.get(found[0], found[0]), text)


def variable(name):
    return re.sub(r"\W+", "_", name)


def factor(evidence):
    """Detect a gradient that differs from the true one by a constant factor, such as 2, √n, or an option."""
    other, label = evidence.twin, evidence.label
    c, there = (e.ratio(e.given, e.truth) if e else None for e in (evidence, other))
    if c is None or there is None:
        return None
    tolerance = 10 * evidence.resolution

    def is_factor(a, b):
        return abs(c - a) <= tolerance * abs(a) and abs(there - b) <= tolerance * abs(b)

    if is_factor(-1.0, -1.0):
        return f"{label} has its sign flipped"
    if evidence.dy.size == 1 and is_factor(evidence.dy.item(), other.dy.item()):
        return f"{label} is dy times the correct gradient: it is multiplied by dy once too often"
    truth = np.abs(evidence.truth[evidence.known])
    is_constant = abs(c - there) <= tolerance * abs(there) and np.sum(truth > 1e-6 * np.max(truth)) > 1
    fraction = Fraction(c).limit_denominator(LARGEST)
    is_small = abs(fraction.numerator) <= LARGEST and abs(c - fraction) <= tolerance * abs(fraction)
    here, elsewhere = Scope(evidence), Scope(other)
    found = [(str(fraction), [""])] if is_constant and is_small else []
    for candidates in _numbers(here, elsewhere, variable(evidence.name)):
        for form, names in candidates:
            values = [scope.value(form.format(names[0])) for scope in (here, elsewhere)]
            is_possible = None not in values and np.isfinite(values).all() and min(values) > 0 and values[0] != 1
            if is_possible and is_factor(*values):
                found.append((form, [here.spelled(name) for name in names]))
        if found:
            shown = [form.format("n" if len(names) > 1 else names[0]) for form, names in found[:2]]
            several = next((names for _, names in found[:2] if len(names) > 1), [])
            which = f", with n = {' or '.join(several[:3])}" if several else ""
            return f"{label} is {' or '.join(shown)} times the correct gradient{which}"
    return f"{label} is off by a constant factor" if is_constant else None


def _numbers(here, elsewhere, own):
    """Yield groups of candidates for a factor, the simplest first.

    A candidate consists of a template such as `1 / {}` and the expressions that may replace the braces, which all have
    the same value on each draw.
    """
    arrays = [(key, array) for key, array in here.values.items() if isinstance(array, np.ndarray) and key != "dy"]
    numbers = [[key] for key, value in here.values.items() if not isinstance(value, np.ndarray)]
    products = {1: {}, 2: {}}  # for one axis and for several: {(product of the lengths here, elsewhere): names}
    for key, array in sorted(arrays, key=lambda named: named[0] == "y"):
        for axes in _subsets(range(array.ndim)):
            sizes = tuple(int(np.prod(np.take(scope.values[key].shape, axes))) for scope in (here, elsewhere))
            text = " * ".join(f"{key}.shape[{axis}]" for axis in axes)
            names = products[min(len(axes), 2)].setdefault(sizes, [])
            if sizes[0] > 1 and not (names and key == "y"):
                names.append(f"({text})" if len(axes) > 1 else text)
    lengths, several = ([names for names in found.values() if names] for found in products.values())
    conditions = [
        key if array.dtype.kind == "b" else f"({key} >= 0)" for key, array in arrays if array.dtype.kind in "bi"
    ]
    conditions = [condition for condition in conditions if 0 < here.value(f"{condition}.mean()") < 1]
    counts = [[f"{condition}.{count}()"] for condition in conditions for count in ("sum", "mean")]
    quantities = [*lengths, *numbers, *counts, *(names[:1] for names in several)]
    yield itertools.product(("{}", "1 / {}"), quantities)
    yield itertools.product(("{}", "1 / {}"), [[f"(y.size / {own}.size)"]] if own in here.values else [])
    yield [
        *itertools.product(OF_A_SIZE, quantities),
        *itertools.product(OF_A_LENGTH, lengths),
        *itertools.product(OF_A_NUMBER, numbers),
        *((f"{a[0]} / {{}}", b) for a, b in itertools.permutations(lengths, 2)),
    ]


def _subsets(axes):
    return [subset for n in range(1, len(axes) + 1) for subset in itertools.combinations(axes, n)]


def edited(evidence):
    """Detect a mistake that is one edit of the table, such as a missing factor or a missing mean."""
    if evidence.twin is None:
        return None
    here, *_ = scopes = Scope(evidence), Scope(evidence.twin)
    directions = [("given", "truth")] + [("truth", "given")] * (evidence.is_complete and evidence.twin.is_complete)
    for rank in RANKS:
        found = {}
        for edit, code, _ in repairs(ast.Name(GRADIENT, ast.Load()), here, rank):
            inverse = INVERSE.get((ast.dump(edit.row.wrong), ast.dump(edit.row.right)))
            for start, end in directions:
                row = edit.row if start == "given" else inverse
                if row is not None and all(
                    s.gives(code, getattr(s.evidence, end), **{GRADIENT: getattr(s.evidence, start)}) for s in scopes
                ):
                    sentence = Edit(row, edit.old, edit.new, edit.bound).sentence(Reader())
                    place = "" if GRADIENT in sentence else f" in {evidence.label}"
                    others = tuple(text_of(code) for hole, code in edit.bound.items() if hole != "A")
                    found.setdefault(others, here.spelled(sentence.replace(GRADIENT, evidence.label)) + place)
        if found:
            return ", or ".join(list(found.values())[:2])
    return None


def recognised(evidence):
    """Detect a gradient such as dy · F(x) if the true gradient is dy · F(y)."""
    other = evidence.twin
    if other is None or evidence.known.sum() < 2:
        return None
    here, there = Scope(evidence), Scope(other)
    alike = [name for name in (*here.arrays, "y") if here.values[name].shape == evidence.dy.shape and name != "dy"]
    alike = dict.fromkeys(alike)
    families = [[f"dy * {form.format(name)}" for name in alike] for form in DERIVATIVES]
    axes = [a[0] if len(a) == 1 else a for a in _subsets(range(evidence.dy.ndim))]
    families += [[f"{d}.sum(axis={a})" for a in axes] for d in ("dy", *(f"(dy * {name})" for name in alike))]
    for family in families:
        given = [code for code in family if here.gives(code, evidence.given)]
        right = [code for code in family if given and here.gives(code, evidence.truth)]
        for one, two in itertools.product(given, right):
            if there.gives(one, other.given) and there.gives(two, other.truth):
                return f"{evidence.label} equals {here.spelled(one)}, and the correct gradient is {here.spelled(two)}"
        if given and given[0].startswith("dy.sum") and there.gives(given[0], other.given):
            return f"{evidence.label} equals {given[0]}: the derivative of the function itself is skipped"
    return None
