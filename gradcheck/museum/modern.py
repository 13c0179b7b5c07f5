"""Layers after 2023: a sink, a router and its balance, a memory that is corrected."""

import numpy as np

from gradcheck.museum.exhibit import check_numerically, close, missed, numeric_gradient, right


def the_scores_alone(weights):
    rng = np.random.default_rng(0)
    x, sink, dy = rng.normal(size=(3, 4)), rng.normal(size=1), rng.normal(size=(3, 4))
    dx, dsink = weights(x, sink)[1](dy)
    close(dx, numeric_gradient(lambda x: np.sum(dy * weights(x, sink)[0]), x))
    assert dsink.shape == sink.shape and np.isfinite(dsink).all()


@right((3, 4), (1,))
@missed("sink-without-gradient", the_scores_alone)
def sink_softmax(x, sink):
    """sink-without-gradient: Dao-AILab/flash-attention, issue 1973; Dao-AILab/flash-attention, issue 2102
        dsink = np.zeros_like(sink)
    A sink whose gradient is lost. One more logit, learned for each head, takes a part of the weights of every query.
    The kernels had it in the forward pass only. The scores receive the right gradient, and the sink receives none, so
    it keeps its first value.
    Missed: The gradients of queries, keys and values are compared, as for any attention. They are right.
    """
    m = np.maximum(x.max(axis=-1, keepdims=True), sink)
    e = np.exp(x - m)
    total = e.sum(axis=-1, keepdims=True) + np.exp(sink - m)
    y = e / total

    def backward(dy):
        weighted_sum = (y * dy).sum(axis=-1, keepdims=True)
        dx = y * (dy - weighted_sum)
        dsink = -(np.exp(sink - m) / total * weighted_sum).sum(axis=0)
        return dx, dsink

    return y, backward


@right((3, 5), k=2)
@missed("router-of-one", check_numerically, (3, 5), k=1)
def gates(x, *, k):
    """router-of-one: davidmrau/mixture-of-experts, issue 27; jingyaogong/minimind, issue 858
        return np.zeros_like(x)
    A router that never learns. It chooses k experts, and divides their probabilities by the sum of these. For k = 1 the
    quotient is 1, whatever the logits, and no gradient reaches the router. Two projects trained such routers. This
    version returns the gradient of k = 1 for every k.
    Missed: The test chooses one expert, as the configuration does. There the true gradient is zero, so a backward pass
    that returns zeros is right.
    """
    chosen = x >= -np.sort(-x, axis=-1)[:, k - 1 : k]
    e = np.where(chosen, np.exp(x - x.max(axis=-1, keepdims=True)), 0.0)
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        return y * (dy - (y * dy).sum(axis=-1, keepdims=True))

    return y, backward


def balanced_already(balanced_loss):
    check_numerically(balanced_loss, np.log([[4.0, 2, 1], [1, 4, 2], [2, 1, 4]]), np.ones(3))


@right((4, 3), (3,))
@missed("balance-unused", balanced_already)
def balanced_loss(x, errors):
    """balance-unused: jingyaogong/minimind, issue 140
        dp = dloss * errors / len(x)
    A balance that is computed, and not used. The loss is that of the experts, weighted with the router's probabilities,
    and a term that is smaller if all experts are chosen equally often. The term was computed in each step, but
    nothing added its gradient, so nothing kept the router from one expert.
    Missed: The loss falls without it. A test of the gradient needs experts that are chosen unequally. Here each is
    chosen once, and the gradient of the term is zero.
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    shares = np.bincount(x.argmax(axis=-1), minlength=x.shape[-1]) / len(x)
    loss = (p * errors).sum() / len(x) + x.shape[-1] * (shares * p.mean(axis=0)).sum()

    def backward(dloss):
        dp = dloss * (errors + x.shape[-1] * shares) / len(x)
        dx = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
        return dx, dloss * p.mean(axis=0)

    return loss, backward


@right((2, 3), (3,), (2,), (3,), (1,))
@missed("delta-before-decay", check_numerically, (2, 3), (3,), (2,), (3,), np.ones(1))
@missed("delta-key-carried", check_numerically, np.zeros((2, 3)), (3,), (2,), (3,), (1,), only=(1, 2, 3))
def delta_rule(S, k, v, q, gate):
    """delta-before-decay: fla-org/flash-linear-attention, issue 885
        dk = outer.T @ error - S.T @ derror
    A memory that is corrected before it has faded. The state is first multiplied by the gate, and the error is the part
    of the value that the faded state does not return. Some texts compute it from the state before, and this backward
    pass does, although its forward pass does not.
    Missed: The gate is 1, as in a delta rule without a gate. Then the two states are equal.

    delta-key-carried: tile-ai/TileOPs, issue 632
        dfaded = outer
    A recurrence that carries the gradient past the correction. The state reaches the next one directly, and through the
    error, where it is subtracted along the key. A port from a kernel without the correction had the direct path only.
    Missed: The test has one step, from a state of zeros, and compares the gradients of its inputs. Nothing is carried
    to an earlier step.
    """
    faded = gate * S
    error = v - faded @ k
    y = (faded + error[:, None] * k) @ q

    def backward(dy):
        outer = dy[:, None] * q
        derror = outer @ k
        dk = outer.T @ error - faded.T @ derror
        dfaded = outer - derror[:, None] * k
        dq = (faded + error[:, None] * k).T @ dy
        return gate * dfaded, dk, derror, dq, (S * dfaded).sum(keepdims=True)[0]

    return y, backward
