"""The tests pass, so the gradients are right: measured as passing_tests.md describes."""

import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gradcheck.audit import mutate
from gradcheck.museum import numeric_gradient
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.panels import draw_bars, draw_named_bars, panels_of
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.positions import LAYOUTS, turned
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.system.pictures import BLUE, ORANGE, VERMILION, label

HABITS = ("ones", "start", "no_dropout", "one_position", "small")
TESTS = {"careful": (), **{habit: (habit,) for habit in HABITS}, "all": HABITS}
SAMPLE = 700  # mutants, about half of all
DRAWS = 20  # inputs on which a mutant is compared with the textbook
SMALL = 0.02  # the size of small numbers
RELATIVE, ABSOLUTE = 1e-6, 1e-4  # tolerance of a test, and of a test with small numbers
SAME = 1e-12
B, C, F, V = 2, 4, 5, 7  # batch, channels, hidden width, vocabulary


@dataclass(frozen=True)
class Inputs:
    """The random inputs of a test that has some of HABITS."""

    rng: np.random.Generator
    habits: tuple

    @property
    def T(self) -> int:  # noqa: N802
        return 1 if "one_position" in self.habits else 3

    def normal(self, *shape):
        return self.rng.normal(size=shape) * (SMALL if "small" in self.habits else 1.0)

    def parameter(self, start, *shape):
        """Return a parameter: all entries `start` if the author tests with initial values, otherwise random numbers."""
        return np.full(shape, float(start)) if "start" in self.habits else self.normal(*shape)

    def whole(self, below, *shape):
        return self.rng.integers(0, below, shape)

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def dropping(self, *shape):
        is_off = "no_dropout" in self.habits
        return {"keep": np.ones(shape, bool) if is_off else self.rng.random(shape) < 0.6, "p": 0.0 if is_off else 0.4}

    def dy(self, y):
        return np.ones(np.shape(y)) if "ones" in self.habits else self.rng.normal(size=np.shape(y))


def attention_call(d):
    """Draw a call with grouped heads, a causal mask or none, and dropout on the weights."""
    dropping = d.dropping(B, 2, d.T, d.T)
    options = {
        "mask": d.one_of(causal_mask(d.T, d.T), None),
        "on_weights": lambda weights: dropout(weights, **dropping),
    }
    return (d.normal(B, 2, d.T, 4), d.normal(B, 1, d.T, 4), d.normal(B, 1, d.T, 5)), options


def cross_entropy_call(d):
    targets = d.whole(V, B, d.T)
    targets.flat[0] = d.one_of(-100, 1)
    weight = d.one_of(d.rng.random(V) + 0.5, None)
    options = {"label_smoothing": d.one_of(0.2, 0.0), "reduction": d.one_of("mean", "sum", "none")}
    return (d.normal(B, d.T, V), targets), {"weight": weight, **options}


def turned_call(d):
    angle = d.rng.normal(size=(d.T, 2))
    return (d.normal(B, 2, d.T, 4),), {"cos": np.cos(angle), "sin": np.sin(angle), "layout": d.one_of(*LAYOUTS)}


CALLS = {  # function: draws its (inputs, options)
    linear: lambda d: ((d.normal(B, d.T, C), d.normal(C, F), d.parameter(0, F)), {}),
    embedding: lambda d: ((d.whole(V, B, d.T), d.normal(V, C)), {}),
    unembedding: lambda d: ((d.normal(B, d.T, C), d.normal(V, C)), {}),
    turned: turned_call,
    layer_norm: lambda d: ((d.normal(B, d.T, C), d.parameter(1, C), d.parameter(0, C)), {}),
    rms_norm: lambda d: ((d.normal(B, d.T, C), d.parameter(1, C)), {}),
    softmax: lambda d: ((d.normal(B, d.T, C),), {"axis": d.one_of(-1, 1)}),
    log_softmax: lambda d: ((d.normal(B, d.T, C),), {"axis": d.one_of(-1, 1)}),
    attention: attention_call,
    relu: lambda d: ((d.normal(B, d.T, C),), {}),
    silu: lambda d: ((d.normal(B, d.T, C),), {}),
    gelu_exact: lambda d: ((d.normal(B, d.T, C),), {}),
    gelu_tanh: lambda d: ((d.normal(B, d.T, C),), {}),
    swiglu: lambda d: ((d.normal(B, d.T, C), d.normal(B, d.T, C)), {}),
    dropout: lambda d: ((d.normal(B, d.T, C),), d.dropping(B, d.T, C)),
    cross_entropy: cross_entropy_call,
}

FAMILIES = {
    "tables,\nlinear, rotary": (linear, embedding, unembedding, turned),
    "norms": (layer_norm, rms_norm),
    "soft-\nmaxes": (softmax, log_softmax),
    "atten-\ntion": (attention,),
    "activa-\ntions": (relu, silu, gelu_exact, gelu_tanh, swiglu),
    "dropout": (dropout,),
    "cross-\nentropy": (cross_entropy,),
}


def measure(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    tests = {name: {f: Comparison.by_differences(f, rng, habits) for f in CALLS} for name, habits in TESTS.items()}
    looks = {f: [Comparison.by_the_textbook(f, rng) for _ in range(DRAWS)] for f in CALLS}
    everything = mutants()
    mistakes = []  # (function, {test: whether it passes})
    for i in rng.choice(len(everything), SAMPLE, replace=False):
        function, mutant = everything[i]
        mistaken = with_mistake(function, mutant)
        if not all(look.passes(mistaken) for look in looks[function]):
            mistakes.append((function, {name: test[function].passes(mistaken) for name, test in tests.items()}))
    shares = {name: share(passed[name] for _, passed in mistakes) for name in TESTS}
    return {
        "difference": shares["all"] - shares["careful"],
        **shares,
        "refused": share(not test[function].passes(function) for test in tests.values() for function in CALLS),
        "mistakes": len(mistakes),
        "families": [share(passed["all"] for f, passed in mistakes if f in family) for family in FAMILIES.values()],
    }


def share(results) -> float:
    return float(np.mean(list(results)))


@dataclass(frozen=True)
class Comparison:
    """Inputs, an upstream gradient dy, the expected gradients, and the tolerances."""

    inputs: tuple
    options: dict
    dy: np.ndarray
    expected: tuple
    relative: float
    absolute: float

    @classmethod
    def by_differences(cls, function, rng, habits):
        """Draw a test with some habits, whose expected gradients are central differences."""
        d = Inputs(rng, habits)
        inputs, options = CALLS[function](d)
        dy = d.dy(function(*inputs, **options)[0])

        def loss_by(i):
            return lambda x: (dy * function(*inputs[:i], x, *inputs[i + 1 :], **options)[0]).sum()

        expected = [numeric_gradient(loss_by(i), x) for i, x in enumerate(inputs) if x.dtype.kind == "f"]
        tolerances = (0.0, ABSOLUTE) if "small" in habits else (RELATIVE, RELATIVE)
        return cls(inputs, options, dy, tuple(expected), *tolerances)

    @classmethod
    def by_the_textbook(cls, function, rng):
        """Draw a comparison with the textbook's gradients, with a random choice of habits."""
        d = Inputs(rng, tuple(habit for habit in HABITS if rng.random() < 0.3))
        inputs, options = CALLS[function](d)
        y, backward = function(*inputs, **options)
        dy = d.dy(y)
        return cls(inputs, options, dy, as_tuple(backward(dy)), SAME, SAME)

    def passes(self, function) -> bool:
        """Return True if a function returns the expected gradients without raising an exception."""
        with np.errstate(all="ignore"):
            try:
                given = as_tuple(function(*self.inputs, **self.options)[1](self.dy.copy()))
            except Exception:
                return False
        return len(given) == len(self.expected) and all(
            np.shape(a) == n.shape and np.allclose(a, n, rtol=self.relative, atol=self.absolute)
            for a, n in zip(given, self.expected, strict=True)
        )


def as_tuple(gradients) -> tuple:
    return gradients if isinstance(gradients, tuple) else (gradients,)


@cache
def mutants() -> list:
    """Return (function, mutant) for every mutant of the backward passes of CALLS."""
    of_file = {path: mutate(Path(path)) for path in {inspect.getsourcefile(function) for function in CALLS}}
    return [
        (function, mutant)
        for function in CALLS
        for mutant in of_file[inspect.getsourcefile(function)]
        if mutant.function == f"{function.__name__}.<locals>.backward"
    ]


def with_mistake(function, mutant):
    """Return a copy of a function with the mutant's mistake."""
    names = {"__name__": function.__module__}
    exec(compile(mutant.mutated_source, str(mutant.path), "exec"), names)
    return names[function.__name__]


def draw(figure, measured) -> None:
    by_test, by_family = panels_of(figure, 2, sharey=True)
    habits = zip(HABITS, ("dy = 1", "γ = 1,\nβ = 0", "no\ndropout", "one\nposition", "small\nnumbers"), strict=True)
    bars = {"careful": ("careful", BLUE), **{habit: (name, ORANGE) for habit, name in habits}}
    draw_named_bars(by_test, measured, bars | {"all": ("all\nfive", VERMILION)}, scale=100)
    label(by_test, "Mistakes that pass, by the test's habits", "", "% of the mistakes")
    draw_bars(by_family, list(FAMILIES), 100 * np.array([one["families"] for one in measured]), VERMILION)
    label(by_family, "With all five, by the tested function")
    for axes in (by_test, by_family):
        axes.tick_params(axis="x", labelsize=7)


EXPERIMENT = Experiment(measure, draw, seconds=20, size=(8, 3.4))
