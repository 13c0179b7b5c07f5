"""The engine: what the textbook computes, in less time and memory. Nothing here is needed to understand the model.

For each function of the textbook (layers/, losses.py, optim.py) whose plain form is slow there is a twin: of the same
name, the same arguments, the same promises. Importing this package puts the twins into the table that `faster` of
module.py looks them up in. The number beside a line is that of the equation in the textbook that it works out; the ways
of attention have equations of their own. A twin takes arrays of float32 or of float64: complex ones, which only checks
use, get the textbook's function.

A name such as fast.attention is the function; its file is import_module("minitransformer.fast.attention").

    sums.py               sums and means as products with ones
    elementwise.py        large arrays in blocks, shared by threads
    linear.py             all positions in one product
    softmax.py            without the largest entry, where it is not needed
    attention.py          in the way that suits its length:
    query_blocks.py         a few queries at a time, with the keys that they may see
    head_groups.py          its heads side by side, in threads
    blocked_attention.py    blocks of queries and keys, for very long sequences
    gelu.py               in blocks, by a fitted polynomial
    swiglu.py             in blocks, saving less
    cross_entropy.py      without an array of coefficients
    adamw.py              in place, on every core
    one_position.py       a block for one token, straight down
    sampling.py           top-p without a sort of the vocabulary

Without this folder the program is as right, and slower.
"""

from minitransformer.fast.adamw import adamw_in_place
from minitransformer.fast.attention import attention, causal_mask
from minitransformer.fast.cross_entropy import cross_entropy
from minitransformer.fast.digests import is_edited
from minitransformer.fast.gelu import gelu
from minitransformer.fast.linear import linear
from minitransformer.fast.one_position import through_blocks
from minitransformer.fast.sampling import keep_top_p
from minitransformer.fast.softmax import softmax
from minitransformer.fast.swiglu import swiglu

__all__ = [
    "is_edited",
    "linear",
    "softmax",
    "attention",
    "causal_mask",
    "gelu",
    "swiglu",
    "cross_entropy",
    "adamw_in_place",
    "through_blocks",
    "keep_top_p",
]
