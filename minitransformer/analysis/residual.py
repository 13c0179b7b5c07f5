"""The residual stream taken apart: what each layer adds to it, and what that is worth to a logit.

Every layer of a transformer adds to the stream and none overwrites it, so at one position the stream that the final
norm sees is a sum (Elhage et al., 2021), of the token's and the position's embeddings, of each head's output through
its own rows of W_o, of W_o's bias, and of each feed-forward layer:

    x = x_token + x_position + Σ_l (Σ_h heads_lh W_o^h + b_o + f_l)

**Direct contributions.** The logits are not linear in x only because of the final norm, which is N(x) = r(x) A x + b:
a linear map A (the gain and, for layer normalization, the centring), a bias b, and one number r(x), the inverse of a
standard deviation or root mean square. With r(x) held at what it is, N is linear in the parts; b is a part of its own.
What a part is worth to a weighted sum of logits, d · logits, is then its inner product with one vector,

    g = r(x) Aᵀ W_Uᵀ d        and        d · logits = Σ_parts part · g + d · W_U b,

exactly: not an approximation, but an account with nothing left over. Nor does it need to know which norm it is. At zero
the gradient of r is multiplied by A0 = 0, so the norm's own backward there is r(0) Aᵀ; and since y = N(x) − b is
r(x) A x, applying that to y and comparing with x gives r(0)/r(x) · y·y. See `frozen_norm`.

This does not show what a part does through later layers, which read it too: an early head whose direct contribution is
nothing may be what all others depend on. And it takes r(x) for granted, to which every part contributes. What a part
does in all is found by replacing it: see patching.py.
"""

from dataclasses import asdict, dataclass

import numpy as np

from minitransformer.analysis.hooks import frozen, record
from minitransformer.layers.multi_head_attention import merge
from minitransformer.system.tables import table

KINDS = ("token", "position", "head", "attention bias", "feed-forward", "norm bias")


@dataclass(frozen=True)
class Component:
    """What writes to the residual stream. `kind` is one of KINDS; `layer` and `head` are None where it has none."""

    kind: str
    layer: int | None = None
    head: int | None = None

    @property
    def name(self) -> str:
        """What people call it, such as "head 1.3", head 3 (of 0, 1, 2, 3 …) of blocks.1."""
        if self.layer is None:
            return self.kind
        return f"{self.kind} {self.layer}" if self.head is None else f"{self.kind} {self.layer}.{self.head}"


@dataclass(frozen=True)
class DirectContributions:
    """What each component writes directly to one logit, or to its margin over others, at one position.

    components   N of them, in the order in which the model adds them; the last is the bias of the final norm
    values       (N,) in logits; they sum to `total`
    total        the logit, or the margin, as the model computes it
    explained    what that is, in words
    """

    components: tuple[Component, ...]
    values: np.ndarray
    total: float
    explained: str

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        rows = zip(self.components, self.values.tolist(), strict=True)
        return {
            "explained": self.explained,
            "total": self.total,
            "components": [asdict(component) | {"name": component.name, "value": value} for component, value in rows],
        }

    def largest(self, most: int | None = None) -> list[tuple[str, float]]:
        """Return (name, value) of the components, the largest first; of those after `most`, the sum as one more."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        named = [(self.components[i].name, float(self.values[i])) for i in order[:most]]
        rest = order[len(named) :]
        return [*named, (f"{len(rest)} others together", float(self.values[rest].sum()))] if len(rest) else named

    def lines(self, most: int | None = None) -> list[str]:
        """Return the largest as lines of a table, and one that says what they do not show."""
        rows = table([(name, f"{value:+z.3f}") for name, value in self.largest(most)])
        return [*rows, "Not shown: what a component does through later layers, which read it as well."]

    def __str__(self):
        title = f"direct contributions to {self.explained}: {self.total:+.3f} in all, the largest first"
        return "\n".join([title, *self.lines()])


def direct_contributions(model, ids, token: int, *, against="mean", position: int = -1) -> DirectContributions:
    """Take the logit of `token` after one position of ids (T,) apart into what each component writes to it.

    against     what the logit is compared with: "mean", the mean of all logits (a shift of all alike changes no
                probability, so this is what counts); another token, for the difference of two; or None, for the logit
    position    whose prediction it is, from 0, or from the end if negative

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
    """Return the weights (V,) of the logits whose weighted sum is explained, and its name."""
    vocab_size = model.config.vocab_size
    for i in (token, against):
        if isinstance(i, (int, np.integer)) and not 0 <= i < vocab_size:
            raise ValueError(f"token {i} is out of range: the vocabulary has 0 … {vocab_size - 1}")
    weights = np.zeros(vocab_size, dtype)
    weights[token] = 1
    if against is None:
        return weights, f"the logit of token {token}"
    if isinstance(against, str) and against == "mean":
        return weights - 1 / vocab_size, f"the logit of token {token} above the mean of all"
    if not isinstance(against, (int, np.integer)):
        raise ValueError(f"against must be a token, 'mean' or None, not {against!r}")
    weights[against] -= 1
    return weights, f"the logit of token {token} above that of token {against}"


def residual_parts(model, ids, position: int = -1):
    """Return (components, parts): parts (N, C) are what each of the N components adds to the stream at one position.

    They sum to what the final norm receives there, the activation `blocks.{L−1}`. Raises IndexError for a position
    outside ids.
    """
    T, layers = len(ids), range(model.config.n_layers)
    if not -T <= position < T:
        raise IndexError(f"position {position} is out of range: there are {T} tokens")
    positional = [] if model.positional_embedding is None else ["positional_embedding"]
    per_block = [f"blocks.{i}.{name}" for i in layers for name in ("attention.heads", "feed_forward")]
    seen = record(model, ids, ["embedding", *positional, *per_block])
    components, parts = [Component("token")], [seen["embedding"][position]]
    if positional:
        components.append(Component("position"))
        parts.append(seen["positional_embedding"][position])
    for i, block in enumerate(model.blocks):
        heads = seen[f"blocks.{i}.attention.heads"][:, [position]]
        for head in range(len(heads)):
            components.append(Component("head", i, head))
            parts.append(head_output(block.attention, heads, head)[0])
        components += [Component("attention bias", i), Component("feed-forward", i)]
        parts += [output_bias(block.attention, heads)[0], seen[f"blocks.{i}.feed_forward"][position]]
    return tuple(components), np.stack(parts)


def head_output(attention, heads, head: int):
    """Return what one of the heads (H, T, D) adds to the stream by itself, (T, C), without the bias of w_o.

    It asks w_o, with all other heads at zero, rather than take a slice of its weight: so it holds for any affine w_o.
    """
    alone = np.zeros_like(heads)
    alone[head] = heads[head]
    return attention.w_o(merge(alone))[0] - output_bias(attention, heads)


def output_bias(attention, heads):
    """Return what attention adds to the stream (T, C) when all its heads (H, T, D) are zero: the bias of w_o."""
    return attention.w_o(merge(np.zeros_like(heads)))[0]


def frozen_norm(norm, x):
    """Return (transposed, bias) of the norm N(x) = r(x) A x + b at one position x (C,), with r held at r(x).

    transposed(d) is r(x) Aᵀ d, for d (C,), and bias is b (C,). The norm's backward is called, so freeze the model.
    """
    bias, backward_at_zero = norm(np.zeros_like(x))
    y = norm(x)[0] - bias
    growth = (y @ y) / (backward_at_zero(y) @ x) if y.any() else 1.0  # r(x) / r(0)

    def transposed(d):
        return growth * backward_at_zero(d)

    return transposed, bias
