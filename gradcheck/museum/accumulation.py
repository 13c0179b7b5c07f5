"""Values that are used several times: their gradients must be added."""

import numpy as np

from gradcheck.museum.exhibit import at, check_descent, check_numerically, missed, right


@right((7, 3), ids=np.array([2, 5, 2, 0]))
@at("embedding-of-different-ids", (7, 3), ids=np.array([3, 0, 6, 2]))
@missed("embedding-repeated", check_numerically, (7, 3), ids=np.array([3, 0, 6, 2]))
def embedding(weight, *, ids):
    """embedding-repeated: karpathy/nn-zero-to-hero, issue 57; pymc-devs/pytensor, pull request 2242;
    pytorch/pytorch, issue 1528
        dweight[ids] += dy
    An id that occurs twice. It receives the gradient of only one of its occurrences. `a[ids] += b` reads all rows,
    adds, and writes all rows. If two writes go to the same row, only the last one remains.
    Missed: The ids of the test are all different, as is common in small examples.
    """

    def backward(dy):
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, dy)
        return dweight

    return weight[ids], backward


@right((7, 3), ids=np.array([2, 5, 2, 0]))
@missed("tied-embedding", check_descent, (7, 3), ids=np.array([2, 5, 2, 0]), target=np.eye(4, 7), rate=0.001)
def tied_embedding(weight, *, ids):
    """tied-embedding: paiml/entrenar, issue 314
        return through_head
    Tied weights with separate gradients. One matrix is both embedding and unembedding, but the two uses keep separate
    gradients. The true gradient is their sum. In the project, the two parts went to two optimizers, and the two copies
    drifted apart.
    Missed: Half of a gradient is still a descent direction. The loss falls, but less than it should. The mistake was
    noticed because the perplexity, exp of the mean loss, was 115, whereas another framework reached 50.
    """
    x = np.tanh(weight[ids])

    def backward(dlogits):
        through_head = dlogits.T @ x
        through_embedding = np.zeros_like(weight)
        np.add.at(through_embedding, ids, (dlogits @ weight) * (1 - x * x))
        return through_head + through_embedding

    return x @ weight.T, backward


@right((3,), (3,))
@missed("backward-twice", check_numerically, (3,), (3,))
def square_of_a_sum(a, b):
    """backward-twice: karpathy/micrograd, pull request 102; karpathy/micrograd, issue 53
        dtotal[...] += 2 * total * dy
    The second call to backward. Inner nodes keep the gradient of the previous backward pass, and the next pass adds to
    it. In y = (a + b)², the sum is an inner node. Clearing the gradients of the parameters does not clear its gradient.
    Missed: Each test builds a new graph and calls backward once.
    """
    total = a + b
    dtotal = np.zeros_like(total)

    def backward(dy):
        dtotal[...] = 2 * total * dy
        return dtotal.copy(), dtotal.copy()

    return total * total, backward


@right((3,), i=1, j=1)
@at("used-once", (3,), i=0, j=2)
@missed("used-twice", check_numerically, (3,), i=0, j=2)
def product_of_entries(x, *, i, j):
    """used-twice: karpathy/nn-zero-to-hero, issue 52; karpathy/micrograd, issue 2
        dx[j] = dy * e
    Gradients assigned instead of added. The function is y = exp(x_i) · x_j. If i = j, the last path overwrites the
    first. `check` does not recognise this mistake from the numbers alone. `gradcheck.steps` finds the line.
    Missed: The first expressions tried use each value once. A comment in the notebook describes the later correction.
    """
    e = np.exp(x[i])

    def backward(dy):
        dx = np.zeros_like(x)
        dx[i] = dy * e * x[j]
        dx[j] += dy * e
        return dx

    return e * x[j], backward


@right(np.array([0.3, -1.2, 2.0, 0.1, -0.4, 0.9]), size=3, stride=1)
@at("max-pool-side-by-side", (8,), size=2, stride=2)
@missed("max-pool-overlap", check_numerically, (8,), size=2, stride=2)
def max_pool(x, *, size, stride):
    """max-pool-overlap: 0809zheng/CS231n-assignment2019, issue 19
        dx[position] = d
    Windows that overlap. They may share their maximum, which then receives a gradient from each of them.
    Missed: The test pools by 2 with stride 2, so that windows never share an entry.
    """
    starts = np.arange(0, len(x) - size + 1, stride)
    best = np.array([start + np.argmax(x[start : start + size]) for start in starts])

    def backward(dy):
        dx = np.zeros_like(x)
        for position, d in zip(best, dy, strict=True):
            dx[position] += d
        return dx

    return x[best], backward


@right((3, 4))
@missed("early-return", check_descent, (3, 4), rate=0.1)
def largest_of_channels(x):
    """early-return: riccardoandreoni0/CNN-from-scratch, issue 1
        dx[channel, best[channel]] = d
        return dx
    A return inside the loop. The loop ends after its first iteration. In a maximum over each channel, only the first
    channel passes on its gradient.
    Missed: The report says: "the model as-is still converges". In its code, only the first patch is trained. In this
    exhibit, only the first channel is trained. The check requires that the sum of the squared maxima falls, and it
    does.
    """
    best = x.argmax(axis=1)

    def backward(dy):
        dx = np.zeros_like(x)
        for channel, d in enumerate(dy):
            dx[channel, best[channel]] = d
        return dx

    return x.max(axis=1), backward
