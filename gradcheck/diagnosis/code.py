"""Find the code that turns the given gradient into the true one.

The source of the function is not used. Each repair in the table of mistakes that changes a name, such as `A` → `A * B`,
is applied to the given gradient A, where B is an array of the call. If a repair turns the true gradient into the given
one instead, the row for the reverse change describes the mistake. Expressions contain names of the call, lengths and
small numbers, but no fitted numbers. They must hold on two draws of the inputs.
"""

import ast
import itertools
import re
from fractions import Fraction

import numpy as np

from gradcheck.mistakes import ROWS, Edit, Explanation, Reader
from gradcheck.mistakes.patterns import text_of
from gradcheck.mistakes.repairing import FORMS, Names, repairs

LARGEST = 4  # bound on the numerator and denominator of a reported fraction
GRADIENT = "gradient_"  # the name of the given gradient in code
RANKS = (1, 2, 3, 4)
FACTORS = (("{}", "1 / {}"), ("np.sqrt({})", "1 / np.sqrt({})", "(1 - {})", "1 / (1 - {})"))  # the simplest first
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
            variable = re.sub(r"\W+", "_", name)
            values.setdefault(variable, value)
            self.spelling[variable] = name
        super().__init__(values, (), (), lambda name: name == "dy")
        self.evidence, self.known, self.keep_to_time = evidence, {**values, "np": np}, call.keep_to_time
        axes = [ast.Constant(axis) for axis in (None, *range(evidence.given.ndim))]
        # The hypothesis `factor` tries the numbers.
        self.lists |= {"axes": lambda bound: axes, "factors": self.lists["arrays"]}

    def value(self, code, **others):
        """Evaluate code with further variables. Return None if it raises an exception."""
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
        """Replace variables with the names in the user's code."""
        return re.sub(r"\w+", lambda found: self.spelling.get(found[0], found[0]), text)


def factor(evidence):
    """Detect a constant factor, such as 2, a length or an option of the call."""
    other, label = evidence.twin, evidence.label
    c, there = evidence.factor(), other and other.factor()
    if c is None or there is None:
        return None
    tolerance = 10 * evidence.resolution

    def is_factor(a, b):
        return abs(c - a) <= tolerance * abs(a) and abs(there - b) <= tolerance * abs(b)

    if is_factor(-1.0, -1.0):
        return Explanation(f"{label} has its sign flipped", "sign flipped")
    if evidence.dy.size == 1 and is_factor(evidence.dy.item(), other.dy.item()):
        sentence = f"{label} is dy times the correct gradient: it is multiplied by dy once too often"
        return Explanation(sentence, "factor added")
    truth = np.abs(evidence.truth[evidence.known])
    is_constant = abs(c - there) <= tolerance * abs(there) and np.sum(truth > 1e-6 * np.max(truth)) > 1
    fraction = Fraction(c).limit_denominator(LARGEST)
    is_small = abs(fraction.numerator) <= LARGEST and abs(c - fraction) <= tolerance * abs(fraction)
    found = [str(fraction)] if is_constant and is_small else []
    here, elsewhere = Scope(evidence), Scope(other)
    numbers = _numbers(here)
    for forms in FACTORS:
        for form, number in itertools.product(forms, numbers):
            code = form.format(number)
            values = [scope.value(code) for scope in (here, elsewhere)]
            is_possible = None not in values and np.isfinite(values).all() and min(values) > 0 and values[0] != 1
            if is_possible and is_factor(*values):
                found.append(here.spelled(code))
        if found:
            return Explanation(f"{label} is {' or '.join(found[:2])} times the correct gradient", "factor changed")
    return Explanation(f"{label} is off by a constant factor", "factor changed") if is_constant else None


def _numbers(scope):
    """Return code for the numbers of a call that may be a factor, such as lengths."""
    arrays = {name: array for name, array in scope.values.items() if isinstance(array, np.ndarray) and name != "dy"}
    axes = [(name, subset) for name, array in arrays.items() for subset in _subsets(range(array.ndim))]
    lengths = [" * ".join(f"{name}.shape[{axis}]" for axis in subset) for name, subset in axes]
    lengths.sort(key=lambda text: text.startswith("y."))
    kinds = {name: array.dtype.kind for name, array in arrays.items()}
    conditions = [name if kind == "b" else f"({name} >= 0)" for name, kind in kinds.items() if kind in "bi"]
    conditions = [condition for condition in conditions if 0 < scope.value(f"{condition}.mean()") < 1]
    counts = [f"{condition}.{count}()" for condition in conditions for count in ("sum", "mean")]
    singles = [text for text in lengths if "*" not in text]
    options = [name for name in scope.values if name not in arrays and name != "dy"]
    return [*singles, *options, *counts, *(f"({text})" for text in lengths if "*" in text)]


def _subsets(axes):
    return [subset for n in range(1, len(axes) + 1) for subset in itertools.combinations(axes, n)]


def single_edit(evidence):
    """Detect a mistake that is a single edit, such as a missing factor or mean."""
    if evidence.twin is None:
        return None
    here, *_ = scopes = Scope(evidence), Scope(evidence.twin)
    directions = [("given", "truth")] + [("truth", "given")] * (evidence.is_complete and evidence.twin.is_complete)
    for rank in RANKS:
        found = {}
        for edit, code in repairs(ast.Name(GRADIENT, ast.Load()), here, rank):
            inverse = INVERSE.get((ast.dump(edit.row.wrong), ast.dump(edit.row.right)))
            for start, end in directions:
                row = edit.row if start == "given" else inverse
                if row is not None and all(
                    s.gives(code, getattr(s.evidence, end), **{GRADIENT: getattr(s.evidence, start)}) for s in scopes
                ):
                    sentence = Edit(row, edit.old, edit.new, edit.bound).sentence(Reader())
                    place = "" if GRADIENT in sentence else f" in {evidence.label}"
                    sentence = here.spelled(sentence.replace(GRADIENT, evidence.label)) + place
                    others = tuple(text_of(code) for hole, code in edit.bound.items() if hole != "A")
                    found.setdefault(others, Explanation(sentence, row.kind))
        if found:
            first, *others = list(found.values())[:2]
            start = first.sentence.replace("the ", "The ", 1) if first.sentence.startswith("the ") else first.sentence
            return Explanation(", or ".join([start, *(other.sentence for other in others)]), first.kind)
    return None


def wrong_derivative(evidence):
    """Detect a gradient that equals dy, or dy · F(x) where the true one is dy · F(y)."""
    other = evidence.twin
    if other is None:
        return None
    here, there = Scope(evidence), Scope(other)
    alike = dict.fromkeys(name for name in (*here.arrays, "y") if here.values[name].shape == evidence.dy.shape)
    families = [[f"dy * {form.format(name)}" for name in alike if name != "dy"] for form in DERIVATIVES]
    axes = [axes[0] if len(axes) == 1 else axes for axes in _subsets(range(evidence.dy.ndim))]
    for family in (["dy", *(f"dy.sum(axis={a})" for a in axes)], *families):
        given = [code for code in family if here.gives(code, evidence.given) and there.gives(code, other.given)]
        right = [
            code for code in family if given and here.gives(code, evidence.truth) and there.gives(code, other.truth)
        ]
        if right and evidence.known.sum() > 1:
            given, right = here.spelled(given[0]), here.spelled(right[0])
            sentence = f"{evidence.label} equals {given}, and the correct gradient is {right}"
            return Explanation(sentence, "slope replaced")
        if given and "*" not in given[0]:
            sentence = f"{evidence.label} equals {given[0]}: the derivative of the function itself is skipped"
            return Explanation(sentence, "gradient replaced by dy")
    return None
