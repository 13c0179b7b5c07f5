"""A value that is used several times receives several gradients, and its gradient is their sum."""

import numpy as np

from gradcheck.museum.exhibit import check_numerically, descend, exhibit


@exhibit(
    "karpathy/nn-zero-to-hero, issue 57; pymc-devs/pytensor, pull request 2242; pytorch/pytorch, issue 1528",
    (7, 3),
    ids=np.array([2, 5, 2, 0]),
)
def embedding_repeated(weight, *, ids):
    """An id that occurs twice.

    An id that occurs twice receives the gradient of only one of its occurrences. `a[ids] += b` reads all rows, adds,
    and writes all rows. If two writes go to the same row, only the last one remains.
    """

    def backward(dy):
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, dy)  # wrong: dweight[ids] += dy
        return dweight

    return weight[ids], backward


@embedding_repeated.missed_by
def with_distinct_ids(embedding):
    """The ids of the test are all different, as is common in small examples."""
    check_numerically(embedding, (7, 3), ids=np.array([3, 0, 6, 2]))


@exhibit("paiml/entrenar, issue 314", (7, 3), ids=np.array([2, 5, 2, 0]))
def tied_embedding(weight, *, ids):
    """Tied weights with separate gradients.

    One matrix is both embedding and unembedding, but the two uses keep separate gradients. The true gradient is their
    sum. In the project, the two parts went to two optimizers, and the two copies drifted apart.
    """
    x = np.tanh(weight[ids])

    def backward(dlogits):
        through_head = dlogits.T @ x
        through_embedding = np.zeros_like(weight)
        np.add.at(through_embedding, ids, (dlogits @ weight) * (1 - x * x))
        return through_head + through_embedding  # wrong: return through_head

    return x @ weight.T, backward


@tied_embedding.missed_by
def it_trains(tied):
    """Half of a gradient is still a descent direction. The loss falls, but less than it should.

    The mistake was noticed because the perplexity, exp of the mean loss, was 115, whereas another framework reached 50.
    """
    rng = np.random.default_rng(0)
    weight, targets = rng.normal(size=(7, 3)), rng.normal(size=(4, 7))

    def step(weight):
        logits, backward = tied(weight, ids=np.array([2, 5, 2, 0]))
        return ((logits - targets) ** 2).mean(), backward(2 * (logits - targets) / targets.size)

    descend(step, weight, rate=0.01)


@exhibit("karpathy/micrograd, pull request 102; karpathy/micrograd, issue 53", (3,), (3,))
def backward_twice(a, b):
    """The second call to backward.

    Inner nodes keep the gradient of the previous backward pass, and the next pass adds to it. In y = (a + b)², the sum
    is an inner node. Clearing the gradients of the parameters does not clear its gradient.
    """
    total = a + b
    dtotal = np.zeros_like(total)

    def backward(dy):
        dtotal[...] = 2 * total * dy  # wrong: dtotal[...] += 2 * total * dy
        return dtotal.copy(), dtotal.copy()

    return total * total, backward


@backward_twice.missed_by
def called_once(square):
    """Each test builds a new graph and calls backward once."""
    check_numerically(square, (3,), (3,))


@exhibit("karpathy/nn-zero-to-hero, issue 52; karpathy/micrograd, issue 2", (3,), i=1, j=1)
def used_twice(x, *, i, j):
    """= instead of +=.

    y = exp(x_i) · x_j. Gradients are assigned instead of added. If i = j, the last path overwrites the first. From the
    numbers alone, gradcheck names none of the mistakes that it knows. `gradcheck.steps` finds the line.
    """
    e = np.exp(x[i])

    def backward(dy):
        dx = np.zeros_like(x)
        dx[i] = dy * e * x[j]
        dx[j] += dy * e  # wrong: dx[j] = dy * e
        return dx

    return e * x[j], backward


@used_twice.missed_by
def on_expressions_that_use_each_value_once(product):
    """The first expressions tried use each value once. A comment in the notebook describes the later correction."""
    check_numerically(product, (3,), i=0, j=2)


@exhibit("0809zheng/CS231n-assignment2019, issue 19", np.array([0.3, -1.2, 2.0, 0.1, -0.4, 0.9]), size=3, stride=1)
def max_pool_overlap(x, *, size, stride):
    """Windows that overlap.

    Overlapping windows may share their maximum, which then receives a gradient from each of them.
    """
    starts = np.arange(0, len(x) - size + 1, stride)
    best = np.array([start + np.argmax(x[start : start + size]) for start in starts])

    def backward(dy):
        dx = np.zeros_like(x)
        for position, d in zip(best, dy, strict=True):
            dx[position] += d  # wrong: dx[position] = d
        return dx

    return x[best], backward


@max_pool_overlap.missed_by
def with_windows_side_by_side(max_pool):
    """The test pools by 2 with stride 2, so that windows never share an entry."""
    check_numerically(max_pool, (8,), size=2, stride=2)


@exhibit("riccardoandreoni0/CNN-from-scratch, issue 1", (3, 4))
def early_return(x):
    """A return one level too deep.

    A return is indented one level too deep, so that the loop ends after its first iteration. In a maximum over each
    channel, only the first channel passes on its gradient.
    """
    best = x.argmax(axis=1)

    def backward(dy):
        dx = np.zeros_like(x)
        for channel, d in enumerate(dy):
            dx[channel, best[channel]] = d
            # wrong: return dx
        return dx

    return x.max(axis=1), backward


@early_return.missed_by
def the_model_converges(max_pool):
    """The report says: "the model as-is still converges". In its code, only the first patch is trained.

    In this exhibit, only the first channel is trained. The check requires that the sum of the squared maxima falls, and
    it does.
    """

    def step(x):
        y, backward = max_pool(x)
        return (y**2).sum(), backward(2 * y)

    descend(step, np.random.default_rng(0).normal(size=(3, 4)), rate=0.1)
