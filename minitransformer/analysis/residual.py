"""The residual stream as a sum of the outputs of all layers, and their direct contributions to a logit.

Every layer of a transformer adds to the stream, and no layer overwrites it. At one position, the stream before the
final norm is therefore a sum (Elhage et al., 2021) of the embeddings of the token and the position, each head's output
through its own rows of W_o, the bias of W_o, and each feed-forward layer's output:

    x = x_token + x_position + Σ_l (Σ_h heads_lh W_o^h + b_o + f_l)

**Direct contributions.** The logits would be linear in x without the final norm. The norm is N(x) = r(x) A x + b, with
a linear map A, a bias b, and a number r(x), the inverse of a standard deviation or root mean square. If r(x) is held
constant, N is linear in the parts, and b is one more part. The contribution of a part to a weighted sum of logits, d ·
logits, is then the inner product of the part with one vector,

    g = r(x) Aᵀ W_Uᵀ d        and        d · logits = Σ_parts part · g + d · W_U b.

This is exact. `frozen_norm` computes r(x) Aᵀ for any norm of this form. At x = 0, the term with the gradient of r
vanishes, because its factor A x is zero, so the norm's backward pass is r(0) Aᵀ. Let y = N(x) − b = r(x) A x. The inner
product of x with this backward pass of y is r(0)/r(x) · y·y, which gives r(x).

Limits. A direct contribution excludes the effects through later layers, which also read the part. It also holds r(x)
constant, although every part affects r(x). To find the total effect of a part, replace it (see patching.py).
"""

from dataclasses import dataclass

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis.hooks import frozen, in_each_block, record
from minitransformer.layers.multi_head_attention import merge
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int


@dataclass(frozen=True)
class DirectContributions(Data):
    """The direct contribution of each component to a logit, or a difference of logits, after the last position."""

    components: tuple[str, ...]  # N names in the order of addition, such as "head 1.3" and last "norm bias"
    values: np.ndarray  # (N,) contributions, in logits; they sum to `total`
    total: float  # the logit or difference, as the model computes it
    explained: str  # name of the logit or difference

    def largest(self, most: int | None = None) -> list[tuple[str, float]]:
        """Return pairs (name, value) of the largest components, followed by the sum of the others."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        named = [(self.components[i], float(self.values[i])) for i in order[:most]]
        rest = order[len(named) :]
        return [*named, (f"{len(rest)} others", float(self.values[rest].sum()))] if len(rest) else named

    def lines(self, most: int | None = None) -> list[str]:
        rows = table([(name, f"{value:+z.3f}") for name, value in self.largest(most)])
        return [*rows, "Not shown: the effects of a component through later layers, which read it as well."]

    def __str__(self):
        title = f"direct contributions to {self.explained}: {self.total:+.3f} in all, the largest first"
        return "\n".join([title, *self.lines()])


def direct_contributions(model, ids, token: int) -> DirectContributions:
    """Split the logit of `token` after ids (T,), minus the mean of all logits, into contributions of the components.

    The mean is subtracted because a constant added to all logits does not change the probabilities. Raises ValueError
    for a token outside the vocabulary, or a model with a logit_cap or with norms after its layers.
    """
    vocab_size, cap = model.config.vocab_size, model.config.logit_cap
    check_int("token", token, minimum=0, maximum=vocab_size - 1)
    if cap is not None:
        raise ValueError(f"direct_contributions: the model must have no logit_cap, not {cap}")
    components, parts = residual_parts(model, ids)
    dlogits = np.full(vocab_size, -1 / vocab_size, parts.dtype)
    dlogits[token] += 1
    x = parts.sum(axis=0)
    with frozen(model):
        logits, lm_head_backward = model.lm_head(model.ln_final(x)[0])
        direction = lm_head_backward(dlogits)
        transposed, bias = frozen_norm(model.ln_final, x)
        gradient = transposed(direction)
    values = np.append(parts @ gradient, bias @ direction)
    explained = f"the logit of token {token} minus the mean of all"
    return DirectContributions((*components, "norm bias"), values, float(dlogits @ logits), explained)


def residual_parts(model, ids):
    """Return the names and the values (N, C) of the parts that add up to the stream at the last position."""
    if model.config.block != "pre_norm":
        raise ValueError(f"residual_parts: the model must have block 'pre_norm', not {model.config.block!r}")
    tables = {"token": "embedding"}
    if model.positional_embedding is not None:
        tables["position"] = "positional_embedding"
    outputs = in_each_block(model, "attention.heads") + in_each_block(model, "feed_forward")
    seen = record(model, ids, [*tables.values(), *outputs])
    parts = {name: seen[activation][-1] for name, activation in tables.items()}
    for i, block in enumerate(model.blocks):
        heads = seen[f"blocks.{i}.attention.heads"][:, -1:]
        parts |= {f"head {i}.{head}": head_output(block.attention, heads, head)[0] for head in range(len(heads))}
        parts[f"attention bias {i}"] = output_bias(block.attention, heads)[0]
        parts[f"feed-forward {i}"] = seen[f"blocks.{i}.feed_forward"][-1]
    return tuple(parts), np.stack(list(parts.values()))


def head_output(attention, heads, head: int):
    """Map the output of one head, heads[head] (T, D), through w_o without the bias. Return an array (T, C)."""
    alone = np.zeros_like(heads)
    alone[head] = heads[head]
    return attention.w_o(merge(alone))[0] - output_bias(attention, heads)


def output_bias(attention, heads):
    return attention.w_o(merge(np.zeros_like(heads)))[0]


def frozen_norm(norm, x):
    """Linearise a norm N(x) = r(x) A x + b at x (C,). Return the function d ↦ r(x) Aᵀ d, and b."""
    bias, backward_at_zero = norm(np.zeros_like(x))
    y = norm(x)[0] - bias
    growth = (y @ y) / (backward_at_zero(y) @ x) if y.any() else 1.0  # r(x) / r(0)
    return lambda d: growth * backward_at_zero(d), bias
