"""The block that normalizes the outputs of its layers in place of their inputs (OLMo et al., 2024).

The norms are within the residual steps, but behind attention and feed_forward. So nothing that a block adds to the
stream x is larger than its norm allows, whatever the weights of the layer, and the layers read the stream as it is. The
first transformer had its norms behind the sums (Vaswani et al., 2017), where no direct path is left, and deep models
were hard to train. Here the direct path carries dy unchanged, as in block.py.
"""

import numpy as np

from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.module import Array, Backward


class PostNormBlock(TransformerBlock):
    """A block whose norms follow its layers. The arguments and the hooks are those of TransformerBlock.

    The hooks `attention` and `feed_forward` are the values before the norm.
    """

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

            a = attention(x)                                (1)
            r = x + norm1(a)                                (2)
            f = feed_forward(r)                             (3)
            y = r + norm2(f)                                (4)

        During training, dropout is applied to each term that is added.
        """
        a, attention_backward = self.attention(x, mask=mask, positions=positions, rng=rng, cache=cache)  # (1)
        n1, norm1_backward = self.norm1(a)
        n1_kept, dropout1_backward = self.dropout(n1, rng=rng)
        mid = x + n1_kept  # (2)
        r, residual_mid_backward = self.residual_mid(mid)  # mid, unless a hook changes it
        f, feed_forward_backward = self.feed_forward(r)  # (3)
        n2, norm2_backward = self.norm2(f)
        n2_kept, dropout2_backward = self.dropout(n2, rng=rng)
        y = r + n2_kept  # (4)

        def backward(dy):
            """As in block.py, each step is the sum of a direct path and a path through the layer and its norm:

                df = norm2ᵀ(dy)                                 (5)
                dr = dy + feed_forwardᵀ(df)                     (6)
                da = norm1ᵀ(dr)                                 (7)
                dx = dr + attentionᵀ(da)                        (8)

            A norm ignores the length of its input, so df is orthogonal to f (for the RMS norm, as ε → 0): doubling the
            last weights of a layer changes nothing, and the gradient has no part along them.
            """
            df = norm2_backward(dropout2_backward(dy))  # (5) ← r + norm2(f) (4)
            dr = dy + feed_forward_backward(df)  # (6) ← r + norm2(f) (4), feed_forward(r) (3)
            dmid = residual_mid_backward(dr)
            da = norm1_backward(dropout1_backward(dmid))  # (7) ← x + norm1(a) (2)
            dx = dmid + attention_backward(da)  # (8) ← x + norm1(a) (2), attention(x) (1)
            return dx

        return y, backward


BLOCKS = {"pre_norm": TransformerBlock, "post_norm": PostNormBlock}  # the values of Config.block
