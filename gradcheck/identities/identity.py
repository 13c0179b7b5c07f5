"""State that two programs compute the same function, with a near miss that does not."""

import difflib
import inspect
import itertools
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.certify.certificate import Certificate
from gradcheck.certify.programs import same
from gradcheck.mistakes.planter import codes_of, copy_with


@dataclass(frozen=True)
class Identity:
    """A statement that `left` and `right` are one function.

    `shapes` are the shapes of the inputs. `near_miss` is an edit of the source of `right`, as (old, new).
    """

    left: Callable[..., Any]
    right: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    near_miss: tuple[str, str]

    @property
    def name(self) -> str:
        return self.right.__name__.replace("_", " ")

    @property
    def words(self) -> list[str]:
        """The statement, its notation and a description of the near miss, from the docstring of `right`."""
        statement, notation, near_miss = inspect.cleandoc(self.right.__doc__ or "").split("\n\n")
        return [statement, notation, near_miss.removeprefix("Near miss: ")]

    @property
    def code(self) -> tuple[list[str], list[tuple[str, str]]]:
        """The lines of both programs. Those of `right` have a mark: "−" if the near miss replaces it by a line "+"."""
        left = inspect.getsource(self.left).splitlines()
        head, _, body = self._source.rpartition('"""\n')
        head = head[: head.index('    """')].rpartition(")\ndef")[2]
        marks = {"- ": "−", "+ ": "+", "  ": " "}
        both = difflib.ndiff(f"def{head}{body}".splitlines(), f"def{head}{body.replace(*self.near_miss)}".splitlines())
        return left, [(marks[line[:2]], line[2:]) for line in both if line[:2] in marks]

    @property
    def _source(self) -> str:
        return inspect.getsource(self.right)

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        """Draw the inputs between 0.2 and 0.9, so that rates and probabilities may be among them."""
        rng = np.random.default_rng(seed)
        return [np.array(rng.uniform(0.2, 0.9, shape)) for shape in self.shapes]

    def decide(self, right: Callable[..., Any] | None = None, seed: int | None = None) -> Certificate:
        """Decide whether `left` and `right`, or another function in its place, are the same."""
        return same(self.left, right or self.right, *self.inputs(), seed=seed)

    def wrong(self) -> Callable[..., Any]:
        """Return `right` with the edit of the near miss."""
        _, _, body = self._source.rpartition('"""\n')
        if body.count(self.near_miss[0]) != 1:
            raise ValueError(f"{self.name}: {self.near_miss[0]!r} must occur once in the code")
        edited, file = self._source.removesuffix(body) + body.replace(*self.near_miss), f"<near miss: {self.name}>"
        linecache.cache[file] = len(edited), None, edited.splitlines(keepends=True), file
        codes = codes_of(edited, file)
        return copy_with(self.right, next(codes[key] for key in codes if key[1] == self.right.__name__))


def same_as(left: Callable[..., Any], *shapes: tuple[int, ...], near_miss: tuple[str, str]) -> Callable[..., Any]:
    """Return a decorator that states that a function is the same as `left`. The Identity is its attribute `entry`."""

    def decorator(right):
        right.entry = Identity(left, right, shapes, near_miss)
        return right

    return decorator


def expectation(estimate: Callable[..., Any], probabilities: Any, draws: int = 1) -> Any:
    """Compute the expected value of an estimate by enumeration.

    The estimate is a function of `draws` independent outcomes, which are indices of `probabilities` (A,). The result is
    Σ p(a₁) … p(aₙ) estimate(a₁, …, aₙ) over the Aⁿ possible draws.
    """
    total = 0
    for outcomes in itertools.product(range(len(probabilities)), repeat=draws):
        weight = 1
        for outcome in outcomes:
            weight = weight * probabilities[outcome]
        total = total + weight * estimate(*outcomes)
    return total
