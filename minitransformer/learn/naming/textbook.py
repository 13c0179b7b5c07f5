"""Run a textbook function in float64, with a statement of its backward pass replaced."""

import ast
import copy
import functools
import inspect
import math
import re
import textwrap

import numpy as np

from gradcheck import to_float64
from gradcheck.mistakes import exchanged
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.multi_head_attention import MultiHeadAttention, merge, projections
from minitransformer.layers.positions import cos_and_sin, turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import plain

FUNCTIONS = {
    **{f.__name__: f for f in (linear, embedding, unembedding, layer_norm, rms_norm, softmax, log_softmax, attention)},
    **{f.__name__: f for f in (relu, silu, swiglu, dropout, cross_entropy, turned, gelu_exact, gelu_tanh)},
    "multi_head_attention": MultiHeadAttention.forward,
    "feed_forward": FeedForward.forward,
    "gated_feed_forward": GatedFeedForward.forward,
    "block": TransformerBlock.forward,
}
# Functions that a textbook function calls. A learner may write their code in place of the call.
INSIDE = {attention: softmax, swiglu: silu, MultiHeadAttention.forward: projections}
ADDED = {"np": np, "math": math, "merge": merge}  # names that a mistake may use, whatever the file imports


class DoesNotFitError(Exception):
    """A mistake cannot be made with these inputs, because shapes do not match or a name is missing."""


class Textbook:
    """A component's function with the arguments of one run.

    `truth` maps names to the right gradients. `arguments` maps names to inputs and options; for a composition, "self"
    is its module. Raises KeyError if the component is unknown, and TypeError if its function does not take the
    arguments.
    """

    def __init__(self, component, arguments, dy):
        arguments = {name: in_float64(value) for name, value in arguments.items()}
        if component == "rotary":
            component, arguments = "turned", angles(**arguments)
        elif component == "gelu":
            form = arguments.pop("approximate", "none")
            component = "gelu_exact" if form == "none" else "gelu_tanh"
        self.component, self.function = component, FUNCTIONS[component]
        self.dy = np.zeros(()) if dy is None else np.asarray(in_float64(dy))
        if "self" in arguments:  # a learner's class has its own forward and backward
            owner = self.function.__qualname__.split(".")[0]
            arguments["self"].__class__ = self.function.__globals__[owner]
        self.bound = inspect.signature(self.function).bind(**arguments)
        self.bound.apply_defaults()
        self.truth = self.run(compiled(ast.unparse(tree_of(self.function))))

    def run(self, code, inner=None):
        """Run the function with other code, and return {name: gradient}.

        `code` replaces the function, or the function `inner` that it calls. Raises DoesNotFitError if the code raises.
        """
        names = {**self.function.__globals__, **ADDED}
        exec(code, names)
        if inner is not None:
            names = {**self.function.__globals__, inner: names[inner]}
            exec(compiled(ast.unparse(tree_of(self.function))), names)
        try:
            with plain(), np.errstate(all="ignore"):
                return self._gradients(names[self.function.__name__])
        except (ValueError, TypeError, IndexError, ArithmeticError, KeyError, AttributeError, NameError) as error:
            raise DoesNotFitError(str(error)) from error

    def _gradients(self, function):
        module = self.bound.arguments.get("self")
        parameters = dict(module.named_parameters()) if module is not None else {}
        for parameter in parameters.values():
            parameter.grad = None
        arguments = {name: copy.deepcopy(x) if name == "rng" else x for name, x in self.bound.arguments.items()}
        _, backward = function(**arguments)
        given = backward(self.dy)
        given = given if isinstance(given, tuple) else (given,)
        gradients = dict(zip(self._differentiable(), map(np.asarray, given), strict=True))
        return gradients | {name: p.grad for name, p in parameters.items() if p.grad is not None}

    def _differentiable(self):
        """Return the names of the gradients that backward returns."""
        parameters = inspect.signature(self.function).parameters.values()
        arguments = self.bound.arguments
        floating = {name for name, value in arguments.items() if getattr(value, "dtype", None) == np.float64}
        return [f"d{p.name}" for p in parameters if p.kind != p.KEYWORD_ONLY and p.name in floating]


def angles(x, positions, base=10000.0, layout="half", scaling=None):
    """Convert the arguments of `rotary` to those of `turned`, which takes the cosines and sines of the angles."""
    cos, sin = cos_and_sin(positions, x.shape[-1], base, scaling, np.float64)
    return {"x": x, "cos": cos, "sin": sin, "layout": layout}


def in_float64(value):
    """Convert an array of real numbers, or a copy of a module, to float64. Return other values unchanged."""
    if hasattr(value, "named_parameters"):
        value = copy.deepcopy(value)
        to_float64(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = value.astype(np.float64)
    return value


@functools.cache
def source_of(function):
    lines, first = inspect.getsourcelines(function)
    return textwrap.dedent("".join(lines)), first


@functools.cache
def tree_of(function):
    return ast.parse(source_of(function)[0])


@functools.cache
def compiled(text):
    """Compile source text. The result is cached, because a search runs it on several cases."""
    return compile(text, "<a mistake>", "exec")


@functools.cache
def statements(function):
    """Return {name: statement} of the assignments in a function's backward pass.

    A returned call has the name "return". A call such as np.add.at has the name of its first argument.
    """
    backwards = [n for n in ast.walk(tree_of(function)) if isinstance(n, ast.FunctionDef) and n.name == "backward"]
    found = {}
    for statement in ast.walk(backwards[0]) if backwards else ():
        if isinstance(statement, ast.Assign):
            found[ast.unparse(statement.targets[0]).strip("()")] = statement
        elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Call):
            found["return"] = statement
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            found[ast.unparse(statement.value.args[0])] = statement  # np.add.at(dweight, ids, dy)
    return found


@functools.cache
def with_statement(function, name, wrong):
    """Return the code of a function with the value of a statement replaced. V stands for the right value."""
    value = ast.unparse(statements(function)[name].value)
    return with_value(function, name, re.sub(r"\bV\b", lambda _: f"({value})", wrong))


@functools.cache
def renamed(function, name, names, wrong):
    """Return the code of a function in which an expression replaces some names of a statement.

    In the expression `wrong`, {} stands for the name. Raises DoesNotFitError if the statement reads none of the names.
    """
    value = statements(function)[name].value
    read = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)} & set(names)
    if not read:
        raise DoesNotFitError(f"{name} reads none of {names}")
    pattern = rf"(?<![\w.])({'|'.join(read)})(?!\w)"
    return with_value(function, name, re.sub(pattern, lambda m: f"({wrong.format(m[1])})", ast.unparse(value)))


def with_value(function, name, code):
    """Return the code of a function in which the expression `code` replaces the value of a statement."""
    tree = exchanged(tree_of(function), statements(function)[name].value, ast.parse(code, mode="eval").body)
    return compiled(ast.unparse(ast.fix_missing_locations(tree)))


@functools.cache
def name_of_dy(function):
    return re.search(r"def backward\((\w*)|$", source_of(function)[0])[1] or "dy"


@functools.cache
def place_of(function, name):
    """Return the place of a statement as a prefix: `(7) dx: `, or `dx: ` without an equation number."""
    statement = statements(function).get(name)
    line = source_of(function)[0].splitlines()[statement.end_lineno - 1] if statement is not None else ""
    found = re.search(r"# (\(\d+\))", line)
    return f"{found[1]} {name}: " if found else "" if name == "return" else f"{name}: "
