"""Run a specimen, and execute equations on the values of its local variables.

Most symbols correspond to names automatically: x̂ is x_hat, and dγ is dgamma. A name on the left of an equation has the
value that the line with the equation's number assigns or returns. The specimen defines the remaining symbols.
"""

import inspect
from collections import ChainMap
from dataclasses import replace
from itertools import pairwise
from types import CellType, FunctionType

import numpy as np

from gradcheck.complex_step import derivatives
from minitransformer.book import notation as n
from minitransformer.book.arrays import Array, NoValue, labelling
from minitransformer.book.evaluation import COMPARISONS, Scope, both_sides
from minitransformer.book.observation import RETURNED, Place, watched
from minitransformer.book.symbols import names_given, symbol_of, symbols_in, texts_of
from minitransformer.module import plain

LARGEST, WIDEST = 200, 12  # largest size of an input of a derivative, and of an axis of a heat map
BACKWARD = ".<locals>.backward"


class Run:
    """The result of running a specimen: the local variables of each call, and the values of symbols."""

    def __init__(self, specimen, path, numbered, statements):
        self.specimen, self.path, self.statements = specimen, path, statements
        self.dy: dict = {}  # {name: value} of the arguments of backward
        seen = self.observe(specimen.inputs, backward=True)
        self.frames = {name: frames[-1] for name, frames in seen.items() if belongs(name, specimen)}
        self.places = {number: [place for place in found if self.was_run(place)] for number, found in numbered.items()}
        local = dict(ChainMap(*(frame.names for frame in sorted(self.frames.values(), key=lambda f: -len(f.names)))))
        axes = {letter: length for length, letter in specimen.letters.items() if letter.isupper()}
        self.values = {**axes, **local, **{symbol_of(name): value for name, value in local.items()}}
        named = {symbol: specimen.value(symbol, local) for symbol in specimen.names}
        self.values |= {symbol: value for symbol, value in named.items() if value is not None}
        self.place_of = {}
        for number, places in self.places.items():
            group = [s.equation for s in statements if s.number == number]
            self.bind([node for equation in group for node in names_given(equation)], places)
        backwards = {name.removesuffix("_backward"): v for name, v in local.items() if name.endswith("_backward")}
        backwards |= {symbol[:-1]: v for symbol, v in self.values.items() if symbol.endswith("ᵀ")}
        label = labelling(self.values.values(), specimen.letters)
        self.scope = Scope(self.values, jacobian=self.labelled_jacobian, backwards=backwards, label=label)

    def observe(self, inputs, backward=False):
        with plain(), watched(self.path) as seen:
            returned = self.specimen.call(*inputs, **self.specimen.options)
            if backward and isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1]):
                y, its_backward = returned
                random = [normal(np.shape(leaf)) for leaf in (y if isinstance(y, tuple) else (y,))]
                given = random if self.specimen.dy is None else [self.specimen.dy]
                self.dy = dict(zip(inspect.signature(its_backward).parameters, given, strict=False))
                its_backward(*given)
        return seen

    def was_run(self, place):
        frame = self.frames.get(place.function)
        return frame is not None and (place.name != RETURNED or place.first <= frame.line <= place.last)

    def code_name(self, symbol):
        names = self.specimen.names
        found = names.get(symbol)
        if found is None and symbol.startswith("d") and isinstance(names.get(symbol[1:]), str):
            return f"d{names[symbol[1:]]}"
        return found if isinstance(found, str) else None

    def value_at(self, place, frames=None):
        frame = self.frames[place.function] if frames is None else frames[place.function][-1]
        return frame.returned if place.name == RETURNED else frame.names.get(place.name)

    def bind(self, nodes, places):
        rest = []
        for node in nodes:
            place = self.place_that_assigns(node, places)
            if place is None:
                rest.append(node)
            else:
                self.give(node, place)
                places = [other for other in places if other != place]
        places = [place for place in places if not place.name.endswith("_backward")]
        if len(places) == 1:
            places = places * len(rest)
        if len(rest) == len(places):
            for node, place in zip(rest, places, strict=True):
                self.give(node, place)

    def place_that_assigns(self, node, places):
        by_symbol = [place for place in places if symbol_of(place.name) in texts_of(node)]
        by_code = [place for place in places if self.is_named(node, place.name)]
        return next(iter(by_symbol + by_code), None)

    def is_named(self, node, name):
        """Return True if a variable of the code contains the value of a symbol."""
        texts = texts_of(node)
        return symbol_of(name) in texts or name in map(self.code_name, texts)

    def symbol_for(self, name):
        """Return the symbol of a variable of the code, such as W for weight."""
        for symbol, code in self.specimen.names.items():
            if isinstance(code, str) and name in (code, f"d{code}"):
                return f"{'d' * (name != code)}{symbol}"
        return symbol_of(name)

    def give(self, node, place):
        """Assign the value at a place to a symbol. If the equation defines a square, assign the root."""
        value = self.value_at(place)
        if value is None:
            return
        text = texts_of(node)[-1] if np.ndim(value) else texts_of(node)[0]
        if not str(self.specimen.names.get(text, "_")).isidentifier():  # the specimen defines it
            return
        if isinstance(node, n.Power):
            self.values[text] = np.sqrt(value)
            text += "²"
        self.values[text] = value
        self.place_of[text] = place

    def execute(self):
        for statement in self.statements:
            explains = statement.number is None
            if self.specimen.explains in (None, explains) and (explains or self.places.get(statement.number)):
                self.execute_one(statement)

    def execute_one(self, statement):
        try:
            with np.errstate(all="ignore"):
                sides, error = self.sides_and_error(statement)
        except NoValue as reason:
            statement.reasons.append(str(reason))
        except (ValueError, IndexError) as misfit:  # the shapes do not match
            statement.errors.append(np.inf)
            statement.reasons.append(str(misfit))
        except Exception as fault:  # raised by a called function, or for a value that is not numeric
            statement.reasons.append(f"{type(fault).__name__}: {fault}")
        else:
            statement.errors.append(error)
            if statement.shown_on is None:
                value = self.value_of(statement.equation.sides[0])
                statement.value, statement.shown_on = sides if value is None else value, self

    def sides_and_error(self, statement):
        sides, relations = statement.equation.sides, statement.equation.relations
        ranges = {part.sides[0].text: self.scope.evaluate(part.sides[1]).values for part in statement.ranges}
        here = replace(self.scope, ranges=ranges)
        first, errors, shown = sides[0], [], None
        for (before, side), relation in zip(pairwise(sides), relations, strict=True):
            left, right = both_sides(first if relation == "=" else before, side, here)
            shown = left if shown is None else shown
            if relation == "=":
                errors.append(relative_error(left, right))
            else:
                errors.append(0.0 if COMPARISONS[relation](left, right).all() else np.inf)
                first = side
        return shown, max(errors)

    def value_of(self, node):
        node = node.of[0] if isinstance(node, n.Several) else node
        known = [text for text in texts_of(node) if text in self.values]
        if not known:
            return None
        value = self.values[known[0]]
        return value**2 if isinstance(node, n.Power) else value

    def given(self, shown):
        """Return the values of the symbols that the equations `shown` read."""
        made = set()
        for s in shown:  # lr_t = lr · … makes lr_t, not lr
            right = {symbol.text for symbol in symbols_in(*s.equation.sides[1:])}
            made |= {text for node in names_given(s.equation) for text in texts_of(node)} - right
        used = [text for s in shown for symbol in symbols_in(*s.equation.sides) for text in texts_of(symbol)]
        return {
            text: self.values[text]
            for text in dict.fromkeys(used)
            if text not in made and is_numeric(self.values.get(text))
        }

    def closure(self):
        frame = self.frames.get(self.specimen.function)
        last = frame.returned[-1] if frame and isinstance(frame.returned, tuple) and frame.returned else None
        return last if inspect.isfunction(last) else None

    def name_of_output(self):
        """Return "y" or "z" if the Jacobian with respect to x is a small matrix, otherwise ""."""
        x, inputs = self.values.get("x"), self.specimen.inputs
        if not inputs or x is not inputs[0] or np.ndim(x) != 1 or len(x) > WIDEST:
            return ""
        return next((name for name in "yz" if name in self.place_of and np.ndim(self.values[name]) == 1), "")

    def labelled_jacobian(self, of, by):
        above, below = self.scope[of], self.scope[by]
        shape = above.values.shape + below.values.shape
        return Array(self.jacobian(of, by).reshape(shape), above.labels + below.labels)

    def jacobian(self, of, by):
        """Differentiate a value of the forward pass with respect to an input by complex steps."""
        if f"∂{of}/∂{by}" in self.values:
            return self.values[f"∂{of}/∂{by}"]
        frame = self.frames.get(self.specimen.function)
        unnumbered = Place(self.specimen.function, of, 0, 0) if frame and of in frame.names else None
        place, names = self.place_of.get(of, unnumbered), list(inspect.signature(self.specimen.call).parameters)
        wanted = [k for k, name in enumerate(names) if str(self.specimen.names.get(by, by)) in (name, symbol_of(name))]
        if by in self.place_of and place is not None and not wanted:  # apply the chain rule for an elementwise function
            whole, inner = self.jacobian(of, names[0]), self.jacobian(by, names[0])
            if whole.shape == inner.shape:
                return np.divide(whole, inner, out=np.zeros(whole.shape), where=inner != 0)
        if place is None or not wanted:
            raise NoValue(f"∂{of}/∂{by} must be a derivative of a forward value with respect to an input")
        before, (x, *after) = self.specimen.inputs[: wanted[0]], self.specimen.inputs[wanted[0] :]
        if np.size(x) > LARGEST:
            raise NoValue(f"{by} must have at most {LARGEST} entries for the complex step")
        return derivatives(lambda moved: self.value_at(place, self.observe((*before, moved, *after))), x)


def belongs(function, specimen):
    return function in (specimen.function, *specimen.also) or function.startswith(
        tuple(f"{name}.<locals>" for name in (specimen.function, *specimen.also))
    )


def normal(shape):
    drawn = np.round(np.random.default_rng(7).normal(size=shape), 1)
    return np.where(drawn == 0, 0.1, drawn) if shape else 0.7


def saved(backward):
    cells = zip(backward.__code__.co_freevars, backward.__closure__ or (), strict=True) if backward else ()
    kept = {name: cell.cell_contents for name, cell in cells if cell != CellType()}
    return {name: value for name, value in kept.items() if isinstance(value, (np.ndarray, FunctionType, list))}


def arrays_in(kept) -> list:
    """Return the arrays that a backward function saves, by itself or by way of those that it calls."""
    seen, waiting, found = {}, [kept], []
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, np.ndarray):
            found.append(value)
        elif isinstance(value, (FunctionType, list)):
            waiting += value if isinstance(value, list) else saved(value).values()
    return found


def numbers_in(kept) -> int:
    return sum(array.size for array in arrays_in(kept))


def is_numeric(value):
    return isinstance(value, (int, float, np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "fiub"


def relative_error(left, right):
    if left.size == 1 or right.size == 1:
        left, right = np.broadcast_arrays(left, right)
    if left.shape != right.shape:
        return np.inf
    scale = max(np.abs(left[np.isfinite(left)]).max(initial=0), 1e-300) if right.any() else 1.0
    with np.errstate(invalid="ignore"):
        return float(np.where(left == right, 0, np.abs(left - right)).max(initial=0) / scale)
