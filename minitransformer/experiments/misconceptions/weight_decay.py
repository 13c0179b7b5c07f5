"""Weight decay is L2 regularisation: measured as weight_decay.md describes."""

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
PARTS = 10  # number of parts of the entries, for the picture


def measure(seed: int) -> dict:
    weights, sizes = trained(seed)
    decoupled, added = trained(seed, decoupled=DECOUPLED)[0], trained(seed, added=ADDED)[0]
    found = {"adamw_parts": shrinkages(weights, decoupled, sizes), "l2_parts": shrinkages(weights, added, sizes)}
    quarters = {name: shrinkages(weights, decayed, sizes, 4) for name, decayed in (("adamw", decoupled), ("l2", added))}
    found |= {name: parts[-1] - parts[0] for name, parts in quarters.items()}
    return found | {"difference": found["l2"] - found["adamw"]}


def trained(seed: int, *, decoupled: float = 0.0, added: float = 0.0):
    """Train a model. Return its matrices, and √v for each of their entries."""
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
    """Return log(‖θ without decay‖ / ‖θ with decay‖) for each of several parts of the matrices' entries.

    The entries are sorted by `sizes`, the typical sizes of their gradients, and then divided into parts.
    """
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
