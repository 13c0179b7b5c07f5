"""The decoder-only transformer: ids in, logits out.

Forward, for ids (B, T):

    x = embedding(ids) + positional_embedding(0 … T−1)        (1)
    x = block(x), L times, under the causal mask              (2)
    logits = lm_head(ln_final(x))                             (3)

A position sees itself and what came before, so each of the T rows of logits predicts its next token, and one pass
trains on all of them. Rotary models leave the second term of (1) out and turn queries and keys instead.

Backward: the same steps in reverse. The positions' rows are shared by the batch, so their gradient is summed over it,

    dembedding = dx    dpositional = Σ_batch dx               (4)

and the ids have none. With tied embeddings, (1) and (3) read one Parameter, which accumulates both gradients.

With these choices GPT-2 and Llama are both just a `Config`:

    gpt2 = Config(vocab_size=50257, context=1024, d_model=768, n_heads=12, n_layers=12, feed_forward="gelu_tanh")
    llama = Config(vocab_size=32000, context=2048, d_model=2048, n_heads=32, n_kv_heads=4, n_layers=22, d_ff=5632,
                   norm="rms_norm", feed_forward="swiglu", positions="rotary", bias=False, tie_embeddings=False)
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from minitransformer.layers.attention import causal_mask
from minitransformer.layers.block import FEED_FORWARDS, NORMS, TransformerBlock
from minitransformer.layers.dropout import Dropout, check_probability
from minitransformer.layers.embedding import Embedding, Unembedding
from minitransformer.layers.positions import Rotary, SinusoidalPositions, frequencies
from minitransformer.losses import cross_entropy
from minitransformer.module import Module, Parameter

POSITIONS = ("learned", "sinusoidal", "rotary")
DTYPES = ("float32", "float64")
INITIAL_STD = 0.02


@dataclass(frozen=True)
class Config:
    """The sizes and choices that make a Transformer. Raises ValueError for one that cannot be.

    vocab_size      V, the number of different tokens
    context         the longest sequence, in tokens
    d_model         C, the width of the residual stream
    n_heads         H, query heads per block
    n_layers        L, blocks
    d_ff            F, hidden width of the feed-forward layers; None: 4 C, or for swiglu 8 ⌈C/3⌉
    n_kv_heads      K, key–value heads per block, a divisor of H; None: H
    d_head          D, channels per head; None: C / H
    norm            "layer_norm" or "rms_norm"
    feed_forward    "gelu", "gelu_tanh", "relu" or "swiglu"
    positions       "learned", "sinusoidal" or "rotary"
    bias            whether the linear maps have biases
    tie_embeddings  whether the unembedding is the embedding's own table
    dropout         probability of dropping an entry in training
    eps             ε of the norms
    rope_base       base of the rotary frequencies
    rope_scaling    None, or a dictionary for longer contexts: see layers/positions.py
    dtype           "float32" or "float64"
    """

    vocab_size: int
    context: int
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int | None = None
    n_kv_heads: int | None = None
    d_head: int | None = None
    norm: str = "layer_norm"
    feed_forward: str = "gelu"
    positions: str = "learned"
    bias: bool = True
    tie_embeddings: bool = True
    dropout: float = 0.0
    eps: float = 1e-5
    rope_base: float = 10000.0
    rope_scaling: dict | None = None
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("vocab_size", "context", "d_model", "n_heads", "n_layers", "d_ff", "n_kv_heads", "d_head"):
            value = getattr(self, name)
            optional = name in ("d_ff", "n_kv_heads", "d_head")
            if optional and value is None:
                continue
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"Config: {name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"Config: {name} must be at least 1, not {value}")
        for name, known in (
            ("norm", tuple(NORMS)),
            ("feed_forward", FEED_FORWARDS),
            ("positions", POSITIONS),
            ("dtype", DTYPES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"Config: unknown {name} {getattr(self, name)!r}; known are {', '.join(known)}")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"Config: n_heads {self.n_heads} does not divide d_model {self.d_model}; give d_head as well"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(f"Config: n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"Config: rotary positions need an even number of channels per head, not {self.head_width}"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"Config: sinusoidal positions need an even d_model, not {self.d_model}")
        if not self.eps > 0:
            raise ValueError(f"Config: eps must be positive, not {self.eps}")
        if not self.rope_base > 0:
            raise ValueError(f"Config: rope_base must be positive, not {self.rope_base}")
        check_probability(self.dropout)
        frequencies(2, self.rope_base, self.rope_scaling)  # raises ValueError for a scaling that is not known

    @property
    def hidden_width(self) -> int:
        """F: d_ff, or its default."""
        if self.d_ff is not None:
            return self.d_ff
        if self.feed_forward == "swiglu":
            return math.ceil(self.d_model / 3) * 8
        return 4 * self.d_model

    @property
    def kv_heads(self) -> int:
        """K: n_kv_heads, or its default."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """D: d_head, or its default."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    def to_dict(self) -> dict:
        """Return the fields as a dictionary that JSON can hold; Config(**dictionary) restores them."""
        return dataclasses.asdict(self)


class Transformer(Module):
    """A decoder-only transformer.

    Initialised as GPT-2: weights from N(0, 0.02²), biases 0, gains 1, and the two projections of each block that add to
    the residual stream scaled by 1/√(2L), so that the stream's variance does not grow with the number of blocks.
    The same seed gives the same weights, in float32 the rounded ones of float64.

    Hooks: `embedding` (B, T, C), `positional_embedding` (T, C), `blocks.i` and those of TransformerBlock, `ln_final`,
    `lm_head`.
    """

    def __init__(self, config: Config, seed: int = 0):
        rng = np.random.default_rng(seed)
        dtype = np.dtype(config.dtype)
        C = config.d_model
        self.config = config
        self.embedding = Embedding(config.vocab_size, C, std=INITIAL_STD, rng=rng, dtype=dtype)
        rotary = None
        if config.positions == "learned":
            self.positional_embedding = Embedding(config.context, C, std=INITIAL_STD, rng=rng, dtype=dtype)
        elif config.positions == "sinusoidal":
            self.positional_embedding = SinusoidalPositions(config.context, C, dtype)
        else:
            self.positional_embedding = None
            rotary = Rotary(config.rope_base, scaling=config.rope_scaling)
        self.dropout = Dropout(config.dropout)
        self.blocks = [
            TransformerBlock(
                C,
                config.n_heads,
                config.hidden_width,
                n_kv_heads=config.n_kv_heads,
                d_head=config.d_head,
                norm=config.norm,
                feed_forward=config.feed_forward,
                bias=config.bias,
                dropout=config.dropout,
                eps=config.eps,
                rotary=rotary,
                std=INITIAL_STD,
                residual_std=INITIAL_STD / math.sqrt(2 * config.n_layers),
                rng=rng,
                dtype=dtype,
            )
            for _ in range(config.n_layers)
        ]
        self.ln_final = NORMS[config.norm](C, config.eps, dtype)
        if config.tie_embeddings:
            self.lm_head = Unembedding(self.embedding.weight)
        else:
            weight = rng.normal(0, INITIAL_STD, (config.vocab_size, C)).astype(dtype)
            self.lm_head = Unembedding(Parameter(weight))

    def forward(self, ids, *, rng=None):
        """Map ids (B, T) to logits (B, T, V); `rng` turns dropout on. backward(dlogits) returns None.

        Raises TypeError for ids that are not integers, ValueError for ids out of range, an empty sequence, or one
        longer than the context.
        """
        logits, backwards = self.run(ids, rng)

        def backward(dlogits):
            dy = dlogits
            for layer_backward in reversed(backwards):
                dy = layer_backward(dy)

        return logits, backward

    def loss(self, ids, targets, *, rng=None, **options):
        """Return the mean cross-entropy in nats of predicting targets (B, T) from ids (B, T), and its backward.

        `options` are those of cross_entropy. Made for training: backward(dloss=1.0) drops each layer's saved
        activations as soon as they are used, which lowers the peak of memory by a third, and so can run only once;
        a second call raises RuntimeError. Raises what forward and cross_entropy raise.
        """
        logits, backwards = self.run(ids, rng)
        loss, loss_backward = cross_entropy(logits, targets, **options)
        backwards.append(loss_backward)

        def backward(dloss=1.0):
            if not backwards:
                raise RuntimeError("the backward of model.loss runs only once: its activations are freed as it goes")
            dy = dloss
            while backwards:
                dy = backwards.pop()(dy)

        return loss, backward

    def predict(self, ids, *, cache=None, last_only=False):
        """Return logits (B, T, V) without keeping what a backward pass would need.

        `cache`, a KeyValueCache, holds the positions before ids and is extended by them. `last_only` gives (B, 1, V),
        the last position alone: what generation needs, without the product of every other position with the vocabulary.
        Raises what forward raises.
        """
        start = 0 if cache is None else cache.length
        x = self.embed(ids, start, None)[0]
        mask, positions = self.mask_and_positions(ids, start)
        for i, block in enumerate(self.blocks):
            layer_cache = None if cache is None else cache.layers[i]
            x = block(x, mask=mask, positions=positions, cache=layer_cache)[0]
        if last_only:
            x = x[..., -1:, :]
        x = self.ln_final(x)[0]
        return self.lm_head(x)[0]

    def run(self, ids, rng):
        """Return logits and the backward functions of the steps, in forward order."""
        x, embed_backward = self.embed(ids, 0, rng)
        mask, positions = self.mask_and_positions(ids, 0)
        backwards = [embed_backward]
        for block in self.blocks:
            x, block_backward = block(x, mask=mask, positions=positions, rng=rng)  # (2)
            backwards.append(block_backward)
        x, ln_final_backward = self.ln_final(x)
        logits, lm_head_backward = self.lm_head(x)  # (3)
        backwards += [ln_final_backward, lm_head_backward]
        return logits, backwards

    def embed(self, ids, start, rng):
        """Return the input x (B, T, C) of the first block and its backward, for ids whose first position is `start`."""
        self.check_length(ids, start)
        x, embedding_backward = self.embedding(ids)
        positional_backward = None
        if self.positional_embedding is not None:
            p, positional_backward = self.positional_embedding(np.arange(start, start + ids.shape[-1]))
            x = x + p  # (1)
        x, dropout_backward = self.dropout(x, rng=rng)

        def backward(dx):
            dx = dropout_backward(dx)
            if positional_backward is not None:
                positional_backward(dx.sum(axis=tuple(range(dx.ndim - 2))))  # (4)
            embedding_backward(dx)  # (4)

        return x, backward

    def check_length(self, ids, start):
        """Raise ValueError for a sequence that is empty or does not fit the context, which is where positions end."""
        shape = np.shape(ids)
        if not shape or not shape[-1]:
            raise ValueError(f"ids must be (batch, positions) with at least one position, not {shape}")
        if start + shape[-1] > self.config.context:
            before = f" after {start} cached" if start else ""
            raise ValueError(f"a sequence of {shape[-1]} tokens{before} is past the context of {self.config.context}")

    def mask_and_positions(self, ids, start):
        """Return the causal mask and the positions of ids that begin at position `start`."""
        T = ids.shape[-1]
        return causal_mask(T, start + T), np.arange(start, start + T)

    def n_parameters(self) -> int:
        """Return the number of learned numbers, tied ones counted once."""
        return sum(parameter.data.size for parameter in self.parameters())

    def flops_per_token(self, T: int | None = None) -> int:
        """Return the floating-point operations of one training step, forward and backward, per token.

        `T` is the length of the sequences; the context unless given. Counts the matrix products, a multiplication
        and an addition each: 2 for each weight forward and twice that backward (the gradients of the input and of
        the weight); and for attention, whose scores and averages take 2·T·D each per head, all T² scores, masked or
        not (Kaplan et al., 2020; Chowdhery et al., 2022).
        """
        T = self.config.context if T is None else T
        weights = sum(
            module.weight.data.size
            for name, module in self.named_modules()
            if hasattr(module, "weight") and name not in ("embedding", "positional_embedding")
        )
        attention = self.config.n_layers * 2 * T * self.config.n_heads * self.config.head_width
        return 6 * (weights + attention)


class TinyTransformer(Transformer):
    """The model for the simple patterns: width 64, 4 heads, 2 layers, a vocabulary of 1000, a context of 128.

    Any field of Config can be given another value by name.
    """

    def __init__(self, seed: int = 0, **fields):
        defaults = {"vocab_size": 1000, "context": 128, "d_model": 64, "n_heads": 4, "n_layers": 2}
        super().__init__(Config(**(defaults | fields)), seed)
