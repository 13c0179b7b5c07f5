"""The configuration of a transformer: its sizes and the kinds of its layers."""

import dataclasses
import math
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any

import numpy as np

from minitransformer.layers.block import FEED_FORWARDS, NORMS
from minitransformer.layers.checks import check_scaling
from minitransformer.system.validation import (
    check_fields,
    check_int,
    documented,
    number,
    one_of,
    positive,
    setting,
    true_or_false,
)

POSITIONS = ("learned", "sinusoidal", "rotary")
DTYPES = ("float32", "float64")
size = partial(check_int, minimum=1, maximum=2**63 - 1)  # the greatest length of an axis
MOST_LAYERS = 10_000  # the deepest published transformers have 1,000
MOST_WEIGHTS = 10**13  # 40 TB in float32


def plain_scaling(name: str, scaling: dict) -> dict:
    """Convert the NumPy numbers in a rope_scaling to Python numbers. Raises the exceptions of check_scaling."""
    check_scaling(scaling)
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in scaling.items()}


@documented
@dataclass(frozen=True)
class Config:
    """The configuration of a Transformer: its sizes and the kinds of its layers.

    The derivations write V for vocab_size, C for d_model, H for n_heads, L for n_layers, F for d_ff, K for n_kv_heads
    and D for d_head. Raises TypeError for a field of the wrong type, and ValueError for a value that is not allowed.
    """

    vocab_size: int = setting(MISSING, "the number of different tokens", size)
    context: int = setting(MISSING, "the longest sequence, in tokens", size)
    d_model: int = setting(64, "width of the residual stream, in channels", size)
    n_heads: int = setting(4, "attention heads per block", size)
    n_layers: int = setting(2, "transformer blocks", size, maximum=MOST_LAYERS)
    d_ff: int | None = setting(
        None,
        "hidden width of feed-forward layers",
        size,
        optional="4 × width; swiglu: 8/3 × width, rounded up to a multiple of 8",
    )
    n_kv_heads: int | None = setting(
        None, "key-value heads, shared by groups of heads", size, optional="as many as heads"
    )
    d_head: int | None = setting(None, "channels per head", size, optional="width / heads")
    norm: str = setting("layer_norm", "kind of normalization", one_of, known=tuple(NORMS))
    feed_forward: str = setting("gelu", "kind of feed-forward layer; gelu is exact", one_of, known=FEED_FORWARDS)
    positions: str = setting("learned", "kind of position encoding", one_of, known=POSITIONS)
    bias: bool = setting(True, "add biases to the linear maps", true_or_false)
    tie_embeddings: bool = setting(True, "use the table of the embedding as unembedding", true_or_false)
    dropout: float = setting(0.0, "probability of dropping an entry in training", number, minimum=0, below=1)
    eps: float = setting(1e-5, "ε of the norms", positive)
    rope_base: float = setting(10000.0, "base of the rotary frequencies", positive)
    rope_scaling: dict[str, Any] | None = setting(
        None, "scaling of the rotary frequencies for longer contexts", plain_scaling, optional="none"
    )
    dtype: str = setting("float32", "precision", one_of, known=DTYPES)

    def __post_init__(self):
        check_fields(self)
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"Config: n_heads must divide d_model {self.d_model} unless d_head is given, not be {self.n_heads}"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(f"Config: n_kv_heads must divide n_heads {self.n_heads}, not be {self.n_kv_heads}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"Config: rotary positions require an even d_head, not {self.head_width}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"Config: sinusoidal positions require an even d_model, not {self.d_model}")
        if self.fewest_weights > MOST_WEIGHTS:
            raise ValueError(f"Config: a model has at most {MOST_WEIGHTS:,} weights, not {self.fewest_weights:,}")

    @property
    def hidden_width(self) -> int:
        """Return d_ff or its default."""
        if self.d_ff is not None:
            return self.d_ff
        if self.feed_forward == "swiglu":
            return math.ceil(self.d_model / 3) * 8
        return 4 * self.d_model

    @property
    def kv_heads(self) -> int:
        """Return n_kv_heads or its default."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """Return d_head or its default."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def fewest_weights(self) -> int:
        """Return a lower bound for the number of weights, without biases, norms, gates and an untied unembedding."""
        rows = self.vocab_size + (self.context if self.positions == "learned" else 0)
        heads = 2 * (self.n_heads + self.kv_heads) * self.head_width
        return rows * self.d_model + self.n_layers * self.d_model * (heads + 2 * self.hidden_width)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dictionary. Config(**dictionary) restores them."""
        return dataclasses.asdict(self)
