"""Multi-head attention with capped scores (Gemma 2, 2024), with sinks (OpenAI, 2025), or with both.

Only the function from scores to weights differs from multi_head_attention.py, so this layer replaces it: softcap.py
bounds the scores before the mask, and sink_softmax.py gives a share of each sum to nobody.
"""

from typing import Any

import numpy as np

from minitransformer.layers.attention import Weigh, attention
from minitransformer.layers.modern.sink_softmax import sink_softmax
from minitransformer.layers.modern.softcap import softcap
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.softmax import softmax
from minitransformer.module import Array, Backward, Parameter, apply, identity


class SinkAttention(MultiHeadAttention):
    """Self-attention whose scores are kept between −cap and cap, if `cap` is given, and that has `sinks`.

    `sinks` is a Parameter (H,), the logit of one more key of each head, initially 0, or None. The other arguments and
    the hooks are those of MultiHeadAttention. With sinks, the hook `weights` receives weights that sum to less than 1.
    """

    def __init__(
        self, d_model: int, n_heads: int, *sizes: Any, sinks: bool = True, cap: float | None = None, **options: Any
    ):
        super().__init__(d_model, n_heads, *sizes, **options)
        self.cap = cap
        self.sinks = Parameter(np.zeros(n_heads, self.w_q.weight.data.dtype)) if sinks else None

    def attend(self, q: Array, k: Array, v: Array, **options: Any) -> tuple[Array, Backward[Any]]:
        """Return attention(q, k, v) with the weights of `weights_of`, and its backward."""
        return apply(attention, q, k, v, weights_of=self.weights_of, **options)

    def weights_of(
        self, scores: Array, *, mask: Array | None, on_weights: Weigh | None
    ) -> tuple[Array, Backward[Array]]:
        """Return weights (..., H, Tq, Tk) of scores of this shape. `mask` and `on_weights` are as in masked_softmax."""
        capped, cap_backward = identity(scores) if self.cap is None else apply(softcap, scores, cap=self.cap)
        masked = capped if mask is None else np.where(mask, capped, -np.inf)  # hidden scores have gradient 0
        sinks = () if self.sinks is None else (self.sinks,)
        weights, weights_backward = apply(sink_softmax if sinks else softmax, masked, *sinks)
        changed, on_weights_backward = (on_weights or identity)(weights)

        def backward(dchanged):
            dweights = on_weights_backward(dchanged)
            dcapped = weights_backward(dweights)
            return cap_backward(dcapped)

        return changed, backward
