"""One exhibit: a wrong gradient, the check that missed it, and the inputs to run both."""

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
    """The origin of a mistake: an issue, a pull request or a file of a public repository."""

    repository: str
    kind: str
    item: int | str
    commit: str | None = None

    def __str__(self):
        return f"{self.repository}, {self.kind} {self.item}"

    @property
    def url(self):
        """Return the address on GitHub. The address of a file includes the commit."""
        parts = (self.repository, PATHS[self.kind], self.commit, str(self.item))
        return "https://github.com/" + "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Exhibit:
    """A wrong gradient, and a check that does not detect it.

    `function(*inputs, ..., wrong)` is differentiable, and has the mistake if `wrong` is True. Its docstring describes
    the mistake. `check(function)` is a check in the style of the authors. It passes on the wrong version, and its
    docstring explains why. `draw(rng)` returns (inputs, options) for which gradcheck detects the mistake.
    """

    name: str
    title: str
    sources: tuple
    function: Callable
    check: Callable
    draw: Callable

    def version(self, wrong):
        return partial(self.function, wrong=wrong)

    def examine(self, wrong, seed=0):
        """Check the function, with or without the mistake, and return gradcheck's Report."""
        inputs, options = self.draw(np.random.default_rng(seed))
        try:
            return check_call(Call(self.version(wrong), *inputs, **options), seed=seed, lines=False)
        except GradientError as error:
            return error.report


def numeric_gradient(loss, x, h=1e-5):
    """Return central differences of a scalar function with respect to each entry of x."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        there, back = x.copy(), x.copy()
        there[index] += h
        back[index] -= h
        gradient[index] = (loss(there) - loss(back)) / (2 * h)
    return gradient


def close(a, b, tolerance=1e-6):
    """Raise AssertionError if two gradients differ by more than the tolerance."""
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
