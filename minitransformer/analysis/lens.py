"""The logit lens (nostalgebraist, 2020): what the model would say if it stopped after each layer.

Every layer adds to one stream, and the last reads it through the final norm and the unembedding. The lens reads it so
after every layer: as if the layers above were not there. After the last it is the model's own prediction.

It does not show what a layer knows, only what has been written so far in the way that the last layer reads. Early
layers may well use other directions; the lens then shows nonsense, where a lens of their own would not (Belrose et al.,
2023).
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.hooks import record
from minitransformer.layers.softmax import softmax
from minitransformer.module import apply
from minitransformer.values import whole


@dataclass(frozen=True)
class LogitLens:
    """What the model would predict after each of T tokens if it stopped after each layer.

    layers                 L + 1 names: "embedding", "blocks.0", …; the last is the model's own prediction
    top_ids                (L + 1, T, k) the likeliest tokens, the likeliest first
    top_probabilities      (L + 1, T, k) of these
    answers                (T,) the tokens asked for, or else those that the last layer thinks likeliest
    answer_probabilities   (L + 1, T) of the answers
    answer_ranks           (L + 1, T) of the answers, where 1 is the likeliest
    """

    layers: tuple[str, ...]
    top_ids: np.ndarray
    top_probabilities: np.ndarray
    answers: np.ndarray
    answer_probabilities: np.ndarray
    answer_ranks: np.ndarray

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        return fields_as_data(self)


def logit_lens(model, ids, answers=None, k: int = 5) -> LogitLens:
    """Apply the final norm and the unembedding to the stream after each layer, at every position of ids (T,).

    answers: the token (T,) whose probability and rank to follow at each position; the model's own likeliest, unless
    given. Raises ValueError for k below 1.
    """
    whole("k", k, least=1)
    layers, stream = residual_stream(model, ids)
    if answers is None:
        answers = lens(model, stream[-1]).argmax(axis=-1)
    answers = np.asarray(answers)
    columns = {"top_ids": [], "top_probabilities": [], "answer_probabilities": [], "answer_ranks": []}
    for x in stream:
        logits = lens(model, x)
        probabilities = apply(softmax, logits)[0]
        top = likeliest(logits, k)
        own = np.take_along_axis(logits, answers[:, None], axis=-1)
        columns["top_ids"].append(top)
        columns["top_probabilities"].append(np.take_along_axis(probabilities, top, axis=-1))
        columns["answer_probabilities"].append(np.take_along_axis(probabilities, answers[:, None], axis=-1)[:, 0])
        columns["answer_ranks"].append(1 + (logits > own).sum(axis=-1))
    return LogitLens(layers, answers=answers, **{name: np.stack(column) for name, column in columns.items()})


def lens(model, x):
    """Return the logits (T, V) that the last layer reads from a stream x (T, C)."""
    return model.lm_head(model.ln_final(x)[0])[0]


def likeliest(logits, k: int):
    """Return the k greatest of logits (T, V), or all of them, as ids (T, k), the greatest first."""
    k = min(k, logits.shape[-1])
    top = np.argpartition(-logits, k - 1, axis=-1)[:, :k]
    order = np.argsort(-np.take_along_axis(logits, top, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(top, order, axis=-1)


def residual_stream(model, ids):
    """Return the names of its L + 1 stages and the stream (L + 1, T, C): after the embedding and after each block."""
    blocks = [f"blocks.{i}" for i in range(model.config.n_layers)]
    positional = [] if model.positional_embedding is None else ["positional_embedding"]
    seen = record(model, ids, ["embedding", *positional, *blocks])
    start = sum((seen[name] for name in positional), seen["embedding"])
    return ("embedding", *blocks), np.stack([start, *(seen[name] for name in blocks)])
