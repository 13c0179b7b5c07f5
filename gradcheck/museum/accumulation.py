"""A value that is used several times receives several gradients, and its gradient is their sum."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def embedding_repeated(weight, *, ids, wrong):
    """An id that occurs twice receives the gradient of only one of its occurrences.

    `a[ids] += b` reads all rows, adds, and writes all rows. If two writes go to the same row, only the last one
    remains.
    """

    def backward(dy):
        dweight = np.zeros_like(weight)
        if wrong:
            dweight[ids] += dy
        else:
            np.add.at(dweight, ids, dy)
        return dweight

    return weight[ids], backward


def with_distinct_ids(embedding):
    """The ids of the test are all different, as is common in small examples."""
    rng = np.random.default_rng(0)
    weight, dy, ids = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), np.array([3, 0, 6, 2])
    dweight = embedding(weight, ids=ids)[1](dy)
    close(dweight, numeric_gradient(lambda w: (dy * embedding(w, ids=ids)[0]).sum(), weight))


def tied_embedding(weight, *, ids, wrong):
    """One matrix is both embedding and output head, but the two uses keep separate gradients.

    The true gradient is their sum. In the project, the two parts went to two optimizers, and the two copies drifted
    apart.
    """
    x = np.tanh(weight[ids])

    def backward(dlogits):
        through_head = dlogits.T @ x
        through_embedding = np.zeros_like(weight)
        np.add.at(through_embedding, ids, (dlogits @ weight) * (1 - x * x))
        if wrong:
            dweight = through_head
        else:
            dweight = through_head + through_embedding
        return dweight

    return x @ weight.T, backward


def it_trains(tied):
    """Half of a gradient is still a descent direction. The loss falls, but less than it should.

    The mistake was noticed because the perplexity was 115, whereas another framework reached 50.
    """
    rng = np.random.default_rng(0)
    weight, targets = rng.normal(size=(7, 3)), rng.normal(size=(4, 7))
    ids = np.array([2, 5, 2, 0])
    losses = []
    for _ in range(50):
        logits, backward = tied(weight, ids=ids)
        losses.append(((logits - targets) ** 2).mean())
        weight = weight - 0.01 * backward(2 * (logits - targets) / targets.size)
    assert losses[-1] < losses[0]


def backward_twice(a, b, *, wrong):
    """Inner nodes keep the gradient of the previous backward pass, and the next pass adds to it.

    y = (a + b)²: the sum is an inner node. Clearing the gradients of the parameters does not clear its gradient.
    """
    total = a + b
    dtotal = np.zeros_like(total)

    def backward(dy):
        if wrong:
            dtotal[...] += 2 * total * dy
        else:
            dtotal[...] = 2 * total * dy
        return dtotal.copy(), dtotal.copy()

    return total * total, backward


def called_once(square):
    """Each test builds a new graph and calls backward once."""
    rng = np.random.default_rng(0)
    a, b, dy = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3)
    da, _ = square(a, b)[1](dy)
    close(da, numeric_gradient(lambda a: dy @ square(a, b)[0], a))


def used_twice(x, *, i, j, wrong):
    """y = exp(x_i) · x_j. Gradients are assigned instead of added. If i = j, the last path overwrites the first."""
    e = np.exp(x[i])

    def backward(dy):
        dx = np.zeros_like(x)
        dx[i] = dy * e * x[j]
        if wrong:
            dx[j] = dy * e
        else:
            dx[j] += dy * e
        return dx

    return e * x[j], backward


def on_expressions_that_use_each_value_once(product):
    """The first expressions tried use each value once. A comment in the notebook describes the later correction."""
    x, dy = np.random.default_rng(0).normal(size=3), 0.7
    dx = product(x, i=0, j=2)[1](dy)
    close(dx, numeric_gradient(lambda x: dy * product(x, i=0, j=2)[0], x))


def max_pool_overlapping(x, *, size, stride, wrong):
    """Overlapping windows may share their maximum, which then receives a gradient from each of them."""
    starts = np.arange(0, len(x) - size + 1, stride)
    best = np.array([start + np.argmax(x[start : start + size]) for start in starts])

    def backward(dy):
        dx = np.zeros_like(x)
        for position, d in zip(best, dy, strict=True):
            if wrong:
                dx[position] = d
            else:
                dx[position] += d
        return dx

    return x[best], backward


def with_windows_side_by_side(max_pool):
    """The test pools by 2 with stride 2, so that windows never share an entry."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=8), rng.normal(size=4)
    dx = max_pool(x, size=2, stride=2)[1](dy)
    close(dx, numeric_gradient(lambda x: dy @ max_pool(x, size=2, stride=2)[0], x))


def returned_too_early(x, *, wrong):
    """A return is indented one level too deep, so that the loop ends after its first iteration.

    In a maximum over each channel, only the first channel passes on its gradient.
    """
    best = x.argmax(axis=1)

    def backward(dy):
        dx = np.zeros_like(x)
        for channel, d in enumerate(dy):
            dx[channel, best[channel]] = d
            if wrong:
                return dx
        return dx

    return x.max(axis=1), backward


def the_model_converges(max_pool):
    """The report says: "the model as-is still converges". In its code, only the first patch is trained.

    In this exhibit, only the first channel is trained. The check requires that the sum of the squared maxima falls, and
    it does.
    """
    x = np.random.default_rng(0).normal(size=(3, 4))
    losses = []
    for _ in range(20):
        y, backward = max_pool(x)
        losses.append((y**2).sum())
        x = x - 0.1 * backward(2 * y)
    assert losses[-1] < losses[0]


EXHIBITS = [
    Exhibit(
        "embedding-repeated",
        "An id that occurs twice",
        (
            Source("karpathy/nn-zero-to-hero", "issue", 57),
            Source("pymc-devs/pytensor", "pull request", 2242),
            Source("pytorch/pytorch", "issue", 1528),
        ),
        embedding_repeated,
        with_distinct_ids,
        lambda rng: ((rng.normal(size=(7, 3)),), {"ids": np.array([2, 5, 2, 0])}),
    ),
    Exhibit(
        "tied-embedding",
        "Tied weights with separate gradients",
        (Source("paiml/entrenar", "issue", 314),),
        tied_embedding,
        it_trains,
        lambda rng: ((rng.normal(size=(7, 3)),), {"ids": np.array([2, 5, 2, 0])}),
    ),
    Exhibit(
        "backward-twice",
        "The second call to backward",
        (Source("karpathy/micrograd", "pull request", 102), Source("karpathy/micrograd", "issue", 53)),
        backward_twice,
        called_once,
        lambda rng: ((rng.normal(size=3), rng.normal(size=3)), {}),
    ),
    Exhibit(
        "used-twice",
        "= instead of +=",
        (Source("karpathy/nn-zero-to-hero", "issue", 52), Source("karpathy/micrograd", "issue", 2)),
        used_twice,
        on_expressions_that_use_each_value_once,
        lambda rng: ((rng.normal(size=3),), {"i": 1, "j": 1}),
    ),
    Exhibit(
        "max-pool-overlap",
        "Windows that overlap",
        (Source("0809zheng/CS231n-assignment2019", "issue", 19),),
        max_pool_overlapping,
        with_windows_side_by_side,
        lambda rng: ((np.array([0.3, -1.2, 2.0, 0.1, -0.4, 0.9]),), {"size": 3, "stride": 1}),
    ),
    Exhibit(
        "early-return",
        "A return one level too deep",
        (Source("riccardoandreoni0/CNN-from-scratch", "issue", 1),),
        returned_too_early,
        the_model_converges,
        lambda rng: ((rng.normal(size=(3, 4)),), {}),
    ),
]
