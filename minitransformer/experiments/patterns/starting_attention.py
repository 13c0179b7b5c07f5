"""The initial attention: to near or similar tokens, instead of uniform.

To repeat a sequence, a model must find an earlier occurrence of a symbol and the symbol after it. This takes two heads,
one in each of two blocks (see analysis/circuits.py), and neither has a large gradient before the other one works. With
GPT-2's initial weights all attention is uniform, and remains so for a long time. So the heads of the first block start
with a useful pattern to refine.

*Rotary positions.* Query and key need a part that all tokens share, because the product of these parts depends only on
the distance (see layers/positions.py). The biases are such parts. If one bias is zero, the other has next to no
gradient, so both start at START_BIAS instead of zero.

*Positions in the stream.* Keys start as queries, W_k = W_q, so large that a position scores about OWN_SCORE with
itself. So every query attends to similar tokens, and most to its own.

After 500 steps on all simple patterns, TinyTransformer's accuracy per token on random sequences of 16 that occur twice
is (seeds 0 and 1) 0.13 and 0.08 with rotary positions and GPT-2's weights, 0.96 and 0.91 with this start; with learned
positions 0.05 and 0.06, and 0.44 and 0.65. Chance is 0.01. When trained on such sequences alone, as in `demo`, all of
ten seeds had learned the task after 500 steps with this start. Sinusoidal positions are initially 35 times as large as
the tokens' embeddings and hide them: after 500 steps such a model cannot even count.
"""

import math

START_BIAS = 2.0
OWN_SCORE = 6.5


def start_attention(model) -> None:
    """Prepare the first block of an untrained Transformer, unless it has rotary positions and no biases."""
    attention = model.blocks[0].attention
    if attention.rotary is None:
        keys_as_queries(attention, model.config)
    elif attention.w_q.bias is not None:
        attention.w_q.bias.data[:] = attention.w_k.bias.data[:] = START_BIAS


def keys_as_queries(attention, config) -> None:
    """Scale the queries, and give each key–value head the weights of the first query head that uses it."""
    C, K, D = config.d_model, config.kv_heads, config.head_width
    query = attention.w_q.weight
    # A normalized stream has unit variance, so weights of deviation s make queries of variance C s², and q · q / √D is
    # √D C s².
    scale = math.sqrt(OWN_SCORE / (math.sqrt(D) * C)) / query.data.std()
    query.data = (query.data * scale).astype(query.data.dtype)
    first = query.data.reshape(C, K, -1, D)[:, :, 0]
    attention.w_k.weight.data[:] = first.reshape(C, K * D)  # a copy: they are trained separately
