"""The experiment on the belief "The loss falls, so the gradients are right". falling_loss.md describes it."""

import inspect
import sys
from contextlib import contextmanager

import numpy as np

from gradcheck import check
from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import CONTEXT, VOCAB_SIZE
from minitransformer.experiments.emergence.plan import rescaled
from minitransformer.experiments.emergence.prose import text_batch, text_ids, text_loss
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import train
from minitransformer.layers.attention import attention, causal_mask, scaled_dot_product
from minitransformer.layers.embedding import unembedding
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.module import TWINS, is_plain, plain
from minitransformer.system.extensions import load_extension_of
from minitransformer.transformer import Transformer

WIDTH = 36
STEPS, ROWS, LR = 400, 32, 7e-3
LOOKS = 8  # evaluations during training
SLOWER = 3  # factor by which the other learning rate is smaller

MISTAKES = {  # {name: (function, expression in its source, wrong expression)}, then a function that it calls, if any
    "transpose": (attention, "dscores.swapaxes(-1, -2) @ q", "dscores @ q", scaled_dot_product),
    "gamma": (
        layer_norm,
        "r * (dx_hat - shift - x_hat * scale)",
        "gamma * r * (dy - dy.mean(axis=-1, keepdims=True) - x_hat * (dy * x_hat).mean(axis=-1, keepdims=True))",
    ),
    "tied": (unembedding, "return dx, dweight", "return dx, 0 * dweight"),
}


def measure(seed: int) -> dict:
    curves = {"right": losses(seed), "slower": losses(seed, lr=LR / SLOWER)}
    for name, mistake in MISTAKES.items():
        with in_place_of(mistake[0], mistaken(*mistake)):
            curves[name] = losses(seed)
    training, test = text_ids()
    counts = np.bincount(training, minlength=VOCAB_SIZE)
    start, end = float(-np.log(counts[test] / counts.sum()).mean()), curves["right"][-1]  # from letter frequencies
    shares = {name: (start - curve[-1]) / (start - end) for name, curve in curves.items() if name != "right"}
    found = {"share": float(np.mean([shares[name] for name in MISTAKES])), **shares}
    rng = np.random.default_rng((seed, 2))
    caught = sum(is_caught(mistaken(*mistake), *calls(rng)[name]) for name, mistake in MISTAKES.items())
    return found | {"caught": caught, "curves": curves | {"letter frequencies": LOOKS * [start]}}


def mistaken(function, right: str, wrong: str, called=None):
    """Return a copy of `function` in which the expression `right` is replaced with `wrong`.

    If `called` is given, the expression is replaced in that function, which `function` calls.
    """
    edited = called or function
    source = inspect.getsource(edited)
    if source.count(right) != 1:
        raise ValueError(f"{edited.__name__} must contain {right!r} once, not {source.count(right)} times")
    names = dict(vars(sys.modules[function.__module__]))
    exec(source.replace(right, wrong), names)
    if called is not None:
        exec(inspect.getsource(function), names)
    return names[function.__name__]


@contextmanager
def in_place_of(function, other):
    """Make all layers call `other` instead of `function` inside a `with` block."""
    load_extension_of("minitransformer.module")
    before = dict(TWINS)
    try:
        if is_plain():
            TWINS.clear()  # so that all other functions remain the textbook's
        TWINS[function] = other
        with plain(False):
            yield
    finally:
        TWINS.clear()
        TWINS.update(before)


def losses(seed: int, *, lr: float = LR) -> list[float]:
    config = Config(VOCAB_SIZE, CONTEXT, d_model=WIDTH, n_heads=2, n_layers=2)
    model = rescaled(Transformer(config, seed))
    rng = np.random.default_rng((seed, 1))
    found: list[float] = []

    def look(step, *_):
        if step * LOOKS % STEPS < LOOKS:
            found.append(text_loss(model))

    plain_adamw: dict = {"clip": None, "betas": (0.9, 0.999), "decay": 0.01}
    train(model, lambda: text_batch(rng, ROWS), STEPS, lr, look=look, **plain_adamw)
    return found


def calls(rng) -> dict:
    """Draw the inputs and options of a check for each mistake.

    There are as many queries as keys, because otherwise the shapes would reveal a missing transpose.
    """
    return {
        "transpose": (tuple(rng.normal(size=(3, 2, 2, 4, 3))), {"mask": causal_mask(4, 4)}),
        "gamma": ((rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)), {}),
        "tied": ((rng.normal(size=(2, 3, 4)), rng.normal(size=(7, 4))), {}),
    }


def is_caught(function, inputs, options) -> bool:
    return not check(function, *inputs, explain=False, raises=False, **options).is_right


LOSS, NAMES = "validation loss (nats per character)", (*MISTAKES, "slower")
XS = [STEPS * k / LOOKS for k in range(1, LOOKS + 1)]
PANELS = [
    Panel("The loss falls", ("right", *NAMES, "letter frequencies"), "step", LOSS, within="curves", xs=XS, width=1.5),
    Panel("Fall compared with right gradients", NAMES, y="share", level=1),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=45)
