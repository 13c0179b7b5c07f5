"""One exhibit: a wrong gradient, the check that missed it, and the inputs to run both.

    @exhibit("owner/project, issue 1", (3, 4), ids=np.array([2, 0]))
    def name(x, *, ids):
        '''Title.

        The story of the mistake.
        '''
        ...
        dx = dy * (y > 0)  # wrong: dx = dy * (y >= 0)

    @name.missed_by
    def the_check_in_words(function): ...

The function is right. In the wrong version, the statement after `# wrong:` replaces the line. The check is in the style
of the authors and passes on the wrong version; its docstring gives the reason. gradcheck detects the mistake for the
inputs and options of the exhibit. A tuple among them is the shape of an array that is drawn.
"""

import ast
import inspect
import linecache
import re
import textwrap

import numpy as np

from gradcheck.call import Call
from gradcheck.checking import check_call
from gradcheck.report import GradientError

PATHS = {"issue": "issues", "pull request": "pull", "file": "blob"}


class Exhibit:
    def __init__(self, function, sources, inputs, options):
        self.function, self.sources, self.inputs, self.options = function, sources, inputs, options
        self.name = function.__name__.replace("_", "-")
        self.title = inspect.getdoc(function).splitlines()[0].rstrip(".")

    def missed_by(self, check):
        """Set the check that does not detect the mistake. This is a decorator."""
        self.check = check
        return check

    def version(self, wrong):
        """Return the function, with or without the mistake."""
        if not wrong:
            return self.function
        lines = [f"{line}\n" for mark, line in listing(self.function) if mark != "+"]
        file, names = f"<the wrong {self.name}>", dict(self.function.__globals__)
        linecache.cache[file] = len(lines), None, lines, file  # for inspect.getsource
        exec(compile("".join(lines), file, "exec"), names)
        return names[self.function.__name__]

    def draw(self, rng):
        """Return (inputs, options) for which gradcheck detects the mistake."""
        options = dict(zip(self.options, drawn(rng, self.options.values()), strict=True))
        return drawn(rng, self.inputs), options

    def examine(self, wrong, seed=0):
        """Check the function, with or without the mistake, and return gradcheck's Report."""
        inputs, options = self.draw(np.random.default_rng(seed))
        try:
            return check_call(Call(self.version(wrong), *inputs, **options), seed=seed, lines=False)
        except GradientError as error:
            return error.report


def exhibit(sources, *inputs, **options):
    """Return a decorator that makes an Exhibit of a function. The sources are separated by semicolons."""
    return lambda function: Exhibit(function, tuple(sources.split("; ")), inputs, options)


def url(source):
    """Return the address on GitHub of a source such as "a/b, pull request 7" or "a/b, file c.py at 0123abc"."""
    parts = re.fullmatch(r"(\S+), (issue|pull request|file) (\S+?)(?: at (\w+))?", source)
    repository, kind, item, commit = parts.groups()
    return "/".join(filter(None, ("https://github.com", repository, PATHS[kind], commit, item)))


def listing(function):
    """Return the source of a function as a list of (mark, line), without decorators and docstring.

    A line with a comment `# wrong:` is two lines: the wrong one, with the mark "−", and the right one, with "+". All
    other lines have the mark " ".
    """
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source).body[0]
    lines = source.splitlines()
    listed = []
    for line in [lines[tree.lineno - 1], *"\n".join(lines[tree.body[0].end_lineno :]).strip("\n").split("\n")]:
        indent, right, wrong = re.fullmatch(r"( *)(.*?)(?: *# wrong: (.*))?", line).groups()
        listed += [("−", indent + wrong)] if wrong else []
        listed += [("+" if wrong else " ", indent + right)] if right or not wrong else []
    return listed


def drawn(rng, inputs):
    """Replace shapes by normally distributed arrays."""
    return tuple(rng.normal(size=x) if isinstance(x, tuple) else x for x in inputs)


def check_numerically(function, *inputs, only=None, dy=None, tolerance=1e-6, **options):
    """Raise AssertionError if a gradient differs from central differences.

    The inputs are arrays, or shapes of normally distributed arrays. `only` is the index of the single input to compare.
    """
    rng = np.random.default_rng(0)
    inputs = drawn(rng, inputs)
    y, backward = function(*inputs, **options)
    dy = rng.normal(size=np.shape(y)) if dy is None else dy
    gradients = backward(dy.copy() if np.ndim(dy) else float(dy))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for i in range(len(inputs)) if only is None else [only]:

        def loss(x, i=i):
            return np.sum(dy * function(*inputs[:i], x, *inputs[i + 1 :], **options)[0])

        close(gradients[i], numeric_gradient(loss, inputs[i]), tolerance)


def descend(step, x, rate):
    """Raise AssertionError if 50 steps of gradient descent do not reduce the loss. `step(x)` returns (loss, dx)."""
    losses = []
    for _ in range(50):
        loss, dx = step(x)
        losses.append(loss)
        x = x - rate * dx
    assert losses[-1] < losses[0]


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
