"""Recomputation, or activation checkpointing (Chen et al., 2016): less memory, for about a third more time.

What a training step holds at its peak is mostly what the layers saved for backward. A block can save its input alone
and find the rest again when its gradient arrives:

    y  = f(x)   (and everything it saved is dropped)    (1)
    dx = fᵀ(dy)   (after f(x) once more)                (2)

where fᵀ(dy) stands for f's backward. Exactly the same numbers come out: dropout's are drawn again from where they
began, and the engine is on or off as it was. One forward pass more is a third more work, since a backward pass costs
two. At the peak the model then holds one block's activations, and the inputs of all others; what the head saves is not
worked out again, so that a deep model gains most and a large vocabulary nothing. For a model of 6 blocks and
10 million parameters on 1,024 tokens, 100 MB in place of 243, and 1.35 times the time.

Saved for backward: x (...), and the state of the random numbers.
"""

import copy

from minitransformer.module import is_plain, plain


def recomputed(module, x, *, rng=None, **options):
    """Call a module that maps x to one array, keeping nothing but x for backward. Returns (y, backward).

    A hook inside the module runs twice: in (1), and in (2).
    """
    before, was_plain = copy.deepcopy(rng), is_plain()
    y = module(x, rng=rng, **options)[0]  # (1)

    def backward(dy):
        with plain(was_plain):
            _, module_backward = module(x, rng=copy.deepcopy(before), **options)
        return module_backward(dy)  # (2) ← f(x) (1)

    return y, backward
