"""The configuration of a transformer: its sizes and the kinds of its layers."""

import dataclasses
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any

import numpy as np

from minitransformer.layers.block import NORMS
from minitransformer.layers.feed_forward import FEED_FORWARDS
from minitransformer.layers.modern.checks import check_scaling
from minitransformer.layers.modern.joint_norm import QK_NORMS
from minitransformer.layers.modern.mixers import MIXERS
from minitransformer.layers.modern.post_norm_block import BLOCKS
from minitransformer.layers.positions import POSITIONS
from minitransformer.system.validation import (
    brief,
    check_fields,
    check_int,
    documented,
    number,
    one_of,
    positive,
    setting,
    true_or_false,
)

DTYPES = ("float32", "float64")
size = partial(check_int, minimum=1, maximum=2**63 - 1)  # the greatest length of an axis
MOST_LAYERS = 10_000  # the deepest published transformers have 1,000
MOST_WEIGHTS = 10**13  # 40 TB in float32


def plain_scaling(name: str, scaling: dict) -> dict:
    """Convert the NumPy numbers in a rope_scaling to Python numbers. Raises the exceptions of check_scaling."""
    check_scaling(scaling)
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in scaling.items()}


def repeated(name: str, value, *, entry) -> tuple:
    """Return `value` as a tuple if it is a list or tuple of at least one value that entry(name, value) allows."""
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError(f"{name} must be a list of values, one for each layer, to be repeated, not {brief(value)}")
    return tuple(entry(name, one) for one in value)


def window(name: str, value) -> int | None:
    return None if value is None else size(name, value)


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
        optional="4 × width; gated layers: 8/3 × width, rounded up to a multiple of 8",
    )
    n_kv_heads: int | None = setting(
        None, "key-value heads, shared by groups of heads", size, optional="as many as heads"
    )
    d_head: int | None = setting(None, "channels per head", size, optional="width / heads")
    block: str = setting("pre_norm", "place of the norms: before or after the layers", one_of, known=tuple(BLOCKS))
    norm: str = setting("layer_norm", "kind of normalization", one_of, known=tuple(NORMS))
    feed_forward: str = setting("gelu", "kind of feed-forward layer; gelu is exact", one_of, known=tuple(FEED_FORWARDS))
    positions: str = setting("learned", "kind of position encoding", one_of, known=tuple(POSITIONS))
    bias: bool = setting(True, "add biases to the linear maps", true_or_false)
    tie_embeddings: bool = setting(True, "use the table of the embedding as unembedding", true_or_false)
    dropout: float = setting(0.0, "probability of dropping an entry in training", number, minimum=0, below=1)
    eps: float = setting(1e-5, "ε of the norms", positive)
    rope_base: float = setting(10000.0, "base of the rotary frequencies", positive)
    rope_scaling: dict[str, Any] | None = setting(
        None, "scaling of the rotary frequencies for longer contexts", plain_scaling, optional="none"
    )
    rotary_fraction: float | None = setting(
        None,
        "fraction of the channels of a head that rotary positions rotate",
        number,
        above=0,
        maximum=1,
        optional="all",
    )
    qk_norm: bool = setting(False, "normalize each query and key head, before the rotation", true_or_false)
    qk_norm_over: str = setting(
        "head",
        "queries and keys that are normalized together: of a head, or of a projection",
        one_of,
        known=tuple(QK_NORMS),
    )
    windows: tuple[int | None, ...] | None = setting(
        None, "positions that each layer sees, in turn, or all", repeated, entry=window, optional="all"
    )
    sinks: bool = setting(False, "give each head a learned sink in its softmax", true_or_false)
    attention_cap: float | None = setting(None, "bound of the scores of attention", positive, optional="none")
    logit_cap: float | None = setting(None, "bound of the logits", positive, optional="none")
    n_experts: int | None = setting(None, "swiglu experts per block", size, optional="one layer for all positions")
    n_active: int | None = setting(None, "experts that each position uses", size, optional="2 with experts")
    mixers: tuple[str, ...] | None = setting(
        None,
        "layers that move information between positions, in turn",
        repeated,
        entry=partial(one_of, known=tuple(MIXERS)),
        optional="attention in every block",
    )
    d_latent: int | None = setting(None, "entries of the latent of latent attention", size, optional="4 × head width")
    dtype: str = setting("float32", "precision", one_of, known=DTYPES)

    def __post_init__(self):
        check_fields(self)
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"Config: n_heads must divide d_model {self.d_model} unless d_head is given, not be {self.n_heads}"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(f"Config: n_kv_heads must divide n_heads {self.n_heads}, not be {self.n_kv_heads}")
        of_rotary = "" if self.rotary_fraction is None else " times rotary_fraction"
        sizes = {"d_model": ("d_model", self.d_model), "d_head": (f"d_head{of_rotary}", self.rotary_width)}
        name, width = sizes.get(POSITIONS[self.positions].even, ("", 0))
        if width % 2 or (name and not width):
            raise ValueError(f"Config: {self.positions} positions require an even {name}, not {width}")
        if self.n_experts is None and self.n_active is not None:
            raise ValueError(f"Config: n_active requires n_experts, not n_active {self.n_active} alone")
        if self.n_experts is not None and self.feed_forward != "swiglu":
            raise ValueError(f"Config: n_experts requires feed_forward 'swiglu', not {self.feed_forward!r}")
        if self.n_experts is not None and self.active_experts > self.n_experts:
            raise ValueError(f"Config: n_active must be at most n_experts {self.n_experts}, not {self.active_experts}")
        for i, (mixer, span) in enumerate(zip(self.layer_mixers, self.layer_windows, strict=True)):
            if span is not None and not MIXERS[mixer].masked:
                raise ValueError(f"Config: windows requires attention, but mixers has {mixer!r} in layer {i}")
        if self.fewest_weights > MOST_WEIGHTS:
            raise ValueError(f"Config: a model has at most {MOST_WEIGHTS:,} weights, not {self.fewest_weights:,}")

    @property
    def hidden_width(self) -> int:
        """Return d_ff or its default."""
        if self.d_ff is not None:
            return self.d_ff
        return FEED_FORWARDS[self.feed_forward].default_width(self.d_model)

    @property
    def kv_heads(self) -> int:
        """Return n_kv_heads or its default."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """Return d_head or its default."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def rotary_width(self) -> int:
        """Return the number of channels of a head that rotary positions rotate, or that latent attention adds."""
        if self.rotary_fraction is None or not POSITIONS[self.positions].turns:
            return self.head_width
        return int(self.head_width * self.rotary_fraction)

    @property
    def latent_width(self) -> int:
        """Return d_latent or its default."""
        return 4 * self.head_width if self.d_latent is None else self.d_latent

    @property
    def active_experts(self) -> int:
        """Return n_active or its default."""
        return 2 if self.n_active is None else self.n_active

    @property
    def layer_windows(self) -> tuple[int | None, ...]:
        """Return the window of each layer, or None for a layer without one."""
        windows = self.windows or (None,)
        return tuple(windows[i % len(windows)] for i in range(self.n_layers))

    @property
    def layer_mixers(self) -> tuple[str, ...]:
        """Return the mixer of each layer."""
        mixers = self.mixers or ("attention",)
        return tuple(mixers[i % len(mixers)] for i in range(self.n_layers))

    @property
    def fewest_weights(self) -> int:
        """Return a lower bound for the number of weights: of the tables, the experts, and W_q and W_o of each layer."""
        rows = self.vocab_size + (self.context if POSITIONS[self.positions].is_learned else 0)
        matrices = FEED_FORWARDS[self.feed_forward].matrices * (self.n_experts or 1)
        heads = 2 * self.n_heads * self.head_width
        return rows * self.d_model + self.n_layers * self.d_model * (heads + matrices * self.hidden_width)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dictionary. Config(**dictionary) restores them."""
        return dataclasses.asdict(self)
