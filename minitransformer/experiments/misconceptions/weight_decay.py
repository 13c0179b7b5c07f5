"""Weight decay is L2 regularisation.

For plain gradient descent it is: to add λθ to the gradient of θ, or to shrink θ by lr · λ beside the step, is the same.
Adam divides the gradient by its own size, √v̂, before it moves a weight. Is it the same there?

The matrices of a small model learn the letters of the Python manual three times, from the same start on the same
batches: with AdamW and λ = 0.5, with Adam and λθ added to each gradient, λ = 0.001, and with neither. Then the entries
of each matrix are sorted by how large their gradients were, √v̂ of the run with neither. How much shorter has decay made
the quarter with the largest gradients, as a vector? And the quarter with the smallest? The number that decides is the
logarithm of the one shrinkage over the other, with L2 minus with AdamW: 0 if they are one method.
"""

import numpy as np

from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.prose import text_batch
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_curve, panels_of
from minitransformer.optim import AdamW
from minitransformer.pictures import BLUE, INK, ORANGE, label
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

PARAMETERS, STEPS, ROWS, LR = 40_000, 400, 32, 3e-3
DECOUPLED, ADDED = 0.5, 0.001  # λ
PARTS = 10  # of the entries, for the picture


def measure(seed: int) -> dict:
    """Return the logarithms of shrinkages of both methods, by parts of the entries, from the smallest gradients on."""
    weights, sizes = trained(seed)
    decoupled, added = trained(seed, decoupled=DECOUPLED)[0], trained(seed, added=ADDED)[0]
    found = {"adamw_parts": shrinkages(weights, decoupled, sizes), "l2_parts": shrinkages(weights, added, sizes)}
    quarters = {name: shrinkages(weights, decayed, sizes, 4) for name, decayed in (("adamw", decoupled), ("l2", added))}
    found |= {name: parts[-1] - parts[0] for name, parts in quarters.items()}
    return found | {"difference": found["l2"] - found["adamw"]}


def trained(seed: int, *, decoupled: float = 0.0, added: float = 0.0):
    """Train; return the matrices, and √v of each entry."""
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
    """Return log(‖θ without decay‖ / ‖θ with it‖) of parts of the matrices, each sorted by size, smallest first."""
    squares = np.zeros((2, parts))
    for without, with_decay, size in zip(weights, decayed, sizes, strict=True):
        for k, entries in enumerate(np.array_split(np.argsort(size, axis=None), parts)):
            squares[:, k] += [float((array.ravel()[entries] ** 2).sum()) for array in (without, with_decay)]
    return (0.5 * np.log(squares[0] / squares[1])).tolist()


def draw(figure, measured) -> None:
    """Draw both methods' shrinkages, beside that of all weights, against the size of the gradients."""
    (axes,) = panels_of(figure, 1)
    tenths = range(1, PARTS + 1)
    for name, title, colour in (("adamw_parts", "AdamW", BLUE), ("l2_parts", "Adam with L2", ORANGE)):
        rows = np.array([one[name] for one in measured])
        draw_curve(axes, tenths, rows - rows.mean(axis=1, keepdims=True), colour, title)
    axes.set_xticks(tenths)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    what = "log(length without / with), less its mean"
    label(axes, "What decay takes", "tenth of the weights, by the size of their gradients", what)


EXPERIMENT = Experiment(
    question="Beside weights with small gradients, L2 shortens those with large ones",
    outcomes=(
        Outcome(
            -np.inf,
            "less than with weight decay",
            "They are two methods. A λθ that was added to the gradient is divided by √v̂ with it: where gradients are "
            "large, little of the decay is left.",
        ),
        Outcome(-0.1, "just as with weight decay", "At this scale nobody could tell them apart."),
        Outcome(
            0.1, "more than with weight decay", "They are two methods, and unlike in a way the formulas do not say."
        ),
    ),
    numbers={
        "difference": "the largest quarter's log shrinkage over the smallest's, L2 minus AdamW",
        "l2": "the same, with L2",
        "adamw": "the same, with AdamW",
    },
    does_not_show="Which of the two learns better: that takes the best λ and learning rate of each. That a rate of "
    "decay is the right one for all weights. Nor that the difference is always as large: with these λ, L2 takes more "
    "altogether, and with some seeds a layer's queries and keys vanish. With λ = 0.0003 it takes about as much as "
    "AdamW: the difference was then between −0.02 and −0.29, with four other seeds.",
    sources=("Loshchilov and Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101",),
    measure=measure,
    draw=draw,
    seconds=30,
)
