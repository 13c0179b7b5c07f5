"""Answer six questions about the model and its checks by measurements when the page is built."""

import re
from html import escape

import numpy as np

from minitransformer.book.pictures import line_chart, table
from minitransformer.book.planted import gradients
from minitransformer.book.prose import inline
from minitransformer.cases import CASES
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.softmax import softmax
from minitransformer.module import plain

C, T, HEADS = 64, 16, 4
KEYS, DEPTH = 64, 12
EXPONENT = re.compile(r"(?<=\de)-(?=\d)")  # its minus sign
NOTHING = 1e-9  # a gradient is zero for dy = 1 if the norm is smaller than this times the norm for a random dy


def choices_page() -> list:
    choices = (scale_of_attention(), scale_of_residual_steps(), place_of_the_norm(), direct_path())
    parts = (*choices, check_with_ones(), step_of_a_difference())
    sections = (
        f"<section><h2>{escape(title)}</h2><p>{inline(question)}</p>{picture}<p>"
        f"{EXPONENT.sub('−', inline(answer))}</p></section>"
        for title, question, picture, answer in parts
    )
    return ["<h1>Whys, by experiment</h1>", f'<div class="pairs">{"".join(sections)}</div>']


def scale_of_attention():
    sizes = [4, 16, 64, 256, 1024]
    largest, passed = ({"without the scale": [], "with 1/√D": []} for _ in range(2))
    for D in sizes:
        rng = np.random.default_rng(D)
        scores = rng.normal(size=(KEYS, D)) @ rng.normal(size=(D, KEYS))
        for name, s in (("without the scale", 1.0), ("with 1/√D", D**-0.5)):
            weights, backward = softmax(s * scores)
            largest[name].append(weights.max(axis=1).mean())
            passed[name].append(np.median(np.linalg.norm(backward(rng.normal(size=weights.shape)), axis=1)))
    lost = passed["without the scale"][-1] / passed["with 1/√D"][-1]
    return (
        "The scale of attention",
        f"Queries and {KEYS} keys of D random numbers of variance 1. How large is the largest weight of a query?",
        line_chart("largest weight", sizes, largest, "channels D"),
        f"The standard deviation of a score grows with √D. Without the scale, one key takes nearly everything: at D = "
        f"{sizes[-1]} its weight is {largest['without the scale'][-1]:.2f} on average, and with the scale "
        f"{largest['with 1/√D'][-1]:.2f}. The median gradient that the softmax passes to "
        f"a query's scores is then {lost:.2%} of that with the scale.",
    )


def blocks(depth, std, residual_std=None):
    rng = np.random.default_rng(0)
    options = {"std": std, "residual_std": residual_std, "rng": rng, "dtype": np.float64}
    return [TransformerBlock(C, HEADS, 4 * C, **options) for _ in range(depth)]


def stream(seed=1):
    return np.random.default_rng(seed).normal(size=(T, C))


def scale_of_residual_steps():
    depths, growth = [1, 2, 4, 8, 16, 32], {"std": [], "std / √(2L)": []}
    for depth in depths:
        for name, factor in (("std", 1.0), ("std / √(2L)", (2 * depth) ** -0.5)):
            x = stream()
            with plain():
                for block in blocks(depth, C**-0.5, factor * C**-0.5):
                    x = block(x)[0]
            growth[name].append(x.std())
    (*_, unscaled), (*_, scaled) = growth.values()
    return (
        "The initial scale of the residual steps",
        "A stream of standard deviation 1 passes through L blocks. Each adds two outputs. How large is the stream "
        "after the last block, if the projections that write to it are drawn with the same scale as all others, or "
        "with 1/√(2L) times this scale?",
        line_chart("standard deviation of the stream", depths, growth, "blocks L"),
        f"Variances of independent terms add, so the stream grows with √L: to {unscaled:.1f} for {depths[-1]} blocks. "
        f"With the factor it stays near {scaled:.1f}, whatever the depth.",
    )


def gradients_at_blocks(steps_of) -> list:
    """Return the gradients at the boundaries of the blocks, from last to first.

    The gradient after the last block is random. `steps_of(block)` returns functions that replace a block. Each of them
    returns (y, backward).
    """
    x, backwards = stream(), []
    with plain():
        for steps in map(steps_of, blocks(DEPTH, C**-0.5)):
            for step in steps:
                x, backward = step(x)
                backwards.append(backward)
        found = [stream(2)]
        for backward in reversed(backwards):
            found.append(backward(found[-1]))
    return found[:: len(steps)]


def norms_after_additions(block):
    """Return the steps of a post-norm block. The backward pass follows only the direct path."""
    pairs = ((block.norm1, block.attention), (block.norm2, block.feed_forward))
    return [lambda x, norm=norm, layer=layer: norm(x + layer(x)[0]) for norm, layer in pairs]


def place_of_the_norm():
    found = gradients_at_blocks(norms_after_additions)
    norms = [float(np.linalg.norm(dx) / np.linalg.norm(found[0])) for dx in found]
    return (
        "The place of the normalization",
        "Besides the paths through the layers, the gradient has a direct path past them. In pre-norm, as here, a norm "
        "stands before each layer, and the direct path is the identity. In post-norm, as in the transformer of 2017, a "
        "norm stands after each addition, on the direct path. How much of the gradient arrives on it?",
        line_chart(
            "share of the gradient on the direct path",
            range(DEPTH + 1),
            {"post-norm": norms, "pre-norm": [1.0] * (DEPTH + 1)},
            "blocks that it has passed",
        ),
        f"Each norm divides by the deviation of a sum, here by about √2, and there are two in a block: {norms[1]:.2f} "
        f"of the gradient passes one block, and {norms[-1]:.2g} passes {DEPTH}. In pre-norm all of it passes.",
    )


def direct_path():
    likeness = {}
    settings = {
        "without": lambda block: [block.norm1, block.attention, block.norm2, block.feed_forward],
        "with the stream": lambda block: [block],
    }
    for name, steps_of in settings.items():
        top, *others = gradients_at_blocks(steps_of)
        likeness[name] = [
            abs(float(np.vdot(top, dx) / np.linalg.norm(top) / np.linalg.norm(dx))) for dx in (top, *others)
        ]
    (*_, without), (*_, with_stream) = likeness.values()
    return (
        "The direct path of the gradient",
        "The gradient with respect to the stream below some blocks is compared with that above them, by the cosine of "
        "their angle. The same blocks are also run without the stream, so that each layer replaces its input.",
        line_chart("cosine of the gradients above and below", range(DEPTH + 1), likeness, "blocks between them"),
        f"With the stream, the gradient below {DEPTH} blocks keeps a component along that above them (cosine "
        f"{with_stream:.2f}), because a part of it has not passed any layer. Without the stream nothing of it is left "
        f"(cosine {without:.2f}; two random directions have about {(T * C) ** -0.5:.2f}).",
    )


def check_with_ones():
    silent = []
    for case in (case for case in CASES if not case.name.startswith("fast.")):
        of_random, of_ones = gradients(case)
        pairs = [(np.linalg.norm(one), np.linalg.norm(other)) for one, other in zip(of_ones, of_random, strict=True)]
        count = sum(one < NOTHING * other for one, other in pairs)
        if count:
            silent.append((escape(case.name), f"{count} of {len(pairs)}"))
    x = stream()
    y, backward = layer_norm(x, np.ones(C), np.zeros(C))
    dx = [np.linalg.norm(backward(dy)[0]) for dy in (np.ones(y.shape), stream(2))]
    return (
        "A check with dy = 1",
        "Many checks use the gradient of the sum of the outputs, that is, dy = 1. For which functions is a gradient "
        "then zero, so that a backward pass that returns zeros passes?",
        table("case | gradients that are zero for dy = 1", silent),
        f"A sum that is always the same has no gradient. For layer normalization with γ = 1 the norm of dx is "
        f"{dx[0]:.1g} for dy = 1 and {dx[1]:.2g} for a random dy.",
    )


def step_of_a_difference():
    x, v, dy = np.random.default_rng(0).normal(size=(3, 8))
    derivative = softmax(x)[1](dy) @ v

    def loss(step):
        return dy @ softmax(x + step * v)[0]

    steps = 10.0 ** -np.arange(1, 16)
    estimates = {
        "central difference": [(loss(h) - loss(-h)) / (2 * h) for h in steps],
        "complex step": [loss(1j * h).imag / h for h in steps],
    }
    errors = {name: np.abs(np.array(found) / derivative - 1) for name, found in estimates.items()}
    central, exact = errors.values()
    best = int(central.argmin())
    labels = [f"1e−{i + 1}" if i % 3 == 0 else "" for i in range(len(steps))]
    return (
        "The step of a finite difference",
        "The derivative of a loss through softmax along a random direction, by two numerical methods. How does the "
        "relative error depend on the step h?",
        line_chart("relative error", labels, {k: e + 1e-17 for k, e in errors.items()}, "step h", decades=True),
        f"The error of a central difference has two parts. The neglected terms of Taylor's series shrink as h². The "
        f"losses are rounded to 16 digits, and division by 2h amplifies the error of their difference as ε/h. The best "
        f"step, here {steps[best]:.0e}, leaves an error of {central[best]:.0e}. The complex step, Im L(x + ihv) / h, "
        f"subtracts nothing, so it can be short: at {steps[-1]:.0e} its error is at most {max(exact[-1], 1e-15):.0e}. "
        "The error of a wrong gradient does not depend on the step: its line is flat at the size of the mistake. A "
        "tolerance must lie between this line and the bottom of the valley.",
    )
