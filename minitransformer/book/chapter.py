"""A chapter: the equations of a file, each executed on the file's specimens and compared with the value at its line."""

import ast
import inspect
from collections import ChainMap
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.execution import COMPARISONS, NotExecuted, Surroundings, both_sides, evaluate
from minitransformer.book.observation import RETURNED, docstrings, places, watched
from minitransformer.module import plain

TOLERANCE = 1e-10  # of the largest entry
STEP = 1e-30  # of the complex step
GREEK = dict(zip(["beta", "gamma", "eps", "theta", "mu", "sigma", "phi", "Phi", "omega"], "βγεθμσφΦω", strict=True))
EQUAL, DIFFERENT = "equal", "different"


@dataclass
class Statement:
    """An equation as it stands in a docstring, and what came of executing it.

    `outcomes` are the relative errors, one for each specimen on which it could be executed, and `value` is what its
    left side stands for on the first of them; `reasons` say why it could not be on others.
    """

    text: str
    equation: n.Equation
    number: int | None
    function: str
    remarks: tuple
    ranges: tuple
    value: object = None
    outcomes: list = field(default_factory=list)
    reasons: list = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """EQUAL, DIFFERENT, or why it was not executed."""
        if not self.outcomes:
            return self.reasons[-1] if self.reasons else "there is no specimen of it"
        return EQUAL if max(self.outcomes) <= TOLERANCE else DIFFERENT


@dataclass
class Text:
    """A file of derivations, read: its source, its equations, and a Run for each specimen, executed."""

    source: str
    statements: list
    runs: list


def read_text(path, specimens, source: str | None = None) -> Text:
    """Read a file and execute its equations on specimens. `source` takes the place of its docstrings.

    Raises NotationError, naming the line and the column, for a numbered line that is no equation.
    """
    code = Path(path).read_text("utf-8")
    found = [s for docstring in docstrings(source or code) for s in statements_of(docstring, Path(path).name)]
    variants = {specimen.variant for specimen in specimens} - {""}
    numbered, done = places(code), []
    for specimen in specimens:
        its_own = [s for s in found if belongs(s.function, specimen) and fits(s.remarks, specimen.variant, variants)]
        done.append(Run(specimen, path, numbered, its_own))
        done[-1].execute()
    return Text(code, found, done)


def statements_of(docstring, file):
    """Yield the equations of a docstring."""
    for at, text in enumerate(docstring.text.splitlines(), start=docstring.line):
        if not text.startswith("    "):
            continue
        try:
            line = n.parse_line(text.strip())
        except n.NotationError as error:
            if n.is_numbered(text):
                column = error.column + len(text) - len(text.lstrip()) + docstring.indentation
                raise n.NotationError(f"{file}, line {at}, column {column}: {error}", column) from None
            continue
        ranges = tuple(part for part in line.parts if is_range(part))
        for k, part in enumerate(line.parts):
            if isinstance(part, n.Equation) and part not in ranges and (line.number or not is_code(text)):
                remarks = tuple(p.text for p in line.parts[k + 1 : k + 2] if isinstance(p, n.Remark))
                yield Statement(text.strip(), part, line.number, docstring.function, remarks, ranges)


def is_range(part):
    """Whether a part of a line says how far an index runs."""
    return isinstance(part, n.Equation) and isinstance(part.sides[0], n.Symbol) and isinstance(part.sides[-1], n.Range)


def is_code(text):
    """Whether a line is Python, which an equation is not as soon as it has a letter or a sign of mathematics."""
    try:
        ast.parse(text.strip())
    except SyntaxError:
        return False
    return True


def belongs(function, specimen):
    """Whether a docstring's function is a specimen's, or within it."""
    return function in (specimen.function, *specimen.also) or function.startswith(
        tuple(f"{name}.<locals>" for name in (specimen.function, *specimen.also))
    )


def fits(remarks, variant, variants):
    """Whether remarks, if they name variants, name this one."""
    words = {word.strip("(),") for remark in remarks for word in remark.split()}
    return not words & variants or variant in words


class Run:
    """A specimen that has been run: the values of its symbols, and whatever else its equations speak of."""

    def __init__(self, specimen, path, numbered, statements):
        self.specimen, self.path, self.statements = specimen, path, statements
        self.frames = {
            name: frames[-1]
            for name, frames in self.observe(specimen.inputs, backward=True).items()
            if belongs(name, specimen)
        }
        self.places = {number: [place for place in found if self.was_run(place)] for number, found in numbered.items()}
        local = dict(ChainMap(*(frame.names for frame in sorted(self.frames.values(), key=lambda f: -len(f.names)))))
        self.values = {symbol_of(name): value for name, value in local.items()}
        for symbol, how in specimen.names.items():
            value = how(local) if callable(how) else local.get(how)
            if value is not None:
                self.values[symbol] = value
        self.code_names = {symbol: how for symbol, how in specimen.names.items() if isinstance(how, str)}
        self.code_names |= {f"d{symbol}": f"d{name}" for symbol, name in self.code_names.items()}
        self.place_of = {}
        backwards = {name.removesuffix("_backward"): v for name, v in local.items() if name.endswith("_backward")}
        backwards |= {symbol[:-1]: v for symbol, v in self.values.items() if symbol.endswith("ᵀ")}
        self.surroundings = Surroundings(self.values, backwards, self.jacobian)
        for number, places_of_it in self.places.items():
            group = [statement.equation for statement in statements if statement.number == number]
            self.bind([node for equation in group for node in given_names(equation)], places_of_it)

    def observe(self, inputs, backward=False):
        """Run the call, and its backward with a random gradient if it has one; return the frames of its file."""
        with plain(), watched(self.path) as seen:
            returned = self.specimen.call(*inputs, **self.specimen.options)
            if backward and isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1]):
                y, its_backward = returned
                leaves = [normal(np.shape(leaf)) for leaf in (y if isinstance(y, tuple) else (y,))]
                its_backward(*(leaves if self.specimen.dy is None else [self.specimen.dy]))
        return seen

    def was_run(self, place):
        """Whether the function of a place was run, and, where it is a return, this one was reached."""
        frame = self.frames.get(place.function)
        return frame is not None and (place.name != RETURNED or place.first <= frame.line <= place.last)

    def value_at(self, place, frames=None):
        """What was assigned, or returned, at a place."""
        frame = self.frames[place.function] if frames is None else frames[place.function][-1]
        return frame.returned if place.name == RETURNED else frame.names.get(place.name)

    def execute(self):
        """Execute the equations that the specimen is for, in their order."""
        for statement in self.statements:
            if self.specimen.explains in (None, statement.number is None) and self.reached(statement):
                try:
                    with np.errstate(all="ignore"):
                        statement.outcomes.append(self.error_of(statement))
                    if statement.value is None:
                        statement.value = self.value_of(statement.equation.sides[0])
                except NotExecuted as reason:
                    statement.reasons.append(str(reason))
                except (ValueError, IndexError) as misfit:  # shapes that do not fit
                    statement.outcomes.append(np.inf)
                    statement.reasons.append(str(misfit))

    def reached(self, statement):
        """Whether a line that carries a statement's number was run."""
        return statement.number is None or bool(self.places.get(statement.number))

    def bind(self, nodes, candidates):
        """Give the names on the left of the equations of one number the values at its lines.

        A name has the line that assigns it; those that are left have the lines that are left, in their order.
        """
        rest = []
        for node in nodes:
            place = next((place for place in candidates if symbol_of(place.name) in texts_of(node)), None)
            if place is None:
                place = next((p for p in candidates if p.name in map(self.code_names.get, texts_of(node))), None)
            if place is not None:
                self.give(node, place)
                candidates = [other for other in candidates if other != place]
            else:
                rest.append(node)
        candidates = [place for place in candidates if not place.name.endswith("_backward")]
        if len(candidates) == 1:
            candidates = candidates * len(rest)
        if len(rest) == len(candidates):
            for node, place in zip(rest, candidates, strict=True):
                self.give(node, place)

    def give(self, node, place):
        """Give a name the value at a place; the root of it where the name is squared."""
        value = self.value_at(place)
        if value is None:
            return
        text = texts_of(node)[-1] if np.ndim(value) else texts_of(node)[0]
        if text in self.specimen.names and callable(self.specimen.names[text]):
            return
        self.values[text] = np.sqrt(value) if isinstance(node, n.Power) else value
        self.place_of[text + "²" if isinstance(node, n.Power) else text] = place

    def error_of(self, statement):
        """Return how far the sides of an equation differ, relative to the largest entry. Raises NotExecuted."""
        sides, relations = statement.equation.sides, statement.equation.relations
        spans = {part.sides[0].text: evaluate(part.sides[1], self.surroundings) for part in statement.ranges}
        here = replace(self.surroundings, ranges=spans)
        first, errors = sides[0], []
        for (before, side), relation in zip(pairwise(sides), relations, strict=True):
            if relation == "=":
                errors.append(relative_error(*both_sides(first, side, here)))
            else:
                left, right = both_sides(before, side, here)
                errors.append(0.0 if COMPARISONS[relation](left, right).all() else np.inf)
                first = side
        return max(errors)

    def value_of(self, node):
        """Return what a name on the left stands for, all entries of it; of several the first."""
        node = node.of[0] if isinstance(node, n.Several) else node
        known = [text for text in texts_of(node) if text in self.values]
        if not known:
            return None
        value = self.values[known[0]]
        return value**2 if isinstance(node, n.Power) else value

    def arrays(self):
        """Return [(symbol, shape)] of the inputs and of what each numbered line of the forward pass gives."""
        names = inspect.signature(self.specimen.call).parameters
        found = {
            symbol_of(name): array.shape
            for name, array in zip(names, self.specimen.inputs, strict=False)
            if isinstance(array, np.ndarray)
        }
        for number in sorted(self.places):
            for place in self.places[number]:
                value = self.value_at(place)
                if place.function == self.specimen.function and isinstance(value, np.ndarray):
                    found.setdefault(symbol_of(place.name), value.shape)
        return list(found.items())

    def saved(self):
        """Return [(name, array)] of what backward keeps of the forward pass: its closure."""
        returned = self.frames[self.specimen.function].returned
        if not (isinstance(returned, tuple) and callable(returned[-1])):
            return []
        backward = returned[-1]
        cells = zip(backward.__code__.co_freevars, backward.__closure__ or (), strict=True)
        return [(name, c.cell_contents) for name, c in cells if isinstance(c.cell_contents, np.ndarray)]

    def small_jacobian(self):
        """Return ∂y/∂x at one position as a matrix, or None where the specimen has several, or no y and x."""
        x, y = self.values.get("x"), self.place_of.get("y", self.place_of.get("z"))
        if y is None or not self.specimen.inputs or np.ndim(x) != 1 or x is not self.specimen.inputs[0]:
            return None
        matrix = self.jacobian("y" if "y" in self.place_of else "z", "x")
        return matrix if matrix.ndim == 2 else None

    def jacobian(self, of, by):
        """Return the derivatives of a value of the forward pass by an input, exact to rounding: the complex step."""
        if f"∂{of}/∂{by}" in self.values:
            return self.values[f"∂{of}/∂{by}"]
        place, names = self.place_of.get(of), list(inspect.signature(self.specimen.call).parameters)
        wanted = [k for k, name in enumerate(names) if self.specimen.names.get(by, by) in (name, symbol_of(name))]
        if place is None or not wanted:
            raise NotExecuted(f"∂{of}/∂{by} needs a value of the forward pass, and an input")
        inputs, x = list(self.specimen.inputs), self.specimen.inputs[wanted[0]]
        columns = []
        for k in range(x.size):
            inputs[wanted[0]] = x.astype(complex)
            inputs[wanted[0]].flat[k] += STEP * 1j
            columns.append(np.imag(self.value_at(place, self.observe(inputs))) / STEP)
        whole = np.stack(columns, axis=-1)
        return whole.reshape(*whole.shape[:-1], *x.shape)


def normal(shape):
    """A random gradient."""
    return np.random.default_rng(7).normal(size=shape) if shape else 0.7


def given_names(equation):
    """Return the nodes on the left side of an equation that are names: x̂, σ², P[t, 2i], dx_j."""
    left = equation.sides[0]
    return [node for node in (left.of if isinstance(left, n.Several) else (left,)) if texts_of(node)]


def texts_of(node):
    """Return what a name on the left may be called: all of it, and without its indices. Nothing if it is no name."""
    if isinstance(node, n.Power):
        return texts_of(node.base)
    if isinstance(node, n.Entry):
        return (node.of.text,)
    return (node.text, node.base) if isinstance(node, n.Symbol) else ()


def symbol_of(name):
    """Return the symbol that a name of the code is in equations: x̂ for x_hat, β₁ for beta1, dγ for dgamma."""
    stem = name.removesuffix("_hat")
    hat = "\u0302" if stem != name else ""
    letters = stem.rstrip("0123456789")
    digits = "".join(chr(ord("₀") + int(digit)) for digit in stem[len(letters) :])
    if letters in GREEK:
        return GREEK[letters] + hat + digits
    if letters.startswith("d") and letters[1:] in GREEK:
        return "d" + GREEK[letters[1:]] + hat + digits
    return stem + hat


def relative_error(left, right):
    """Return the largest difference of two vectors, relative to the largest finite entry."""
    if left.size == 1 or right.size == 1:
        left, right = np.broadcast_arrays(left, right)
    if left.shape != right.shape:
        return np.inf
    scale = max(np.abs(left[np.isfinite(left)]).max(initial=0), 1e-300)
    with np.errstate(invalid="ignore"):
        return float(np.where(left == right, 0, np.abs(left - right)).max(initial=0) / scale)
