"""The layers that move information between positions, by the names that Config.mixers has for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.modern.delta_mixer import DeltaMixer, StateCache
from minitransformer.layers.modern.latent_attention import LatentAttention
from minitransformer.layers.modern.sink_attention import SinkAttention
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.module import Module


def attention_layer(*sizes: Any, sinks: bool, attention_cap: float | None, **options: Any) -> MultiHeadAttention:
    if sinks or attention_cap is not None:
        return SinkAttention(*sizes, sinks=sinks, cap=attention_cap, **options)
    return MultiHeadAttention(*sizes, **options)


@dataclass(frozen=True)
class MixerChoice:
    """One of the values in Config.mixers, the layers that move information between positions.

    layer     returns the module, from C, H, the options in `takes`, and bias, std, residual_std, rng and dtype
    takes     names of options of TransformerBlock
    cache     class of what it keeps of earlier positions; its argument is the context
    masked    True if it takes a mask, so that it can have a window
    """

    layer: Callable[..., Module]
    takes: tuple[str, ...]
    cache: Callable[[int], Any] = LayerCache
    masked: bool = True


ROTATING = ("d_head", "rotary", "dropout", "eps")
MIXERS = {
    "attention": MixerChoice(
        attention_layer, (*ROTATING, "n_kv_heads", "qk_norm", "qk_norm_over", "sinks", "attention_cap")
    ),
    "latent": MixerChoice(LatentAttention, (*ROTATING, "d_latent", "d_rotary")),
    "delta": MixerChoice(DeltaMixer, ("d_head",), StateCache, masked=False),
}
