"""Generation: choose the next token from the logits, append it, and repeat.

**The key–value cache.** With causal attention, the keys and values of earlier positions do not depend on later ones, so
they never change. If they are stored, only the new position is computed for each new token, instead of all T positions.
The query of the new position still reads all keys.

**Past the context.** When the context is full, the oldest half is dropped and the rest is computed again. This is
necessary because every remaining token has a new position, and above the first block its key and value depend on the
dropped tokens. The start of the window depends only on the number of tokens. With and without a cache, the model
therefore sees the same window at every step.

**The end.** A model that was trained on separate texts, or on turns of a conversation, marks the end of each with a
special token. Tokens generated after it would belong to another text.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.layers.checks import check_ids
from minitransformer.layers.softmax import softmax
from minitransformer.module import apply, faster
from minitransformer.system.validation import check_int, number
from minitransformer.transformer import KeyValueCache, Transformer


def generate(
    model: Transformer,
    ids: ArrayLike,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    use_cache: bool = True,
    stop: Iterable[int] = (),
) -> NDArray[np.int64]:
    """Return the integers `ids` (T,) or (B, T), followed by at most max_new_tokens generated ids, as int64.

    A `temperature` of 0 always chooses the likeliest token. `sample` explains `top_k` and `top_p`. `rng` is a numpy
    Generator (default: a new one seeded with 0). `use_cache=False` recomputes every position at every step, with the
    same result up to rounding. `stop` contains ids that end the generation. In a batch, a row that has ended repeats
    its last id until all rows have ended.

    Raises ValueError for settings out of range, an empty prompt or ids out of range, and TypeError if top_k or the ids
    are not integers.
    """
    ids = np.asarray(ids)
    new = list(stream(model, ids, max_new_tokens, temperature, top_k, top_p, rng, use_cache, stop))
    return np.concatenate([ids.astype(np.int64), *(token[..., None] for token in new)], axis=-1)


def stream(
    model: Transformer,
    ids: ArrayLike,
    max_new_tokens: int = 50,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    use_cache: bool = True,
    stop: Iterable[int] = (),
    vocab_size: int | None = None,
    cache: KeyValueCache | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Yield the generated tokens of each step, as an array () or (B,). Settings are as in `generate`.

    The arguments are checked before the first step. Only ids below `vocab_size` are generated (default: all), because a
    model may have more ids than its tokenizer. `cache` is None or a KeyValueCache that contains some of the first
    positions of `ids`, but not all. The other positions and all generated tokens except the last are appended to it, as
    long as the context is not full.
    """
    ids = np.asarray(ids)
    check_ids(ids, model.config.vocab_size)
    if ids.ndim not in (1, 2) or not ids.size:
        raise ValueError(f"generate: ids must have shape (T,) or (B, T) with at least one token, not {ids.shape}")
    check_int("generate: max_new_tokens", max_new_tokens, minimum=0)
    check_sampling(temperature, top_k, top_p)
    rng = rng if rng is not None else np.random.default_rng(0)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "rng": rng}
    return steps(model, ids.astype(np.int64), max_new_tokens, settings, use_cache, list(stop), vocab_size, cache)


def steps(model, ids, max_new_tokens, settings, use_cache, stop, vocab_size, cache):
    """Yield the tokens of `stream`, whose arguments have been checked. `settings` are those of `sample`."""
    context = model.config.context
    cached_start = None if cache is None else 0
    stopped = np.zeros(ids.shape[:-1], bool)
    for _ in range(max_new_tokens):
        start = window_start(ids.shape[-1], context)
        if not use_cache:
            logits = model.predict(ids[..., start:], last_only=True)
        else:
            if start != cached_start:
                cache, cached_start = KeyValueCache(model.config), start
            logits = model.predict(ids[..., start + cache.length :], cache=cache, last_only=True)
        token = np.where(stopped, ids[..., -1], sample(logits[..., -1, :vocab_size], **settings))
        ids = np.concatenate([ids, token[..., None]], axis=-1)
        yield token
        if stop:
            stopped = np.isin(token, stop)  # a row that has ended repeats its last id, so this stays True for it
            if stopped.all():
                return


def window_start(length: int, context: int) -> int:
    """Return the first position of the window over `length` tokens.

    It is 0 while the tokens fit in the context. Whenever they no longer fit, it moves by half a context.
    """
    if length <= context:
        return 0
    half = max(context // 2, 1)
    return math.ceil((length - context) / half) * half


def sample(logits, *, temperature, top_k, top_p, rng):
    """Draw one token for each row of logits (..., V). Returns ids (...), int64.

    With logits z, at temperature τ,

        p = softmax(z / τ)                              (1)

    A temperature below 1 enlarges the differences of the logits and so favours the likelier tokens, and a temperature
    of 0 always chooses the likeliest. Top-k keeps the k likeliest tokens (Fan et al., 2018). Top-p keeps the smallest
    set of likeliest tokens whose probabilities, after top-k, sum to at least top_p (nucleus sampling, Holtzman et al.,
    2020). For each row, a number u is drawn uniformly between 0 and the sum of the kept probabilities. The result is
    the first token whose cumulative probability exceeds u.

    Raises ValueError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("generate: the logits are not finite; check the weights of the model for NaN or infinity")
    if temperature == 0:
        return logits.argmax(axis=-1)
    z = logits.astype(np.float64)
    shifted = z - z.max(axis=-1, keepdims=True)  # p stays the same, and a tiny temperature gives −∞ instead of +∞
    with np.errstate(over="ignore"):
        p, _ = apply(softmax, keep_top_k(shifted / temperature, top_k))  # (1)
    if top_p is not None:
        p = faster(keep_top_p)(p, top_p)
    cumulative = p.cumsum(axis=-1)
    u = rng.random(cumulative.shape[:-1])[..., None] * cumulative[..., -1:]
    return (cumulative <= u).sum(axis=-1)


def keep_top_k(z, top_k):
    """Set all entries of z (..., V) to −∞, except the top_k largest of each row.

    Entries equal to the smallest kept entry are also kept. With top_k None, all entries are kept.
    """
    if top_k is None or top_k >= z.shape[-1]:
        return z
    border = np.partition(z, -top_k, axis=-1)[..., -top_k, None]
    return np.where(z < border, -np.inf, z)


def keep_top_p(p, top_p):
    """Keep the largest entries of each row of p (..., V) until their sum reaches top_p. Set all others to 0."""
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    before = ranked.cumsum(axis=-1) - ranked  # the sum of all larger probabilities
    kept = np.empty_like(p)
    np.put_along_axis(kept, order, np.where(before < top_p, ranked, 0), axis=-1)
    return kept


def check_sampling(temperature, top_k, top_p):
    number("generate: temperature", temperature, minimum=0, below=np.inf)
    if top_k is not None:
        check_int("generate: top_k", top_k, minimum=1)
    if top_p is not None:
        number("generate: top_p", top_p, above=0, maximum=1)
