"""State: a check restores states and random generators, and names the arrays that a function changes in place."""

import functools
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from verdicts import Parameter, diagnosed, normal

from gradcheck import GradientError, adjoint, check, check_module, jacobian


def centre(x, state, *, in_place=False, wrong=False):
    """x minus its mean over the batch, of which the state keeps a running mean."""
    mean = x.mean(axis=0)
    if in_place:
        state["running"] *= 0.9
        state["running"] += 0.1 * mean
    else:
        state["running"] = 0.9 * state["running"] + 0.1 * mean
    state["calls"].append(x.sum())
    return x - mean, lambda dy: dy if wrong else dy - dy.mean(axis=0)


WAYS = {
    "positional": lambda x, state, in_place: check(centre, x, state, in_place=in_place),
    "partial": lambda x, state, in_place: check(
        functools.partial(lambda x, *, state: centre(x, state, in_place=in_place), state=state), x
    ),
    "wrong": lambda x, state, in_place: check(centre, x, state, in_place=in_place, wrong=True, raises=False),
    "jacobian": lambda x, state, in_place: jacobian(centre, x, state, in_place=in_place),
    "adjoint": lambda x, state, in_place: in_place or adjoint(centre, x, state),  # a complex mean does not go into it
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_dictionary_among_the_arguments_is_what_it_was(way, in_place):
    running = normal(3, seed=1)
    before, state = running.copy(), {"running": running, "calls": []}
    WAYS[way](normal(4, 3), state, in_place)
    assert state["running"] is running and state["calls"] == []
    assert_array_equal(running, before)


def test_a_state_that_the_output_depends_on_is_the_same_in_every_evaluation():
    def leaky(x, state):
        state["mean"] = 0.5 * (state["mean"] + x.mean())
        return x - state["mean"], lambda dy: dy - 0.5 * dy.mean()

    state = {"mean": np.zeros(())}
    report = check(leaky, normal(4), state)
    assert report.is_right and not report.notes and state["mean"] == 0


class Centre:
    """The same times a scale, as a module: its state is in its attributes, and within."""

    def __init__(self, in_place=False, culprit=None):
        self.scale = Parameter(np.ones(3))
        self.running = normal(3, seed=1)
        self.state = {"means": [normal(3, seed=2)], "n": 0}
        self.lazy = None
        self.in_place, self.culprit = in_place, culprit

    def named_parameters(self):
        yield "scale", self.scale

    def __call__(self, x):
        if self.culprit == "forward":
            self.scale.data += 1.0
        mean = x.mean(axis=0)
        if self.in_place:
            self.running[...] = 0.9 * self.running + 0.1 * mean
        else:
            self.running = 0.9 * self.running + 0.1 * mean
        self.state["means"][0] = self.state["last"] = mean
        self.state["n"] += 1
        self.lazy = mean if self.lazy is None else self.lazy
        scale = self.scale.data

        def backward(dy):
            self.scale.grad = (dy * (x - mean)).sum(axis=0)
            dx = dy * scale - (dy * scale).mean(axis=0)
            if self.culprit == "backward":
                self.scale.data -= 0.1 * self.scale.grad
            return dx

        return (x - mean) * scale, backward


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("way", [check_module, adjoint])
def test_the_arrays_that_a_module_keeps_are_what_they_were(way, in_place):
    module = Centre(in_place)
    running, mean = module.running, module.state["means"][0]
    before = running.copy(), mean.copy()
    if way is adjoint and in_place:  # a complex mean does not go into it
        with pytest.raises(ValueError, match="it casts to real"):
            adjoint(module, normal(4, 3))
    else:
        assert way(module, normal(4, 3)).is_right
    assert module.running is running and module.state["means"][0] is mean
    assert module.lazy is None and "last" not in module.state and module.state["n"] > 2
    assert_array_equal((running, mean), before)


def test_an_object_that_is_called_keeps_no_complex_array_either():
    class Squares:
        largest = None

        def __call__(self, x):
            self.largest = x * x
            return x * x, lambda dy: 2 * x * dy

    squares = Squares()
    assert check(squares, normal(3)).is_right and squares.largest is None


# Random states


def drop(x, *, rng=np.random):
    """Dropout with a mask from a random state, by default NumPy's global one."""
    keep = 2 * (rng.random(x.shape) < 0.5)
    return x * keep, lambda dy: dy * keep


@pytest.mark.parametrize("kind", [np.random.default_rng, lambda seed: np.random.RandomState(seed)])
def test_a_random_generator_is_copied_so_that_dropout_repeats(kind):
    rng = kind(0)
    assert check(drop, normal(5, 6), rng=rng).is_right
    assert rng.random() == kind(0).random()


def test_the_global_random_state_is_each_time_the_same_and_afterwards_what_it_was():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand(2)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert check(drop, normal(5, 6)).is_right
    assert_array_equal(np.random.rand(2), expected)  # noqa: NPY002
    with pytest.raises(GradientError, match=r"a second backward.* or draws random numbers"):
        check(lambda x: (x, lambda dy: dy * np.random.rand(*dy.shape)), normal(3))  # noqa: NPY002


# A breach of the contract is reported


class Faulty:
    """y = w tanh(x), with one fault or another."""

    def __init__(self, fault):
        self.fault = fault
        self.saved, self.calls, self.buffer = None, 0, np.empty((3, 4))

    def forward(self, x, w, *, mask):
        if self.fault == "forward changed x in place":
            x += 1.0
        if self.fault == "forward changed w in place":
            w[...] = w + 1.0
        if self.fault == "forward changed mask in place: 1 entries":
            mask[0] = False
        t = np.tanh(x)
        self.saved, y, self.calls = t, t * w, self.calls + 1
        number = self.calls
        if "overwrites y" in self.fault:
            self.buffer[...] = y
            y = self.buffer
        pending, total, calls = [t], np.zeros_like(x), []

        def backward(dy):
            shared = self.saved if self.fault.endswith("changes it") else t
            if "KeyError" in self.fault:
                shared = {"t": pending.pop()}["t"] if pending else {}["t"]
            gradients = dy * w * (1 - shared**2), dy * shared
            if self.fault == "backward changed dy in place" or (
                calls and self.fault.startswith("a second backward ch")
            ):
                dy *= 2
            calls.append(1)
            if self.fault == "backward changed y in place: 12 entries":
                np.multiply(dy, w, out=y)
            if "by up to" in self.fault:
                return number * gradients[0], gradients[1]
            if self.fault == "backward changed w in place":
                w[...] = w - 0.1 * gradients[1]
            if "dx: a second" in self.fault:
                np.add(total, gradients[0], out=total)
                return total, gradients[1]
            if "returns another gradient" in self.fault:
                t[...] = 0.0
            return gradients

        return y, backward

    __call__ = forward


FAULTS = [
    "forward changed x in place",
    "forward changed w in place",
    "forward changed mask in place: 1 entries",
    "backward changed dy in place",
    "backward changed w in place",
    "a second backward changed dy in place",
    r"a second backward\(dy\) returns another gradient",
    r"dx: a second backward\(dy\) returns another gradient",
    r"a second backward\(dy\) raises KeyError: 't'; a backward that may be called only once should",
    r"dx: another forward pass before backward\(dy\) changes it",
    r"another forward pass before backward\(dy\) changes it, by up to",
    "another forward pass overwrites y: 12 entries",
    "backward changed y in place: 12 entries",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_and_no_array_of_the_caller_is_changed(fault):
    x, w = normal(3, 4), normal(3, 4, seed=1)
    report = diagnosed(Faulty(fault), x, w, mask=np.ones(3, bool))
    (problem,) = report.problems
    assert re.search(fault, problem)
    assert_array_equal(x, normal(3, 4))
    assert_array_equal(w, normal(3, 4, seed=1))


@pytest.mark.parametrize("culprit", ["forward", "backward"])
def test_a_parameter_that_forward_or_backward_changes_is_said(culprit):
    module = Centre(culprit=culprit)
    before = module.scale.data.copy()
    with pytest.raises(GradientError, match=f"Centre: {culprit} changed scale in place: 3 entries"):
        check_module(module, normal(4, 3))
    assert_array_equal(module.scale.data, before)
