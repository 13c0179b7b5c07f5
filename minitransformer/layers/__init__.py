"""The layers, one component per file, each with its derivation, its function and its module.

README.md in the folder above lists them in reading order.
"""

from minitransformer.layers import (
    activations,
    attention,
    block,
    dropout,
    embedding,
    feed_forward,
    key_value_cache,
    layer_norm,
    linear,
    lora,
    multi_head_attention,
    positions,
    recomputation,
    rms_norm,
    softmax,
)

__all__ = [
    "linear",
    "embedding",
    "layer_norm",
    "rms_norm",
    "softmax",
    "attention",
    "multi_head_attention",
    "positions",
    "key_value_cache",
    "activations",
    "dropout",
    "feed_forward",
    "block",
    "lora",
    "recomputation",
]
