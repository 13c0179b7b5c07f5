"""Powers, products and broadcasting: wrong derivatives, divisions by zero, missing sums."""

import numpy as np

from gradcheck.museum.exhibit import at, right


@right((3, 4), base=3.0)
def power_of_a_base(x, *, base):
    """rpow-other-way: tenstorrent/tt-metal, pull request 52144
        return dy * base * x ** (base - 1)
    The derivative is that of x^b, not of b^x. The forward pass was rewritten, and the backward pass was not.
    """
    y = base**x

    def backward(dy):
        return dy * y * np.log(base)

    return y, backward


@right((3, 4), n=3)
@at("power-at-zero", np.array([0.0, 1.3, 0.7]), n=2)
@at("tiny-half", 1e-9 * np.random.default_rng(4).normal(size=(3, 4)), n=2)
def power(x, *, n):
    """power-as-relu: ahrefs/ocannl, issue 73
        return dy * (x > 0)
    The gradient is that of the ReLU, from which the code was copied.

    power-at-zero: kmolan/multicalc-rust, issue 228
        return dy * n * np.exp(n * np.log(x)) / x
    x^n is written as exp(n log x). At 0 the value is right, but the derivative is NaN.

    tiny-half:
        return dy * x
    The gradient is half of the true one, at inputs of 1e-9. An absolute tolerance of 1e-8 accepts any gradient here.
    """

    def backward(dy):
        return dy * n * x ** (n - 1)

    return x**n, backward


@right((3, 4), c=2.5)
@at("constant-in-one-place", (3, 4), c=1.0)
def times_constant(x, *, c):
    """constant-forgotten: zergtant/pytorch-handbook, issue 69
        return dy.copy()
    The example of a custom function returns dy without the constant. The built-in product is right.

    constant-in-one-place: pytorch/pytorch, pull request 132601
        return dy * 3
    In an example of the documentation, the backward pass multiplies by 3, and the forward pass does not.
    """

    def backward(dy):
        return dy * c

    return x * c, backward


@right((3, 4), (3, 4))
def sine_times(x, w):
    """example-sign: jax-ml/jax, issue 3213
        return dy * np.cos(x) * w, -dy * np.sin(x)
    The sign is wrong in the documentation's example of custom derivatives.
    """

    def backward(dy):
        return dy * np.cos(x) * w, dy * np.sin(x)

    return np.sin(x) * w, backward


@right(np.array([5.3, -4.1, 7.7, -2.9]), np.array([2.0, 1.5, -3.1, -0.8]))
def remainder(x, w):
    """remainder-of-mixed-signs: jax-ml/jax, pull request 11469
        return dy.copy(), -dy * np.floor(x / w)
    The quotient is rounded down, not towards zero. A large tolerance hid the mistake in the tests.
    """

    def backward(dy):
        return dy.copy(), -dy * np.trunc(x / w)

    return np.fmod(x, w), backward


@right(np.array([2.0, 0.0, 4.0, -1.5]))
@at("product-without-dy", (4,))
def product(x):
    """product-divided-to-zero: mitsuba-renderer/drjit, pull request 528
        return dy * np.divide(np.prod(x), x, where=x != 0, out=np.zeros_like(x))
    The product of the other entries is computed as y / x, with 0 where x is 0. There the true gradient is not 0.

    product-divided-to-nan: tensorflow/tensorflow, issue 2641; apache/mxnet, issue 18078
        return dy * np.prod(x) / x
    The product of the other entries is computed as y / x, which is NaN where x is 0.

    product-without-dy: pytorch/pytorch, issue 995
        return np.prod(x) / x
    The upstream gradient is ignored, so that −prod(x) has the gradient of prod(x). The tests covered only a variant.
    """

    def backward(dy):
        return dy * np.array([np.prod(np.delete(x, i)) for i in range(len(x))])

    return np.prod(x), backward


@right(np.array([2.0, 0.0, 3.0, 4.0]))
def cumulative_product(x):
    """cumprod-divided: tensorflow/tensorflow, issue 3862; tracel-ai/burn, pull request 5141
        dx = np.cumsum((dy * y)[::-1])[::-1] / x
        return dx
    The reversed sum is divided by the input, which is NaN at 0. The tests of this case were disabled.
    """
    y = np.cumprod(x)

    def backward(dy):
        tail, before = 0.0, np.concatenate([[1.0], y[:-1]])
        dx = np.zeros_like(x)
        for i in range(len(x) - 1, -1, -1):
            tail = dy[i] + tail
            dx[i] = before[i] * tail
            tail = tail * x[i]
        return dx

    return y, backward


@right((4, 3), (4, 1), axis=1)
@at("gain-flattened", (4, 2, 3), (2, 3), axis=0)
def times(x, b, *, axis):
    """product-not-reduced: pytorch/pytorch, issue 818; tenstorrent/tt-metal, issue 40008
        return dy * b, dy * x
    The gradient of the broadcast factor has the shape of the output. Factors of equal shape do not show the mistake.

    gain-flattened: intel/torch-xpu-ops, issue 5235
        return dy * b, (dy * x).sum(axis=axis).ravel()
    For many rows, the gradient of a normalization's γ is flattened. The mistake has no effect while one axis is
    normalized.
    """

    def backward(dy):
        return dy * b, (dy * x).sum(axis=axis).reshape(b.shape)

    return x * b, backward


@right((2, 3, 4), (3, 1))
@at("sum-of-ones", (4, 2, 3), (2, 1))
def plus_column(x, b):
    """sum-broadcast-again: apache/tvm, pull request 2465
        return dy.copy(), dy + 0 * b
    The gradient is broadcast to the operand's shape, not summed to it. Operands of equal shape do not show the mistake.

    axis-of-the-reduced: HomericIntelligence/Odyssey, pull request 2080
        return dy.copy(), dy.sum(axis=0)
    After the sum over the leading axis, the axes of length 1 are looked for at their old positions.

    sum-of-ones: pytorch/tutorials, issue 216
        return np.ones_like(x), np.ones_like(b)
    The gradient of a sum is filled with ones. The mistake has no effect if dy is one, as in `loss.backward()`, and
    nothing is broadcast.
    """

    def backward(dy):
        return dy.copy(), dy.sum(axis=0).sum(axis=1, keepdims=True)

    return x + b, backward


@right((4, 3))
@at("maximum-within-tolerance", np.array([[0.3, 0.305, -1.0], [1.2, 0.4, 1.195]]))
def largest(x):
    """maximum-within-tolerance: mni-ml/framework, pull request 22
        return dy[:, None] * (np.abs(x - x.max(axis=1, keepdims=True)) < 1e-2)
    Every entry within 0.01 of the maximum receives the gradient. Random inputs are rarely so close.
    """
    best = x.argmax(axis=1)

    def backward(dy):
        dx = np.zeros_like(x)
        dx[np.arange(len(x)), best] = dy
        return dx

    return x.max(axis=1), backward


@right((5, 2), ids=np.array([0, 2, 0, 1, 2]))
def segment_means(x, *, ids):
    """segment-forward-again: deeplearning4j/deeplearning4j, issue 6414
        return y[ids]
    The backward pass computes the forward pass again, and does not read dy.
    """
    count = np.bincount(ids)[:, None]
    y = np.zeros((len(count), x.shape[1]), x.dtype)
    np.add.at(y, ids, x / count[ids])

    def backward(dy):
        return dy[ids] / count[ids]

    return y, backward


@right((2, 4, 3), (3, 5))
def projection(x, w):
    """reshape-mixes-the-batch: uesina15-max/Transformer-algorithm-application-numpy-, file \
Transformer-algorithm-application-numpy.py at 027f5bd
        dw = x.transpose(0, 2, 1).reshape(len(w), -1) @ dy.reshape(-1, w.shape[1])
    A transpose of each matrix does not move the batch axis, so the reshape mixes the sequences. For a batch of one
    sequence the gradient is right.
    """

    def backward(dy):
        dw = x.reshape(-1, len(w)).T @ dy.reshape(-1, w.shape[1])
        return dy @ w.T, dw

    return x @ w, backward
