"""The pre-norm transformer block (Radford et al., 2019; Xiong et al., 2020).

The direct path around the layers of a block carries dy to the bottom of the model unchanged, at any depth. This is why
residual networks can be trained, and why a model still seems to learn if the backward pass within a block returns zero.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_choice
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.feed_forward import ACTIVATIONS, FeedForward, GatedFeedForward
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary
from minitransformer.layers.rms_norm import RMSNorm
from minitransformer.module import Array, Backward, Identity, Module

NORMS = {"layer_norm": LayerNorm, "rms_norm": RMSNorm}
FEED_FORWARDS = (*ACTIVATIONS, "swiglu")


class TransformerBlock(Module):
    """One block of a transformer. `norm` is a key of NORMS, and `feed_forward` is one of FEED_FORWARDS.

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
        std: float = 0.02,
        residual_std: float | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        check_choice("norm", norm, NORMS)
        check_choice("feed_forward", feed_forward, FEED_FORWARDS)
        rng = rng if rng is not None else np.random.default_rng(0)
        options: dict[str, Any] = {"bias": bias, "std": std, "residual_std": residual_std, "rng": rng, "dtype": dtype}
        self.norm1 = NORMS[norm](d_model, eps, dtype)
        self.attention = MultiHeadAttention(
            d_model, n_heads, n_kv_heads, d_head, dropout=dropout, rotary=rotary, **options
        )
        self.residual_mid = Identity()
        self.norm2 = NORMS[norm](d_model, eps, dtype)
        self.feed_forward: FeedForward | GatedFeedForward
        if feed_forward == "swiglu":
            self.feed_forward = GatedFeedForward(d_model, d_ff, **options)
        else:
            self.feed_forward = FeedForward(d_model, d_ff, feed_forward, **options)
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

        Each of two residual steps computes its output from a normalized copy of the stream (x plus all outputs added so
        far), and adds it to the stream:

            r = x + attention(norm1(x))                     (1)
            y = r + feed_forward(norm2(r))                  (2)

        During training, dropout is applied to each term that is added: attention and feed_forward stand for the layer
        and the dropout after it.
        """
        n1, norm1_backward = self.norm1(x)
        a, attention_backward = self.attention(n1, mask=mask, positions=positions, rng=rng, cache=cache)
        a_kept, dropout1_backward = self.dropout(a, rng=rng)
        r, residual_mid_backward = self.residual_mid(x + a_kept)  # (1)
        n2, norm2_backward = self.norm2(r)
        f, feed_forward_backward = self.feed_forward(n2)
        f_kept, dropout2_backward = self.dropout(f, rng=rng)
        y = r + f_kept  # (2)

        def backward(dy):
            """Each step is the sum of a direct path and a path through the layer, and so is its gradient.

            The steps are taken in reverse order. With fᵀ(dy) for f's backward:

                dr = dy + norm2ᵀ(feed_forwardᵀ(dy))             (3)
                dx = dr + norm1ᵀ(attentionᵀ(dr))                (4)
            """
            dr = residual_mid_backward(dy + norm2_backward(feed_forward_backward(dropout2_backward(dy))))  # (3) ← (2)
            dx = dr + norm1_backward(attention_backward(dropout1_backward(dr)))  # (4) ← (1)
            return dx

        return y, backward
