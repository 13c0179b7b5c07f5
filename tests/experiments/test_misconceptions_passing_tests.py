"""The experiment on the mistakes that tests of gradients let pass."""

import inspect

import numpy as np
import pytest

from minitransformer.experiments.misconceptions import passing_tests as p
from minitransformer.layers.activations import relu
from minitransformer.layers.attention import attention
from minitransformer.layers.dropout import dropout
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear
from minitransformer.layers.softmax import softmax


def with_backward(function, change):
    """A function whose backward's gradients go through `change(gradients, dy)`."""

    def changed(*inputs, **options):
        y, backward = function(*inputs, **options)
        return y, lambda dy: change(p.as_tuple(backward(dy)), dy)

    return changed


def by_differences(function, *habits):
    return p.Comparison.by_differences(function, np.random.default_rng(1), habits)


def dy_forgotten(x):
    return relu(x)[0], lambda dy: np.where(x > 0, 1.0, 0.0)


def gamma_forgotten(x, gamma, beta):
    return layer_norm(x, gamma, beta)[0], lambda dy: (
        layer_norm(x, np.ones_like(gamma), beta)[1](dy)[0],
        *layer_norm(x, gamma, beta)[1](dy)[1:],
    )


def dropout_forgotten(x, *, keep, p):
    return dropout(x, keep=keep, p=p)[0], lambda dy: dy


def softmax_forgotten(q, k, v, **options):
    y, backward = attention(q, k, v, **options)
    return y, lambda dy: (0 * q, 0 * k, backward(dy)[2])


@pytest.mark.parametrize(
    "function, mistake, habit",
    [
        (relu, dy_forgotten, "ones"),
        (layer_norm, gamma_forgotten, "start"),
        (dropout, dropout_forgotten, "no_dropout"),
        (attention, softmax_forgotten, "one_position"),
    ],
)
def test_a_habit_lets_pass_the_mistake_that_it_hides_and_no_other_habit_does(function, mistake, habit):
    passing = [name for name, habits in p.TESTS.items() if by_differences(function, *habits).passes(mistake)]
    assert passing == [habit, "all"]


def test_the_expected_gradients_are_the_true_ones():
    test = by_differences(linear)
    x, weight, _ = test.inputs
    truth = (
        np.einsum("btf,cf->btc", test.dy, weight),
        np.einsum("btc,btf->cf", x, test.dy),
        np.einsum("btf->f", test.dy),
    )
    for found, expected in zip(test.expected, truth, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_a_gradient_of_another_shape_or_one_too_few_or_an_exception_does_not_pass():
    def summed(gradients, dy):
        return (*gradients[:2], gradients[2] + np.zeros((1, 5)))

    def fewer(gradients, dy):
        return gradients[:2]

    def failing(gradients, dy):
        raise ValueError

    test = by_differences(linear)
    assert test.passes(linear)
    assert not any(test.passes(with_backward(linear, change)) for change in (summed, fewer, failing))


def test_small_numbers_are_compared_absolutely_and_others_by_their_size():
    def off(by):
        return with_backward(softmax, lambda gradients, dy: (gradients[0] + by,))

    assert by_differences(softmax, "small").passes(off(0.9 * p.ABSOLUTE))
    assert not by_differences(softmax, "small").passes(off(1.1 * p.ABSOLUTE))
    assert not by_differences(softmax).passes(off(1e-5))


def test_the_inputs_have_the_habits_that_are_asked_for():
    rng = np.random.default_rng(0)
    careful, careless = p.Inputs(rng, ()), p.Inputs(rng, p.HABITS)
    assert (careful.T, careless.T) == (3, 1)
    assert careful.normal(1000).std() > 0.9 and careless.normal(1000).std() < 0.03
    assert careful.parameter(1, 5).std() > 0.1 and careless.parameter(1, 5).tolist() == [1.0] * 5
    assert 0 < careful.dropping(50)["keep"].mean() < 1 and careless.dropping(50)["keep"].all()
    assert careful.dropping(5)["p"] == 0.4 and careless.dropping(5)["p"] == 0.0
    assert careful.dy(np.zeros(50)).std() > 0.5 and careless.dy(np.zeros(5)).tolist() == [1.0] * 5


def test_every_function_has_mutants_a_family_and_a_call():
    functions = [function for function, _ in p.mutants()]
    assert set(functions) == set(p.CALLS) == {f for family in p.FAMILIES.values() for f in family}
    assert len(functions) == sum(map(len, (p.mutants(),))) > p.SAMPLE
    for function, mutant in p.mutants()[:: len(functions) // 20]:
        assert mutant.mutated_source != mutant.source and mutant.path.samefile(inspect.getsourcefile(function))


def test_a_mutant_is_planted_in_a_copy_alone():
    function, mutant = next(pair for pair in p.mutants() if pair[1].kind == "gradient replaced by zeros")
    mistaken = p.with_mistake(function, mutant)
    test = by_differences(function)
    assert test.passes(function) and not test.passes(mistaken)
