"""What is used several times receives several gradients, and they add up: once each, and no more than once."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def embedding_repeated(weight, *, ids, wrong):
    """An id that occurs twice receives the gradient of one of its occurrences only.

    `a[ids] += b` reads all rows, adds, and writes all rows: of two writes to one row the last remains.
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
    """The ids of the test are all different, as those of a small example tend to be."""
    rng = np.random.default_rng(0)
    weight, dy, ids = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), np.array([3, 0, 6, 2])
    dweight = embedding(weight, ids=ids)[1](dy)
    close(dweight, numeric_gradient(lambda w: (dy * embedding(w, ids=ids)[0]).sum(), weight))


def tied_embedding(weight, *, ids, wrong):
    """One matrix is both embedding and output head, but each keeps a gradient of its own.

    Its true gradient is the sum. There the two halves went to two optimizers, and the two copies drifted apart.
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
    """Half of a gradient still goes downhill. The loss falls, only not as far as it should.

    What gave it away was a perplexity of 115 where another framework reached 50.
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
    """Inner nodes keep what the last backward pass left in them, and the next one adds to that.

    y = (a + b)²: the node of the sum lies between. Clearing the gradients of the parameters does not clear its own.
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
    """Each test builds its graph anew and walks it once."""
    rng = np.random.default_rng(0)
    a, b, dy = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3)
    da, _ = square(a, b)[1](dy)
    close(da, numeric_gradient(lambda a: dy @ square(a, b)[0], a))


def used_twice(x, *, i, j, wrong):
    """y = exp(x_i) · x_j, on a tape that assigns gradients. If i and j are the same, the last path wins."""
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
    """The expressions tried at first use each of their values once. The notebook's own comment tells of the repair."""
    x, dy = np.random.default_rng(0).normal(size=3), 0.7
    dx = product(x, i=0, j=2)[1](dy)
    close(dx, numeric_gradient(lambda x: dy * product(x, i=0, j=2)[0], x))


def max_pool_overlapping(x, *, size, stride, wrong):
    """Windows that overlap share their maximum, which then has a gradient from each of them."""
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
    """The test pools by 2 with stride 2. Its windows never share an entry."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=8), rng.normal(size=4)
    dx = max_pool(x, size=2, stride=2)[1](dy)
    close(dx, numeric_gradient(lambda x: dy @ max_pool(x, size=2, stride=2)[0], x))


def returned_too_early(x, *, wrong):
    """A return that stands one level too deep: the loop ends after its first turn.

    The maximum of each channel: only the first channel passes its gradient on.
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
    """The report says it: "the model as-is still converges". There all patches but the first are never trained.

    Here it is all channels but the first. The sum of the squared maxima is to fall, and it does.
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
        "Tied weights that keep their gradients apart",
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
        "= in the place of +=",
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
