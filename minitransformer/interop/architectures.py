"""Where the numbers of a model lie in the files of others: GPT-2 and Llama, of Hugging Face and of llama.cpp.

The four agree on what a model is made of and differ in four conventions:

    names         of every tensor; those of a block differ from block to block in a number only
    orientation   our weights are (in, out), and so are GPT-2's on the Hugging Face hub; all others are (out, in)
    fusion        GPT-2 keeps W_q, W_k and W_v side by side in one tensor: their outputs one after the other
    pairing       a rotary pair is channel i and i + D/2 of a head here and on the hub, and the neighbours 2i and 2i + 1
                  in llama.cpp's files, whose rows of W_q and W_k are stored in the order that makes them neighbours

A Layout holds the conventions of one kind of file; `tensors` lists, for a Config, every tensor that the file must have,
with its shape. What is listed is what is read and what is written: neither has a second list.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.config import Config


@dataclass(frozen=True)
class Layout:
    """The conventions of one kind of file.

    `components` has the names of tensors, without their last part, .weight or .bias. `transposed` says that weights are
    (out, in), `interleaved` that rotary pairs are neighbours.
    """

    components: dict
    block: str
    transposed: bool
    interleaved: bool = False


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, of `shape`, and the Parameters that it holds: by name, their outputs one after the other.

    `transposed` says that its first axis is the output. `heads`, if not 0, says how many heads have their rows
    interleaved, along the first axis.
    """

    name: str
    parameters: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool = False
    heads: int = 0


LAYOUTS = {
    ("gpt2", "huggingface"): Layout(
        {
            "embedding": "wte",
            "positional_embedding": "wpe",
            "norm1": "ln_1",
            "w_q, w_k, w_v": "attn.c_attn",
            "w_o": "attn.c_proj",
            "norm2": "ln_2",
            "up": "mlp.c_fc",
            "down": "mlp.c_proj",
            "ln_final": "ln_f",
            "lm_head": "lm_head",
        },
        block="h.{}.",
        transposed=False,
    ),
    ("llama", "huggingface"): Layout(
        {
            "embedding": "embed_tokens",
            "norm1": "input_layernorm",
            "w_q": "self_attn.q_proj",
            "w_k": "self_attn.k_proj",
            "w_v": "self_attn.v_proj",
            "w_o": "self_attn.o_proj",
            "norm2": "post_attention_layernorm",
            "gate": "mlp.gate_proj",
            "up": "mlp.up_proj",
            "down": "mlp.down_proj",
            "ln_final": "norm",
            "lm_head": "lm_head",
        },
        block="layers.{}.",
        transposed=True,
    ),
    ("gpt2", "gguf"): Layout(
        {
            "embedding": "token_embd",
            "positional_embedding": "position_embd",
            "norm1": "attn_norm",
            "w_q, w_k, w_v": "attn_qkv",
            "w_o": "attn_output",
            "norm2": "ffn_norm",
            "up": "ffn_up",
            "down": "ffn_down",
            "ln_final": "output_norm",
            "lm_head": "output",
        },
        block="blk.{}.",
        transposed=True,
    ),
    ("llama", "gguf"): Layout(
        {
            "embedding": "token_embd",
            "norm1": "attn_norm",
            "w_q": "attn_q",
            "w_k": "attn_k",
            "w_v": "attn_v",
            "w_o": "attn_output",
            "norm2": "ffn_norm",
            "gate": "ffn_gate",
            "up": "ffn_up",
            "down": "ffn_down",
            "ln_final": "output_norm",
            "lm_head": "output",
        },
        block="blk.{}.",
        transposed=True,
        interleaved=True,
    ),
}


def tensors(config: Config, layout: Layout):
    """Yield a StoredTensor for each tensor that a file of this layout holds, in the order of the model."""
    C, V = config.d_model, config.vocab_size
    names = layout.components
    yield StoredTensor(f"{names['embedding']}.weight", ("embedding.weight",), (V, C))
    if config.positions == "learned":
        name = f"{names['positional_embedding']}.weight"
        yield StoredTensor(name, ("positional_embedding.weight",), (config.context, C))
    for i in range(config.n_layers):
        yield from block_tensors(config, layout, layout.block.format(i), f"blocks.{i}.")
    yield from norm_tensors(config, names["ln_final"], "ln_final")
    if not config.tie_embeddings:
        yield StoredTensor(f"{names['lm_head']}.weight", ("lm_head.weight",), (V, C))


def block_tensors(config, layout, theirs, ours):
    """Yield the tensors of one block; `theirs` and `ours` are what its names begin with."""
    C, F = config.d_model, config.hidden_width
    Q, K = config.n_heads * config.head_width, config.kv_heads * config.head_width
    query_heads, key_heads = (config.n_heads, config.kv_heads) if layout.interleaved else (0, 0)
    maps = {  # what stands side by side in one tensor: features in, features out, interleaved heads
        "w_q, w_k, w_v": (C, Q + 2 * K, 0),
        "w_q": (C, Q, query_heads),
        "w_k": (C, K, key_heads),
        "w_v": (C, K, 0),
        "w_o": (Q, C, 0),
        "gate": (C, F, 0),
        "up": (C, F, 0),
        "down": (F, C, 0),
    }
    for component, name in layout.components.items():
        if component in ("norm1", "norm2"):
            yield from norm_tensors(config, theirs + name, ours + component)
        if component in maps:
            inside = "attention." if component.startswith("w_") else "feed_forward."
            parameters = [ours + inside + part for part in component.split(", ")]
            yield from linear_tensors(config, layout, theirs + name, parameters, *maps[component])


def norm_tensors(config, theirs, ours):
    """Yield the gain of a norm, and the shift of a layer norm."""
    yield StoredTensor(f"{theirs}.weight", (f"{ours}.gamma",), (config.d_model,))
    if config.norm == "layer_norm":
        yield StoredTensor(f"{theirs}.bias", (f"{ours}.beta",), (config.d_model,))


def linear_tensors(config, layout, theirs, ours, features_in, features_out, heads):
    """Yield the weight of a linear map, or of several side by side, and the bias."""
    shape = (features_out, features_in) if layout.transposed else (features_in, features_out)
    weights = tuple(f"{name}.weight" for name in ours)
    yield StoredTensor(f"{theirs}.weight", weights, shape, layout.transposed, heads)
    if config.bias:
        yield StoredTensor(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours), (features_out,), False, heads)


def interleaved_rows(rows: int, heads: int):
    """Return, for each of the rows of W_q or W_k in our order, the row at which llama.cpp stores it.

    Within a head of D rows, ours number h·D/2 + i, h = 0 or 1, is the half h of pair i, which it stores at 2i + h.
    """
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
