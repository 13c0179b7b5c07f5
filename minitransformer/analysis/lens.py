"""The logit lens (nostalgebraist, 2020): the prediction of the model if it stopped after each layer.

The final norm and the unembedding are applied to the stream after every layer, as if no layers followed. After the last
layer the result is the model's own prediction. The lens shows only information in the directions that the unembedding
reads. Early layers may use others, for which a trained lens may show the prediction (Belrose et al., 2023).
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.hooks import in_each_block, record
from minitransformer.layers.softmax import softmax
from minitransformer.module import apply
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int


@dataclass(frozen=True)
class LogitLens(Data):
    """The prediction after each of T tokens if the model stopped after each layer."""

    layers: tuple[str, ...]  # L + 1 names: "embedding", "blocks.0", …; the last is the model's own prediction
    top_ids: np.ndarray  # (L + 1, T, k) the most likely tokens, in descending order
    top_probabilities: np.ndarray  # (L + 1, T, k) their probabilities
    answers: np.ndarray  # (T,) the given tokens, or the most likely tokens after the last layer
    answer_probabilities: np.ndarray  # (L + 1, T) probabilities of the answers
    answer_ranks: np.ndarray  # (L + 1, T) ranks of the answers, from 1 for the most likely token


def logit_lens(model, ids, answers=None, k: int = 5) -> LogitLens:
    """Apply the final norm and the unembedding to the stream after each layer.

    ids       (T,) tokens
    answers   (T,) tokens whose probabilities and ranks are returned, one for each position (default: the model's own
              predictions)
    k         number of most likely tokens to return

    Raises ValueError if k < 1.
    """
    check_int("k", k, minimum=1)
    layers, stream = residual_stream(model, ids)
    if answers is None:
        answers = lens(model, stream[-1]).argmax(axis=-1)
    answers = np.asarray(answers)
    rows = []
    for x in stream:  # one layer at a time, since the logits of all would be large
        logits = lens(model, x)
        probabilities = apply(softmax, logits)[0]
        top = likeliest(logits, k)
        own = np.take_along_axis(logits, answers[:, None], axis=-1)
        of_top, of_answers = (np.take_along_axis(probabilities, ids, axis=-1) for ids in (top, answers[:, None]))
        rows.append((top, of_top, of_answers[:, 0], 1 + (logits > own).sum(axis=-1)))
    top_ids, top_probabilities, answer_probabilities, ranks = map(np.stack, zip(*rows, strict=True))
    return LogitLens(layers, top_ids, top_probabilities, answers, answer_probabilities, ranks)


def lens(model, x):
    return model.lm_head(model.ln_final(x)[0])[0]


def likeliest(logits, k: int):
    """Return the ids (T, min(k, V)) of the largest logits (T, V), in descending order."""
    k = min(k, logits.shape[-1])
    top = np.argpartition(-logits, k - 1, axis=-1)[:, :k]
    order = np.argsort(-np.take_along_axis(logits, top, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(top, order, axis=-1)


def residual_stream(model, ids):
    """Return the names of the L + 1 stages, and the stream (L + 1, T, C) after each."""
    blocks = in_each_block(model)
    positional = [] if model.positional_embedding is None else ["positional_embedding"]
    seen = record(model, ids, ["embedding", *positional, *blocks])
    start = sum(seen[name] for name in ("embedding", *positional))
    return ("embedding", *blocks), np.stack([start, *(seen[name] for name in blocks)])
