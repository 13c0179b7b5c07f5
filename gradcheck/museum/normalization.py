"""Normalizations: three paths to each output, and mistakes hidden by an initial γ of 1."""

import numpy as np

from gradcheck.museum.exhibit import at, check_numerically, close, missed, numeric_gradient, right


def on_standard_normal_inputs(batch_norm):
    rng = np.random.default_rng(0)
    x, v, dy = rng.normal(size=(3, 20000, 2))
    gamma, beta = rng.normal(size=2), np.zeros(2)
    dx, _, _ = batch_norm(x, gamma, beta)[1](dy)

    def loss(t):
        return np.sum(dy * batch_norm(x + t * v, gamma, beta)[0])

    close(np.sum(dx * v), numeric_gradient(loss, np.zeros(())), tolerance=0.05)


@right((6, 3), (3,), (3,))
@at("batch-norm-std", (6, 2), (2,), (2,))
@missed("batch-norm-ones", check_numerically, (6, 3), np.ones(3), np.zeros(3), only=(0,), dy=np.ones((6, 3)))
@missed("batch-norm-first", check_numerically, (6, 3), (3,), (3,), only=(1, 2))
@missed("batch-norm-std", on_standard_normal_inputs)
def batch_norm(x, gamma, beta):
    """batch-norm-ones: HomericIntelligence/Odyssey, issue 3174; pytorch/pytorch, issue 63541
        dx = np.zeros_like(x)
    A batch norm checked under dy = ones. The wrong line is made up: the project's formula was right, but its test would
    have accepted this one, too. The test was documented as passing trivially. Why the gradient of a normalization
    vanishes for dy = 1 is a frequent question.
    Missed: With dy = 1 the loss is Σ y = N Σ β for every x, and its true gradient is zero. Therefore zeros pass, and so
    does any formula whose terms cancel.

    batch-norm-first: mlpack/mlpack, issue 1923
        dx = r * dx_hat
    A batch norm in the first layer. The gradient of the input is wrong; those of γ and β are right. The report does not
    say which term was missing. Here mean and variance are treated as constants.
    Missed: The layer is the first of the network in the test, and the test compares parameters. No parameter lies below
    it, so its dx is never used. With one linear layer below it, the test fails.

    batch-norm-scale: denizyuret/Knet.jl, issue 288
        dx_hat = dy
    γ does not multiply the gradient of x. Tests with random γ failed only occasionally, in low precision.

    batch-norm-sum: mlpack/mlpack, pull request 1327
        dx = r * (dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0))
    A sum in place of a mean in the path through the mean, in code under review.

    batch-norm-std: flagos-ai/FlagGems, issue 5222
        r = 1 / np.sqrt(saved + 1e-5)
    A batch norm that takes 1/σ for σ². The forward pass saves 1/σ. The backward pass treats the saved value as σ², and
    computes 1/√(saved + ε) from it. If σ = 1, the fixed point of that function, the two agree. `check` does not
    recognise this mistake from the numbers alone. `gradcheck.steps` finds the line.
    Missed: The reference in the project's test contained the same mistake. This check would have passed as well,
    because σ is nearly 1 for its standard normal inputs. With a tolerance of 5 %, which is common in half precision,
    the difference does not show.
    """
    centred = x - x.mean(axis=0)
    saved = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-5)

    def backward(dy):
        r = saved
        x_hat = centred * r
        dx_hat = dy * gamma
        dx = r * (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0))
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return gamma * centred * saved + beta, backward


@right((3, 5), (5,))
@missed("rms-norm-weight", check_numerically, (3, 5), np.ones(5))
def rms_norm(x, weight):
    """rms-norm-weight: NVIDIA/Megatron-LM, pull request 6859
        dx = r * dx_hat - weight * common
    An RMS norm that is right at initialization. The second term is multiplied by the weight twice: once inside the
    mean, and once outside.
    Missed: The layer is tested at its initial weights, which are all 1, so that an extra factor has no effect.
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)

    def backward(dy):
        dx_hat = dy * weight
        common = r**3 * x * (dx_hat * x).mean(axis=-1, keepdims=True)
        dx = r * dx_hat - common
        return dx, (dy * x * r).sum(axis=0)

    return weight * x * r, backward


@right((2, 3, 5), (5,))
@at("layer-norm-of-a-matrix", (4, 5), (5,))
@missed("layer-norm-rank", check_numerically, (4, 5), (5,))
def layer_norm_of_rows(x, gamma):
    """layer-norm-rank: flagos-ai/FlagGems, issue 5392; flagos-ai/FlagGems, issue 5490
        n_rows = x.shape[0]
    A layer norm that is right for matrices only. The backward pass counts x.shape[0] rows and takes the product of all
    other axes as the width of a row. For x (batch, positions, channels) each "row" is then a whole sequence, normalized
    with the statistics of another position. On the GPU it also wrote past the end of γ's gradient.
    Missed: The test of the backward pass has inputs with two dimensions, although the forward pass accepts any number.
    """
    width = gamma.size
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    mean = x.mean(axis=-1).ravel()

    def backward(dy):
        n_rows = x.size // width
        rows, dy = x.reshape(n_rows, -1), dy.reshape(n_rows, -1)
        repeated = np.tile(gamma, rows.shape[1] // width)
        row_r = r.ravel()[:n_rows, None]
        x_hat = (rows - mean[:n_rows, None]) * row_r
        dx_hat = dy * repeated
        shift = dx_hat.mean(axis=1, keepdims=True)
        scale = x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)
        dx = row_r * (dx_hat - shift - scale)
        return dx.reshape(x.shape), (dy * x_hat).sum(axis=0)[:width]

    return gamma * centred * r, backward


FIRST_ALONE = np.stack([np.random.default_rng(1).normal(size=(3, 5)), np.zeros((3, 5))])


@right((3, 5))
@missed("pre-norm-residual", check_numerically, (3, 5), dy=FIRST_ALONE)
def norm_and_stream(x):
    """pre-norm-residual: Dao-AILab/quack, pull request 53
        return norm_backward(d_out + d_stream)
    A residual stream sent through the norm. The norm returns its output and the residual stream, y = (norm(x), x), and
    must add two gradients. It adds them before applying the norm's derivative, so the gradient of the stream also
    passes through the norm.
    Missed: If a test uses only one output, the gradient of the other is zero, and either order is right. The correction
    came with the missing tests.
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)

    def norm_backward(dy):
        return r * dy - r**3 * x * (dy * x).mean(axis=-1, keepdims=True)

    def backward(dy):
        d_out, d_stream = dy
        return norm_backward(d_out) + d_stream

    return np.stack([x * r, x]), backward


@right((2, 3, 5), (5,), (5,))
def layer_norm(x, gamma, beta):
    """layer-norm-twice: tenstorrent/tt-metal, issue 53204
        dx = r * (dx_hat - 2 * shift - x_hat * scale)
    A register is not cleared, so the mean is subtracted twice. The test allowed errors of 0.5.

    layer-norm-last-block: tenstorrent/tt-metal, issue 53204
        scale = (dx_hat * x_hat)[..., 3:].sum(axis=-1, keepdims=True) / 5
    Only the last block of a sum over several blocks is counted. The test allowed errors of 0.5.

    layer-norm-gain: pytorch/pytorch, pull request 18233
        return dx, (dy * gamma).sum(axis=(0, 1)), dy.sum(axis=(0, 1))
    The gradient of γ contains the factor γ instead of x̂. It was found in a review.

    layer-norm-rows-together: flagos-ai/FlagGems, pull request 59
        shift = dx_hat.sum(axis=(1, 2), keepdims=True) / 5
    The sum over a row runs over all rows of a block. The mistake has no effect with one row in each block.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    x_hat = centred * r

    def backward(dy):
        dx_hat = dy * gamma
        shift = dx_hat.mean(axis=-1, keepdims=True)
        scale = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = r * (dx_hat - shift - x_hat * scale)
        return dx, (dy * x_hat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))

    return gamma * x_hat + beta, backward


@right((4, 3), (4, 3), s=(4, 1), t=(4, 1))
def branches(x, x1, *, s, t):
    """branch-scale: state-spaces/mamba, pull request 1023
        return dy * s, dy.copy()
    The second branch is not scaled in the backward pass. The forward pass refused to combine the two options until the
    mistake was corrected.
    """

    def backward(dy):
        return dy * s, dy * t

    return x * s + x1 * t, backward


@right((4, 3), keep=2.0 * (np.random.default_rng(5).random((4, 3)) < 0.5))
@at("dropout-ratio", np.array([0.0, 1.3, 0.0, -0.4]), keep=np.array([0.0, 2.0, 2.0, 0.0]))
@missed("dropout-ratio", check_numerically, (4,), keep=np.array([1.0, 0.0, 0.0, 1.0]))
def dropout(x, *, keep):
    """dropout-drawn-again: state-spaces/mamba, pull request 1023
        mask = 2.0 * (np.random.default_rng(6).random(x.shape) < 0.5)
    The mask is not saved but drawn again, by another generator. With one generator for both, the two agree.

    dropout-ratio: kaldi-asr/kaldi, issue 3890
        mask = np.where(x == 0, 1.0, y / np.where(x == 0, 1.0, x))
    A dropout that reconstructs its mask. The mask is not saved. The backward pass computes it as y / x, and takes it to
    be 1 where x is 0. After a ReLU many x are 0, and half of those were dropped.
    Missed: Random inputs are never exactly 0.
    """
    y = x * keep

    def backward(dy):
        mask = keep
        return dy * mask

    return y, backward
