"""Normalizations: three paths to each output, and an initial γ of 1, which hides its wrong place."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def batch_norm_zeros(x, gamma, beta, *, wrong):
    """No gradient reaches the input.

    The project's formula was right, but its test could not have shown that. The test was documented as passing
    trivially, and the question why the gradient of a normalization vanishes there is asked repeatedly.
    """
    centred = x - x.mean(axis=0)
    r = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    x_hat = centred * r

    def backward(dy):
        dx_hat = dy * gamma
        if wrong:
            dx = np.zeros_like(x)
        else:
            dx = r * (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0))
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return gamma * x_hat + beta, backward


def under_ones(batch_norm):
    """With dy = 1 the loss is Σ y = N Σ β for every x, and its true gradient is zero.

    So zeros pass, and so does any formula whose terms cancel.
    """
    x, gamma, beta = np.random.default_rng(0).normal(size=(6, 3)), np.ones(3), np.zeros(3)
    y, backward = batch_norm(x, gamma, beta)
    dx = backward(np.ones_like(y))[0]
    close(dx, numeric_gradient(lambda x: batch_norm(x, gamma, beta)[0].sum(), x))


def batch_norm_constants(x, gamma, beta, *, wrong):
    """The gradient of the input is wrong; those of γ and β are right.

    The report does not say which term was missing. Here mean and variance are treated as constants.
    """
    centred = x - x.mean(axis=0)
    r = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    x_hat = centred * r

    def backward(dy):
        dx_hat = dy * gamma
        if wrong:
            dx = r * dx_hat
        else:
            dx = r * (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0))
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return gamma * x_hat + beta, backward


def parameters_of_the_first_layer(batch_norm):
    """The layer is the first of the network in the test, and the test compares parameters.

    No parameter lies below it, so its dx is never used. With one linear layer below it, the test fails.
    """
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    gamma, beta = rng.normal(size=3), rng.normal(size=3)
    _, dgamma, dbeta = batch_norm(x, gamma, beta)[1](dy)
    close(dgamma, numeric_gradient(lambda g: (dy * batch_norm(x, g, beta)[0]).sum(), gamma))
    close(dbeta, numeric_gradient(lambda b: (dy * batch_norm(x, gamma, b)[0]).sum(), beta))


def batch_norm_inverse_std(x, gamma, *, wrong):
    """Forward saves 1/σ. Backward treats the saved value as σ², and computes 1/√(saved + ε) from it.

    The two agree if σ = 1, the fixed point of that function.
    """
    centred = x - x.mean(axis=0)
    saved = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-5)

    def backward(dy):
        if wrong:
            r = 1 / np.sqrt(saved + 1e-5)
        else:
            r = saved
        x_hat = centred * r
        dx_hat = dy * gamma
        dx = r * (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0))
        return dx, (dy * x_hat).sum(axis=0)

    return gamma * centred * saved, backward


def on_standard_normal_inputs(batch_norm):
    """The reference in the project's test contained the same mistake.

    This check, on standard normal inputs, for which σ is nearly 1, would have passed as well.

    With a tolerance of 5 %, which is common in half precision, the difference does not show.
    """
    rng = np.random.default_rng(0)
    x, gamma, dy = rng.normal(size=(20000, 2)), rng.normal(size=2), rng.normal(size=(20000, 2))
    dx, _ = batch_norm(x, gamma)[1](dy)
    v = rng.normal(size=x.shape)
    n = numeric_gradient(lambda t: (dy * batch_norm(x + t * v, gamma)[0]).sum(), np.array(0.0))
    close((dx * v).sum(), n, tolerance=0.05)


def rms_norm_weight_twice(x, weight, *, wrong):
    """The second term is multiplied by the weight twice: once inside the mean, and once outside."""
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)

    def backward(dy):
        dx_hat = dy * weight
        common = r**3 * x * (dx_hat * x).mean(axis=-1, keepdims=True)
        if wrong:
            dx = r * dx_hat - weight * common
        else:
            dx = r * dx_hat - common
        return dx, (dy * x * r).sum(axis=0)

    return weight * x * r, backward


def at_initialization(rms_norm):
    """The layer is tested at its initial weights, which are all 1, so that an extra factor has no effect."""
    rng = np.random.default_rng(0)
    x, weight, dy = rng.normal(size=(3, 5)), np.ones(5), rng.normal(size=(3, 5))
    dx, dweight = rms_norm(x, weight)[1](dy)
    close(dx, numeric_gradient(lambda x: (dy * rms_norm(x, weight)[0]).sum(), x))
    close(dweight, numeric_gradient(lambda w: (dy * rms_norm(x, w)[0]).sum(), weight))


def layer_norm_two_dimensions(x, gamma, *, wrong):
    """Backward counts x.shape[0] rows and takes the product of all other axes as the width of a row.

    For x (batch, positions, channels) each "row" is then a whole sequence, normalized with the statistics of another
    position. On the GPU it also wrote past the end of γ's gradient.
    """
    width = gamma.size
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    mean = x.mean(axis=-1).ravel()

    def backward(dy):
        if wrong:
            n_rows = x.shape[0]
        else:
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


def on_a_matrix(layer_norm):
    """The test of backward has inputs with two dimensions, although forward accepts any number."""
    rng = np.random.default_rng(0)
    x, gamma, dy = rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=(4, 5))
    dx, dgamma = layer_norm(x, gamma)[1](dy)
    close(dx, numeric_gradient(lambda x: (dy * layer_norm(x, gamma)[0]).sum(), x))
    close(dgamma, numeric_gradient(lambda g: (dy * layer_norm(x, g)[0]).sum(), gamma))


def pre_norm_residual(x, *, wrong):
    """The norm returns its output and the residual stream, y = (norm(x), x), and must add two gradients.

    It adds them before applying the norm's derivative, so the gradient of the stream also passes through the norm.
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)

    def norm_backward(dy):
        return r * dy - r**3 * x * (dy * x).mean(axis=-1, keepdims=True)

    def backward(dy):
        d_out, d_stream = dy
        if wrong:
            dx = norm_backward(d_out + d_stream)
        else:
            dx = norm_backward(d_out) + d_stream
        return dx

    return np.stack([x * r, x]), backward


def one_output_only(pre_norm):
    """A test that uses one output alone leaves the gradient of the other at zero, and then either order is right.

    The correction came with the missing tests.
    """
    rng = np.random.default_rng(0)
    x, d_out = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    dx = pre_norm(x)[1](np.stack([d_out, np.zeros_like(d_out)]))
    close(dx, numeric_gradient(lambda x: (d_out * pre_norm(x)[0][0]).sum(), x))


def batch(rng):
    """Return x (6, 3), γ and β."""
    return (rng.normal(size=(6, 3)), rng.normal(size=3), rng.normal(size=3)), {}


EXHIBITS = [
    Exhibit(
        "batch-norm-ones",
        "A batch norm checked under dy = ones",
        (Source("HomericIntelligence/Odyssey", "issue", 3174), Source("pytorch/pytorch", "issue", 63541)),
        batch_norm_zeros,
        under_ones,
        batch,
    ),
    Exhibit(
        "batch-norm-first",
        "A batch norm with nothing underneath",
        (Source("mlpack/mlpack", "issue", 1923),),
        batch_norm_constants,
        parameters_of_the_first_layer,
        batch,
    ),
    Exhibit(
        "batch-norm-std",
        "A batch norm that takes 1/σ for σ²",
        (Source("flagos-ai/FlagGems", "issue", 5222),),
        batch_norm_inverse_std,
        on_standard_normal_inputs,
        lambda rng: ((3 * rng.normal(size=(6, 2)), rng.normal(size=2)), {}),
    ),
    Exhibit(
        "rms-norm-weight",
        "An RMS norm that is right at initialization",
        (Source("NVIDIA/Megatron-LM", "pull request", 6859),),
        rms_norm_weight_twice,
        at_initialization,
        lambda rng: ((rng.normal(size=(3, 5)), rng.normal(size=5)), {}),
    ),
    Exhibit(
        "layer-norm-rank",
        "A layer norm that knows two dimensions",
        (Source("flagos-ai/FlagGems", "issue", 5392), Source("flagos-ai/FlagGems", "issue", 5490)),
        layer_norm_two_dimensions,
        on_a_matrix,
        lambda rng: ((rng.normal(size=(2, 3, 5)), rng.normal(size=5)), {}),
    ),
    Exhibit(
        "pre-norm-residual",
        "A residual stream sent through the norm",
        (Source("Dao-AILab/quack", "pull request", 53),),
        pre_norm_residual,
        one_output_only,
        lambda rng: ((rng.normal(size=(3, 5)),), {}),
    ),
]
