"""The experiment on the belief "Weight decay is L2 regularisation". weight_decay.md describes it."""

import numpy as np

from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.prose import text_batch
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.optim import AdamW
from minitransformer.training import fit
from minitransformer.transformer import Transformer

PARAMETERS, STEPS, ROWS, LR = 40_000, 400, 32, 3e-3
DECOUPLED, ADDED = 0.5, 0.001  # λ of decoupled weight decay, and of L2 regularisation
PARTS = 10  # number of parts into which the picture divides the entries


def measure(seed: int) -> dict:
    weights, sizes = trained(seed)
    decayed = {"adamw": trained(seed, decoupled=DECOUPLED)[0], "l2": trained(seed, added=ADDED)[0]}
    found: dict = {}
    for name, matrices in decayed.items():
        quarters, tenths = (shrinkages(weights, matrices, sizes, parts) for parts in (4, PARTS))
        found |= {name: quarters[-1] - quarters[0], f"{name}_tenths": (np.array(tenths) - np.mean(tenths)).tolist()}
    return found | {"difference": found["l2"] - found["adamw"]}


def trained(seed: int, *, decoupled: float = 0.0, added: float = 0.0):
    """Train a model. Return the matrices, and the square roots of AdamW's second moments."""
    model = Transformer(of_size(PARAMETERS), seed)
    rng = np.random.default_rng((seed, 1))
    matrices = [parameter for parameter in model.parameters() if parameter.data.ndim == 2]
    optimizer = AdamW(matrices, lr=LR, weight_decay=decoupled)

    def add_decay(*_):
        for matrix in matrices:
            if added:
                matrix.accumulate(added * matrix.data)

    add_decay()
    fit(model, ([text_batch(rng, ROWS)] for _ in range(STEPS)), optimizer, STEPS, add_decay)
    return [matrix.data for matrix in matrices], [np.sqrt(v) for _, _, v in optimizer.state]


def shrinkages(weights, decayed, sizes, parts: int) -> list[float]:
    """Return log(‖θ without decay‖ / ‖θ with decay‖) for each part of the entries.

    The entries of each matrix are sorted by `sizes` and divided into `parts` equal parts.
    """
    squares = np.zeros((2, parts))
    for without, with_decay, size in zip(weights, decayed, sizes, strict=True):
        for k, entries in enumerate(np.array_split(np.argsort(size, axis=None), parts)):
            squares[:, k] += [float((array.ravel()[entries] ** 2).sum()) for array in (without, with_decay)]
    return (0.5 * np.log(squares[0] / squares[1])).tolist()


X, Y = "tenth of the weights, by the size of their gradients", "log shrinkage, minus its mean"
METHODS = {"adamw_tenths": "weight decay (AdamW)", "l2_tenths": "L2 regularisation (Adam)"}
PANELS = [Panel("Shrinkage by decay", METHODS, X, Y, xs=range(1, PARTS + 1))]
EXPERIMENT = Experiment(measure, PANELS, seconds=60, seeds=10)  # which vary more than those of the others
