"""A textbook function run in float64, every statement's value seen, and one of them wrong where that is asked for.

The source is the textbook's own, compiled once more with each `name = value` as `name = _see("name", lambda: value)`.
So a mistake needs to say only what one statement would be: what follows from it, in this gradient and in others, the
textbook works out itself, and nothing is derived twice.
"""

import ast
import copy
import functools
import inspect
import re
import textwrap

import numpy as np

from gradcheck import to_float64
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import cos_and_sin, turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import plain

FUNCTIONS = {
    "linear": linear,
    "embedding": embedding,
    "unembedding": unembedding,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "attention": attention,
    "relu": relu,
    "silu": silu,
    "swiglu": swiglu,
    "dropout": dropout,
    "cross_entropy": cross_entropy,
    "multi_head_attention": MultiHeadAttention.forward,
    "feed_forward": FeedForward.forward,
    "gated_feed_forward": GatedFeedForward.forward,
    "block": TransformerBlock.forward,
}


class DoesNotFitError(Exception):
    """A mistake that cannot be made with these inputs: shapes do not fit, or something is not there."""


class Textbook:
    """A component's textbook function on the arguments of one run, in float64, to be run as often as one likes.

    Raises KeyError for a component that is not known.
    """

    def __init__(self, component, arguments, dy):
        arguments = {name: in_float64(value) for name, value in arguments.items()}
        self.also = {}
        if component == "rotary":
            component, arguments = "turned", self.angles(**arguments)
        elif component == "gelu":
            form = arguments.get("approximate", "none")
            component, arguments = "gelu_exact" if form == "none" else "gelu_tanh", {"x": arguments["x"]}
        self.component = component
        others = {"turned": turned, "gelu_exact": gelu_exact, "gelu_tanh": gelu_tanh}
        self.function = (FUNCTIONS | others)[component]
        self.arguments, self.dy = arguments, np.zeros(()) if dy is None else np.asarray(in_float64(dy))
        if "self" in arguments:  # a learner's class has forward and backward of its own
            owner = self.function.__qualname__.split(".")[0]
            arguments["self"].__class__ = self.function.__globals__[owner]
        self.bound = inspect.signature(self.function).bind(**arguments)
        self.bound.apply_defaults()
        self.values = {}
        self.truth = self.run()

    def angles(self, x, positions, base=10000.0, layout="half", scaling=None):
        """Return the arguments of `turned` for those of rotary, which only finds the angles."""
        cos, sin = cos_and_sin(positions, x.shape[-1], base, scaling, np.float64)
        self.also = {"positions": positions, "base": base, "scaling": scaling}
        return {"x": x, "cos": cos, "sin": sin, "layout": layout}

    def run(self, planted=None, code=None, scope=None):
        """Return {gradient: value} of one forward and backward pass.

        `planted` is {name of a statement: rule}: the rule's value, of the values that its arguments name, is put in the
        place of the statement's. `code` is of a function to run in the textbook's place, `scope` of names it finds.
        Raises DoesNotFitError where that is impossible.
        """
        planted = planted or {}
        # What a function returns is exchanged in the end: until then it may still be added to.
        at_once = set() if self.module is not None else {*self.differentiable} & {*planted}
        eye = Eye(self.known(), {name: rule for name, rule in planted.items() if name not in at_once})
        names = {**self.function.__globals__, **(scope or {}), "_see": eye}
        exec(code or watched(self.function), names)
        try:
            with plain(), np.errstate(all="ignore"):
                gradients = self.gradients(names[self.function.__name__])
                gradients |= {name: np.asarray(by_name(planted[name], eye.known)) for name in at_once}
        except (ValueError, TypeError, IndexError, ArithmeticError, KeyError, AttributeError, NameError) as error:
            raise DoesNotFitError(str(error)) from error
        if not self.values:
            self.values = eye.known
        return gradients

    def known(self):
        """Return {name: value} of what is known before a run: arguments, dy, and what the first run has seen."""
        arguments = self.bound.arguments
        options = {name: value for name, value in arguments.items() if name not in positional(self.function)}
        dy = {"dy": self.dy, name_of_dy(self.function): self.dy}
        return {**self.values, **self.also, **arguments, **dy, "options": options}

    @property
    def module(self):
        """The module of a composition, None for a function."""
        return self.bound.arguments.get("self")

    def gradients(self, function):
        """Call a function as the textbook's is called, and return {gradient: value}."""
        parameters = dict(self.module.named_parameters()) if self.module is not None else {}
        for parameter in parameters.values():
            parameter.grad = None
        arguments = {name: copy.deepcopy(x) if name == "rng" else x for name, x in self.bound.arguments.items()}
        _, backward = function(**arguments)
        given = backward(self.dy)
        given = given if isinstance(given, tuple) else (given,)
        gradients = dict(zip(self.differentiable, map(np.asarray, given), strict=True))
        return gradients | {name: p.grad for name, p in parameters.items() if p.grad is not None}

    @property
    def differentiable(self):
        """The names of the gradients that backward returns."""
        arguments = self.bound.arguments
        floating = {name for name, value in arguments.items() if getattr(value, "dtype", None) == np.float64}
        return [f"d{name}" for name in positional(self.function) if name in floating]


@functools.cache
def positional(function):
    """Return the names of a function's arguments that are not keyword-only: the differentiable ones among them."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind != parameter.KEYWORD_ONLY]


def in_float64(value):
    """Return a floating-point array, or a copy of a module, in float64; anything else as it is."""
    if hasattr(value, "named_parameters"):
        value = copy.deepcopy(value)
        to_float64(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = value.astype(np.float64)
    return value


class Eye:
    """Sees what each statement gives, and puts another value in its place where a mistake is planted."""

    def __init__(self, known, planted):
        self.known, self.planted = known, planted

    def __call__(self, names, value):
        """Return the value of a statement that assigns to `names`: one, or a tuple of them."""
        if isinstance(names, str):
            self.known[names] = self.planted_value(names, value)
            return self.known[names]
        given = self.planted_value(", ".join(map(str, names)), value)
        return tuple(self(name, lambda part=part: part) for name, part in zip(names, given, strict=True))

    def planted_value(self, name, value):
        """Return what is planted in the place of a name, or what its statement gives."""
        return by_name(self.planted[name], self.known) if name in self.planted else value()


def by_name(rule, values):
    """Return what a rule, a function, gives for the values that its arguments name; `known` are all of them."""
    return rule(*(values if name == "known" else values[name] for name in arguments_of(rule)))


@functools.cache
def arguments_of(rule):
    """Return the names of a rule's arguments."""
    return tuple(inspect.signature(rule).parameters)


@functools.cache
def watched(function):
    """Return the code of a function's `def`, in which every statement is seen."""
    return watched_text(source_of(function)[0], function.__name__)


def watched_text(text, name):
    """Return the code of the `def` in a text, in which every statement is seen."""
    tree = ast.parse(text)
    tree.body[0].decorator_list = []
    Watching().visit(tree)
    return compile(ast.fix_missing_locations(tree), f"<{name}>", "exec")


@functools.cache
def source_of(function):
    """Return (text, number of the first line) of a function, without indentation."""
    lines, first = inspect.getsourcelines(function)
    return textwrap.dedent("".join(lines)), first


@functools.cache
def name_of_dy(function):
    """Return what a function's backward calls the gradient that it is given."""
    return re.search(r"def backward\((\w*)|$", source_of(function)[0])[1] or "dy"


class Watching(ast.NodeTransformer):
    """Has the values of assignments, and of what backward returns without a name, pass through `_see`."""

    def visit_Assign(self, node):
        node.value = seen(names_of(node.targets[0]), node.value)
        return node

    def visit_Return(self, node):
        if isinstance(node.value, ast.Call):
            node.value = seen(ast.Constant("dx"), node.value)
        elif isinstance(node.value, ast.Tuple) and "backward" not in map(ast.unparse, node.value.elts):
            node.value = seen(ast.Constant("return"), node.value)
        return node


def names_of(target):
    """Return the tree of the name, or of the tuple of names, that a statement assigns to."""
    if isinstance(target, ast.Tuple):
        return ast.Tuple([names_of(element) for element in target.elts], ast.Load())
    return ast.Constant(target.id)


def seen(names, value):
    """Return the tree of `_see(names, lambda: value)`."""
    no_arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Call(ast.Name("_see", ast.Load()), [names, ast.Lambda(no_arguments, value)], [])


@functools.cache
def equations(function):
    """Return {name: "(7)"} of the statements whose comment has the number of an equation."""
    text, _ = source_of(function)
    found = re.findall(r"^ *([\w, ]+?) = .*# (\(\d+\))", text, re.MULTILINE)
    return {name: number for names, number in found for name in {names, *names.split(", ")}}
