"""The engine: twins of textbook functions, which take less time or memory. README.md lists them with their gains.

The number in the comment after a line is the number of the textbook's equation that the line computes. The paths of
attention have equations of their own. A twin takes arrays of float32 or of float64. Complex arrays, which only checks
use, are computed by the textbook.

A name such as fast.attention is the function; its file is import_module("minitransformer.fast.attention").
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
