"""Two programs that compute one function: the gallery, its near misses, and mutants that nobody chose."""

import inspect
import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, strategies as st

import gradcheck
from gradcheck.__main__ import main
from gradcheck.audit.mutations import mutate
from gradcheck.identities import ROOMS, Identity
from gradcheck.mistakes.planter import codes_of, copy_with
from minitransformer import softmax

ENTRIES = {entry.name: entry for room in ROOMS.values() for entry in room}
x = np.random.default_rng(3).normal(size=(2, 3))


decide = Identity.decide


@cache
def decision(name, is_near_miss):
    return decide(ENTRIES[name], ENTRIES[name].wrong() if is_near_miss else None)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ENTRIES)
def test_the_programs_are_identical_and_the_near_miss_is_refused(name):
    assert decision(name, False)
    assert decision(name, True).verdict == "refused"


@pytest.mark.parametrize("name", ENTRIES)
def test_the_programs_agree_in_floats_on_other_inputs(name):
    entry = ENTRIES[name]
    for seed in (1, 2):
        for a, b in zip(*(results(f, entry.inputs(seed)) for f in (entry.left, entry.right)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def results(f, inputs):
    found = f(*inputs)
    return found if isinstance(found, tuple) else (found,)


def mutants(entries):
    return [(e, m) for e in entries for m in mutate(inspect.getsourcefile(e.right), (e.right.__name__,))]


def decided(entry, mutant):
    """Return the verdict on a mutant, and whether it agrees in floats on inputs that are near those of the entry."""
    rng, agrees = np.random.default_rng(0), True
    with np.errstate(all="ignore"):
        try:
            codes = codes_of(mutant.mutated_source, "<mutant>")
            wrong = copy_with(entry.right, next(c for key, c in codes.items() if key[1] == entry.right.__name__))
            for _ in range(3):
                near = [np.array(x * rng.uniform(0.999, 1.001, x.shape)) for x in entry.inputs()]
                pairs = zip(results(entry.left, near), results(wrong, near), strict=True)
                agrees &= all(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)
            return entry.decide(wrong).verdict, agrees
        except Exception as error:
            return "raises", type(error).__name__


def assert_none_is_wrongly_certified(mutants):
    """Return the verdicts on the mutants that differ in floats."""
    verdicts = {mutant: decided(entry, mutant) for entry, mutant in mutants}
    assert [m.difference() for m, found in verdicts.items() if found == ("certified", False)] == []
    assert [m.difference() for m, found in verdicts.items() if found == ("refused", True)] == []
    differ = [verdict for verdict, agrees in verdicts.values() if agrees is False]
    assert len(differ) > 0.4 * len(verdicts)
    return differ


@pytest.mark.slow
def test_mutants_of_the_right_side_are_refused_unless_they_are_equivalent():
    some = mutants(list(ENTRIES.values())[::4])
    differ = assert_none_is_wrongly_certified([some[i] for i in np.random.default_rng(7).permutation(len(some))[:60]])
    assert "refused" in differ


@pytest.mark.slow
def test_no_mutant_of_a_right_side_is_certified_wrongly():
    differ = assert_none_is_wrongly_certified(mutants(ENTRIES.values()))
    assert differ.count("refused") > 0.95 * len(differ)


def mean_of_squares(x):
    return (x * x).mean(), lambda dy: dy * 2 * x / x.size


def mean_of_squares_by_parts(x):
    mean = x.mean()
    return ((x - mean) ** 2).mean() + mean**2, lambda dy: 2 * dy * ((x - mean) / x.size + mean / x.size)


def mean_of_squares_with_wrong_backward(x):
    return (x * x).mean(), lambda dy: dy * 2 * x


def test_same_gradient_compares_the_backward_passes_too():
    assert gradcheck.same_gradient(mean_of_squares, mean_of_squares_by_parts, x)
    found = gradcheck.same_gradient(mean_of_squares, mean_of_squares_with_wrong_backward, x)
    assert gradcheck.same(mean_of_squares, mean_of_squares_with_wrong_backward, x)
    assert found.verdict == "refused"
    assert found.reason.startswith("dx[0, 0] is ") and " but " in found.reason


def test_a_refusal_shows_the_first_difference_for_small_whole_numbers():
    found = gradcheck.same(lambda a, b: a * b, lambda a, b: a + b, np.array([1.5]), np.array([-0.5]))
    product, total, a, b = map(float, re.findall(r"-?\d+", found.reason.removeprefix("y[0]")))
    assert (product, total) == (a * b, a + b)
    assert a > 0 > b


def test_programs_whose_results_differ_in_shape_or_number_are_refused():
    assert gradcheck.same(np.tanh, lambda a: np.tanh(a).T, x).reason == (
        "y has the shape (2, 3) in tanh, but (3, 2) in <lambda>"
    )
    assert (
        gradcheck.same(np.tanh, lambda a: (a, a), x).reason == "the number of results is 1 in tanh, but 2 in <lambda>"
    )


def test_a_result_that_is_not_finite_is_not_decided():
    with np.errstate(all="ignore"):
        found = gradcheck.same(np.log, lambda a: np.log(-a), np.array([1.0, 2.0]))
    assert found.verdict == "cannot tell"
    assert found.reason == "y is not finite for these inputs"


p = np.array([0.7, 1.2, 2.1])
NOT_ONE_FUNCTION = {  # f, g and the inputs: none of the pairs may be certified
    "the side of the cut": (lambda x: np.arctan2(np.zeros(3), x), lambda x: 0 * x - np.pi, -p),
    "exact numbers are no floats": (lambda x: x * 2 if isinstance(x.flat[0], float) else x, lambda x: x, p),
    "rounded in between": (lambda x: x.astype(np.float16).astype(float), lambda x: x, p),
    "rounded constants": (lambda x: x * np.array([0.1, 0.2, 0.3], np.float32), lambda x: x * [0.1, 0.2, 0.3], p),
    "in the 22nd digit": (lambda x: x * (2**70 + 1) / 2**70, lambda x: x, p),
}
ONE_FUNCTION = {
    "the angle of a negative number": (lambda x: np.arctan2(0.0, x), lambda x: np.pi + 0 * x, -p),
    "an argument that is overwritten": (lambda x: np.multiply(x, 2, out=x), lambda x: 2 * x, p),
    "no entries": (lambda x: x + x, lambda x: 2 * x, np.zeros((0, 3))),
}


@pytest.mark.parametrize("name", NOT_ONE_FUNCTION)
def test_different_programs_are_not_certified(name):
    assert not gradcheck.same(*NOT_ONE_FUNCTION[name])


@pytest.mark.parametrize("name", ONE_FUNCTION)
def test_programs_that_an_attack_found_refused_are_certified(name):
    assert gradcheck.same(*ONE_FUNCTION[name])


def test_the_sign_of_an_argument_of_a_logarithm_is_a_decision():
    (decision,) = gradcheck.certify(lambda x: (np.nansum(np.log(x)), lambda dy: dy / x), p).decisions
    assert decision.endswith("the first value is greater in all 3 compared pairs")
    of_a_sum = gradcheck.certify(lambda x: (np.log(np.exp(x).sum()), lambda dy: dy * np.exp(x) / np.exp(x).sum()), p)
    assert of_a_sum and not of_a_sum.decisions


@pytest.mark.parametrize("name", ["a set", "a quotient of dy", "noise"])
def test_gradients_that_depend_on_more_than_they_may_are_not_certified(name):
    def f(x):
        def backward(dy):
            if name == "a set":
                return 2 * x * dy * len(set(dy.tolist())) / 3
            if name == "a quotient of dy":
                return 2 * x * dy**2 / dy
            return np.where(np.sin(3 * x) - (3 * np.sin(x) - 4 * np.sin(x) ** 3) > 0, 2, 3) * x * dy

        return x * x, backward

    assert not gradcheck.certify(f, np.array([9 / 13, 0.8]), seed=1)


def test_results_that_are_no_arrays_are_refused():
    with pytest.raises(TypeError, match="must return an array or a tuple of arrays, not a dict"):
        gradcheck.same(lambda x: {"y": x}, lambda x: x, p)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_an_expectation_is_the_sum_over_all_draws(outcomes, draws, seed):
    rng = np.random.default_rng(seed)
    p, table = rng.dirichlet(np.ones(outcomes)), rng.normal(size=(outcomes,) * draws)
    expected = table
    for _ in range(draws):
        expected = p @ expected
    np.testing.assert_allclose(gradcheck.expectation(lambda *a: table[a], p, draws), expected, atol=1e-12)


def test_a_function_agrees_with_the_textbook_by_its_gradients():
    def own_softmax(x):
        e = np.exp(x)
        y = e / e.sum(axis=-1, keepdims=True)
        return y, lambda dy: y * dy - y * (y * dy).sum(axis=-1, keepdims=True)

    assert gradcheck.same_gradient(softmax, own_softmax, x)


def test_the_command_lists_all_identities_and_shows_one(capsys, monkeypatch):
    monkeypatch.setattr(Identity, "decide", lambda entry, right=None: decision(entry.name, right is not None))
    assert main(["identities"]) == 0
    listed = capsys.readouterr().out
    assert all(entry.words[0] in listed for entry in ENTRIES.values())
    assert f"{len(ENTRIES)} of {len(ENTRIES)} statements certified" in listed
    assert main(["identities", "merged"]) == 0
    shown = capsys.readouterr().out
    assert "def adapted(" in shown and "def merged(" in shown and "certified: " in shown and "refused: " in shown
    assert main(["identities", "0"]) == 2


def test_the_command_fails_if_a_statement_does_not_hold(capsys, monkeypatch):
    entry = ENTRIES["merged"]
    monkeypatch.setattr(type(entry), "wrong", lambda self: self.right)
    assert main(["identities", "merged"]) == 1
    assert "0 of 1 statement certified" in capsys.readouterr().out
