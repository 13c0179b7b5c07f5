"""Weight decay is L2 regularisation.

For plain gradient descent it is: adding λθ to the gradient of θ is the same as shrinking θ by lr · λ at each step. Adam
first divides each entry of the gradient by √v̂, its typical size. Are the two the same there?

The matrices of a small model learn the letters of the Python manual three times, from the same start on the same
batches: with AdamW and λ = 0.5, with Adam and λθ added to each gradient, λ = 0.001, and with neither. The entries of
each matrix are then sorted by the size of their gradients, √v̂ of the run with neither. How much shorter has decay made
the quarter with the largest gradients, as a vector, and how much shorter the quarter with the smallest? The deciding
number is the logarithm of the ratio of the two shrinkages, with L2 minus with AdamW: 0 if they are one method.

Predict: Compared with weights with small gradients, L2 shortens those with large gradients
    -inf: less than with weight decay
        They are two methods. Adam divides λθ, added to the gradient, by √v̂ too: where gradients are large, little of
        the decay is left.
    -0.1: just as with weight decay
        At this scale nobody could distinguish them.
    0.1: more than with weight decay
        They are two methods, and they differ in a way that the formulas do not predict.

Numbers:
    difference: log shrinkage of the largest quarter minus that of the smallest, L2 minus AdamW
    l2: the same, with L2
    adamw: the same, with AdamW

Not shown: Which of the two learns better: that requires the best λ and learning rate of each. That one rate of decay is
right for all weights. Nor that the difference always has this size: with these λ, L2 takes more in total, and with some
seeds a layer's queries and keys vanish. With λ = 0.0003 it takes about as much as AdamW: the difference was then
between −0.02 and −0.29, with four other seeds.

Sources:
    Loshchilov and Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101
"""

import numpy as np

from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.prose import text_batch
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.panels import draw_curve, legend, panels_of
from minitransformer.optim import AdamW
from minitransformer.system.pictures import BLUE, ORANGE, label
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

PARAMETERS, STEPS, ROWS, LR = 40_000, 400, 32, 3e-3
DECOUPLED, ADDED = 0.5, 0.001  # λ
PARTS = 10  # of the entries, for the picture


def measure(seed: int) -> dict:
    weights, sizes = trained(seed)
    decoupled, added = trained(seed, decoupled=DECOUPLED)[0], trained(seed, added=ADDED)[0]
    found = {"adamw_parts": shrinkages(weights, decoupled, sizes), "l2_parts": shrinkages(weights, added, sizes)}
    quarters = {name: shrinkages(weights, decayed, sizes, 4) for name, decayed in (("adamw", decoupled), ("l2", added))}
    found |= {name: parts[-1] - parts[0] for name, parts in quarters.items()}
    return found | {"difference": found["l2"] - found["adamw"]}


def trained(seed: int, *, decoupled: float = 0.0, added: float = 0.0):
    """Train a model. Return its matrices, and √v of each entry."""
    model = Transformer(of_size(PARAMETERS), seed)
    rng = np.random.default_rng((seed, 1))
    matrices = [parameter for parameter in model.parameters() if parameter.data.ndim == 2]
    optimizer = AdamW(matrices, lr=LR, weight_decay=decoupled)
    for _ in range(STEPS):
        for matrix in matrices:
            if added:
                matrix.accumulate(added * matrix.data)
        training_step(model, optimizer, [text_batch(rng, ROWS)])
    return [matrix.data for matrix in matrices], [np.sqrt(v) for _, _, v in optimizer.state]


def shrinkages(weights, decayed, sizes, parts: int = PARTS) -> list[float]:
    """Return log(‖θ without decay‖ / ‖θ with decay‖) for parts of the matrices' entries, smallest gradients first."""
    squares = np.zeros((2, parts))
    for without, with_decay, size in zip(weights, decayed, sizes, strict=True):
        for k, entries in enumerate(np.array_split(np.argsort(size, axis=None), parts)):
            squares[:, k] += [float((array.ravel()[entries] ** 2).sum()) for array in (without, with_decay)]
    return (0.5 * np.log(squares[0] / squares[1])).tolist()


def draw(figure, measured) -> None:
    (axes,) = panels_of(figure, 1)
    tenths = range(1, PARTS + 1)
    for name, title, colour in (("adamw_parts", "AdamW", BLUE), ("l2_parts", "Adam with L2", ORANGE)):
        rows = np.array([one[name] for one in measured])
        draw_curve(axes, tenths, rows - rows.mean(axis=1, keepdims=True), colour, title)
    axes.set_xticks(tenths)
    legend(axes)
    y = "log(length without / with decay), minus its mean"
    label(axes, "Shrinkage by decay", "tenth of the weights, by the size of their gradients", y)


EXPERIMENT = Experiment(measure, draw, seconds=30)
