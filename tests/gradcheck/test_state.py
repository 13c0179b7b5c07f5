"""State: a check restores the state and the random generators of a function."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gradcheck import GradientError, adjoint, check, check_module, jacobian


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def centre(x, state, *, in_place=False, wrong=False):
    """x minus its mean over the batch, of which the state keeps a running mean."""
    mean = x.mean(axis=0)
    if in_place:
        state["running"] *= 0.9
        state["running"] += 0.1 * mean
    else:
        state["running"] = 0.9 * state["running"] + 0.1 * mean
    state["calls"].append(x.sum())

    def backward(dy):
        return dy if wrong else dy - dy.mean(axis=0)

    return x - mean, backward


def keyed(x, *, state, in_place):
    return centre(x, state, in_place=in_place)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("way", ["positional", "partial", "wrong", "adjoint", "jacobian"])
def test_a_dictionary_among_the_arguments_is_what_it_was(way, in_place):
    running = normal(3, seed=1)
    before, state = running.copy(), {"running": running, "calls": []}
    x = normal(4, 3)
    if way == "positional":
        assert check(centre, x, state, in_place=in_place).is_right
    elif way == "partial":
        assert check(functools.partial(keyed, state=state, in_place=in_place), x).is_right
    elif way == "wrong":
        with pytest.raises(GradientError):
            check(centre, x, state, in_place=in_place, wrong=True)
    elif way == "jacobian":
        assert jacobian(centre, x, state, in_place=in_place).shape == (4, 3, 4, 3)
    elif not in_place:
        assert adjoint(centre, x, state).is_right
    assert state["running"] is running and state["calls"] == []
    assert_array_equal(running, before)


def test_a_state_that_the_output_depends_on_is_the_same_in_every_evaluation():
    def leaky(x, state):
        state["mean"] = 0.5 * (state["mean"] + x.mean())
        return x - state["mean"], lambda dy: dy - 0.5 * dy.mean()

    state = {"mean": np.zeros(())}
    report = check(leaky, normal(4), state)
    assert report.is_right and not report.notes and state["mean"] == 0


class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, None


class Centre:
    """The same times a scale, as a module: its state is in its attributes, and within."""

    def __init__(self, in_place=False):
        self.scale = Parameter(np.ones(3))
        self.running = normal(3, seed=1)
        self.state = {"means": [normal(3, seed=2)], "n": 0}
        self.lazy = None
        self.in_place = in_place

    def named_parameters(self):
        yield "scale", self.scale

    def __call__(self, x):
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
            return dy * scale - (dy * scale).mean(axis=0)

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


def drop(x, p=0.5):
    """Dropout with a mask from NumPy's global random state."""
    keep = (np.random.rand(*x.shape) < p) / p  # noqa: NPY002
    return x * keep, lambda dy: dy * keep


def test_the_global_random_state_is_each_time_the_same_and_afterwards_what_it_was():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand(2)  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert check(drop, normal(5, 6)).is_right
    assert_array_equal(np.random.rand(2), expected)  # noqa: NPY002


def test_a_random_state_of_the_older_kind_is_copied_too():
    def dropped(x, *, rng):
        keep = rng.rand(*x.shape) < 0.5
        return x * keep, lambda dy: dy * keep

    rng = np.random.RandomState(0)
    assert check(dropped, normal(5, 6), rng=rng).is_right
    assert rng.rand() == np.random.RandomState(0).rand()


def test_a_backward_that_draws_from_the_global_state_is_still_at_fault():
    with pytest.raises(GradientError, match=r"a second backward.* or draws random numbers"):
        check(lambda x: (x, lambda dy: dy * np.random.rand(*dy.shape)), normal(3))  # noqa: NPY002


# A breach of the contract is reported, and the numbers are compared as well


class Faulty:
    """y = w tanh(x), with dw `factor` times the truth, and one fault or another."""

    def __init__(self, fault, factor):
        self.fault, self.factor = fault, factor
        self.saved = None

    def forward(self, x, w):
        if self.fault == "forward changed x in place":
            x += 1.0
        if self.fault == "forward changed w in place":
            w[...] = w + 1.0
        t = np.tanh(x)
        self.saved = t
        pending = [t]

        def backward(dy):
            shared = self.saved if "another forward pass" in self.fault else t
            if "KeyError" in self.fault:
                shared = {"t": pending.pop()}["t"] if pending else {}["t"]
            gradients = dy * w * (1 - shared**2), self.factor * dy * shared
            if self.fault == "backward changed dy in place":
                dy *= 2
            if self.fault == "backward changed w in place":
                w[...] = w - 0.1 * gradients[1]
            if "another gradient" in self.fault:
                t[...] = 0.0
            return gradients

        return t * w, backward

    __call__ = forward


FAULTS = [
    "forward changed x in place",
    "forward changed w in place",
    "backward changed dy in place",
    "backward changed w in place",
    r"a second backward\(dy\) returns another gradient",
    r"a second backward\(dy\) raises KeyError: 't'; backward removes an entry from pending",
    r"another forward pass before backward\(dy\) changes it",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_and_the_numbers_are_compared(fault):
    inputs = normal(3, 4), normal(3, 4, seed=1)
    with pytest.raises(GradientError, match=f"Faulty: .*{fault}") as caught:
        check(Faulty(fault, 1.0), *inputs)
    report = caught.value.report
    assert len(report.problems) == 1 and not report.is_right
    assert [argument.verdict for argument in report.arguments] == ["right", "right"]
    with pytest.raises(GradientError, match=rf"(?s)Faulty:.*{fault}.*dw: 12 of 12 .* dw is 3 times") as caught:
        check(Faulty(fault, 3.0), *inputs)
    assert [argument.verdict for argument in caught.value.report.arguments] == ["right", "WRONG"]


def test_a_parameter_that_forward_or_backward_changes_is_said_and_its_gradient_compared():
    class Careless(Centre):
        def __init__(self, culprit):
            super().__init__()
            self.culprit = culprit

        def __call__(self, x):
            if self.culprit == "forward":
                self.scale.data += 1.0
            y, right = super().__call__(x)

            def backward(dy):
                dx = right(dy)
                if self.culprit == "backward":
                    self.scale.data -= 0.1 * self.scale.grad
                return dx

            return y, backward

    for culprit in ("forward", "backward"):
        with pytest.raises(GradientError, match=f"Careless: {culprit} changed scale in place: 3 entries") as caught:
            check_module(Careless(culprit), normal(4, 3))
        assert [argument.verdict for argument in caught.value.report.arguments] == ["right", "right"]
