"""The cases of the corpus: a right function, its wrong versions, and the inputs on which they differ.

    @right((3, 4))
    def cosh(x):
        '''cosh-sign: owner/project, issue 1; owner/other, pull request 2
            return -dy * np.sinh(x)
        The sign is that of a cosine's derivative.
        '''

        def backward(dy):
            return dy * np.sinh(x)

        return np.cosh(x), backward

A tuple among the inputs is the shape of an array that is drawn. Each paragraph of the docstring is a case: its name,
its sources, a wrong statement (see `exchanged`), and a few words. An exhibit is a case that also has a check in the
style of its authors. The check passes on the wrong version, and its docstring gives the reason. The docstring of the
function tells the story of the exhibit, and a comment marks the wrong line:

    @exhibit("owner/project, issue 1", (3, 4), ids=np.array([2, 0]))
    def name(x, *, ids):
        ...
        dx = dy * (y > 0)  # wrong: dx = dy * (y >= 0)

    @name.missed_by
    def the_check_in_words(function): ...
"""

import ast
import copy
import inspect
import linecache
import re
import textwrap

import numpy as np

from gradcheck.call import Call
from gradcheck.checking import check_call

PATHS = {"issue": "issues", "pull request": "pull", "file": "blob"}


class Right:
    """A right function, the inputs and options on which it is checked, and the Cases of its wrong versions."""

    def __init__(self, function, inputs, options):
        self.function, self.inputs, self.options, self.cases = function, inputs, options, []
        self.name = function.__name__.replace("_", "-")

    def wrong(self, name, sources, statement, words):
        """Add a Case with a wrong statement, which replaces the right one (see `exchanged`)."""
        self.cases.append(Case(self, name, sources, exchanged(self.function, statement), words))

    def draw(self, rng):
        options = dict(zip(self.options, drawn(rng, self.options.values()), strict=True))
        return drawn(rng, self.inputs), options

    def examine(self, version, seed=0, explain=True):
        """Check a version of the function, and return gradcheck's Report."""
        inputs, options = self.draw(np.random.default_rng(seed))
        with np.errstate(all="ignore"):
            return check_call(Call(version, *inputs, **options), seed=seed, explain=explain, lines=False, raises=False)


class Case:
    """A wrong version of a right function: its code, its sources, and a few words about it."""

    def __init__(self, right, name, sources, lines, words):
        self.right, self.name, self.lines, self.words = right, name, lines, words
        self.sources = tuple(filter(None, sources.split("; ")))
        self.title = words.split(". ")[0].rstrip(".")

    def version(self, wrong):
        if not wrong:
            return self.right.function
        lines = [f"{line}\n" for mark, line in self.lines if mark != "+"]
        file, names = f"<the wrong {self.name}>", dict(self.right.function.__globals__)
        linecache.cache[file] = len(lines), None, lines, file  # so that inspect.getsource finds it
        exec(compile("".join(lines), file, "exec"), names)
        return names[self.right.function.__name__]

    def draw(self, rng):
        return self.right.draw(rng)

    def examine(self, wrong, seed=0, explain=True):
        """Check the function, with or without the mistake, and return gradcheck's Report."""
        return self.right.examine(self.version(wrong), seed, explain)


class Exhibit(Case):
    """A Case with the check that missed it. A comment in the function marks the mistake."""

    def __init__(self, function, sources, inputs, options):
        self.function, right = function, Right(function, inputs, options)
        super().__init__(right, right.name, sources, listing(function), inspect.getdoc(function).splitlines()[0])
        self.wrong = right.wrong

    def missed_by(self, check):
        """Set the check that does not detect the mistake. This is a decorator."""
        self.check = check
        return check


def right(*inputs, **options):
    """Return a decorator that makes a Right from a function whose docstring lists the Cases."""

    def decorator(function):
        made = Right(function, inputs, options)
        for paragraph in filter(None, (function.__doc__ or "").split("\n\n")):
            heading, *lines = inspect.cleandoc(paragraph).split("\n")
            name, sources = heading.split(":", 1)
            statement = [line for line in lines if line.startswith("    ")]
            words = " ".join(lines[len(statement) :])
            made.wrong(name, sources.strip(), textwrap.dedent("\n".join(statement)), words)
        return made

    return decorator


def exhibit(sources, *inputs, **options):
    """Return a decorator that converts a function to an Exhibit. `sources` are separated by semicolons."""
    return lambda function: Exhibit(function, sources, inputs, options)


def url(source):
    """Return the address of a source such as "a/b, pull request 7" or "a/b, file c.py at 0123abc" on GitHub."""
    parts = re.fullmatch(r"(\S+), (issue|pull request|file) (\S+?)(?: at (\w+))?", source)
    repository, kind, item, commit = parts.groups()
    return "/".join(filter(None, ("https://github.com", repository, PATHS[kind], commit, item)))


def listing(function):
    """Return the source of a function as a list of (mark, line), without decorators and docstring.

    A line with a comment `# wrong:` becomes two lines: the wrong one, with the mark "−", and the right one, with "+".
    """
    listed = []
    for line in _source(function)[0]:
        indent, right, wrong = re.fullmatch(r"( *)(.*?)(?: *# wrong: (.*))?", line).groups()
        listed += [("−", indent + wrong)] if wrong else []
        listed += [("+" if wrong else " ", indent + right)] if right or not wrong else []
    return listed


def exchanged(function, statement):
    """Return the listing of a function in which `statement` replaces the statement with the same target.

    The statement is sought in backward, then in the forward pass. Raises ValueError unless exactly one is found.
    """
    lines, tree = _source(function)
    wanted = _target(ast.parse(statement).body[0])
    backward = next(node for node in tree.body if getattr(node, "name", "") == "backward")
    places = [[n for n in ast.walk(p) if isinstance(n, ast.stmt) and _target(n) == wanted] for p in (backward, tree)]
    found = places[0] or places[1]
    if len(found) != 1:
        raise ValueError(f"{function.__name__}: {len(found)} statements have the target {wanted!r}; there must be one")
    old = found[0]
    listed = [(" ", re.sub(" *# wrong: .*", "", line)) for line in lines]
    first, last = old.lineno - 1, old.end_lineno
    wrong = textwrap.indent(statement, " " * old.col_offset).split("\n")
    listed[first:last] = [*(("−", line) for line in wrong), *(("+", line) for _, line in listed[first:last])]
    return listed


def _source(function):
    """Return the lines of a function, without decorators and docstring, and their syntax tree."""
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
    first = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
    lines = source.splitlines()
    lines = [*lines[node.lineno - 1 : node.body[0].lineno - 1], *"\n".join(lines[first:]).strip("\n").split("\n")]
    return lines, ast.parse("\n".join(lines)).body[0]


def _target(node):
    if isinstance(node, ast.Return):
        return "return"
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", node)
    return ast.unparse(target)


def drawn(rng, inputs):
    """Replace shapes with standard normal arrays, and copy the other inputs, which a wrong version may modify."""
    return tuple(rng.normal(size=x) if isinstance(x, tuple) else copy.copy(x) for x in inputs)


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def check_numerically(function, *inputs, only=None, dy=None, tolerance=1e-6, **options):
    """Raise AssertionError if a gradient (default: any) differs from central differences.

    `only` is the index of the gradient. The inputs are arrays, or shapes of normally distributed arrays.
    """
    rng = np.random.default_rng(0)
    inputs = drawn(rng, inputs)
    y, backward = function(*inputs, **options)
    dy = rng.normal(size=np.shape(y)) if dy is None else dy
    gradients = as_tuple(backward(dy.copy() if np.ndim(dy) else float(dy)))
    for i in range(len(inputs)) if only is None else [only]:

        def loss(x, i=i):
            return np.sum(dy * function(*inputs[:i], x, *inputs[i + 1 :], **options)[0])

        close(gradients[i], numeric_gradient(loss, inputs[i]), tolerance)


def descend(step, x, rate):
    """Raise AssertionError if 50 steps of gradient descent do not reduce the loss of step(x) = (loss, dx)."""
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
