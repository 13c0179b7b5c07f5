"""The contribution of each position to a prediction: four estimates, and an ablation as the ground truth.

Let y be the token that is predicted after the last of n positions, and ℓ = log p(y). There are four measures of the
contribution of position j:

(a) **attention**, the weight from the last position to j, averaged over all heads and layers. It shows where the model
    looked, not which information it read there (Jain and Wallace, 2019). Its rollout follows the weights through the
    layers (see heads.py);

(b) **value-weighted attention**, the norm of the vector that is moved, ‖α_j v_j W_o^h‖, averaged over heads and layers
    (Kobayashi et al., 2020);

(c) **gradient × input**, ∂ℓ/∂e_j · e_j at the token's embedding e_j (Denil et al., 2014), the decrease of ℓ if e_j
    became zero and ℓ were linear. When the model is certain, ℓ is flat, and this is nearly zero for all positions;

(d) **ablation**, the decrease of ℓ when the position is hidden. It takes n more forward passes and serves as the ground
    truth, with which each estimate is compared by Pearson's and Spearman's correlation.

**Two kinds of ablation**, because "without position j" can have several meanings:

`hide`    No later position attends to j, in any layer and head, and the remaining weights are renormalised. This equals
          a mask on j. The last position is blanked instead, because the prediction is made there.
`blank`   The embedding of j's token is replaced by the mean of all embeddings. Other positions can still attend to j
          and read the information that it has collected from elsewhere, but not its token.

`hide`, the default, does not add information. However, the token may be an attention sink, to which heads attend when
they have nothing to move (Xiao et al., 2024). `blank` keeps the sink, but gives it an embedding that the model has
never seen. Neither detects that two positions have the same information.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.heads import attention_rollout, attention_weights
from minitransformer.analysis.hooks import in_each_block, record_gradients, record_in_each_block, replaced_by
from minitransformer.analysis.residual import head_output
from minitransformer.layers.softmax import log_softmax
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int, one_of

ABLATIONS = ("hide", "blank")
TITLES = {  # headings of the measures and of the ablation
    "attention": "attention",
    "rollout": "rollout",
    "value_weighted": "value-wtd",
    "gradient_times_input": "grad×input",
    "ablation": "ablation",
}
MEASURES = tuple(TITLES)[:-1]
TOKENS_AT_ONCE = 4096  # tokens in one forward pass, in which each row has a different position ablated


@dataclass(frozen=True)
class PositionContributions(Data):
    """The contribution of each of n positions to the prediction after the last one."""

    target: int
    log_probability: float  # log p(target), in nats
    attention: np.ndarray  # (n,) from the last position
    rollout: np.ndarray  # (n,)
    value_weighted: np.ndarray  # (n,)
    gradient_times_input: np.ndarray  # (n,) gradient × input, in nats
    ablation: np.ndarray  # (n,) decrease of log p(target) by ablation, in nats; negative for an increase

    derived = ("correlations",)

    @property
    def correlations(self) -> dict:
        """Return the correlations of each measure with ablation.

        The values are dictionaries with the keys "pearson" and "spearman".
        """
        return {name: correlations(getattr(self, name), self.ablation) for name in MEASURES}


def position_contributions(model, ids, target: int) -> PositionContributions:
    """Measure the contribution of each position of ids (n,) to predicting `target`.

    The ablation is `hide`. The cost is n forward passes over n tokens and a few more. Raises ValueError for a target
    outside the vocabulary, and the exceptions of `predict`.
    """
    check_int("target", target, minimum=0, maximum=model.config.vocab_size - 1)
    ablated = ablated_log_probabilities(model, ids, target)
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
    )


def log_probabilities(model, ids):
    return log_softmax(model.predict(ids, last_only=True)[:, 0])[0]


def value_weighted_attention(model, ids, all_weights):
    """Return ‖α_j v_j W_o^h‖ (L, H, n) for ids (n,) and their weights (L, H, n, n)."""
    all_values = record_in_each_block(model, ids, "attention.v")
    lengths = []
    for block, weights, v in zip(model.blocks, all_weights, all_values, strict=True):
        values = np.repeat(v, len(weights) // len(v), axis=0)  # (H, n, D): H/K query heads read one key–value head
        moved = [head_output(block.attention, values, head) for head in range(len(weights))]
        lengths.append([alpha[-1] * np.linalg.norm(y, axis=-1) for alpha, y in zip(weights, moved, strict=True)])
    return np.array(lengths)


def gradient_times_input(model, ids, target: int):
    """Return ∂ log p(target) / ∂e_j · e_j (n,) for the embeddings e_j of ids (n,)."""

    def dlogits(logits):
        log_p, backward = log_softmax(logits[-1])
        dlog_p = np.zeros_like(log_p)
        dlog_p[target] = 1
        last = np.zeros_like(logits)
        last[-1] = backward(dlog_p)
        return last

    seen, gradients = record_gradients(model, ids, ["embedding"], dlogits)
    return (gradients["embedding"] * seen["embedding"]).sum(axis=-1)


def ablated_log_probabilities(model, ids, target: int, ablation: str = "hide"):
    """Return log p(target) after ids (n,) when each position in turn is ablated, as an array (n,)."""
    one_of("ablation", ablation, known=ABLATIONS)
    n = len(ids)
    mean = model.embedding.weight.data.mean(axis=0)
    rows = max(TOKENS_AT_ONCE // n, 1)
    log_p = []
    for start in range(0, n, rows):
        positions = np.arange(start, min(start + rows, n))
        hooks = {"embedding": replaced_by(mean, (np.arange(len(positions)), positions))}
        if ablation == "hide":
            if model.config.sinks:
                raise ValueError("the ablation 'hide' does not support a model with sinks; use another ablation")
            hooks |= dict.fromkeys(in_each_block(model, "attention.weights"), hide(positions))
        with model.hooked(hooks):
            log_p.append(log_probabilities(model, np.tile(ids, (len(positions), 1)))[:, target])
    return np.concatenate(log_p)


def hide(positions):
    """Return a hook for attention weights that hides one key in each row of a batch.

    In row b, the key at positions[b] is hidden. Later queries get weight zero on the hidden key, and their other
    weights are renormalised: w′ = w m / s, where m is the mask and s = Σ w m. The backward pass is that of a quotient:
    dw = m (dw′ − Σ w′ dw′) / s. If a query attends only to the hidden key, all its weights become zero, as in
    layers/attention.py.
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
    return {"pearson": pearson(measure, truth), "spearman": pearson(ranks(measure), ranks(truth))}


def strengths(values):
    """Divide values by the largest absolute value, if it is not 0."""
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def ranks(x):
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def pearson(x, y) -> float:
    """Return Pearson's correlation, or NaN if x or y (n,) is constant or if n < 3."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
