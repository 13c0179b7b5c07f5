"""Gradients that are written by hand in PyTorch and in JAX: right ones pass, and wrong ones are found."""

import functools

import numpy as np
import pytest

from gradcheck import GradientError, check, check_module, steps
from gradcheck.adapters import from_jax, from_torch


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


def names_of(report):
    return [argument.name for argument in report.arguments]


@pytest.fixture
def layer_norm(torch):
    """Return a torch.autograd.Function that builds dx from (dx_hat, x_hat, r, gamma), with edits of the others."""

    def right(dh, h, r, gamma):
        return r * (dh - dh.mean(-1, keepdim=True) - h * (dh * h).mean(-1, keepdim=True))

    def build(dx=right, **edits):
        class LayerNorm(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, gamma, beta, eps=1e-5):
                mean = x.mean(-1, keepdim=True)
                r = 1 / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)
                h = (x - mean) * r
                ctx.save_for_backward(h, r, gamma)
                return h * gamma + beta

            @staticmethod
            def backward(ctx, dy):
                h, r, gamma = ctx.saved_tensors
                found = {"dx": dx(dy * gamma, h, r, gamma), "dgamma": (dy * h).sum(0), "dbeta": dy.sum(0)}
                for name, edit in edits.items():
                    found[name] = edit(ctx, dy, found[name])
                return *found.values(), None

        return LayerNorm

    return build


def test_a_right_function_of_pytorch_passes_with_its_names_and_options(layer_norm):
    report = check(from_torch(layer_norm()), *drawn((4, 5), 5, 5), eps=1e-3)
    assert report.name == "LayerNorm" and names_of(report) == ["x", "gamma", "beta"]


def test_a_forgotten_path_in_pytorch_is_found(layer_norm):
    wrong = layer_norm(lambda dh, h, r, gamma: r * (dh - h * (dh * h).mean(-1, keepdim=True)))
    with pytest.raises(GradientError, match="dx: 20 of 20 entries disagree"):
        check(from_torch(wrong), *drawn((4, 5), 5, 5))


@pytest.mark.parametrize(
    "edit, words",
    [
        (
            {"dgamma": lambda ctx, dy, found: found[:-1]},
            "LayerNorm: backward raises RuntimeError: .* invalid gradient .* shape",
        ),
        (
            {"dgamma": lambda ctx, dy, found: found * (2 - ctx.needs_input_grad[0])},
            "the gradient of gamma differs if no other input requires a gradient",
        ),
        (
            {"dbeta": lambda ctx, dy, found: dy.as_strided(dy.shape, (dy.shape[1], 1)).sum(0)},
            "the gradient of beta differs if the inputs and dy are not contiguous",
        ),
    ],
    ids=["shape", "needs_input_grad", "layout"],
)
def test_a_gradient_that_only_some_calls_reveal_is_refused_by_its_name(layer_norm, edit, words):
    with pytest.raises(GradientError, match=words):
        check(from_torch(layer_norm(**edit)), *drawn((4, 5), 5, 5))


def test_a_missing_gradient_and_a_changed_dy_are_found(layer_norm):
    with pytest.raises(GradientError, match=r"dbeta.* None"):
        check(from_torch(layer_norm(dbeta=lambda ctx, dy, found: None)), *drawn((4, 5), 5, 5))
    with pytest.raises(GradientError, match="backward changed dy in place"):
        check(from_torch(layer_norm(dbeta=lambda ctx, dy, found: dy.mul_(2).sum(0) / 2)), *drawn((4, 5), 5, 5))


def test_a_forward_pass_in_pytorch_that_changes_its_input_is_found(torch):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            return 1 * x

        @staticmethod
        def backward(ctx, dy):
            return 2 * dy

    with pytest.raises(GradientError, match="forward changed x in place"):
        check(from_torch(Doubled), *drawn((3,)))


def test_several_outputs_integers_and_the_new_form_with_setup_context_are_accepted(torch):
    class Picked(torch.autograd.Function):
        @staticmethod
        def forward(x, ids):
            return x[ids], x.sum(), ids

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.ids = inputs
            ctx.shape = x.shape

        @staticmethod
        def backward(ctx, drows, dsum, dids):
            dx = dsum.expand(ctx.shape).clone()
            dx.index_add_(0, ctx.ids, drows)
            return dx, None

    (x,), ids = drawn((5, 2)), np.array([3, 0, 3])
    assert check(from_torch(Picked), x, ids)["x"].entries == 10
    assert check(from_torch(lambda x: torch.tanh(x) * x), x).is_right


def test_compiled_functions_and_partial_ones_are_accepted(torch):
    x, w = drawn((4, 3), (4, 3))
    assert check(from_torch(torch.mul), x, w).entries == 24
    assert check(from_torch(functools.partial(torch.softmax, dim=-1)), x).entries == 12


def test_all_parameters_of_a_pytorch_module_are_checked(torch, layer_norm):
    def network(function):
        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear, self.gamma = torch.nn.Linear(5, 4), torch.nn.Parameter(torch.ones(4))
                self.norm, self.dropout = torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)

            def forward(self, x):
                return self.norm(self.dropout(function.apply(self.linear(x), self.gamma, self.linear.bias, 1e-5)))

        return Network()

    (x,), module = drawn((6, 5)), network(layer_norm())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = check_module(from_torch(module), x)
    assert {*names_of(report)} == {"x", "linear.weight", "linear.bias", "gamma", "norm.weight", "norm.bias"}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    wrong = network(layer_norm(dgamma=lambda ctx, dy, found: found / len(dy)))
    with pytest.raises(GradientError, match=r"gamma\.grad: 4 of 4 entries disagree"):
        check_module(from_torch(wrong), x)


@pytest.fixture
def split(torch):
    """Return a torch.autograd.Function with two outputs, whose dx is wrong."""

    class Split(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            s, t = torch.sigmoid(x * w), torch.tanh(x)
            ctx.save_for_backward(x, w, s, t)
            return s, t

        @staticmethod
        def backward(ctx, ds, dt):
            x, w, s, t = ctx.saved_tensors
            dz = ds * s * (1 - s)
            dx = dz * w + dt * (1 - t)
            return dx, dz * x

    return Split


def test_the_lines_of_a_function_with_two_outputs_are_examined(split):
    report = steps(from_torch(split), *drawn((4, 3), (4, 3)))
    assert (report.right, report.first_wrong.name, report.first_wrong.sentence) == (1, "dx", "t is not squared")


def test_the_lines_of_the_function_within_a_module_are_examined(torch, split):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.function = torch.nn.Linear(3, 3), split.apply

        def forward(self, x):
            return self.function(self.linear(x), torch.ones(4, 3, dtype=x.dtype))[0] * x

    forward = split.forward
    report = steps(from_torch(Network()), *drawn((4, 3)))
    assert [row.name for row in report.rows] == ["dz", "dx"] and report.first_wrong.sentence == "t is not squared"
    assert split.forward is forward
    with pytest.raises(ValueError, match=r"Linear: .* calls no torch.autograd.Function, .* use steps\(from_torch\("):
        steps(from_torch(torch.nn.Linear(3, 2)), *drawn((4, 3)))


def test_a_function_in_single_precision_is_undecided_rather_than_wrong(layer_norm):
    report = check(from_torch(layer_norm(), dtype=np.float32), *drawn((4, 5), 5, 5), raises=False)
    assert {argument.verdict for argument in report.arguments} == {"CANNOT TELL"}


def test_what_is_no_function_is_refused(torch):
    with pytest.raises(TypeError, match=r"function is an int; it must be a torch.autograd.Function"):
        from_torch(3)


@pytest.mark.parametrize("factor, is_right", [(1.0, True), (2.0, False)])
def test_a_function_of_jax_with_its_own_vjp_is_checked(factor, is_right):
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def scaled(x, ids, w):
        return {"y": w * x[ids], "sum": jax.numpy.sum(x)}

    def forward(x, ids, w):
        return scaled(x, ids, w), (x, ids, w)

    def backward(saved, dy):
        x, ids, w = saved
        dx = jax.numpy.full(x.shape, dy["sum"]).at[ids].add(w * dy["y"])
        return dx, None, factor * (dy["y"] * x[ids]).sum(0)

    scaled.defvjp(forward, backward)
    x, w = drawn((5, 2), 2)
    report = check(from_jax(scaled), x, np.array([3, 0, 3]), w, raises=False)
    assert report["x"].is_right and report["w"].is_right == is_right
