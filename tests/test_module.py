"""Parameters, apply, the tree of modules, and hooks."""

import numpy as np
import pytest

from minitransformer import Config, Linear, Module, Parameter, apply, linear, module
from minitransformer.language_model import model_without_values
from minitransformer.module import Identity


def product(x, y, z=None):
    """x · y, entry by entry: two gradients."""

    def backward(dp):
        return dp * y, dp * x

    return x * y, backward


class Two(Module):
    """One Linear used twice, and an activation between that no layer produces."""

    def __init__(self, rng):
        self.linear = Linear(3, 3, rng=rng, std=1.0, dtype=np.float64)
        self.middle = Identity()
        self.rest = [Linear(3, 3, rng=rng, std=1.0, dtype=np.float64), Parameter(np.ones(2))]

    def forward(self, x):
        a, first_backward = self.linear(x)
        a, middle_backward = self.middle(a)
        y, second_backward = self.linear(a)

        def backward(dy):
            return first_backward(middle_backward(second_backward(dy)))

        return y, backward


@pytest.fixture
def two(rng):
    return Two(rng)


def test_a_parameter_keeps_the_first_gradient_and_adds_the_next_without_writing_into_it():
    parameter = Parameter(np.zeros(2))
    first = np.array([1.0, 2.0])
    assert parameter.grad is None
    parameter.accumulate(first)
    assert parameter.grad is first
    parameter.accumulate(np.array([10.0, 20.0]))
    assert parameter.grad.tolist() == [11, 22]
    assert first.tolist() == [1, 2]


def test_apply_returns_the_gradients_of_arrays_and_accumulates_those_of_parameters(rng):
    x, y, dp = rng.normal(size=(3, 4))
    parameter = Parameter(y)
    assert [g.tolist() for g in apply(product, x, y)[1](dp)] == [(dp * y).tolist(), (dp * x).tolist()]
    assert apply(product, x, parameter)[1](dp).tolist() == (dp * y).tolist()
    assert parameter.grad.tolist() == (dp * x).tolist()
    assert apply(product, parameter, Parameter(y))[1](dp) is None
    assert parameter.grad.tolist() == (dp * x + dp * y).tolist()


def test_apply_says_how_many_gradients_are_missing(rng):
    x, y, z = rng.normal(size=(3, 4))
    with pytest.raises(ValueError, match="the backward of product must return 3 gradients, not 2"):
        apply(product, x, y, z)[1](x)


def test_a_frozen_parameter_collects_nothing_while_gradients_flow_through_it(rng):
    layer = Linear(3, 4, rng=rng, dtype=np.float64)
    layer.weight.requires_grad = False
    y, backward = layer(rng.normal(size=(2, 3)))
    dy = rng.normal(size=y.shape)
    assert np.allclose(backward(dy), dy @ layer.weight.data.T, rtol=1e-14)
    assert layer.weight.grad is None
    assert np.allclose(layer.bias.grad, dy.sum(axis=0), rtol=1e-14)


def test_a_layer_used_twice_accumulates_both_gradients(two, rng):
    x, dy = rng.normal(size=(2, 5, 3))
    y, backward = two(x)
    weight, bias = two.linear.weight.data, two.linear.bias.data
    a = x @ weight + bias
    assert np.allclose(y, a @ weight + bias)
    dx = backward(dy)
    da = dy @ weight.T
    assert np.allclose(dx, da @ weight.T)
    assert np.allclose(two.linear.weight.grad, a.T @ dy + x.T @ da)
    assert np.allclose(two.linear.bias.grad, dy.sum(0) + da.sum(0))


def test_names_are_dotted_paths_in_the_order_of_assignment(two):
    assert [name for name, _ in two.named_modules()] == ["linear", "middle", "rest.0"]
    assert [name for name, _ in two.named_parameters()] == [
        "linear.weight",
        "linear.bias",
        "rest.0.weight",
        "rest.0.bias",
        "rest.1",
    ]
    assert two.parameters() == [parameter for _, parameter in two.named_parameters()]


def test_hooks_stack_in_the_order_of_installation_and_their_backwards_unwind_it(two, rng):
    x, dy = rng.normal(size=(2, 5, 3))
    order = []

    def tagging(tag):
        def hook(y, backward):
            order.append(tag)

            def tagging_backward(dy):
                order.append(f"{tag} backward")
                return backward(dy)

            return 2 * y if tag == "inner" else y + 1, tagging_backward

        return hook

    def middle(y, backward):
        values.append(y)
        return y, backward

    values = []
    a = linear(x, two.linear.weight.data, two.linear.bias.data)[0]
    with two.hooked({"middle": tagging("inner")}), two.hooked({"middle": tagging("outer")}):
        with two.hooked({"middle": middle}):
            _, backward = two(x)
        assert two.middle.is_hooked
        backward(dy)
    assert order == ["inner", "outer", "outer backward", "inner backward"]
    assert np.allclose(values[0], 2 * a + 1)
    assert not two.middle.is_hooked


def test_hooks_are_taken_off_after_an_exception_and_earlier_ones_stay(two, rng):
    x = rng.normal(size=(5, 3))
    calls = []

    def count(y, backward):
        calls.append(1)
        return y, backward

    def fail(y, backward):
        raise ZeroDivisionError

    with two.hooked({"middle": count}):
        with pytest.raises(ZeroDivisionError), two.hooked({"middle": fail, "linear": count}):
            two(x)
        calls.clear()
        two(x)
        assert len(calls) == 1, "the outer hook is still there, the inner ones are gone"
    two(x)
    assert len(calls) == 1


def test_an_unknown_name_raises_with_the_nearest_and_installs_nothing(two):
    hooks = {"linear": lambda y, backward: (y, backward), "midle": lambda y, backward: (y, backward)}
    with pytest.raises(KeyError, match="no activation is named 'midle'; did you mean 'middle'"), two.hooked(hooks):
        pass
    assert not two.linear.is_hooked


def test_the_counts_in_chapter_zero_are_right():
    gpt2 = Config(vocab_size=50257, context=1024, d_model=768, n_heads=12, n_layers=12, feed_forward="gelu_tanh")
    words = " ".join(module.__doc__.split())
    inputs, outputs = gpt2.context * gpt2.d_model, gpt2.context * gpt2.hidden_width
    assert f"{outputs:,} × {inputs:,} entries, {4 * outputs * inputs / 1e12:.1f} TB in float32" in words
    n_parameters = model_without_values(gpt2).n_parameters()
    assert f"for GPT-2, that is done {n_parameters:,} times" in words
