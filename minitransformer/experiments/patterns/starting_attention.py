"""Initial weights that direct attention to near or similar tokens, instead of to all tokens equally.

To repeat a sequence, a model needs two heads in different blocks (see analysis/circuits.py), and neither has a large
gradient before the other one works. With GPT-2's initial weights all attention is uniform, and remains so for a long
time. Therefore the heads of the first block start with a useful pattern.

*Rotary positions.* If all queries share a component and all keys share another, the inner product of the two depends
only on the distance (see layers/positions.py). The biases are such components. If one bias is zero, the gradient of the
other is nearly zero, so both start at START_BIAS.

*Positions in the stream.* Keys start equal to queries, W_k = W_q, and are scaled so that the score of a position with
itself is about OWN_SCORE. Every query then attends to similar tokens, and most to its own position.

The accuracy per token of TinyTransformer on repeated random sequences of 16 symbols, after 500 steps on all simple
patterns, is (seeds 0 and 1; chance is 0.01)

                          GPT-2's weights    this start
    rotary positions      0.13 and 0.08      0.96 and 0.91
    learned positions     0.05 and 0.06      0.44 and 0.65
"""

import math

START_BIAS = 2.0
OWN_SCORE = 6.5


def start_attention(model) -> None:
    """Direct an untrained model's attention in block 0 to near or similar tokens.

    A model with rotary positions and without biases is not changed.
    """
    attention = model.blocks[0].attention
    if attention.rotary is None:
        keys_as_queries(attention, model.config)
    elif attention.w_q.bias is not None:
        attention.w_q.bias.data[:] = attention.w_k.bias.data[:] = START_BIAS


def keys_as_queries(attention, config) -> None:
    """Scale the query weights. Copy the first head of each group to the key weights."""
    C, K, D = config.d_model, config.kv_heads, config.head_width
    query = attention.w_q.weight
    # A normalized stream has unit variance. Weights with standard deviation s therefore give queries with variance
    # C s², and q · q / √D is √D C s².
    scale = math.sqrt(OWN_SCORE / (math.sqrt(D) * C)) / query.data.std()
    query.data = (query.data * scale).astype(query.data.dtype)
    first = query.data.reshape(C, K, -1, D)[:, :, 0]
    attention.w_k.weight.data[:] = first.reshape(C, K * D)  # a copy: they are trained separately
