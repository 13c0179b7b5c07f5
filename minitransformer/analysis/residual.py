"""The residual stream as a sum: the output of each layer, and its direct contribution to a logit.

Every layer of a transformer adds to the stream and none overwrites it. At one position, the stream before the final
norm is therefore a sum (Elhage et al., 2021) of the embeddings of the token and the position, each head's output
through its own rows of W_o, the bias of W_o, and each feed-forward layer's output:

    x = x_token + x_position + Σ_l (Σ_h heads_lh W_o^h + b_o + f_l)

**Direct contributions.** The logits are not linear in x only because of the final norm, which is N(x) = r(x) A x + b:
a linear map A (the gain and, for layer normalization, the centring), a bias b, and one number r(x), the inverse of a
standard deviation or root mean square. If r(x) is held constant, N is linear in the parts, and b counts as one more
part. The contribution of a part to a weighted sum of logits, d · logits, is then its inner product with one vector,

    g = r(x) Aᵀ W_Uᵀ d        and        d · logits = Σ_parts part · g + d · W_U b.

This is exact, not an approximation. The kind of norm need not be known. At zero the gradient of r is multiplied by
A0 = 0, so the norm's own backward pass there is r(0) Aᵀ. Since y = N(x) − b is r(x) A x, the inner product of x with
this backward pass applied to y is r(0)/r(x) · y·y, which gives r(x). See `frozen_norm`.

Limits. A direct contribution excludes the effects through later layers, which read the part too: all later heads may
depend on an early head whose direct contribution is zero. It also holds r(x) constant, although every part affects it.
The total effect of a part is found by replacing it: see patching.py.
"""

from dataclasses import asdict, dataclass

import numpy as np

from minitransformer.analysis.hooks import frozen, in_each_block, record
from minitransformer.layers.multi_head_attention import merge
from minitransformer.system.tables import table

KINDS = ("token", "position", "head", "attention bias", "feed-forward", "norm bias")


@dataclass(frozen=True)
class Component:
    """A term of the sum in the residual stream.

    kind          one of KINDS
    layer, head   indices of the block and the head, or None if the kind has none
    """

    kind: str
    layer: int | None = None
    head: int | None = None

    @property
    def name(self) -> str:
        if self.layer is None:
            return self.kind
        return f"{self.kind} {self.layer}" if self.head is None else f"{self.kind} {self.layer}.{self.head}"


@dataclass(frozen=True)
class DirectContributions:
    """The direct contribution of each component to one logit, or to a difference of logits, at one position.

    components   N components in the order in which the model adds them; the last is the bias of the final norm
    values       (N,) contributions, in logits; they sum to `total`
    total        the logit or difference, as the model computes it
    explained    the name of the logit or difference
    """

    components: tuple[Component, ...]
    values: np.ndarray
    total: float
    explained: str

    def to_dict(self) -> dict:
        rows = zip(self.components, self.values.tolist(), strict=True)
        components = [asdict(component) | {"name": component.name, "value": value} for component, value in rows]
        return {"explained": self.explained, "total": self.total, "components": components}

    def largest(self, most: int | None = None) -> list[tuple[str, float]]:
        """Return (name, value) of the `most` components with the largest magnitudes, and of the sum of the rest."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        named = [(self.components[i].name, float(self.values[i])) for i in order[:most]]
        rest = order[len(named) :]
        return [*named, (f"{len(rest)} others together", float(self.values[rest].sum()))] if len(rest) else named

    def lines(self, most: int | None = None) -> list[str]:
        rows = table([(name, f"{value:+z.3f}") for name, value in self.largest(most)])
        return [*rows, "Not shown: the effects of a component through later layers, which read it as well."]

    def __str__(self):
        title = f"direct contributions to {self.explained}: {self.total:+.3f} in all, the largest first"
        return "\n".join([title, *self.lines()])


def direct_contributions(model, ids, token: int, *, against="mean", position: int = -1) -> DirectContributions:
    """Split the logit of `token` into the direct contributions of all components.

    ids         (T,) tokens
    token       the token whose logit is split
    against     subtracted from the logit: "mean" for the mean of all logits (since adding a constant to all logits
                changes no probability), another token for its logit, or None for nothing
    position    position of the prediction; a negative one counts from the end

    Raises IndexError for a position outside ids, ValueError for a token outside the vocabulary.
    """
    components, parts = residual_parts(model, ids, position)
    dlogits, explained = logit_weights(model, token, against, parts.dtype)
    x = parts.sum(axis=0)
    with frozen(model):
        logits, lm_head_backward = model.lm_head(model.ln_final(x)[0])
        direction = lm_head_backward(dlogits)
        transposed, bias = frozen_norm(model.ln_final, x)
        gradient = transposed(direction)
    values = np.append(parts @ gradient, bias @ direction)
    return DirectContributions((*components, Component("norm bias")), values, float(dlogits @ logits), explained)


def logit_weights(model, token, against, dtype):
    vocab_size = model.config.vocab_size
    for i in (token, against):
        if isinstance(i, (int, np.integer)) and not 0 <= i < vocab_size:
            raise ValueError(f"token must be from 0 to {vocab_size - 1}, the ids of the vocabulary, not {i}")
    weights = np.zeros(vocab_size, dtype)
    weights[token] = 1
    if against is None:
        return weights, f"the logit of token {token}"
    if isinstance(against, str) and against == "mean":
        return weights - 1 / vocab_size, f"the logit of token {token} minus the mean of all"
    if not isinstance(against, (int, np.integer)):
        raise ValueError(f"against must be a token id, 'mean' or None, not {against!r}")
    weights[against] -= 1
    return weights, f"the logit of token {token} minus that of token {against}"


def residual_parts(model, ids, position: int = -1):
    """Return the N components and their outputs (N, C) at one position, whose sum is the input of the final norm."""
    T = len(ids)
    if not -T <= position < T:
        raise IndexError(f"position must be from {-T} to {T - 1} for {T} tokens, not {position}")
    positional = [] if model.positional_embedding is None else ["positional_embedding"]
    outputs = in_each_block(model, "attention.heads") + in_each_block(model, "feed_forward")
    seen = record(model, ids, ["embedding", *positional, *outputs])
    components = [Component("token"), *(Component("position") for _ in positional)]
    parts = [seen[name][position] for name in ("embedding", *positional)]
    for i, block in enumerate(model.blocks):
        heads = seen[f"blocks.{i}.attention.heads"][:, [position]]
        for head in range(len(heads)):
            components.append(Component("head", i, head))
            parts.append(head_output(block.attention, heads, head)[0])
        components += [Component("attention bias", i), Component("feed-forward", i)]
        parts += [output_bias(block.attention, heads)[0], seen[f"blocks.{i}.feed_forward"][position]]
    return tuple(components), np.stack(parts)


def head_output(attention, heads, head: int):
    """Return the output (T, C) of one of the heads (H, T, D), without the bias, for any affine w_o."""
    alone = np.zeros_like(heads)
    alone[head] = heads[head]
    return attention.w_o(merge(alone))[0] - output_bias(attention, heads)


def output_bias(attention, heads):
    """Return the bias of w_o (T, C): its output for heads (H, T, D) of zero."""
    return attention.w_o(merge(np.zeros_like(heads)))[0]


def frozen_norm(norm, x):
    """Linearize a norm N(x) = r(x) A x + b at x (C,) by holding r constant. Return (transposed, bias).

    transposed(d) returns r(x) Aᵀ d. The norm's backward pass is called, so the model must be frozen before.
    """
    bias, backward_at_zero = norm(np.zeros_like(x))
    y = norm(x)[0] - bias
    growth = (y @ y) / (backward_at_zero(y) @ x) if y.any() else 1.0  # r(x) / r(0)

    def transposed(d):
        return growth * backward_at_zero(d)

    return transposed, bias
