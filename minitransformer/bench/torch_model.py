"""The same model in PyTorch, as somebody who knows PyTorch would write it.

One product for q, k and v, scaled_dot_product_attention, PyTorch's own norms, activations and cross-entropy. `load`
takes the weights of this package's model; a test compares the loss and every gradient. Dropout and sinusoidal
positions, which no named size has, are left out.
"""

import torch
from torch import nn
from torch.nn import functional

from minitransformer.layers.positions import frequencies


class TorchBlock(nn.Module):
    """One layer: attention and feed-forward, each with its norm before it."""

    def __init__(self, config):
        super().__init__()
        C, F, D = config.d_model, config.hidden_width, config.head_width
        self.heads, self.kv_heads, self.head_width = config.n_heads, config.kv_heads, D
        self.is_gated = config.feed_forward == "swiglu"
        self.approximate = "tanh" if config.feed_forward == "gelu_tanh" else "none"
        self.norm1, self.norm2 = norm(config), norm(config)
        self.qkv = nn.Linear(C, (self.heads + 2 * self.kv_heads) * D, config.bias)
        self.out = nn.Linear(self.heads * D, C, config.bias)
        self.up = nn.Linear(C, F, config.bias)
        self.gate = nn.Linear(C, F, config.bias) if self.is_gated else None
        self.down = nn.Linear(F, C, config.bias)

    def forward(self, x, turn, cache, start: int):
        """Map x (B, T, C) to the same shape; `turn` is (cos, sin) or None, `cache` the keys and values, or None."""
        x = x + self.attend(self.norm1(x), turn, cache, start)
        h = self.norm2(x)
        if self.is_gated:
            return x + self.down(functional.silu(self.gate(h)) * self.up(h))
        return x + self.down(functional.gelu(self.up(h), approximate=self.approximate))

    def attend(self, x, turn, cache, start):
        """Return what attention adds to x."""
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
    """The model. Raises ValueError for a Config with what it leaves out."""

    def __init__(self, config):
        super().__init__()
        if config.dropout or config.positions == "sinusoidal" or config.feed_forward == "relu" or config.rope_scaling:
            raise ValueError(
                "the model in PyTorch has no dropout, sinusoidal positions, relu or scaled rotary positions"
            )
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(TorchBlock(config) for _ in range(config.n_layers))
        self.ln_final = norm(config)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        if config.positions == "rotary":
            omega = torch.from_numpy(frequencies(config.head_width, config.rope_base))
            angles = torch.arange(config.context)[:, None] * omega
            self.register_buffer("cos", angles.cos().float())
            self.register_buffer("sin", angles.sin().float())

    def hidden(self, ids, caches=None, start: int = 0):
        """Return what the last norm makes of ids (B, T): (B, T, C)."""
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
        """Return the mean cross-entropy of targets (B, T) given ids (B, T)."""
        logits = self.head(self.hidden(ids))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def last_logits(self, ids, caches, start):
        """Return the logits (V,) after the last of ids (1, T), whose first is position `start`."""
        return self.head(self.hidden(ids, caches, start)[0, -1])

    def new_caches(self):
        """Return empty keys and values for one sequence as long as the context."""
        shape = 1, self.config.kv_heads, self.config.context, self.config.head_width
        return [(torch.empty(shape), torch.empty(shape)) for _ in self.blocks]

    @torch.no_grad()
    def load(self, model) -> "TorchTransformer":
        """Take the weights of a Transformer of this package. Its matrices are (in, out), PyTorch's (out, in)."""
        self.embedding.weight.copy_(tensor(model.embedding.weight))
        self.head.weight.copy_(tensor(model.lm_head.weight))
        if self.positions is not None:
            self.positions.weight.copy_(tensor(model.positional_embedding.weight))
        load_norm(self.ln_final, model.ln_final)
        for mine, theirs in zip(self.blocks, model.blocks, strict=True):
            attention, feed_forward = theirs.attention, theirs.feed_forward
            load_norm(mine.norm1, theirs.norm1)
            load_norm(mine.norm2, theirs.norm2)
            load_linear(mine.qkv, attention.w_q, attention.w_k, attention.w_v)
            load_linear(mine.out, attention.w_o)
            load_linear(mine.up, feed_forward.up)
            load_linear(mine.down, feed_forward.down)
            if mine.is_gated:
                load_linear(mine.gate, feed_forward.gate)
        return self


def norm(config):
    """Return the norm that a Config asks for."""
    kind = nn.RMSNorm if config.norm == "rms_norm" else nn.LayerNorm
    return kind(config.d_model, eps=config.eps)


def rotate(x, cos, sin):
    """Turn x (B, heads, T, D) by the angles (T, D/2) of its positions, the halves of D being pairs."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def tensor(parameter):
    """Return a Parameter's data as a tensor."""
    return torch.from_numpy(parameter.data)


def load_norm(mine, theirs):
    """Copy gain and bias of a norm."""
    mine.weight.copy_(tensor(theirs.gamma))
    if isinstance(mine, nn.LayerNorm):
        mine.bias.copy_(tensor(theirs.beta))


def load_linear(mine, *theirs):
    """Copy weight and bias of one linear map, or of several side by side."""
    mine.weight.copy_(torch.cat([tensor(linear.weight).T for linear in theirs]))
    if mine.bias is not None:
        mine.bias.copy_(torch.cat([tensor(linear.bias) for linear in theirs]))
