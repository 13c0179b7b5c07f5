"""Gradients that are written by hand in PyTorch and in JAX: right ones pass, and wrong ones are found."""

import functools

import numpy as np
import pytest

from gradcheck import GradientError, check, check_module, steps
from gradcheck.adapters import from_jax, from_nested, from_torch


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


def test_a_shape_that_pytorch_refuses_has_no_line(layer_norm):
    wrong = layer_norm(dgamma=lambda ctx, dy, found: found[:-1])
    with pytest.raises(ValueError, match=r"LayerNorm: backward raises RuntimeError: .* invalid gradient"):
        steps(from_torch(wrong), *drawn((4, 5), 5, 5))


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
    with pytest.raises(ValueError, match=r"Linear: .* calls no torch.autograd.Function, .* pass that to steps"):
        steps(from_torch(torch.nn.Linear(3, 2)), *drawn((4, 3)))


@pytest.mark.parametrize("factor, verdict", [(1.0, "right"), (1.01, "WRONG")])
@pytest.mark.parametrize("is_converted", [False, True])
def test_a_function_in_single_precision_is_judged(torch, layer_norm, factor, verdict, is_converted):
    rule = layer_norm(dgamma=lambda ctx, dy, found: factor * found)
    function = (lambda *inputs: rule.apply(*(t.float() for t in inputs), 1e-5)) if is_converted else rule
    report = check(from_torch(function, dtype=np.float32), *drawn((4, 5), 5, 5), raises=False)
    assert [argument.verdict for argument in report.arguments] == ["right", verdict, "right"]
    assert verdict == "WRONG" or "in float32" in report.notes[-1]


def of_torch(torch, function):
    return from_torch(lambda *inputs: function(torch, *inputs))


def of_jax(jax, function):
    return from_jax(lambda *inputs: function(jax.numpy, *inputs))


@pytest.fixture(params=["torch", "jax"])
def framework(request):
    """Return a function that makes a differentiable function from f(library, *inputs), in both frameworks."""
    pytest.importorskip(request.param)
    if request.param == "torch":
        return functools.partial(of_torch, request.getfixturevalue("torch"))
    return functools.partial(of_jax, pytest.importorskip("jax"))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.complex128])
def test_right_functions_of_other_types_pass_in_both_frameworks(framework, dtype):
    x = drawn((3, 2), (3, 2))[0].astype(dtype) * (1 + 0.5j if dtype != np.float32 else 1)
    assert check(framework(lambda xp, x: xp.tanh(x) * x), x).is_right
    assert check(framework(lambda xp, x: xp.abs(x)), x).is_right
    assert check(framework(lambda xp, x: xp.fft.fft(x)), x).is_right  # y is complex in any case


def test_nested_inputs_and_outputs_are_checked_in_both_frameworks(framework):
    w, b, x = drawn((3, 2), 2, (4, 3))
    function = framework(lambda xp, p, x: {"y": xp.tanh(x @ p["W"] + p["layers"][0]), "z": [p["W"].sum()]})
    report = check(*from_nested(function, {"W": w, "layers": [b]}, x), order=2)
    assert (
        names_of(report)[:3] == ["inputs[0]['W']", "inputs[0]['layers'][0]", "inputs[1]"] and len(report.arguments) == 7
    )


def cube(torch, factor):
    """Return x³ as a Function whose gradient is a Function too, with a factor in the second derivative."""

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, dy):
            ctx.save_for_backward(x, dy)
            return 3 * x * x * dy

        @staticmethod
        def backward(ctx, d):
            x, dy = ctx.saved_tensors
            return factor * 6 * x * dy * d, 3 * x * x * d

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, dy):
            return Gradient.apply(*ctx.saved_tensors, dy)

    return from_torch(Cube)


def test_a_wrong_derivative_of_a_right_gradient_is_found_with_order_2(torch):
    (x,) = drawn((3, 2))
    assert check(cube(torch, 1.1), x).is_right and check(cube(torch, 1.0), x, order=2).is_right
    assert check(from_torch(torch.add), x, x, order=2).is_right  # its second derivatives are zero
    report = check(cube(torch, 1.1), x, order=2, raises=False)
    assert [a.name for a in report.arguments if not a.is_right] == ["x, order 2"]
    with pytest.raises(GradientError, match="6 of 6 entries disagree"):
        check(cube(torch, 1.1), x.astype(np.float32), order=2)
    with pytest.raises(TypeError, match=r"order=2 needs from_torch or from_jax.* see check_hessian"):
        check(lambda x: (x * x, lambda dy: 2 * x * dy), x, order=2)


def test_a_wrong_derivative_of_a_right_rule_of_jax_is_found_with_order_2():
    jax = pytest.importorskip("jax")
    square = jax.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), lambda x, dy: (jax.lax.stop_gradient(2 * x) * dy,))
    (x,) = drawn((3, 2))
    assert check(from_jax(square), x).is_right
    assert not check(from_jax(square), x, order=2, raises=False)["x, order 2"].is_right


def test_a_function_of_jax_is_traced_once_for_all_differences():
    jax = pytest.importorskip("jax")
    calls = []

    def softmax(x):
        calls.append(x)
        return jax.nn.softmax(x)

    assert check(from_jax(softmax), *drawn((8, 20))).is_right and len(calls) <= 4
    assert check(from_jax(lambda x: x * x if x[0] > 0 else -x * x), *drawn(3)).is_right  # cannot be compiled


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


@pytest.fixture
def rules():
    """Return JAX and two functions with jax.custom_vjp: one with an option and a wrong dxhat, one with a scatter."""
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def rms_norm(x, gamma, eps):
        return forward(x, gamma, eps)[0]

    def forward(x, gamma, eps):
        r = 1 / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + eps)
        xhat = x * r
        return gamma * xhat, (xhat, r, gamma)

    def backward(eps, saved, g):
        xhat, r, gamma = saved
        dgamma = jnp.sum(g * xhat, axis=0)
        dxhat = g + gamma
        dx = r * (dxhat - xhat * jnp.mean(dxhat * xhat, axis=-1, keepdims=True))
        return dx, dgamma

    @jax.custom_vjp
    def embedding(ids, table):
        return table[ids]

    def embedding_backward(saved, dy):
        ids, table = saved
        dtable = jnp.zeros_like(table).at[ids].set(dy)
        return None, dtable

    def embedding_forward(ids, table):
        return table[ids], (ids, table)

    rms_norm.defvjp(forward, backward)
    embedding.defvjp(embedding_forward, embedding_backward)
    return jax, rms_norm, embedding


def test_the_lines_of_a_rule_of_jax_are_examined_also_within_jit_and_within_another_function(rules, monkeypatch):
    jax, rms_norm, embedding = rules
    x, gamma = drawn((4, 3), 3)
    for function in (rms_norm, jax.jit(rms_norm, static_argnums=2)):
        report = steps(from_jax(function), x, gamma, 1e-5)
        assert [row.verdict for row in report.rows] == ["right", "WRONG", "follows"], report
        assert report.first_wrong.sentence == "+ stands where * belongs, before gamma"
        assert report.function == "rms_norm"

    @jax.jit
    def network(parameters, x):
        return embedding(np.array([2, 0, 3, 1]), jax.nn.tanh(rms_norm(x, parameters["gamma"], 1e-5)))

    assert steps(from_jax(network), {"gamma": gamma}, x).first_wrong.name == "dxhat"
    monkeypatch.setattr("gradcheck.checking.LEAST", 100.0)
    with pytest.raises(GradientError, match=r"(?s)dx: 12 of 12 .*dxhat +WRONG"):
        check(*from_nested(from_jax(network), {"gamma": gamma}, x))


def test_a_rule_of_jax_that_numpy_cannot_run_is_examined_with_jax(rules):
    _, _, embedding = rules
    (table,) = drawn((4, 3))
    assert steps(from_jax(embedding), np.array([2, 0, 3]), table).passed
    assert steps(from_jax(embedding), np.array([2, 0, 2]), table).first_wrong.name == "dtable"


def test_a_function_of_jax_without_its_own_vjp_has_no_lines(rules):
    with pytest.raises(ValueError, match=r"softmax: .* calls no jax.custom_vjp, so there are no lines to examine"):
        steps(from_jax(rules[0].nn.softmax), *drawn(3))
    with pytest.raises(AttributeError, match="No VJP defined"):
        steps(from_jax(rules[0].custom_vjp(lambda x: x)), *drawn(3))
    twice = rules[0].custom_vjp(lambda x: 2 * x)
    twice.defvjp(lambda x: (2 * x, None), lambda saved, dy: (dy,))
    with pytest.raises(ValueError, match="its forward pass is a lambda: write it with def"):
        steps(from_jax(twice), *drawn(3))
