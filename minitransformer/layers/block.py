"""The pre-norm transformer block (Radford et al., 2019; Xiong et al., 2020).

*Pre-norm* means that each layer reads a normalized copy of the stream x, and adds its output to the stream itself, as
in other *residual* networks. The layers are attention, which moves information between positions, and feed_forward, two
linear maps with an activation between them at each position (feed_forward.py). The direct path around the layers of a
block carries dy to the bottom of the model unchanged, at any depth. This is why residual networks can be trained, and
why a model still seems to learn if the backward pass within a block returns zero.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_choice
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.feed_forward import FEED_FORWARDS, feed_forward_layer
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.modern.mixers import MIXERS
from minitransformer.layers.modern.mixture_of_experts import MixtureOfExperts
from minitransformer.layers.positions import Rotary
from minitransformer.layers.rms_norm import RMSNorm
from minitransformer.module import Array, Backward, Identity, Module

NORMS = {"layer_norm": LayerNorm, "rms_norm": RMSNorm}


class TransformerBlock(Module):
    """One block of a transformer. `norm` is a key of NORMS, `feed_forward` of FEED_FORWARDS, and `mixer` of MIXERS.

    `qk_norm`, `qk_norm_over`, `sinks` and `attention_cap` are those of MultiHeadAttention and SinkAttention, `d_latent`
    and `d_rotary` those of LatentAttention. If `n_experts` is given, the feed-forward layer is a MixtureOfExperts with
    `n_active` experts for each position.

    Hooks: `attention`, `residual_mid` (r), `feed_forward`, and those of MultiHeadAttention. `attention` and
    `feed_forward` are the values before dropout.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        norm: str = "layer_norm",
        feed_forward: str = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        eps: float = 1e-5,
        rotary: Rotary | None = None,
        mixer: str = "attention",
        qk_norm: bool = False,
        qk_norm_over: str = "head",
        sinks: bool = False,
        attention_cap: float | None = None,
        d_latent: int | None = None,
        d_rotary: int | None = None,
        n_experts: int | None = None,
        n_active: int = 2,
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_choice("norm", norm, NORMS)
        check_choice("feed_forward", feed_forward, FEED_FORWARDS)
        check_choice("mixer", mixer, MIXERS)
        rng = rng if rng is not None else np.random.default_rng(0)
        drawing: dict[str, Any] = {"std": std, "residual_std": residual_std, "rng": rng, "dtype": dtype}
        options = {"bias": bias, **drawing}
        self.norm1 = NORMS[norm](d_model, eps, dtype)
        of_mixers: dict[str, Any] = {
            "n_kv_heads": n_kv_heads,
            "d_head": d_head,
            "rotary": rotary,
            "dropout": dropout,
            "eps": eps,
        }
        of_mixers |= {"qk_norm": qk_norm, "qk_norm_over": qk_norm_over, "sinks": sinks, "attention_cap": attention_cap}
        of_mixers |= {"d_latent": d_latent, "d_rotary": d_rotary}
        taken = {name: of_mixers[name] for name in MIXERS[mixer].takes}
        self.attention: Any = MIXERS[mixer].layer(d_model, n_heads, **taken, **options)
        self.residual_mid = Identity()
        self.norm2 = NORMS[norm](d_model, eps, dtype)
        self.feed_forward: Any
        if n_experts is None:
            self.feed_forward = feed_forward_layer(feed_forward, d_model, d_ff, **options)
        else:
            self.feed_forward = MixtureOfExperts(d_model, d_ff, n_experts, n_active, **drawing)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Array,
        *,
        mask: Array | None = None,
        positions: Array | None = None,
        rng: np.random.Generator | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Array, Backward[Array]]:
        """Map x (..., T, C) to the same shape. The options are those of MultiHeadAttention.

        The stream is x plus all outputs added so far. Each of two residual steps computes its output from a normalized
        copy of the stream, and adds it to the stream:

            n1 = norm1(x)                                   (1)
            r = x + attention(n1)                           (2)
            n2 = norm2(r)                                   (3)
            y = r + feed_forward(n2)                        (4)

        During training, dropout is applied to each term that is added: attention and feed_forward stand for the layer
        and the dropout after it.
        """
        n1, norm1_backward = self.norm1(x)  # (1)
        a, attention_backward = self.attention(n1, mask=mask, positions=positions, rng=rng, cache=cache)
        a_kept, dropout1_backward = self.dropout(a, rng=rng)
        mid = x + a_kept  # (2)
        r, residual_mid_backward = self.residual_mid(mid)  # mid, unless a hook changes it
        n2, norm2_backward = self.norm2(r)  # (3)
        f, feed_forward_backward = self.feed_forward(n2)
        f_kept, dropout2_backward = self.dropout(f, rng=rng)
        y = r + f_kept  # (4)

        def backward(dy):
            """Each step is the sum of a direct path and a path through the layer, and so is its gradient.

            The steps are taken in reverse order. With fᵀ(dy) for f's backward:

                dn2 = feed_forwardᵀ(dy)                         (5)
                dr = dy + norm2ᵀ(dn2)                           (6)
                dn1 = attentionᵀ(dr)                            (7)
                dx = dr + norm1ᵀ(dn1)                           (8)
            """
            df = dropout2_backward(dy)
            dn2 = feed_forward_backward(df)  # (5) ← feed_forward(n2) (4)
            dr = dy + norm2_backward(dn2)  # (6) ← r + feed_forward(n2) (4), norm2(r) (3)
            dmid = residual_mid_backward(dr)
            da = dropout1_backward(dmid)
            dn1 = attention_backward(da)  # (7) ← attention(n1) (2)
            dx = dmid + norm1_backward(dn1)  # (8) ← x + attention(n1) (2), norm1(x) (1)
            return dx

        return y, backward
