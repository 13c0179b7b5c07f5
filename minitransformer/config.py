"""The sizes and choices that make a transformer."""

import dataclasses
import math
import numbers
from dataclasses import dataclass

import numpy as np

from minitransformer.layers.block import FEED_FORWARDS, NORMS
from minitransformer.layers.positions import check_scaling

POSITIONS = ("learned", "sinusoidal", "rotary")
DTYPES = ("float32", "float64")
CHOICES = {"norm": tuple(NORMS), "feed_forward": FEED_FORWARDS, "positions": POSITIONS, "dtype": DTYPES}


@dataclass(frozen=True)
class Config:
    """The sizes and choices that make a Transformer.

    Raises ValueError for one that cannot be, TypeError for a number, a flag or a dictionary of the wrong type.

    vocab_size      V, the number of different tokens
    context         the longest sequence, in tokens
    d_model         C, the width of the residual stream
    n_heads         H, query heads per block
    n_layers        L, blocks
    d_ff            F, hidden width of the feed-forward layers; None: 4 C, or for swiglu 8 ⌈C/3⌉
    n_kv_heads      K, key–value heads per block, a divisor of H; None: H
    d_head          D, channels per head; None: C / H
    norm            "layer_norm" or "rms_norm"
    feed_forward    "gelu", "gelu_tanh", "relu" or "swiglu"
    positions       "learned", "sinusoidal" or "rotary"
    bias            whether the linear maps have biases
    tie_embeddings  whether the unembedding is the embedding's own table
    dropout         probability of dropping an entry in training
    eps             ε of the norms
    rope_base       base of the rotary frequencies
    rope_scaling    None, or a dictionary for longer contexts: see layers/positions.py
    dtype           "float32" or "float64"
    """

    vocab_size: int
    context: int
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int | None = None
    n_kv_heads: int | None = None
    d_head: int | None = None
    norm: str = "layer_norm"
    feed_forward: str = "gelu"
    positions: str = "learned"
    bias: bool = True
    tie_embeddings: bool = True
    dropout: float = 0.0
    eps: float = 1e-5
    rope_base: float = 10000.0
    rope_scaling: dict | None = None
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("vocab_size", "context", "d_model", "n_heads", "n_layers", "d_ff", "n_kv_heads", "d_head"):
            if getattr(self, name) is not None or name not in ("d_ff", "n_kv_heads", "d_head"):
                self.coerce(name, numbers.Integral, int, "an integer")
                if getattr(self, name) < 1:
                    raise ValueError(f"Config: {name} must be at least 1, not {getattr(self, name)}")
        for name in ("dropout", "eps", "rope_base"):
            self.coerce(name, numbers.Real, float, "a number")
        for name in ("bias", "tie_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"Config: {name} must be True or False, not {getattr(self, name)!r}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"Config: unknown {name} {getattr(self, name)!r}; known are {', '.join(known)}")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"Config: n_heads {self.n_heads} does not divide d_model {self.d_model}; give d_head as well"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(f"Config: n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"Config: rotary positions need an even number of channels per head, not {self.head_width}"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"Config: sinusoidal positions need an even d_model, not {self.d_model}")
        for name in ("eps", "rope_base"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"Config: {name} must be positive and finite, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Config: dropout must be at least 0 and less than 1, not {self.dropout}")
        check_scaling(self.rope_scaling)
        if self.rope_scaling is not None:
            plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in self.rope_scaling.items()}
            object.__setattr__(self, "rope_scaling", plain)

    def coerce(self, name, kind, convert, words):
        """Make a field a plain Python number: NumPy's scalars would turn float32 into float64, and JSON has none."""
        value = getattr(self, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"Config: {name} must be {words}, not {value!r}")
        object.__setattr__(self, name, convert(value))

    @property
    def hidden_width(self) -> int:
        """F: d_ff, or its default."""
        if self.d_ff is not None:
            return self.d_ff
        if self.feed_forward == "swiglu":
            return math.ceil(self.d_model / 3) * 8
        return 4 * self.d_model

    @property
    def kv_heads(self) -> int:
        """K: n_kv_heads, or its default."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """D: d_head, or its default."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    def to_dict(self) -> dict:
        """Return the fields as a dictionary that JSON can hold; Config(**dictionary) restores them."""
        return dataclasses.asdict(self)
