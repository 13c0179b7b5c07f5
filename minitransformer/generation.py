"""Generation: choose the next token from the logits, append it, repeat.

**The key–value cache.** Causal attention never changes a key or value once computed: those of earlier positions do
not depend on later ones. Keeping them, each new token costs the work of one position instead of T, though its query
still reads all keys.

**Past the context.** When the context is full, the oldest half is dropped and the rest computed again: every remaining
token has another position, and above the first block its key and value depend on the dropped tokens. Where
the window starts depends on the number of tokens alone, with or without a cache, so both see the same window at every
step.

**The end.** A model that was trained on separate texts, or on turns of a conversation, ends each with a token of its
own: to go on after that is to begin another text.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.config import Config
from minitransformer.layers.embedding import check_ids
from minitransformer.layers.softmax import softmax
from minitransformer.module import Array, apply, faster
from minitransformer.system.values import number, whole
from minitransformer.transformer import Transformer

LEAST_ROOM = 256  # positions


class LayerCache:
    """The keys and values (B, K, positions, D) that one block has computed.

    The arrays they stand in have room for more, and twice as much whenever that is used up: a long context takes memory
    only as it fills.
    """

    def __init__(self, context: int):
        self.context = context
        self.length = 0
        self.keys: Any = None
        self.values: Any = None

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Add the keys and values (..., K, T, D) of new positions; return those of all positions so far, as views."""
        start, self.length = self.length, self.length + k.shape[-2]
        if self.keys is None or self.length > self.keys.shape[-2]:
            self.keys, self.values = self.with_room(self.keys, k), self.with_room(self.values, v)
        self.keys[..., start : self.length, :] = k
        self.values[..., start : self.length, :] = v
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    def with_room(self, before, new):
        """Return an array with room for twice as many positions as now, at most the context, that begins with `before`.

        Its dtype and leading axes are those of `new` (..., K, T, D).
        """
        room = min(max(2 * self.length, LEAST_ROOM), self.context)
        array = np.empty((*new.shape[:-2], room, new.shape[-1]), new.dtype)
        if before is not None:
            array[..., : before.shape[-2], :] = before
        return array


class KeyValueCache:
    """The memory of model.predict(ids, cache=cache) of earlier positions: one LayerCache for each block."""

    def __init__(self, config: Config):
        self.layers = [LayerCache(config.context) for _ in range(config.n_layers)]

    @property
    def length(self) -> int:
        """The number of positions it holds."""
        return self.layers[0].length

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on: another continuation may follow the ones before."""
        for layer in self.layers:
            layer.length = length


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
    """Return ids (T,) or (B, T), integers, followed by max_new_tokens generated ones or fewer, as int64.

    `temperature` 0 is greedy; `top_k` is None or the number of likeliest tokens to keep, `top_p` None or the
    probability that those kept must reach. `rng` is a numpy Generator; without one, a new one seeded with 0.
    `use_cache=False` recomputes every position at every step, and gives the same but for rounding. `stop` holds ids:
    after one of them is generated nothing follows; in a batch, the row repeats it until all rows have come to one.
    Raises ValueError for settings out of range, an empty prompt or ids out of range, TypeError for a top_k or ids that
    are not integers (an empty list's are floats).
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
    """Yield the tokens of `generate` one step at a time, each () or (B,). The settings are checked before the first.

    Only ids below `vocab_size` are chosen, all unless given: a model may have room for more than its tokenizer knows.
    `cache` is None or a KeyValueCache that already holds the first positions of `ids`, not all of them. It is extended
    by the others and by all tokens but the last, as long as the context is not full.
    """
    ids = np.asarray(ids)
    check_ids(ids, model.config.vocab_size)
    if ids.ndim not in (1, 2) or not ids.size:
        raise ValueError(f"generate: the prompt must be ids (T,) or (B, T) with at least one token, not {ids.shape}")
    whole("generate: max_new_tokens", max_new_tokens, least=0)
    check_sampling(temperature, top_k, top_p)
    rng = rng if rng is not None else np.random.default_rng(0)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "rng": rng}
    return steps(model, ids.astype(np.int64), max_new_tokens, how, use_cache, list(stop), vocab_size, cache)


def steps(model, ids, max_new_tokens, how, use_cache, stop, vocab_size, cache):
    """The generator behind `stream`; `how` holds the settings of `sample`."""
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
        token = np.where(stopped, ids[..., -1], sample(logits[..., -1, :vocab_size], **how))
        ids = np.concatenate([ids, token[..., None]], axis=-1)
        yield token
        stopped = np.isin(token, stop)  # a row that has stopped repeats its stop, and so remains stopped
        if stopped.all():
            return


def window_start(length: int, context: int) -> int:
    """Return where the window over `length` tokens starts: 0 while they fit, then each time half a context later."""
    if length <= context:
        return 0
    half = max(context // 2, 1)
    return -(-(length - context) // half) * half


def sample(logits, *, temperature, top_k, top_p, rng):
    """Draw one token for each row of logits (..., V). Returns ids (...), int64.

    With logits z, at temperature τ,

        p = softmax(z / τ)                              (1)

    τ → 0 is greedy: always the likeliest. Top-k keeps the k likeliest tokens (Fan et al., 2018); top-p the smallest set
    of the likeliest whose probabilities, after top-k, reach top_p (nucleus sampling, Holtzman et al., 2020). One
    uniform number u per row, from 0 to the sum of the kept probabilities, then picks the first token whose cumulative
    probability exceeds u.

    Raises ValueError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("generate: the logits are not finite; the model's weights may be")
    if temperature == 0:
        return logits.argmax(axis=-1)
    z = logits.astype(np.float64)
    shifted = z - z.max(axis=-1, keepdims=True)  # changes no p, and lets a tiny temperature give −∞, and p = 0, not +∞
    with np.errstate(over="ignore"):
        p, _ = apply(softmax, keep_top_k(shifted / temperature, top_k))  # (1)
    if top_p is not None:
        p = faster(keep_top_p)(p, top_p)
    cumulative = p.cumsum(axis=-1)
    u = rng.random(cumulative.shape[:-1])[..., None] * cumulative[..., -1:]
    return (cumulative <= u).sum(axis=-1)


def keep_top_k(z, top_k):
    """Set all but the top_k largest of each row of z (..., V) to −∞; equal ones at the border stay. None keeps all."""
    if top_k is None or top_k >= z.shape[-1]:
        return z
    border = np.partition(z, -top_k, axis=-1)[..., -top_k, None]
    return np.where(z < border, -np.inf, z)


def keep_top_p(p, top_p):
    """Set to 0 those of each row of p (..., V) that are not needed to reach top_p, taking the likeliest first."""
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    before = ranked.cumsum(axis=-1) - ranked  # the probability of all that are likelier
    kept = np.empty_like(p)
    np.put_along_axis(kept, order, np.where(before < top_p, ranked, 0), axis=-1)
    return kept


def check_sampling(temperature, top_k, top_p):
    """Raise TypeError or ValueError, naming the setting, unless the sampling settings are in range."""
    number("generate: temperature", temperature, least=0, below=np.inf)
    if top_k is not None:
        whole("generate: top_k", top_k, least=1)
    if top_p is not None:
        number("generate: top_p", top_p, above=0, most=1)
