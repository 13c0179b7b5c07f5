"""How much each position contributes to a prediction: four estimates, and the ablation that they are held against.

Let y be the token that is predicted after the last of n positions, and ℓ = log p(y). Position j is credited with

(a) **attention**, the weight that the last position gives it, averaged over all heads and layers: where the model
    looked, not what it took from there (Jain and Wallace, 2019); and its rollout through the layers (see rollout.py);

(b) **value-weighted attention**, the mean over heads and layers of the length of what is moved, ‖α_j v_j W_o^h‖
    (Kobayashi et al., 2020): a head that parks its attention on a token whose value is next to nothing moves nothing;

(c) **gradient × input**, ∂ℓ/∂e_j · e_j at the token's embedding e_j (Denil et al., 2014), by one backward pass: what ℓ
    would lose, were it linear, if e_j became zero;

(d) **ablation**, what ℓ loses when the position can no longer be seen: the ground truth here, n more forward passes.

(a) and (b) see one step, from the last position, and no sign. (c) sees every path, to first order alone: where the
model is sure, log p is flat, and (c) is next to nothing for what holds it up. How well each does is its correlation
with (d) over the positions: Pearson's, which is about the few that matter, and Spearman's, for which the order of the
many that do not counts as much. Both compare with (d) as it is: where a token speaks against y, it is negative.

**What exactly is ablated** must be said, because "without it" can mean several things. Two are offered:

`hide`    no later position attends to j, in any layer and head, and the weights of what remains are renormalised:
          as if the mask had forbidden it, since softmax over fewer scores is softmax over all, renormalised. Nothing
          leaves j, so what j holds is of no account. But the last position cannot be hidden, as it makes the
          prediction and its stream begins with its own token: there, and there alone, the token is blanked.
`blank`   the embedding of j's token becomes the mean of all embeddings: its place remains, to be attended to and to
          hold what it has gathered from elsewhere; which token it is becomes unknown.

`hide` is the default: it removes the position from the flow of information, adds nothing in its place, and with rotary
positions, to hide the first token is exactly to leave it away. The price is that a head which rests on that token, when
it has nothing to do (an attention sink, Xiao et al., 2024), has to look elsewhere, and the loss shows that too. `blank`
keeps the resting place, and puts a token there that the model has never seen. Neither shows two positions that stand
in for each other: hide one and the other still tells; so the losses need not add up to anything.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import as_data, fields_as_data
from minitransformer.analysis.heads import attention_weights
from minitransformer.analysis.hooks import record, record_gradients, replaced_by
from minitransformer.analysis.residual import head_output
from minitransformer.analysis.rollout import attention_rollout
from minitransformer.layers.softmax import log_softmax
from minitransformer.values import one_of

ABLATIONS = ("hide", "blank")
MEASURES = ("attention", "rollout", "value_weighted", "gradient_times_input")
TOKENS_AT_ONCE = 4096  # of the rows of one forward pass, each with another position ablated


@dataclass(frozen=True)
class PositionContributions:
    """What each of n positions contributes to the token that is predicted after the last of them.

    target                 the id of that token
    log_probability        log p(target), in nats
    attention              (n,) and so are the next four, in the order of the file's introduction
    rollout
    value_weighted
    gradient_times_input   in nats
    ablation               in nats that the target's log-probability loses; negative where it gains
    ablated_by             "hide" or "blank"
    """

    target: int
    log_probability: float
    attention: np.ndarray
    rollout: np.ndarray
    value_weighted: np.ndarray
    gradient_times_input: np.ndarray
    ablation: np.ndarray
    ablated_by: str

    @property
    def correlations(self) -> dict:
        """Pearson's and Spearman's correlation of each measure with ablation, by name; NaN where there is none."""
        return {name: correlations(getattr(self, name), self.ablation) for name in MEASURES}

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it; a correlation that does not exist is None."""
        return fields_as_data(self) | {"correlations": as_data(self.correlations)}


def position_contributions(model, ids, target: int, *, ablation: str = "hide") -> PositionContributions:
    """Credit each position of ids (n,) with its part in predicting `target` next. `ablation` is one of ABLATIONS.

    Costs n forward passes over n tokens and a few more. Raises ValueError for an unknown ablation or a target outside
    the vocabulary, and what `predict` raises.
    """
    check_target(model, target)
    ablated = ablated_log_probabilities(model, ids, target, ablation)
    log_probability = float(log_probabilities(model, ids[None])[0, target])
    weights = attention_weights(model, ids)
    return PositionContributions(
        target=int(target),
        log_probability=log_probability,
        attention=weights[:, :, -1].mean(axis=(0, 1)),
        rollout=attention_rollout(weights)[-1],
        value_weighted=value_weighted_attention(model, ids, weights).mean(axis=(0, 1)),
        gradient_times_input=gradient_times_input(model, ids, target),
        ablation=log_probability - ablated,
        ablated_by=ablation,
    )


def check_target(model, target) -> None:
    """Raise ValueError unless `target` is in the vocabulary."""
    if not 0 <= target < model.config.vocab_size:
        raise ValueError(f"token {target} is out of range: the vocabulary has 0 … {model.config.vocab_size - 1}")


def log_probabilities(model, ids):
    """Return log p (B, V) of what follows the last of ids (B, n)."""
    return log_softmax(model.predict(ids, last_only=True)[:, 0])[0]


def value_weighted_attention(model, ids, all_weights):
    """Return ‖α_j v_j W_o^h‖ (L, H, n), the length of what each head moves from position j of ids (n,) to the last.

    all_weights: (L, H, n, n), the attention weights.
    """
    seen = record(model, ids, [f"blocks.{i}.attention.v" for i in range(model.config.n_layers)])
    lengths = []
    for i, block in enumerate(model.blocks):
        weights, v = all_weights[i], seen[f"blocks.{i}.attention.v"]
        group = len(weights) // len(v)
        values = np.repeat(v, group, axis=0)  # (H, n, D): query head h reads key–value head h // group
        moved = [head_output(block.attention, values, head) for head in range(len(weights))]
        lengths.append([alpha[-1] * np.linalg.norm(y, axis=-1) for alpha, y in zip(weights, moved, strict=True)])
    return np.array(lengths)


def gradient_times_input(model, ids, target: int):
    """Return ∂ log p(target) / ∂e_j · e_j (n,), where e_j is the token embedding at position j of ids (n,)."""

    def dlogits(logits):
        """log p = logit − log Σ exp logits, at the last position alone."""
        log_p, backward = log_softmax(logits[-1])
        dlog_p = np.zeros_like(log_p)
        dlog_p[target] = 1
        last = np.zeros_like(logits)
        last[-1] = backward(dlog_p)
        return last

    seen, gradients = record_gradients(model, ids, ["embedding"], dlogits)
    return (gradients["embedding"] * seen["embedding"]).sum(axis=-1)


def ablated_log_probabilities(model, ids, target: int, ablation: str = "hide"):
    """Return log p(target) (n,) after ids (n,), with each position ablated in turn."""
    one_of("ablation", ablation, known=ABLATIONS)
    n = len(ids)
    mean = model.embedding.weight.data.mean(axis=0)
    rows = max(TOKENS_AT_ONCE // n, 1)
    log_p = []
    for start in range(0, n, rows):
        positions = np.arange(start, min(start + rows, n))
        hooks = {"embedding": blank(positions, mean)}
        if ablation == "hide":
            names = [f"blocks.{i}.attention.weights" for i in range(model.config.n_layers)]
            hooks |= dict.fromkeys(names, hide(positions))
        with model.hooked(hooks):
            log_p.append(log_probabilities(model, np.tile(ids, (len(positions), 1)))[:, target])
    return np.concatenate(log_p)


def blank(positions, value):
    """Return a hook for `embedding` (B, n, C) that puts `value` (C,) at positions[b] of row b."""
    return replaced_by(value, (np.arange(len(positions)), positions))


def hide(positions):
    """Return a hook for attention weights (B, H, n, n), by which no query after positions[b] sees that key in row b.

    What a query has left is renormalised, w′ = w m / s with s = Σ w m, for the mask m. Its backward is a quotient's:
    dw = m (dw′ − Σ w′ dw′) / s. A query with nothing left gets zeros, as elsewhere (see layers/attention.py).
    """

    def hide_keys(weights, weights_backward):
        n = weights.shape[-1]
        seen = np.ones((len(positions), 1, n, n), weights.dtype)
        for row, position in enumerate(positions):
            seen[row, :, position + 1 :, position] = 0
        kept = weights * seen
        total = kept.sum(axis=-1, keepdims=True)
        scale = np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)
        renormalised = kept * scale

        def backward(dy):
            return weights_backward(seen * (dy - (renormalised * dy).sum(axis=-1, keepdims=True)) * scale)

        return renormalised, backward

    return hide_keys


def correlations(measure, truth) -> dict:
    """Return Pearson's and Spearman's correlation of two arrays (n,); see `pearson` for where there is none."""
    return {"pearson": pearson(measure, truth), "spearman": pearson(ranks(measure), ranks(truth))}


def ranks(x):
    """Return the rank (n,) of each entry of x (n,), from 1; equal entries share the mean of theirs.

    As scipy.stats.rankdata, which takes a second to import.
    """
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def pearson(x, y) -> float:
    """Return the correlation of x and y (n,); NaN where either is constant, or n < 3: two points are always in line."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
