"""What goes wrong in the linear maps, the tables and the rotation: a transpose, a sum over positions, a turn."""

import numpy as np

from minitransformer.layers.linear import rows
from minitransformer.layers.positions import cos_and_sin, joined, pairs
from minitransformer.learn.catalogue.sums import over_positions

LINEAR = {
    "dx": {
        "W stands in place of its transpose": lambda dy, weight: dy @ weight,
        "dy is taken for ones: it is the sum of W over its columns": lambda dy, weight: np.ones_like(dy) @ weight.T,
        "the bias is added, as in the forward pass": lambda dx, bias: dx + bias,
        "the bias is subtracted from dy": lambda dy, bias, weight: (dy - bias) @ weight.T,
        "the bias is added to dy": lambda dy, bias, weight: (dy + bias) @ weight.T,
        "y stands in place of dy": lambda y, weight: y @ weight.T,
        "dy is multiplied by y on the way": lambda dy, y, weight: (dy * y) @ weight.T,
        "it is multiplied by x": lambda dx, x: dx * x,
        "x is added, as a residual's direct path would add dy": lambda dx, x: dx + x,
        "it is dy itself: W is not in it": lambda dy: dy,
        "dy is added, as a residual's direct path would": lambda dx, dy: dx + dy,
        "every position has the sum over all positions": lambda dx: sum_over(dx, leading_axes(dx)),
        "every position has the mean over all positions": lambda dx: mean_over(dx, leading_axes(dx)),
        "every position has the mean over the batch": lambda dx: mean_over(dx, batch_axis(dx)),
        "every position has the sum over the batch": lambda dx: sum_over(dx, batch_axis(dx)),
        "every position has the sum over its sequence": lambda dx: sum_over(dx, sequence_axis(dx)),
        "every position has the mean over its sequence": lambda dx: mean_over(dx, sequence_axis(dx)),
        "it is divided by the number of positions": lambda dx: dx / count(dx),
        "it is divided by the size of the batch": lambda dx: dx / dx.shape[batch_axis(dx)],
        "it is divided by the number of output features": lambda dx, dy: dx / dy.shape[-1],
        "it is divided by the number of input features": lambda dx: dx / dx.shape[-1],
        "it is divided by the root of the number of input features": lambda dx: dx / dx.shape[-1] ** 0.5,
        "W is reshaped to (O, I), which does not transpose it": lambda dy, weight: (
            dy @ not_square(weight).reshape(weight.shape[::-1])
        ),
        "dW stands in place of W": lambda dy, dweight: dy @ dweight.T,
        "|W| stands in place of W": lambda dy, weight: dy @ abs(weight).T,
        "W is squared": lambda dy, weight: dy @ (weight**2).T,
        "the pseudo-inverse of W stands in place of its transpose": lambda dy, weight: dy @ np.linalg.pinv(weight),
        "the products are not summed over the outputs: it has dy times the mean of W": lambda dy, weight: (
            dy.mean(axis=-1, keepdims=True) * weight.sum(axis=1)
        ),
    },
    "dweight": {
        **over_positions(lambda x, dy: x[..., :, None] * dy[..., None, :], features=2),
        "it is transposed": lambda dweight: not_symmetric(dweight).T,
        "it is reshaped, which does not transpose it": lambda dweight: not_square(dweight).T.reshape(dweight.shape),
        "y stands in place of x": lambda y, dy: rows(y).T @ rows(dy),
        "y stands in place of dy": lambda x, y: rows(x).T @ rows(y),
        "dx stands in place of x": lambda dx, dy: rows(dx).T @ rows(dy),
        "W is multiplied in, entry by entry": lambda dweight, weight: dweight * weight,
        "W is added, as a weight decay would": lambda dweight, weight: dweight + weight,
        "x is not in it: every row is the sum of dy": lambda x, dy: rows(np.ones_like(x)).T @ rows(dy),
        "dy is taken for ones: every column is the sum of x": lambda x, dy: rows(x).T @ rows(np.ones_like(dy)),
        "the sums come before the product: Σ x times Σ dy": lambda x, dy: np.outer(positions_sum(x), positions_sum(dy)),
        "the means come before the product": lambda x, dy: (
            np.outer(positions_sum(x), positions_sum(dy)) / count(x) ** 2
        ),
        "x is reshaped to (I, positions), which does not transpose it": lambda x, dy: (
            x.reshape(x.shape[-1], -1) @ rows(dy)
        ),
        "dy is reshaped to (O, positions), which does not transpose it": lambda x, dy: (
            (dy.reshape(dy.shape[-1], -1) @ rows(x)).T
        ),
        "the positions of x and of dy are not paired: batch and sequence are exchanged in one": lambda x, dy: (
            rows(x.swapaxes(0, -2)).T @ rows(dy)
        ),
        "the positions are paired in reverse": lambda x, dy: rows(x)[::-1].T @ rows(dy),
        "x is centred first": lambda x, dy: (rows(x) - rows(x).mean(axis=0)).T @ rows(dy),
        "it is divided by the number of input features": lambda dweight, x: dweight / x.shape[-1],
        "it is divided by the number of output features": lambda dweight, dy: dweight / dy.shape[-1],
    },
    "dbias": {
        **over_positions(lambda dy: dy),
        "y is summed in place of dy": lambda y: positions_sum(y),
        "x is summed in place of dy": lambda x: positions_sum(x),
        "dx is summed in place of dy": lambda dx: positions_sum(dx),
        "dy is multiplied by y": lambda dy, y: positions_sum(dy * y),
        "dy is taken for ones: it counts the positions": lambda dy: positions_sum(np.ones_like(dy)),
        "|dy| is summed in place of dy": lambda dy: positions_sum(abs(dy)),
        "it is ones": lambda bias: np.ones_like(bias),
        "the bias is multiplied in": lambda dbias, bias: dbias * bias,
        "the bias is added": lambda dbias, bias: dbias + bias,
        "it is summed over the features as well": lambda dbias: np.full_like(dbias, dbias.sum()),
        "it is divided by the number of output features": lambda dbias: dbias / len(dbias),
    },
}

UNEMBEDDING = {
    "dx": {
        "dy is taken for ones: it is the sum of the rows of W": lambda dy, weight: np.ones_like(dy) @ weight,
        "y stands in place of dy": lambda y, weight: y @ weight,
        "it is a mean over the vocabulary, not a sum": lambda dx, dy: dx / dy.shape[-1],
        "it is divided by the number of channels": lambda dx: dx / dx.shape[-1],
        "it is divided by the root of the number of channels": lambda dx: dx / dx.shape[-1] ** 0.5,
        "it is divided by the number of positions": lambda dx: dx / count(dx),
        "it is multiplied by x": lambda dx, x: dx * x,
        "x is added": lambda dx, x: dx + x,
        "dW stands in place of W": lambda dy, dweight: dy @ dweight,
        "only the row of the largest logit is counted": lambda y, dy, weight: only(y.argmax(axis=-1), dy) @ weight,
        "only the row of the largest dy is counted": lambda dy, weight: only(dy.argmax(axis=-1), dy) @ weight,
        "W is reshaped, which does not transpose it": lambda dy, weight: (
            dy @ not_symmetric(weight).T.reshape(weight.shape)
        ),
        "every position has the sum over all positions": lambda dx: sum_over(dx, leading_axes(dx)),
        "every position has the mean over the batch": lambda dx: mean_over(dx, batch_axis(dx)),
    },
    "dweight": {
        **over_positions(lambda x, dy: dy[..., :, None] * x[..., None, :], features=2),
        "it is reshaped, which does not transpose it": lambda dweight: not_square(dweight).T.reshape(dweight.shape),
        "y stands in place of dy": lambda x, y: rows(y).T @ rows(x),
        "dx stands in place of x": lambda dx, dy: rows(dy).T @ rows(dx),
        "W is multiplied in, entry by entry": lambda dweight, weight: dweight * weight,
        "W is added, as a weight decay would": lambda dweight, weight: dweight + weight,
        "x is not in it: every column is the sum of dy": lambda x, dy: rows(dy).T @ rows(np.ones_like(x)),
        "dy is taken for ones: every row is the sum of x": lambda x, dy: rows(np.ones_like(dy)).T @ rows(x),
        "the sums come before the product: Σ dy times Σ x": lambda x, dy: np.outer(positions_sum(dy), positions_sum(x)),
        "dy is reshaped to (V, positions), which does not transpose it": lambda x, dy: (
            dy.reshape(dy.shape[-1], -1) @ rows(x)
        ),
        "x is reshaped to (C, positions), which does not transpose it": lambda x, dy: (
            (x.reshape(x.shape[-1], -1) @ rows(dy)).T
        ),
        "the positions of x and of dy are not paired: batch and sequence are exchanged in one": lambda x, dy: (
            rows(dy).T @ rows(x.swapaxes(0, -2))
        ),
        "the positions are paired in reverse": lambda x, dy: rows(dy).T @ rows(x)[::-1],
        "only the row of the largest logit is given a gradient": lambda x, y, dy: (
            rows(only(y.argmax(axis=-1), dy)).T @ rows(x)
        ),
        "it is divided by the size of the vocabulary": lambda dweight: dweight / len(dweight),
        "it is divided by the number of channels": lambda dweight: dweight / dweight.shape[1],
    },
}

EMBEDDING = {
    "dweight": {
        "a row that is read twice keeps the last gradient: they are overwritten, not added": lambda ids, weight, dy: (
            written(ids, weight, dy)
        ),
        "a row that is read twice keeps the first gradient: later ones are dropped": lambda ids, weight, dy: written(
            ids.ravel()[::-1], weight, rows(dy)[::-1]
        ),
        "a row that is read twice has the mean of its gradients, not the sum": lambda dweight, ids: (
            dweight / np.maximum(counts(ids, dweight), 1)
        ),
        "it is multiplied by how often a row is read": lambda dweight, ids: dweight * counts(ids, dweight),
        "it is divided by the root of how often a row is read": lambda dweight, ids: (
            dweight / np.maximum(counts(ids, dweight), 1) ** 0.5
        ),
        "a row that is read twice has the largest of its gradients, entry by entry": lambda ids, weight, dy: scattered(
            np.maximum, ids, weight, dy
        ),
        "it is divided by the number of positions: a mean in place of the sum": lambda dweight, ids: dweight / ids.size,
        "it is divided by the size of the batch": lambda dweight, ids: dweight / batch_of(ids),
        "it is divided by the length of the sequence": lambda dweight, ids: dweight / length_of(ids),
        "it is divided by the size of the vocabulary": lambda dweight: dweight / len(dweight),
        "it is divided by the number of rows that are read": lambda dweight, ids: dweight / len(np.unique(ids)),
        "it is multiplied by the root of the number of channels": lambda dweight: dweight * dweight.shape[1] ** 0.5,
        "it is divided by the root of the number of channels": lambda dweight: dweight / dweight.shape[1] ** 0.5,
        "only the first of the batch is counted": lambda ids, weight, dy: added(a_batch(ids)[0], weight, dy[0]),
        "only the last of the batch is counted": lambda ids, weight, dy: added(a_batch(ids)[-1], weight, dy[-1]),
        "only the last position is counted": lambda ids, weight, dy: added(ids[..., -1], weight, dy[..., -1, :]),
        "only the first position is counted": lambda ids, weight, dy: added(ids[..., 0], weight, dy[..., 0, :]),
        "each batch overwrites what the one before it gave to a row": lambda ids, weight, dy: by_sequence(
            ids, weight, dy
        ),
        "dy is taken for ones: it counts how often a row is read": lambda ids, weight, dy: added(
            ids, weight, np.ones_like(dy)
        ),
        "the rows of W are multiplied in": lambda dweight, weight: dweight * weight,
        "W is added, as a weight decay would": lambda dweight, weight: dweight + weight,
        "y is added up in place of dy": lambda ids, weight, y: added(ids, weight, y),
        "it is off by one row": lambda dweight: np.roll(dweight, 1, axis=0),
        "it is off by one row, the other way": lambda dweight: np.roll(dweight, -1, axis=0),
        "the gradient belongs to the position before: ids and dy are shifted by one": lambda ids, weight, dy: added(
            ids[..., :-1], weight, dy[..., 1:, :]
        ),
        "the gradient belongs to the next position: ids and dy are shifted by one": lambda ids, weight, dy: added(
            ids[..., 1:], weight, dy[..., :-1, :]
        ),
        "batch and sequence are exchanged in ids or in dy": lambda ids, weight, dy: added(
            a_batch(ids).T, weight, dy.reshape(*ids.T.shape, -1)
        ),
        "every row has the sum of all gradients": lambda dweight: sum_over(dweight, 0),
        "row 0 gets no gradient, as padding": lambda dweight: dweight * (np.arange(len(dweight)) != 0)[:, None],
        "rows that are read more than once get no gradient": lambda dweight, ids: dweight * (counts(ids, dweight) < 2),
        "it has the wrong sign": lambda dweight: -dweight,
        "it counts twice": lambda dweight: 2 * dweight,
        "it is zero but for rows that are read more than once": lambda dweight, ids: (
            dweight * (counts(ids, dweight) > 1)
        ),
    }
}

TURNED = {
    "dx": {
        "it is turned forward once more, not back": lambda dy, cos, sin, layout: turn(dy, cos, sin, layout),
        "it is not turned at all": lambda dy: dy,
        "the sine is left out: it is dy · cos": lambda dy, cos, layout: turn(dy, cos, 0 * cos, layout),
        "the cosine is left out": lambda dy, sin, layout: turn(dy, 0 * sin, -sin, layout),
        "sine and cosine are exchanged": lambda dy, cos, sin, layout: turn(dy, sin, -cos, layout),
        "sine and cosine are exchanged, and it is turned forward": lambda dy, cos, sin, layout: turn(
            dy, sin, cos, layout
        ),
        "the sign of the sine is wrong in the first of each pair": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos - b * sin, b * cos - a * sin)
        ),
        "the sign of the sine is wrong in the second of each pair": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos + b * sin, b * cos + a * sin)
        ),
        "the other of the pair is left out in the first of each pair": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos, b * cos - a * sin)
        ),
        "the other of the pair is left out in the second of each pair": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos + b * sin, b * cos)
        ),
        "the second of each pair is not turned": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos + b * sin, b)
        ),
        "the first of each pair is not turned": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a, b * cos - a * sin)
        ),
        "the second of each pair uses the first as it is after its turn": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (a * cos + b * sin, b * cos - (a * cos + b * sin) * sin)
        ),
        "the first and the second of each pair are exchanged in the end": lambda dx, layout: halves(
            dx, layout, lambda a, b: (b, a)
        ),
        "the first and the second of each pair are exchanged in dy": lambda dy, cos, sin, layout: halves(
            dy, layout, lambda a, b: (b * cos + a * sin, a * cos - b * sin)
        ),
        "the cosine's sign is wrong": lambda dy, cos, sin, layout: turn(dy, -cos, -sin, layout),
        "it is turned back twice: the angles are twice as large": lambda dx, cos, sin, layout: turn(
            dx, cos, -sin, layout
        ),
        "it is divided by the cosine, in place of a turn": lambda dy, cos, layout: turn(dy, 1 / cos, 0 * cos, layout),
        "the pairs are those of the other layout": lambda dy, cos, sin, layout: turn(dy, cos, -sin, other(layout)),
        "the pairs are those of the other layout, and it is turned forward": lambda dy, cos, sin, layout: turn(
            dy, cos, sin, other(layout)
        ),
        "pairs are taken in one layout and put back in the other": lambda dy, cos, sin, layout: joined(
            *turned_back(*pairs(dy, layout), cos, sin), other(layout)
        ),
        "pairs are taken in the other layout and put back in this one": lambda dy, cos, sin, layout: joined(
            *turned_back(*pairs(dy, other(layout)), cos, sin), layout
        ),
        "positions count from 0, whatever they are": lambda dy, positions, base, scaling, layout: turn_by(
            dy, np.arange(len(positions)), base, scaling, layout
        ),
        "positions count from 1, whatever they are": lambda dy, positions, base, scaling, layout: turn_by(
            dy, np.arange(len(positions)) + 1, base, scaling, layout
        ),
        "positions are one too large": lambda dy, positions, base, scaling, layout: turn_by(
            dy, np.asarray(positions) + 1, base, scaling, layout
        ),
        "positions are one too small": lambda dy, positions, base, scaling, layout: turn_by(
            dy, np.asarray(positions) - 1, base, scaling, layout
        ),
        "positions are in reverse": lambda dy, cos, sin, layout: turn(dy, cos[::-1], -sin[::-1], layout),
        "the base is 10000, whatever is given": lambda dy, positions, scaling, layout: turn_by(
            dy, positions, 10000.0, scaling, layout
        ),
        "the scaling is forgotten": lambda dy, positions, base, layout: turn_by(dy, positions, base, None, layout),
        "the frequencies are base^(−i/C), not base^(−2i/C)": lambda dy, positions, base, layout: turn_by(
            dy, positions, base**0.5, None, layout
        ),
        "x is turned in place of dy": lambda x, cos, sin, layout: turn(x, cos, -sin, layout),
        "it is multiplied by x": lambda dx, x: dx * x,
        "dy is added": lambda dx, dy: dx + dy,
        "it is divided by the number of channels": lambda dx: dx / dx.shape[-1],
        "it is divided by the root of the number of channels": lambda dx: dx / dx.shape[-1] ** 0.5,
    }
}


def positions_sum(x):
    """Return the sum over every axis but the last."""
    return rows(x).sum(axis=0)


def count(x):
    """Return the number of positions of x (..., C)."""
    return x.size // x.shape[-1]


def leading_axes(x):
    """Return every axis but the last."""
    return tuple(range(x.ndim - 1))


def batch_axis(x):
    """Return the first axis of x (B, ..., T, C)."""
    if x.ndim < 3:
        raise ValueError("there is no batch")
    return 0


def sequence_axis(x):
    """Return the axis of positions of x (B, ..., T, C)."""
    return batch_axis(x) - 2


def sum_over(x, axis):
    """Return the sum over an axis, at every place along it."""
    return np.broadcast_to(x.sum(axis=axis, keepdims=True), x.shape)


def mean_over(x, axis):
    """Return the mean over an axis, at every place along it."""
    return np.broadcast_to(x.mean(axis=axis, keepdims=True), x.shape)


def not_symmetric(x):
    """Return a matrix of which the transpose is another."""
    if min(x.shape) < 2:
        raise ValueError("a row is its own transpose, but for the shape")
    return x


def not_square(x):
    """Return a matrix that does not become itself in the shape of its transpose."""
    if x.shape[0] == x.shape[1]:
        raise ValueError("its transpose has its shape")
    return x


def only(places, dy):
    """Return dy where it is at `places` of the last axis, and zero elsewhere."""
    return dy * (np.arange(dy.shape[-1]) == places[..., None])


def added(ids, weight, dy):
    """Return dy added up in the rows of a table."""
    return scattered(np.add, ids, weight, dy)


def scattered(operation, ids, weight, dy):
    """Return a table into whose rows dy is brought by an operation, such as np.add, row after row."""
    table = np.zeros(weight.shape)
    operation.at(table, ids, dy)
    return table


def written(ids, weight, dy):
    """Return dy written into the rows of a table, the last one staying."""
    table = np.zeros(weight.shape)
    for id, row in zip(np.ravel(ids), rows(dy), strict=True):
        table[id] = row
    return table


def by_sequence(ids, weight, dy):
    """Return a table whose rows have the sum over the last sequence that reads them."""
    table = np.zeros(weight.shape)
    for some, gradient in zip(a_batch(ids), dy, strict=True):
        table[some] = added(some, weight, gradient)[some]
    return table


def counts(ids, table):
    """Return how often each row is read (V, 1)."""
    return np.bincount(ids.ravel(), minlength=len(table))[:, None]


def a_batch(ids):
    """Return ids, which have an axis for the batch."""
    if ids.ndim != 2:
        raise ValueError("there is no batch")
    return ids


def batch_of(ids):
    """Return the size of the batch."""
    return a_batch(ids).shape[0]


def length_of(ids):
    """Return the length of the sequences of a batch."""
    return a_batch(ids).shape[-1]


def turned_back(a, b, cos, sin):
    """Return pairs turned back."""
    return a * cos + b * sin, b * cos - a * sin


def turn(x, cos, sin, layout):
    """Return x with its pairs turned forward."""
    return halves(x, layout, lambda a, b: (a * cos - b * sin, b * cos + a * sin))


def halves(x, layout, change):
    """Return x with each pair (a, b) replaced by what `change` makes of it."""
    return joined(*(part + np.zeros(x[..., ::2].shape) for part in change(*pairs(x, layout))), layout)


def turn_by(dy, positions, base, scaling, layout):
    """Return dy turned back by the angles of other positions, another base or another scaling."""
    cos, sin = cos_and_sin(positions, dy.shape[-1], base, scaling, np.float64)
    return turn(dy, cos, -sin, layout)


def other(layout):
    """Return the layout that is not this one."""
    return "half" if layout == "interleaved" else "interleaved"


MISTAKES = {"linear": LINEAR, "unembedding": UNEMBEDDING, "embedding": EMBEDDING, "turned": TURNED}
