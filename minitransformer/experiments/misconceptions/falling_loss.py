"""The loss falls, so the gradients are right.

Three mistakes that were found in backward passes of public projects (see the README): attention's dK without the
transpose of dscores, which has the right shape wherever there are as many queries as keys; a layer norm that multiplies
by γ after its two means instead of before; and a table that is both embedding and unembedding, and gets the gradient of
the first use alone. Each is made here in a copy of the textbook's function, by exchanging one expression.

A small model learns the letters of the Python manual, from the same start on the same batches: with right gradients,
with each mistake, and with right gradients but a third of the learning rate, for comparison. To know how frequent each
letter is takes no attention, so the fall of the validation loss is counted from there. What share of the right
gradients' fall do the wrong ones reach? The number that decides is the mean over the three mistakes: near 0, a falling
loss is good evidence; near 1, it is none. The same wrong functions are then handed to `gradcheck.check`.
"""

import inspect
import sys
from contextlib import contextmanager

import numpy as np

from gradcheck import GradientError, check
from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import CONTEXT, VOCAB_SIZE
from minitransformer.experiments.emergence.one_run import rescaled
from minitransformer.experiments.emergence.prose import text_batch, text_ids, text_loss
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_bars, draw_curve, panels_of
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.embedding import unembedding
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.module import TWINS, is_plain, load_engine, plain
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.pictures import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION, label
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

WIDTH = 36
STEPS, ROWS, LR, WARMUP = 400, 32, 7e-3, 30
LOOKS = 8  # at the validation loss on the way
SLOWER = 3  # how many times too small the other learning rate is

MISTAKES = {  # function, what its source says, what stands there instead
    "transpose": (
        attention,
        "together(dscores, K).swapaxes(-1, -2) @ together(q, K)",
        "together(dscores, K) @ together(q, K)",
    ),
    "gamma": (
        layer_norm,
        "r * (dx_hat - shift - x_hat * scale)",
        "gamma * r * (dy - dy.mean(axis=-1, keepdims=True) - x_hat * (dy * x_hat).mean(axis=-1, keepdims=True))",
    ),
    "tied": (unembedding, "return dx, dweight", "return dx, 0 * dweight"),
}
NAMES = {"transpose": "dK, no transpose", "gamma": "γ after the means", "tied": "half of a tied gradient"}


def measure(seed: int) -> dict:
    """Return the validation losses on the way of each run, the shares of the fall, and how many mistakes are caught."""
    curves = {"right": losses(seed), "slower": losses(seed, lr=LR / SLOWER)}
    for name, mistake in MISTAKES.items():
        with in_place_of(mistake[0], mistaken(*mistake)):
            curves[name] = losses(seed)
    start, end = frequencies_loss(), curves["right"][-1]
    shares = {name: (start - curve[-1]) / (start - end) for name, curve in curves.items() if name != "right"}
    found = {"share": float(np.mean([shares[name] for name in MISTAKES])), **shares}
    rng = np.random.default_rng((seed, 2))
    caught = sum(is_caught(mistaken(*mistake), *calls(rng)[name]) for name, mistake in MISTAKES.items())
    return found | {"caught": caught, "curves": curves, "frequencies": start}


def mistaken(function, right: str, wrong: str):
    """Return a copy of a function in whose source `wrong` stands for `right`.

    Raises ValueError unless `right` is there just once.
    """
    source = inspect.getsource(function)
    if source.count(right) != 1:
        raise ValueError(f"{function.__name__} must hold {right!r} once, not {source.count(right)} times")
    names = dict(vars(sys.modules[function.__module__]))
    exec(source.replace(right, wrong), names)
    return names[function.__name__]


@contextmanager
def in_place_of(function, other):
    """Let every layer use `other` for a function of the textbook within the block: it stands for its twin."""
    load_engine()
    before = dict(TWINS)
    try:
        if is_plain():
            TWINS.clear()  # so that all others stay the textbook's
        TWINS[function] = other
        with plain(False):
            yield
    finally:
        TWINS.clear()
        TWINS.update(before)


def losses(seed: int, *, lr: float = LR) -> list[float]:
    """Train; return the validation loss in nats per character, before and after each of LOOKS equal parts."""
    config = Config(VOCAB_SIZE, CONTEXT, d_model=WIDTH, n_heads=2, n_layers=2)
    model = rescaled(Transformer(config, seed))
    optimizer = AdamW(model.parameters())
    rng = np.random.default_rng((seed, 1))
    found = [text_loss(model)]
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=lr, min_lr=0.0, warmup=WARMUP, steps=STEPS)
        training_step(model, optimizer, [text_batch(rng, ROWS)])
        if (step + 1) * LOOKS % STEPS < LOOKS:
            found.append(text_loss(model))
    return found


def frequencies_loss() -> float:
    """Return the loss, in nats per character, of who knows how frequent each letter is, and nothing else."""
    training, test = text_ids()
    counts = np.bincount(training, minlength=VOCAB_SIZE)
    return float(-np.log(counts[test] / counts.sum()).mean())


def calls(rng) -> dict:
    """Return (inputs, options) for each mistake's function: random, with as many queries as keys."""
    return {
        "transpose": (tuple(rng.normal(size=(3, 2, 2, 4, 3))), {"mask": causal_mask(4, 4)}),
        "gamma": ((rng.normal(size=(2, 3, 5)), rng.normal(size=5), rng.normal(size=5)), {}),
        "tied": ((rng.normal(size=(2, 3, 4)), rng.normal(size=(7, 4))), {}),
    }


def is_caught(function, inputs, options) -> bool:
    """Whether gradcheck finds a gradient of the function wrong."""
    try:
        check(function, *inputs, explain=False, **options)
    except GradientError:
        return True
    return False


def draw(figure, measured) -> None:
    """Draw the losses on the way, and the share of the fall that each run reaches."""
    curves, shares = panels_of(figure, 2, width_ratios=(3, 2))
    steps = np.linspace(0, STEPS, LOOKS + 1)[1:]
    colours = {"transpose": BLUE, "gamma": ORANGE, "tied": VERMILION, "slower": PURPLE}
    names = NAMES | {"slower": f"right, rate / {SLOWER}"}
    draw_curve(curves, steps, [one["curves"]["right"][1:] for one in measured], INK, "right", linewidth=3.5)
    for name, colour in colours.items():
        draw_curve(curves, steps, [one["curves"][name][1:] for one in measured], colour, names[name])
    curves.axhline(measured[0]["frequencies"], color=GREEN, linewidth=1.2, linestyle="--", label="letter frequencies")
    curves.legend(framealpha=1, edgecolor="white", labelcolor=INK, fontsize=8)
    label(curves, "The loss falls", "step", "validation loss (nats per character)")
    rows = [[one[name] for name in colours] for one in measured]
    draw_bars(shares, ["dK", "γ", "tied", f"rate / {SLOWER}"], rows, list(colours.values()))
    shares.axhline(1, color=INK, linewidth=1)
    label(shares, "How far, of the right gradients' fall", "", "share")


EXPERIMENT = Experiment(
    question="Trained with a gradient that is wrong in one of these ways, the model's loss falls",
    outcomes=(
        Outcome(
            -np.inf,
            "hardly below what the frequencies of letters give",
            "Wrong gradients show: a loss that falls well is good evidence that they are right.",
        ),
        Outcome(
            0.1,
            "by a part of what the right gradients reach",
            "The loss falls with wrong gradients too, but so much less that a result might look suspicious.",
        ),
        Outcome(
            0.75,
            "by three quarters or more of what the right gradients reach",
            "A falling loss says next to nothing about the gradients: without a right run beside it, nobody could tell "
            "such a curve from that of a recipe that could be better.",
        ),
    ),
    numbers={
        "share": "share of the right gradients' fall below letter frequencies, mean of the three mistakes",
        "transpose": "the same, with the transpose of dscores left out of dK",
        "gamma": "the same, with γ after the means",
        "tied": "the same, with half of a tied gradient",
        "slower": f"the same, with right gradients and a learning rate {SLOWER} times too small",
        "caught": "how many of the three gradcheck finds wrong",
    },
    does_not_show="That every mistake is as quiet: a wrong sign stops training at once, and is found that day. These "
    "three were chosen because they had gone unnoticed. And that they stay as cheap in larger models or longer "
    "training; γ, for one, starts at 1, where its mistake is none, and here it stays near.",
    sources=("Karpathy (2019), A recipe for training neural networks, karpathy.github.io/2019/04/25/recipe",),
    measure=measure,
    draw=draw,
    seconds=45,
)
