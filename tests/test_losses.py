"""Cross-entropy."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes

from minitransformer import cross_entropy


@st.composite
def calls(draw):
    """Logits, targets and every option: some positions ignored, the ignored index inside or outside the vocabulary."""
    rng, batch, V = draw(rngs), draw(batch_shapes), draw(sizes)
    logits = 3 * rng.normal(size=(*batch, 4, V))
    targets = rng.integers(0, V, size=(*batch, 4))
    ignore_index = draw(st.sampled_from([-100, -1, 0, V + 3]))
    targets[rng.random(targets.shape) < 0.3] = ignore_index
    options = {
        "weight": draw(st.sampled_from([None, rng.random(V) + 0.1])),
        "ignore_index": ignore_index,
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
    }
    return rng, logits, targets, options


def by_loops(logits, targets, weight, ignore_index, label_smoothing, reduction):
    """Compute the loss of each position, and then the reduction."""
    V = logits.shape[-1]
    weight = np.ones(V) if weight is None else weight
    losses, weights = np.zeros(targets.shape), []
    for i in np.ndindex(targets.shape):
        if targets[i] != ignore_index:
            z = logits[i] - np.log(sum(np.exp(logits[i])))
            smooth = sum(weight[c] * z[c] for c in range(V)) / V
            losses[i] = -(1 - label_smoothing) * weight[targets[i]] * z[targets[i]] - label_smoothing * smooth
            weights.append(weight[targets[i]])
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / (sum(weights) or 1)}[reduction]


@given(calls())
def test_it_equals_a_loop_over_positions(call):
    _, logits, targets, options = call
    loss = cross_entropy(logits, targets, **options)[0]
    assert np.shape(loss) == (targets.shape if options["reduction"] == "none" else ())
    assert np.allclose(loss, by_loops(logits, targets, **options), rtol=1e-10)


@given(call=calls())
def test_it_and_its_gradient_equal_pytorch(torch, call):
    rng, logits, targets, options = call
    all_ignored = (targets == options["ignore_index"]).all()
    loss, backward = cross_entropy(logits, targets, **options)
    dloss = rng.normal(size=np.shape(loss))
    tensor = torch.tensor(logits.reshape(-1, logits.shape[-1]), requires_grad=True)
    weight = None if options["weight"] is None else torch.tensor(options["weight"])
    expected = torch.nn.functional.cross_entropy(
        tensor, torch.tensor(targets.reshape(-1)), **options | {"weight": weight}
    )
    expected.backward(torch.tensor(dloss).reshape(expected.shape))
    if all_ignored and options["reduction"] == "mean":
        assert np.isnan(expected.item()), "where this project decided otherwise"
        assert loss == 0 and not backward(dloss).any()
        return
    assert np.allclose(np.reshape(loss, expected.shape), expected.detach().numpy(), rtol=1e-10)
    assert np.allclose(backward(dloss), tensor.grad.numpy().reshape(logits.shape), rtol=1e-10, atol=1e-13)


@given(calls())
def test_its_gradient_sums_to_zero_over_the_vocabulary(call):
    rng, logits, targets, options = call
    loss, backward = cross_entropy(logits, targets, **options)
    dlogits = backward(rng.normal(size=np.shape(loss)))
    assert np.allclose(dlogits.sum(axis=-1), 0, atol=1e-13)


@given(calls())
def test_ignored_positions_change_nothing_and_have_no_gradient(call):
    rng, logits, targets, options = call
    ignored = targets == options["ignore_index"]
    loss, backward = cross_entropy(logits, targets, **options)
    other = logits + 10 * rng.normal(size=logits.shape) * ignored[..., None]
    assert np.array_equal(cross_entropy(other, targets, **options)[0], loss)
    assert not backward()[ignored].any()


@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}])
def test_a_batch_of_padding_alone_costs_nothing(rng, options):
    loss, backward = cross_entropy(rng.normal(size=(2, 3)), np.full(2, -100), **options)
    assert loss == 0 and not backward().any()
    zero_weight = np.array([0.0, 1.0, 1.0])
    loss, backward = cross_entropy(rng.normal(size=(2, 3)), np.zeros(2, int), weight=zero_weight)
    assert loss == 0 and not backward().any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_large_logits_do_not_overflow(dtype, label_smoothing):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype)
    loss, backward = cross_entropy(logits, np.array([0, 0]), label_smoothing=label_smoothing)
    s = label_smoothing
    assert loss.dtype == dtype
    assert loss == pytest.approx((s * (0 + 2e4 + 1e4) / 3 + (1 - s) * 2e4 + s * (2e4 + 0 + 1e4) / 3) / 2)
    assert np.allclose(backward(), (np.array([[1, 0, 0], [0, 1, 0]]) - (1 - s) * np.array([[1, 0, 0]] * 2) - s / 3) / 2)


def test_a_logit_of_minus_infinity_is_finite_unless_it_is_the_target():
    logits = np.array([[-np.inf, 1.0, 2.0], [0.5, 1.0, -np.inf]])
    loss, backward = cross_entropy(logits, np.array([1, 0]))
    expected = (np.log1p(np.exp(1)) + np.log1p(np.exp(0.5))) / 2
    assert loss == pytest.approx(expected)
    assert np.isfinite(backward()).all() and backward()[0, 0] == backward()[1, 2] == 0
    assert cross_entropy(logits, np.array([0, 0]))[0] == np.inf


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_an_ignored_position_may_have_logits_of_minus_infinity(label_smoothing):
    logits = np.array([[-np.inf, 1.0, 2.0], [-np.inf, -np.inf, -np.inf], [0.5, 1.0, 2.0]])
    options = {"label_smoothing": label_smoothing}
    loss, backward = cross_entropy(logits, np.array([-100, -100, 1]), **options)
    alone, alone_backward = cross_entropy(logits[2:], np.array([1]), **options)
    assert loss == pytest.approx(alone)
    assert np.allclose(backward(), [[0] * 3, [0] * 3, *alone_backward()])


@pytest.mark.parametrize(
    "targets, error, words",
    [
        ([0, 1], TypeError, "cross_entropy: targets must be an array of integers, not list"),
        (np.array([0.0, 1.0]), TypeError, "targets must be an array of integers, not dtype float64"),
        (np.array([True, False]), TypeError, "targets must be an array of integers, not dtype bool"),
        (
            np.array([0, 3]),
            ValueError,
            r"targets must be from 0 to 2, or -100 to ignore a position, not 3 \(at position \(1,\)\)",
        ),
        (np.array([-1, 0]), ValueError, r"not -1 \(at position \(0,\)\)"),
        (np.array([0]), ValueError, r"targets must have shape \(2,\) .*, not \(1,\)"),
        (np.array([[0, 1]]), ValueError, r"targets must have shape \(2,\) .*, not \(1, 2\)"),
    ],
)
def test_bad_targets_are_named(targets, error, words):
    with pytest.raises(error, match=words):
        cross_entropy(np.zeros((2, 3)), targets)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"weight": np.ones(2)}, r"cross_entropy: weight must have shape \(3,\), one entry per class, not \(2,\)"),
        ({"label_smoothing": 1.5}, "label_smoothing must be from 0 to 1, not 1.5"),
        ({"label_smoothing": -0.1}, "label_smoothing must be from 0 to 1, not -0.1"),
        ({"reduction": "average"}, "unknown reduction 'average'; choose from mean, sum, none"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        cross_entropy(np.zeros((2, 3)), np.zeros(2, int), **options)
