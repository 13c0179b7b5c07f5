"""Find a mistake by searching for an expression that turns the given gradient into the true one.

The source code of the function is not read. Each repair of the table of mistakes (gradcheck/mistakes) that changes a
name, such as `A` → `A * B`, is applied to the given gradient A, with an array of the call for B. If the result is the
true gradient, the row's sentence describes the mistake. If a repair turns the true gradient into the given one, the
mistake is the opposite one. Some gradients are also recognised as longer expressions, such as `dy * x * (1 - x)`, and
compared with the expression of the same form that gives the true gradient.

An expression must hold on two draws of the inputs, which differ in their values and, where the function allows it, in
their lengths. It contains names of the call, lengths and small numbers, but no fitted number.
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
OF_A_LENGTH = ("{0} / ({0} - 1)", "({0} - 1) / {0}")  # n − 1 in place of n
OF_A_NUMBER = ("(1 - {})", "1 / (1 - {})")
DERIVATIVES = ("{0}", "{0} * (1 - {0})", "2 * {0}", "0.5 / {0}", *FORMS)
INVERSE = {(ast.dump(row.right), ast.dump(row.wrong)): row for row in ROWS if row.at == "expression"}


class Scope(Names):
    """The arrays and numbers of a call by name, which may fill the holes of repairs."""

    def __init__(self, evidence):
        named = [*evidence.arrays("fbiu"), ("y", evidence.y), ("dy", evidence.dy), *evidence.numbers()]
        self.spelling = {re.sub(r"\W+", "_", name): name for name, _ in named}
        values = {re.sub(r"\W+", "_", evidence.name): evidence.array}  # first: its lengths have precedence
        for name, value in named:
            values.setdefault(re.sub(r"\W+", "_", name), value)
        super().__init__(values, (), (), lambda name: name == "dy")
        self.known = {**values, "np": np}
        self.call = evidence.run.call

        self.all_axes = [ast.Constant(axis) for axis in (None, *range(evidence.given.ndim))]

    def _list_axes(self, bound):
        return self.all_axes

    def _list_factors(self, bound):
        return [ast.Name(name, ast.Load()) for name in self.arrays]  # numbers are tried by `factor`

    def value(self, code, **others):
        """Evaluate code and return the result, or None if it raises. `others` are further variables."""
        self.call.keep_to_time()  # large arrays take long
        try:
            expression = ast.parse(code, mode="eval") if isinstance(code, str) else ast.Expression(code)
            with np.errstate(all="ignore"):
                return eval(compile(ast.fix_missing_locations(expression), "<code>", "eval"), self.known | others)
        except Exception:  # code that is tried at random may fail in any way
            return None

    def spelled(self, text):
        """Replace the variables in a text with the names of the call, which need not be identifiers."""
        return re.sub(r"\w+", lambda found: self.spelling.get(found[0], found[0]), text)


def is_code_of(evidence, scope, code, target, **others):
    """Return True if code evaluates to an array with the shape and the entries of `target`."""
    value = scope.value(code, **others)
    return isinstance(value, np.ndarray) and value.shape == target.shape and evidence.same(value, target)


def factor(evidence, other):
    """Detect given = c · truth, with c written as an expression of small numbers, lengths and options of the call."""
    c, there = evidence.ratio(evidence.given, evidence.truth), other.ratio(other.given, other.truth)
    if c is None or there is None:
        return None
    label = evidence.label
    if close(c, -1.0, evidence) and close(there, -1.0, other):
        return f"{label} has its sign flipped"
    if evidence.dy.size == 1 and close(c, evidence.dy.item(), evidence) and close(there, other.dy.item(), other):
        return f"{label} is dy times the correct gradient: it is multiplied by dy once too often"
    truth = np.abs(evidence.truth[evidence.known])
    is_constant = close(c, there, evidence) and np.sum(truth > 1e-6 * np.max(truth)) > 1
    fraction = Fraction(c).limit_denominator(LARGEST)
    is_small = abs(fraction.numerator) <= LARGEST and close(c, float(fraction), evidence)
    here, elsewhere = Scope(evidence), Scope(other)
    for k, candidates in enumerate(_numbers(here, elsewhere, evidence.name)):
        found = [(str(fraction), [""])] if k == 0 and is_constant and is_small else []
        for form, names in candidates:
            values = [scope.value(form.format(names[0])) for scope in (here, elsewhere)]
            is_possible = None not in values and np.isfinite(values).all() and min(values) > 0 and values[0] != 1
            if is_possible and close(c, values[0], evidence) and close(there, values[1], other):
                found.append((form, [here.spelled(name) for name in names]))
        if found:
            return f"{label} is {_factors_in_words(found[:2])}"
    return f"{label} is off by a constant factor" if is_constant else None


def _factors_in_words(found):
    """Describe one or two factors (form, names), where all names have the same value on both draws."""
    shown = [form.format("n" if len(names) > 1 else names[0]) for form, names in found]
    several = next((names for _, names in found if len(names) > 1), [])
    which = f", with n = {' or '.join(several[:3])}" if several else ""
    return f"{' or '.join(shown)} times the correct gradient{which}"


def _numbers(here, elsewhere, name):
    """Yield groups of candidates (form, names) for a factor, the plainest group first.

    A form, such as `1 / {}`, has a place for a quantity. `names` are expressions for it: no draw distinguishes them.
    """
    arrays = [(key, array) for key, array in here.values.items() if isinstance(array, np.ndarray) and key != "dy"]
    numbers = [[key] for key, value in here.values.items() if not isinstance(value, np.ndarray)]
    products = {1: {}, 2: {}}  # {(product of the lengths here, elsewhere): names}
    for key, array in sorted(arrays, key=lambda named: named[0] == "y"):
        for axes in (axes for n in range(1, array.ndim + 1) for axes in itertools.combinations(range(array.ndim), n)):
            sizes = tuple(int(np.prod(np.take(scope.values[key].shape, axes))) for scope in (here, elsewhere))
            text = " * ".join(f"{key}.shape[{axis}]" for axis in axes)
            names = products[min(len(axes), 2)].setdefault(sizes, [])
            if sizes[0] > 1 and not (names and key == "y"):
                names.append(f"({text})" if len(axes) > 1 else text)
    lengths, several = ([names for names in found.values() if names] for found in products.values())
    several = [names[:1] for names in several]
    conditions = [
        key if array.dtype.kind == "b" else f"({key} >= 0)" for key, array in arrays if array.dtype.kind in "bi"
    ]
    conditions = [condition for condition in conditions if 0 < here.value(f"{condition}.mean()") < 1]
    counts = [[f"{condition}.{count}()"] for condition in conditions for count in ("sum", "mean")]
    quantities = [*lengths, *numbers, *counts, *several]
    own = re.sub(r"\W+", "_", name)
    yield itertools.product(("{}", "1 / {}"), quantities)
    yield itertools.product(("{}", "1 / {}"), [[f"(y.size / {own}.size)"]] if own in here.values else [])
    yield [
        *itertools.product(OF_A_SIZE, quantities),
        *itertools.product(OF_A_LENGTH, lengths),
        *itertools.product(OF_A_NUMBER, numbers),
        *((f"{a[0]} / {{}}", b) for a, b in itertools.permutations(lengths, 2)),
    ]


def edited(evidence, other):
    """Detect given and truth that differ by one edit of the table, such as a missing factor or a missing mean."""
    here, there = Scope(evidence), Scope(other)
    directions = [("given", "truth")] + [("truth", "given")] * (evidence.is_complete and other.is_complete)

    def fits(code, start, end):
        return all(
            is_code_of(e, scope, code, getattr(e, end), **{GRADIENT: getattr(e, start)})
            for e, scope in ((evidence, here), (other, there))
        )

    for rank in RANKS:
        found = {}
        for edit, code, _ in repairs(ast.Name(GRADIENT, ast.Load()), here, rank):
            for start, end in directions:
                row = (
                    edit.row if start == "given" else INVERSE.get((ast.dump(edit.row.wrong), ast.dump(edit.row.right)))
                )
                if row is not None and fits(code, start, end):
                    sentence = Edit(row, edit.old, edit.new, edit.bound).sentence(Reader())
                    place = "" if GRADIENT in sentence else f" in {evidence.label}"
                    others = tuple(text_of(code) for hole, code in edit.bound.items() if hole != "A")
                    found.setdefault(others, here.spelled(sentence.replace(GRADIENT, evidence.label)) + place)
        if found:
            return ", or ".join(list(found.values())[:2])
    return None


def recognised(evidence, other):
    """Detect two gradients of the same form, such as dy · F(x) and dy · F(y), or sums over different axes."""
    if evidence.known.sum() < 2:
        return None
    here, there = Scope(evidence), Scope(other)
    alike = [name for name in (*here.arrays, "y") if here.values[name].shape == evidence.dy.shape and name != "dy"]
    families = [[f"dy * {form.format(name)}" for name in dict.fromkeys(alike)] for form in DERIVATIVES]
    axes = [axes for n in range(1, evidence.dy.ndim + 1) for axes in itertools.combinations(range(evidence.dy.ndim), n)]
    axes = [a[0] if len(a) == 1 else a for a in axes]
    for summand in ("dy", *(f"(dy * {name})" for name in dict.fromkeys(alike))):
        families.append([f"{summand}.sum(axis={a})" for a in axes])
    for family in families:
        given = [code for code in family if is_code_of(evidence, here, code, evidence.given)]
        right = [code for code in family if given and is_code_of(evidence, here, code, evidence.truth)]
        for one, two in itertools.product(given, right):
            if is_code_of(other, there, one, other.given) and is_code_of(other, there, two, other.truth):
                return f"{evidence.label} equals {here.spelled(one)}, and the correct gradient is {here.spelled(two)}"
        if given and given[0].startswith("dy.sum") and is_code_of(other, there, given[0], other.given):
            return f"{evidence.label} equals {given[0]}: the derivative of the function itself is skipped"
    return None


def close(a, b, evidence):
    """Return True if two numbers are equal up to 10 times the oracle's resolution, relative to b."""
    return abs(a - b) <= 10 * evidence.resolution * abs(b)
