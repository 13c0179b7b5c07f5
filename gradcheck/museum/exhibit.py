"""One exhibit: a wrong gradient, the check that missed it, and what is needed to show both."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradcheck.call import Call
from gradcheck.checking import check_call
from gradcheck.report import GradientError

PATHS = {"issue": "issues", "pull request": "pull", "file": "blob"}


@dataclass(frozen=True)
class Source:
    """Where the mistake was made or asked about: an issue, a pull request or a file of a public repository."""

    repository: str
    kind: str
    item: int | str
    commit: str | None = None

    def __str__(self):
        return f"{self.repository}, {self.kind} {self.item}"

    @property
    def url(self):
        """Its address; a file's at the commit where it was read."""
        parts = (self.repository, PATHS[self.kind], self.commit, str(self.item))
        return "https://github.com/" + "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Exhibit:
    """A wrong gradient.

    `function(*inputs, ..., wrong)` is differentiable, with the mistake if `wrong`; its docstring tells the story.
    `check(function)` is a check in its authors' style: it passes on the wrong version, and its docstring says why.
    `draw(rng)` returns inputs and options on which the mistake can be seen.
    """

    name: str
    title: str
    sources: tuple
    function: Callable
    check: Callable
    draw: Callable

    def version(self, wrong):
        """Return the differentiable function with the mistake or without it."""
        return partial(self.function, wrong=wrong)

    def examine(self, wrong, seed=0):
        """Return gradcheck's Report on the version with the mistake or without it."""
        inputs, options = self.draw(np.random.default_rng(seed))
        try:
            return check_call(Call(self.version(wrong), *inputs, **options), seed=seed, lines=False)
        except GradientError as error:
            return error.report


def numeric_gradient(loss, x, h=1e-5):
    """Central differences of a number with respect to each entry of x, as every course writes them."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        there, back = x.copy(), x.copy()
        there[index] += h
        back[index] -= h
        gradient[index] = (loss(there) - loss(back)) / (2 * h)
    return gradient


def close(a, b, tolerance=1e-6):
    """Assert that two gradients agree."""
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
