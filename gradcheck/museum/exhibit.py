"""Define the cases of the corpus.

A case is a right function, a wrong version of it, and inputs on which they differ:

    @right((3, 4))
    @missed("cosh-sign", check_shapes, (3, 4))
    def cosh(x):
        '''cosh-sign: owner/project, issue 1; owner/other, pull request 2
            return -dy * np.sinh(x)
        The sign is that of a cosine's derivative. More words.
        Missed: The check compares only shapes.
        '''

        def backward(dy):
            return dy * np.sinh(x)

        return np.cosh(x), backward

A tuple among the inputs is the shape of a random array. Each paragraph of the docstring is a wrong version: its name,
its sources, a wrong statement (see `wrong_lines`), and a few words. A version is an exhibit if it also has a check in
the style of its authors, which it passes, and the reason. `at` gives a version its own inputs.
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
from gradcheck.mistakes.planter import codes_of, copy_with

PATHS = {"issue": "issues", "pull request": "pull", "file": "blob"}


class Case:
    """A function of the corpus with its inputs, and its wrong version if `lines` is given."""

    def __init__(self, function, name, inputs, lines=None, sources="", words="", check=None):
        self.function, self.name, self.lines, self.check = function, name, lines, check
        self.inputs, self.options = inputs
        self.sources = tuple(filter(None, sources.split("; ")))
        words, _, self.reason = words.partition(" Missed: ")
        title, _, self.story = words.partition(". ")
        self.title = title.rstrip(".")

    def version(self, wrong):
        if not wrong:
            return self.function
        lines, file = [f"{line}\n" for mark, line in self.lines if mark != "+"], f"<the wrong {self.name}>"
        linecache.cache[file] = len(lines), None, lines, file  # so that inspect.getsource finds it
        return copy_with(self.function, codes_of("".join(lines), file)[1, self.function.__name__])

    def draw(self, rng):
        """Return the inputs and the options, with random arrays instead of shapes."""
        return drawn(rng, self.inputs), dict(zip(self.options, drawn(rng, self.options.values()), strict=True))

    def examine(self, wrong, seed=0, explain=True):
        """Check the wrong or the right version with gradcheck, and return the Report."""
        inputs, options = self.draw(np.random.default_rng(seed))
        call = Call(self.version(wrong), *inputs, **options)
        with np.errstate(all="ignore"):
            return check_call(call, seed=seed, explain=explain, lines=False, raises=False)

    def run_check(self, version):
        check, inputs, options = self.check
        check(version, *inputs, **options)

    @property
    def check_lines(self):
        """The source of the check, or the call of a check that is defined in this file."""
        check = self.check[0]
        if check.__module__ != __name__:
            return _source(check)[0]
        function = ast.parse(textwrap.dedent(inspect.getsource(self.function))).body[0]
        calls = [d for d in function.decorator_list if getattr(d.args[0], "value", None) == self.name]
        (call,) = (call for call in calls if call.func.id == "missed")
        call.func, call.args = call.args[1], [ast.Name(self.function.__name__), *call.args[2:]]
        return textwrap.wrap(ast.unparse(call), 96, subsequent_indent="    ")


def right(*inputs, **options):
    """Return a decorator that defines the cases of a function.

    It adds two lists to the function: `rights`, with one Case for the inputs and one for those of each decorator `at`,
    and `cases`, with one Case for each paragraph of the docstring.
    """

    def decorator(function):
        name = function.__name__.replace("_", "-")
        own, checks = getattr(function, "inputs_of", {}), getattr(function, "check_of", {})
        function.rights = [Case(function, *each) for each in {name: (inputs, options), **own}.items()]
        function.cases = []
        for paragraph in filter(None, (function.__doc__ or "").split("\n\n")):
            lines = inspect.cleandoc(paragraph).split("\n")
            indented = [i for i, line in enumerate(lines) if line.startswith("    ")]
            first, below = indented[0], indented[-1] + 1
            name, sources = " ".join(lines[:first]).split(":", 1)
            wrong = wrong_lines(function, textwrap.dedent("\n".join(lines[first:below])))
            place, words = own.get(name, (inputs, options)), " ".join(lines[below:])
            case = Case(function, name, place, wrong, sources.strip(), words, checks.get(name))
            function.cases.append(case)
        return function

    return decorator


def at(name, *inputs, **options):
    """Return a decorator that gives one wrong version its own inputs."""
    return lambda function: _noted(function, "inputs_of", name, (inputs, options))


def missed(name, check, *inputs, **options):
    """Return a decorator that makes a wrong version an exhibit, which passes the check."""
    return lambda function: _noted(function, "check_of", name, (check, inputs, options))


def _noted(function, attribute, name, value):
    setattr(function, attribute, {name: value, **getattr(function, attribute, {})})
    return function


def url(source):
    """Return the GitHub address of a source such as "owner/project, issue 7"."""
    parts = re.fullmatch(r"(\S+), (issue|pull request|file) (\S+?)(?: at (\w+))?", source)
    repository, kind, item, commit = parts.groups()
    return "/".join(filter(None, ("https://github.com", repository, PATHS[kind], commit, item)))


def wrong_lines(function, text):
    """Replace a statement of a function with the wrong statements `text`.

    Returns the source as a list of (mark, line), where the mark is "−" for wrong lines, "+" for right lines, and " "
    for all others. The statement that is replaced has the same target as a statement of `text`, and is the only one
    with this target in the backward pass or in the whole function. Raises ValueError if there is none.
    """
    lines, tree = _source(function)
    backward = next(node for node in tree.body if getattr(node, "name", "") == "backward")
    for wanted in map(_target, ast.parse(text).body):
        for part in (backward, tree):
            found = [n for n in ast.walk(part) if isinstance(n, ast.stmt) and _target(n) == wanted]
            if len(found) == 1:
                first, last = found[0].lineno - 1, found[0].end_lineno
                wrong = [("−", line) for line in textwrap.indent(text, " " * found[0].col_offset).split("\n")]
                listed = [(" ", line) for line in lines]
                listed[first:last] = [*wrong, *(("+", line) for line in lines[first:last])]
                return listed
    raise ValueError(f"{function.__name__}: there is no single statement with the target of {text!r}")


def _source(function):
    """Return the source lines and the syntax tree of a function without its docstring."""
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
    first = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
    lines = source.splitlines()
    lines = [*lines[node.lineno - 1 : node.body[0].lineno - 1], *"\n".join(lines[first:]).strip("\n").split("\n")]
    return lines, ast.parse("\n".join(lines)).body[0]


def _target(node):
    if isinstance(node, ast.Return):
        return "return"
    if isinstance(node, ast.Expr) and ast.unparse(node).startswith("np.add.at("):
        return "{}[{}]".format(*map(ast.unparse, node.value.args))
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", node)
    return ast.unparse(target)


def drawn(rng, inputs):
    """Replace shapes with random arrays, and copy all other inputs."""
    return tuple(rng.normal(size=x) if isinstance(x, tuple) else copy.copy(x) for x in inputs)


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


# Checks in the style of the authors. Their inputs are arrays, or shapes of arrays that are drawn.


def check_numerically(function, *inputs, only=(), dy=None, tolerance=1e-6, **options):
    """Assert that the gradients, or those in `only`, agree with central differences."""
    rng = np.random.default_rng(0)
    inputs = drawn(rng, inputs)
    y, backward = function(*inputs, **options)
    dy = rng.normal(size=np.shape(y)) if dy is None else dy
    gradients = as_tuple(backward(dy.copy() if np.ndim(dy) else float(dy)))
    for i in only or range(len(inputs)):

        def loss(x, i=i):
            return np.sum(dy * function(*inputs[:i], x, *inputs[i + 1 :], **options)[0])

        close(gradients[i], numeric_gradient(loss, inputs[i]), tolerance)


def check_shapes(function, *inputs):
    """Assert that each gradient for dy = 1 is finite and has the shape of its input."""
    inputs = drawn(np.random.default_rng(0), inputs)
    y, backward = function(*inputs)
    for gradient, x in zip(as_tuple(backward(np.ones_like(y))), inputs, strict=True):
        assert gradient.shape == x.shape and np.isfinite(gradient).all()


def check_descent(function, *inputs, rate, target=0.0, **options):
    """Assert that gradient descent moves y towards a target in 50 steps."""
    inputs, distances = drawn(np.random.default_rng(0), inputs), []
    for _ in range(50):
        y, backward = function(*inputs, **options)
        distances.append(((y - target) ** 2).sum())
        gradients = as_tuple(backward(2 * (y - target)))
        inputs = [x - rate * dx for x, dx in zip(inputs, gradients, strict=True)]
    assert distances[-1] < distances[0]


def numeric_gradient(loss, x, h=1e-5):
    """Compute the gradient of a scalar function by central differences."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        there, back = x.copy(), x.copy()
        there[index] += h
        back[index] -= h
        gradient[index] = (loss(there) - loss(back)) / (2 * h)
    return gradient


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
