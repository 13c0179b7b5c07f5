"""The Transformer in idiomatic PyTorch, with copies of the weights of a model of this package.

The PyTorch model uses one product for q, k and v, scaled_dot_product_attention, and PyTorch's norms, activations and
cross-entropy. A test compares the loss and every gradient of both models. A Config with other parts than those of the
named sizes is refused.
"""

import torch
from torch import nn
from torch.nn import functional

from minitransformer.bench.sizes import check_supported_in_torch
from minitransformer.layers.feed_forward import FEED_FORWARDS
from minitransformer.layers.positions import frequencies
from minitransformer.layers.rms_norm import RMSNorm


class TorchBlock(nn.Module):
    def __init__(self, config, block):
        super().__init__()
        attention, feed_forward = block.attention, block.feed_forward
        self.heads, self.kv_heads, self.head_width = config.n_heads, config.kv_heads, config.head_width
        self.activation = FEED_FORWARDS[config.feed_forward].torch
        self.norm1, self.norm2 = norm(block.norm1), norm(block.norm2)
        self.qkv, self.out = linear(attention.w_q, attention.w_k, attention.w_v), linear(attention.w_o)
        self.up, self.down = linear(feed_forward.up), linear(feed_forward.down)
        self.gate = linear(feed_forward.gate) if FEED_FORWARDS[config.feed_forward].gated else None

    def forward(self, x, turn, cache, start: int):
        """Apply the block to x (B, T, C). `turn` is (cos, sin) or None, and `cache` is (keys, values) or None."""
        x = x + self.attend(self.norm1(x), turn, cache, start)
        h = self.norm2(x)
        hidden = [linear(h) for linear in (self.gate, self.up) if linear is not None]
        return x + self.down(self.activation(functional, *hidden))

    def attend(self, x, turn, cache, start):
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_width).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        if cache is not None:
            cache[0][:, :, start : start + T], cache[1][:, :, start : start + T] = k, v
            k, v = cache[0][:, :, : start + T], cache[1][:, :, : start + T]
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=T > 1, enable_gqa=self.heads != self.kv_heads)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))


class TorchTransformer(nn.Module):
    """A model with the weights of a Transformer of this package. Raises ValueError for an unsupported Config."""

    def __init__(self, model):
        super().__init__()
        config = model.config
        check_supported_in_torch(config)
        self.config = config
        self.embedding = nn.Embedding.from_pretrained(tensor(model.embedding.weight), freeze=False)
        self.positions = None
        if config.positions == "learned":
            self.positions = nn.Embedding.from_pretrained(tensor(model.positional_embedding.weight), freeze=False)
        self.blocks = nn.ModuleList(TorchBlock(config, block) for block in model.blocks)
        self.ln_final = norm(model.ln_final)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head.weight = (
            self.embedding.weight if config.tie_embeddings else nn.Parameter(tensor(model.lm_head.weight))
        )
        if config.positions == "rotary":
            omega = torch.from_numpy(frequencies(config.head_width, config.rope_base))
            angles = torch.arange(config.context)[:, None] * omega
            self.register_buffer("cos", angles.cos().float())
            self.register_buffer("sin", angles.sin().float())

    def hidden(self, ids, caches=None, start: int = 0):
        """Return the output of the final norm (B, T, C) for ids (B, T). ids[:, 0] has the position `start`."""
        T = ids.shape[-1]
        x, turn = self.embedding(ids), None
        if self.positions is not None:
            x = x + self.positions.weight[start : start + T]
        else:
            turn = self.cos[start : start + T], self.sin[start : start + T]
        for i, block in enumerate(self.blocks):
            x = block(x, turn, None if caches is None else caches[i], start)
        return self.ln_final(x)

    def forward(self, ids, targets):
        logits = self.head(self.hidden(ids))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def new_caches(self):
        shape = 1, self.config.kv_heads, self.config.context, self.config.head_width
        return [(torch.empty(shape), torch.empty(shape)) for _ in self.blocks]


def rotate(x, cos, sin):
    """Rotate the channels i and i + D/2 of x (B, heads, T, D) as a pair. `cos` and `sin` are (T, D/2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def tensor(*parameters):
    """Copy the data of Parameters to a tensor, concatenated along the last axis."""
    return torch.cat([torch.from_numpy(parameter.data) for parameter in parameters], dim=-1)


def norm(ours):
    kind = nn.RMSNorm if isinstance(ours, RMSNorm) else nn.LayerNorm
    theirs = kind(len(ours.gamma.data), eps=ours.eps)
    theirs.weight = nn.Parameter(tensor(ours.gamma))
    if kind is nn.LayerNorm:
        theirs.bias = nn.Parameter(tensor(ours.beta))
    return theirs


def linear(*ours):
    """Convert Linears of this package to a single nn.Linear that concatenates their outputs."""
    weight = tensor(*(one.weight for one in ours)).T.contiguous()
    theirs = nn.Linear(*reversed(weight.shape), bias=ours[0].bias is not None)
    theirs.weight = nn.Parameter(weight)
    if theirs.bias is not None:
        theirs.bias = nn.Parameter(tensor(*(one.bias for one in ours)))
    return theirs
