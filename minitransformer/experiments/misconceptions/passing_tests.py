"""The experiment on the belief "The tests pass, so the gradients are right". passing_tests.md describes it."""

import inspect
from functools import cache
from pathlib import Path

import numpy as np

from gradcheck.audit import mutate
from gradcheck.museum import numeric_gradient
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention, causal_mask, masked_softmax, scaled_dot_product
from minitransformer.layers.checks import LAYOUTS
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.positions import turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy

HABITS = ("ones", "start", "no_dropout", "one_position", "small")
TESTS = {"careful": (), **{habit: (habit,) for habit in HABITS}, "all": HABITS}
SAMPLE = 700  # mutants, about half of all
DRAWS = 20  # inputs on which a mutant is compared with the textbook
SMALL = 0.02  # the size of small numbers
RELATIVE, ABSOLUTE = 1e-6, 1e-4  # tolerance of a test, and of a test with small numbers
SAME = 1e-12
B, C, F, V = 2, 4, 5, 7  # batch, channels, hidden width, vocabulary


class Inputs:
    """Random inputs of a test that is written with the given careless habits (see HABITS)."""

    def __init__(self, rng, habits):
        self.rng, self.habits = rng, habits
        self.T = 1 if "one_position" in habits else 3

    def normal(self, *shape):
        return self.rng.normal(size=shape) * (SMALL if "small" in self.habits else 1.0)

    def x(self, width=C):
        return self.normal(B, self.T, width)

    def parameter(self, start, *shape):
        """Draw a parameter, or return its initial value `start` with the habit "start"."""
        return np.full(shape, float(start)) if "start" in self.habits else self.normal(*shape)

    def ids(self):
        return self.rng.integers(0, V, (B, self.T))

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def dropping(self, *shape):
        is_off = "no_dropout" in self.habits
        return {"keep": np.ones(shape, bool) if is_off else self.rng.random(shape) < 0.6, "p": 0.0 if is_off else 0.4}

    def dy(self, y):
        return np.ones(np.shape(y)) if "ones" in self.habits else self.rng.normal(size=np.shape(y))


def qkv(d, heads):
    return d.normal(B, 2, d.T, 4), d.normal(B, heads, d.T, 4), d.normal(B, heads, d.T, 5)


def mask_and_dropout(d):
    dropping = d.dropping(B, 2, d.T, d.T)
    mask = d.one_of(causal_mask(d.T, d.T), None)
    return {"mask": mask, "on_weights": lambda weights: dropout(weights, **dropping)}


def cross_entropy_call(d):
    targets = d.ids()
    targets.flat[0] = d.one_of(-100, 1)
    weight = d.one_of(d.rng.random(V) + 0.5, None)
    options = {"label_smoothing": d.one_of(0.2, 0.0), "reduction": d.one_of("mean", "sum", "none")}
    return (d.x(V), targets), {"weight": weight, **options}


def turned_call(d):
    angle = d.rng.normal(size=(d.T, 2))
    return (d.normal(B, 2, d.T, 4),), {"cos": np.cos(angle), "sin": np.sin(angle), "layout": d.one_of(*LAYOUTS)}


CALLS = {  # {function: function that draws its (inputs, options)}
    linear: lambda d: ((d.x(), d.normal(C, F), d.parameter(0, F)), {}),
    embedding: lambda d: ((d.ids(), d.normal(V, C)), {}),
    unembedding: lambda d: ((d.x(), d.normal(V, C)), {}),
    turned: turned_call,
    layer_norm: lambda d: ((d.x(), d.parameter(1, C), d.parameter(0, C)), {}),
    rms_norm: lambda d: ((d.x(), d.parameter(1, C)), {}),
    **dict.fromkeys((softmax, log_softmax), lambda d: ((d.x(),), {"axis": d.one_of(-1, 1)})),
    scaled_dot_product: lambda d: (qkv(d, 2), {}),
    masked_softmax: lambda d: ((d.normal(B, 2, d.T, d.T),), mask_and_dropout(d)),
    attention: lambda d: (qkv(d, 1), mask_and_dropout(d)),
    **dict.fromkeys((relu, silu, gelu_exact, gelu_tanh), lambda d: ((d.x(),), {})),
    swiglu: lambda d: ((d.x(), d.x()), {}),
    dropout: lambda d: ((d.x(),), d.dropping(B, d.T, C)),
    cross_entropy: cross_entropy_call,
}

FAMILIES = {
    "tables linear rotary": (linear, embedding, unembedding, turned),
    "norms": (layer_norm, rms_norm),
    "soft- maxes": (softmax, log_softmax),
    "atten- tion": (scaled_dot_product, masked_softmax, attention),
    "activa- tions": (relu, silu, gelu_exact, gelu_tanh, swiglu),
    "dropout": (dropout,),
    "cross- entropy": (cross_entropy,),
}


def measure(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    tests = {name: {f: drawn_test(f, rng, habits) for f in CALLS} for name, habits in TESTS.items()}
    looks = {f: [drawn_test(f, rng, some_habits(rng), exact=True) for _ in range(DRAWS)] for f in CALLS}
    everything = mutants()
    mistakes = []  # (function, {name of a test: True if the mistake passes it})
    for i in rng.choice(len(everything), SAMPLE, replace=False):
        function, mutant = everything[i]
        mistaken = with_mistake(function, mutant)
        if not all(look(mistaken) for look in looks[function]):
            mistakes.append((function, {name: test[function](mistaken) for name, test in tests.items()}))
    shares = {name: share(passed[name] for _, passed in mistakes) for name in TESTS}
    families = {name: share(passed["all"] for f, passed in mistakes if f in of) for name, of in FAMILIES.items()}
    return {
        "difference": shares["all"] - shares["careful"],
        **shares,
        "refused": share(not test[function](function) for test in tests.values() for function in CALLS),
        "mistakes": len(mistakes),
        "families": families,
    }


def share(results) -> float:
    return float(np.mean(list(results)))


def some_habits(rng) -> list[str]:
    return [habit for habit in HABITS if rng.random() < 0.3]


def drawn_test(function, rng, habits, *, exact: bool = False):
    """Draw a test, a function that returns True if a version of `function` has the right gradients.

    The expected gradients are central differences or, if `exact` is True, those of `function` itself.
    """
    d = Inputs(rng, habits)
    inputs, options = CALLS[function](d)
    y, backward = function(*inputs, **options)
    dy = d.dy(y)

    def loss_by(i):
        return lambda x: (dy * function(*inputs[:i], x, *inputs[i + 1 :], **options)[0]).sum()

    if exact:
        expected, relative, absolute = as_tuple(backward(dy)), SAME, SAME
    else:
        expected = tuple(numeric_gradient(loss_by(i), x) for i, x in enumerate(inputs) if x.dtype.kind == "f")
        relative, absolute = (0.0, ABSOLUTE) if "small" in habits else (RELATIVE, RELATIVE)

    def passes(other) -> bool:
        with np.errstate(all="ignore"):
            try:
                given = as_tuple(other(*inputs, **options)[1](dy.copy()))
            except Exception:
                return False
        return len(given) == len(expected) and all(
            np.shape(a) == n.shape and np.allclose(a, n, rtol=relative, atol=absolute)
            for a, n in zip(given, expected, strict=True)
        )

    return passes


def as_tuple(gradients) -> tuple:
    return gradients if isinstance(gradients, tuple) else (gradients,)


@cache
def mutants() -> list:
    of_file = {path: mutate(Path(path)) for path in {inspect.getsourcefile(function) for function in CALLS}}
    return [
        (function, mutant)
        for function in CALLS
        for mutant in of_file[inspect.getsourcefile(function)]
        if mutant.function == f"{function.__name__}.<locals>.backward"
    ]


def with_mistake(function, mutant):
    names = {"__name__": function.__module__}
    exec(compile(mutant.mutated_source, str(mutant.path), "exec"), names)
    return names[function.__name__]


PERCENT: dict = {"y": "% of the mistakes", "scale": 100}
PANELS = [
    Panel("Mistakes that pass, by the test's habits", list(TESTS), **PERCENT),
    Panel("With all five, by the tested function", list(FAMILIES), within="families", **PERCENT),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=20)
