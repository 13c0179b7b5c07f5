"""The engine: twins of textbook functions that take less time or memory. README.md lists them with their gains.

The comment after a line gives the number of the textbook equation that the line computes. The variants of attention
(head_groups.py and query_blocks.py) number their own equations. A twin accepts arrays of float32 or of float64. Complex
arrays, which occur only in checks, are passed to the textbook function.

The name fast.attention refers to the function. import_module("minitransformer.fast.attention") returns its file.
"""

from minitransformer.fast.adamw import adamw_in_place
from minitransformer.fast.attention import attention, causal_mask
from minitransformer.fast.cross_entropy import cross_entropy
from minitransformer.fast.delta_chunks import delta_scan
from minitransformer.fast.gelu import gelu
from minitransformer.fast.linear import linear
from minitransformer.fast.muon import muon_in_place
from minitransformer.fast.one_position import through_blocks, unembedding
from minitransformer.fast.sampling import keep_top_p
from minitransformer.fast.softmax import softmax
from minitransformer.fast.swiglu import swiglu

__all__ = [
    "linear",
    "softmax",
    "attention",
    "causal_mask",
    "gelu",
    "swiglu",
    "cross_entropy",
    "delta_scan",
    "adamw_in_place",
    "muon_in_place",
    "through_blocks",
    "unembedding",
    "keep_top_p",
]
