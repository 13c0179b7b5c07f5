"""The decoder-only transformer: ids in, logits out.

A position sees itself and all earlier positions. Each of the T rows of logits predicts the token after its position, so
one pass trains on all of them.

GPT-2 and Llama, here with the sizes of TinyLlama, differ only in their `Config`:

    gpt2 = Config(vocab_size=50257, context=1024, d_model=768, n_heads=12, n_layers=12, feed_forward="gelu_tanh")
    tiny_llama = Config(vocab_size=32000, context=2048, d_model=2048, n_heads=32, n_kv_heads=4, n_layers=22, d_ff=5632,
                   norm="rms_norm", feed_forward="swiglu", positions="rotary", bias=False, tie_embeddings=False)
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minitransformer.config import Config
from minitransformer.layers.attention import causal_mask
from minitransformer.layers.block import NORMS
from minitransformer.layers.dropout import Dropout
from minitransformer.layers.embedding import Embedding, Unembedding
from minitransformer.layers.modern.mixers import MIXERS
from minitransformer.layers.modern.partial_rotary import PartialRotary
from minitransformer.layers.modern.post_norm_block import BLOCKS
from minitransformer.layers.modern.softcap import CappedUnembedding
from minitransformer.layers.modern.window import window_mask
from minitransformer.layers.positions import POSITIONS, Rotary
from minitransformer.layers.recomputation import checkpointed
from minitransformer.losses import Loss, cross_entropy
from minitransformer.module import Array, Backward, Module, Parameter, apply, faster

INITIAL_STD = 0.02


class Transformer(Module):
    """A decoder-only transformer.

    The weights are initialised as in nanoGPT and in Transformers' GPT-2: weights from N(0, 0.02²), biases 0, gains 1.
    The two projections of each block that add to the residual stream, W_o and the last one of feed_forward, are drawn
    with 1/√(2L) times this standard deviation. (OpenAI's own code draws the positions with 0.01 and does not scale,
    though the paper on GPT-2 says that it does.)

    Why 1/√(2L). After L blocks the stream is the embedding plus 2L outputs. Suppose that the outputs are independent at
    the start, each of variance v. Variances of independent terms add, to 2L v. Weights multiplied by c give outputs of
    variance c² v, so with c = 1/√(2L) the outputs together add the variance v to that of the embedding, however many
    blocks there are.

    The same seed gives the same weights. The weights in float32 are those in float64, rounded. If `rng` is given, the
    weights are drawn from it instead.

    Hooks: `embedding` (B, T, C), `positional_embedding` (T, C), `blocks.i` and those of TransformerBlock, `ln_final`,
    `lm_head`.
    """

    def __init__(self, config: Config, seed: int = 0, *, rng: np.random.Generator | None = None):
        rng = np.random.default_rng(seed) if rng is None else rng
        dtype = np.dtype(config.dtype)
        C = config.d_model
        self.config = config
        self.embedding = Embedding(config.vocab_size, C, std=INITIAL_STD, rng=rng, dtype=dtype)
        table = POSITIONS[config.positions].table
        self.positional_embedding: Module | None = None
        if table is not None:
            self.positional_embedding = table(config.context, C, std=INITIAL_STD, rng=rng, dtype=dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [
            BLOCKS[config.block](
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
                rotary=rotary_of(config),
                mixer=mixer,
                qk_norm=config.qk_norm,
                qk_norm_over=config.qk_norm_over,
                sinks=config.sinks,
                attention_cap=config.attention_cap,
                d_latent=config.latent_width,
                d_rotary=config.rotary_width,
                n_experts=config.n_experts,
                n_active=config.active_experts,
                std=INITIAL_STD,
                residual_std=INITIAL_STD / math.sqrt(2 * config.n_layers),
                rng=rng,
                dtype=dtype,
            )
            for mixer in config.layer_mixers
        ]
        self.ln_final = NORMS[config.norm](C, config.eps, dtype)
        if config.tie_embeddings:
            weight = self.embedding.weight
        else:
            weight = Parameter(rng.normal(0, INITIAL_STD, (config.vocab_size, C)).astype(dtype))
        cap = config.logit_cap
        self.lm_head = Unembedding(weight) if cap is None else CappedUnembedding(weight, cap)

    def forward(self, ids: Array, *, rng: np.random.Generator | None = None) -> tuple[Array, Backward[None]]:
        """Map ids (B, T) to logits (B, T, V). If `rng` is given, dropout is applied. backward(dlogits) returns None.

            x = embedding(ids) + positional_embedding(0 … T−1)        (1)
            h = blocks(x)   (L of them, under the causal mask)        (2)
            logits = lm_head(ln_final(h))                             (3)

        `ln_final` is the last norm. `lm_head`, the head of the language model, is the unembedding, and no head of
        attention. During training, dropout is applied to the sum in (1). Rotary models omit its second term and rotate
        queries and keys instead. With tied embeddings, (1) and (3) read the same Parameter, which accumulates both
        gradients.

        Raises TypeError if the ids are not integers, and ValueError if an id is out of range or a sequence is empty or
        longer than the context.
        """
        x, backwards = self.up_to_head(ids, rng)
        logits, lm_head_backward = self.lm_head(x)  # (3)

        def backward(dlogits):
            """The same steps in reverse order."""
            dy = lm_head_backward(dlogits)
            for layer_backward in reversed(backwards):
                dy = layer_backward(dy)

        return logits, backward

    def loss(
        self,
        ids: Array,
        targets: Array,
        *,
        rng: np.random.Generator | None = None,
        recompute: bool = False,
        **options: Any,
    ) -> tuple[Loss, Callable[..., None]]:
        """Predict `targets` (B, T) from `ids` (B, T). Return the mean cross-entropy (losses.py) and its backward.

        `options` are those of cross_entropy. backward(dloss=1.0) releases the saved arrays of each layer as soon as
        they are used. This reduces the peak memory by 10 to 40 % for models of the benchmark's sizes, but a second call
        of backward raises RuntimeError. `recompute` reduces the peak further and takes up to a third more time, because
        backward runs the forward pass of each block again (see layers/recomputation.py). Raises the exceptions of
        forward and cross_entropy.
        """
        x, backwards = self.up_to_head(ids, rng, recompute)
        loss, head_backwards = head_and_loss(x, self.lm_head, targets, **options)
        backwards += head_backwards

        def backward(dloss=1.0):
            if not backwards:
                raise RuntimeError("the backward of model.loss can be called only once: it releases the activations")
            dy = dloss
            while backwards:
                dy = backwards.pop()(dy)

        return loss, backward

    def predict(self, ids: Array, *, cache: "KeyValueCache | None" = None, last_only: bool = False) -> Array:
        """Return logits (B, T, V) without saving arrays for a backward pass.

        `cache` is a KeyValueCache that contains the positions before `ids`. The positions of `ids` are appended to it.
        With `last_only`, only the logits of the last position are computed, as generation needs, and the result is
        (B, 1, V). Raises the exceptions of forward.
        """
        start = 0 if cache is None else cache.length
        x = self.embed(ids, start, None)[0]
        masks, positions = self.masks_and_positions(ids, start)
        x = faster(through_blocks)(self.blocks, x, masks=masks, positions=positions, cache=cache)
        if last_only:
            x = x[..., -1:, :]
        x = self.ln_final(x)[0]
        return self.lm_head(x)[0]

    def up_to_head(
        self, ids: Array, rng: np.random.Generator | None, recompute: bool = False
    ) -> tuple[Array, list[Backward[Any]]]:
        """Return the input of lm_head (B, T, C) and the backward functions of the steps before it, in order."""
        x, embed_backward = self.embed(ids, 0, rng)
        masks, positions = self.masks_and_positions(ids, 0)
        backwards = [embed_backward]
        for block, mask in zip(self.blocks, masks, strict=True):
            step = partial(checkpointed, block) if recompute else block
            x, block_backward = step(x, mask=mask, positions=positions, rng=rng)  # (2)
            backwards.append(block_backward)
        x, ln_final_backward = self.ln_final(x)  # (3)
        backwards.append(ln_final_backward)
        return x, backwards

    def embed(self, ids: Array, start: int, rng: np.random.Generator | None) -> tuple[Array, Backward[None]]:
        """Return the input x (B, T, C) of the first block and its backward. The first id has position `start`."""
        self.check_length(ids, start)
        e, embedding_backward = self.embedding(ids)
        p, positional_backward = None, None
        if self.positional_embedding is not None:
            p, positional_backward = self.positional_embedding(np.arange(start, start + ids.shape[-1]))
        x, dropout_backward = self.dropout(e if p is None else e + p, rng=rng)  # (1)

        def backward(dx):
            """With the rows e of the tokens and p of the positions, x = dropout(e + p).

            All sequences of the batch share the rows of the positions, so their gradient is summed over the batch:

                de = dropoutᵀ(dx)    dp = Σ_batch de                      (4)

            where fᵀ(dy) stands for f's backward. The ids have no gradient.
            """
            de = dropout_backward(dx)  # (4) ← (1)
            embedding_backward(de)
            if positional_backward is not None:
                dp = de.sum(axis=tuple(range(de.ndim - 2)))  # (4) ← (1)
                positional_backward(dp)

        return x, backward

    def check_length(self, ids: Array, start: int) -> None:
        """Raise TypeError or ValueError if `ids` is not an array (B, T) of sequences that fit in the context.

        `start` is the position of the first id.
        """
        if not isinstance(ids, np.ndarray):
            raise TypeError(f"ids must be an array of integers, not {type(ids).__name__}")
        shape = ids.shape
        if not shape or not ids.size:
            raise ValueError(f"ids must have shape (batch, positions) with at least one of each, not {shape}")
        if start + shape[-1] > self.config.context:
            before = f" in addition to {start} cached" if start else ""
            raise ValueError(
                f"a sequence must have at most {self.config.context} tokens, the context, not {shape[-1]}{before}"
            )

    def masks_and_positions(self, ids: Array, start: int) -> tuple[list[Array], Array]:
        """Return the mask of each block and the positions of `ids`. The first id has position `start`.

        A mask is causal. Where the Config gives the layer a window, it also hides the keys before the window.
        """
        T, windows = ids.shape[-1], self.config.layer_windows
        masks: dict[int | None, Array] = {w: window_mask(T, start + T, w) for w in windows if w is not None}
        masks[None] = faster(causal_mask)(T, start + T)
        return [masks[w] for w in windows[: len(self.blocks)]], np.arange(start, start + T)

    def n_parameters(self) -> int:
        """Return the number of learned scalars. Tied parameters are counted once."""
        return sum(parameter.data.size for parameter in self.parameters())

    def flops_per_token(self, T: int | None = None) -> int:
        """Return the floating-point operations of one training step, forward and backward, per token.

        `T` is the length of the sequences (default: the context). Only matrix products are counted, except those of
        adapters (lora.py), by the method `multiplications` of the modules that have one. A multiplication comes with an
        addition, and takes 2 operations in the forward pass, and 4 in the backward pass, for the gradients of its two
        factors. In attention, the scores and the averages take T·D multiplications each per head and token, because all
        T² scores are counted, including masked ones (Kaplan et al., 2020; Chowdhery et al., 2022).
        """
        length = self.config.context if T is None else T
        modules = [module for _, module in self.named_modules() if hasattr(module, "multiplications")]
        return 6 * sum(module.multiplications(length) for module in modules)


class KeyValueCache:
    """What the blocks keep of earlier positions, for model.predict(ids, cache=cache): keys and values, or a state."""

    def __init__(self, config: Config):
        self.layers: list[Any] = [MIXERS[mixer].cache(config.context) for mixer in config.layer_mixers]

    @property
    def length(self) -> int:
        """Return the number of positions in the cache."""
        return self.layers[0].length

    def truncate(self, length: int) -> None:
        """Remove all positions from `length` on, so that another continuation can follow.

        If a layer keeps a state, which cannot return to an earlier one, all positions are removed. `length` of this
        object is the number of positions that remain.
        """
        for layer in self.layers:
            layer.truncate(length)
        remaining = min(layer.length for layer in self.layers)
        for layer in self.layers:
            layer.truncate(remaining)


def rotary_of(config: Config) -> Rotary | None:
    """Return the rotary positions of a Config, or None if it has others."""
    if not POSITIONS[config.positions].turns:
        return None
    if config.rotary_fraction is None:
        return Rotary(config.rope_base, scaling=config.rope_scaling)
    return PartialRotary(config.rotary_width, config.rope_base, scaling=config.rope_scaling)


def through_blocks(blocks, x, *, masks, positions, cache):
    """Apply the blocks in order to x (..., T, C), each with its mask. `cache` stores arrays for later positions."""
    for i, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
        layer_cache = None if cache is None else cache.layers[i]
        x = block(x, mask=mask, positions=positions, cache=layer_cache)[0]
    return x


def head_and_loss(x, lm_head, targets, **options):
    """Return the loss of the logits lm_head(x), for x (B, T, C), and the two backward functions in forward order."""
    logits, lm_head_backward = lm_head(x)
    loss, loss_backward = apply(cross_entropy, logits, targets, **options)
    return loss, [lm_head_backward, loss_backward]


class TinyTransformer(Transformer):
    """A model for simple patterns: width 64, 4 heads, 2 layers, a vocabulary of 1000, and a context of 128.

    Keyword arguments override fields of the Config.
    """

    def __init__(self, seed: int = 0, **fields: Any):
        defaults = {"vocab_size": 1000, "context": 128, "d_model": 64, "n_heads": 4, "n_layers": 2}
        super().__init__(Config(**(defaults | fields)), seed)
