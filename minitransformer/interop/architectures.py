"""The tensors of GPT-2, Llama, Qwen3 and OLMo 2 in the files of Hugging Face, and of two of them in llama.cpp's.

The kinds of files differ in four ways:

    names         the names of the tensors, which contain the block number
    orientation   our weights are (in, out), as are those of GPT-2 on the Hugging Face hub; all others are (out, in)
    fusion        GPT-2 stores W_q, W_k and W_v in one tensor, concatenated along the output axis
    pairing       here and on the hub, a rotary pair consists of the channels i and i + D/2 of a head; in llama.cpp, it
                  consists of 2i and 2i + 1, so its files store the rows of W_q and W_k in a different order

A Layout describes the conventions of one kind of file.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from minitransformer.transformer import Transformer

PARTS = {"weight": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}  # our name: the name in all files
TABLES = ("embedding", "positional_embedding", "lm_head")  # stored with one row per token or position in every file


@dataclass(frozen=True)
class Layout:
    """The conventions of one kind of file.

    components    dictionary from our names to the names in the file, without the last part .weight or .bias
    block         prefix of a block's tensors
    transposed    True if weights are (out, in)
    interleaved   True if rotary pairs are neighbours
    """

    components: dict
    block: str
    transposed: bool
    interleaved: bool = False


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, and the Parameters that it contains.

    name         name in the file
    parameters   names of the Parameters, which are concatenated along the output axis
    shape        shape in the file
    transposed   True if the first axis is the output
    heads        number of heads whose rows are interleaved along the first axis, or 0
    """

    name: str
    parameters: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool = False
    heads: int = 0


# The name of each component here and in the files, without the suffix .weight or .bias. A − marks a missing component.
NAMES = """
ours                  GPT-2, hub   Llama, Qwen3, OLMo 2      GGUF
embedding             wte          embed_tokens              token_embd
positional_embedding  wpe          −                         position_embd
norm1                 ln_1         input_layernorm           attn_norm
w_q+w_k+w_v           attn.c_attn  −                         attn_qkv
w_q                   −            self_attn.q_proj          attn_q
w_k                   −            self_attn.k_proj          attn_k
w_v                   −            self_attn.v_proj          attn_v
w_o                   attn.c_proj  self_attn.o_proj          attn_output
q_norm                −            self_attn.q_norm          −
k_norm                −            self_attn.k_norm          −
norm2                 ln_2         post_attention_layernorm  ffn_norm
gate                  −            mlp.gate_proj             ffn_gate
up                    mlp.c_fc     mlp.up_proj               ffn_up
down                  mlp.c_proj   mlp.down_proj             ffn_down
ln_final              ln_f         norm                      output_norm
lm_head               lm_head      lm_head                   output
"""


def names(column: int, *, without: str) -> dict:
    """Return a column of NAMES as a dictionary from our names to those in the files.

    The components in `without` are left out.
    """
    rows = [line.split() for line in NAMES.splitlines()[2:]]
    return {row[0]: row[column] for row in rows if row[column] != "−" and row[0] not in without.split()}


POST_NORMS = {"norm1": "post_attention_layernorm", "norm2": "post_feedforward_layernorm"}
LAYOUTS = {
    ("gpt2", "huggingface"): Layout(names(1, without=""), "h.{}.", transposed=False),
    ("llama", "huggingface"): Layout(names(2, without=""), "layers.{}.", transposed=True),
    ("qwen3", "huggingface"): Layout(names(2, without=""), "layers.{}.", transposed=True),
    ("olmo2", "huggingface"): Layout(names(2, without="") | POST_NORMS, "layers.{}.", transposed=True),
    ("gpt2", "gguf"): Layout(names(3, without="w_q w_k w_v"), "blk.{}.", transposed=True),
    ("llama", "gguf"): Layout(names(3, without="w_q+w_k+w_v"), "blk.{}.", transposed=True, interleaved=True),
}


def tensors(model: Transformer, layout: Layout):
    """Yield a StoredTensor for each tensor in the file of `model`."""
    config, groups = model.config, {}
    for name, parameter in model.named_parameters():
        prefix = ".".join(name.split(".")[:2]) + "." if name.startswith("blocks.") else ""
        groups.setdefault(prefix, {})[name.removeprefix(prefix)] = parameter.data.shape
    for prefix, shapes in groups.items():
        theirs = layout.block.format(prefix.split(".")[1]) if prefix else ""
        by_component = {tuple(name.split(".")[-2:]): (prefix + name, shape) for name, shape in shapes.items()}
        for (components, name), (ours, part) in product(layout.components.items(), PARTS.items()):
            held = [by_component.get((component, ours)) for component in components.split("+")]
            if not all(held):
                continue
            parameters, shapes = zip(*held, strict=True)
            shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
            transposed = layout.transposed and len(shape) == 2 and components not in TABLES
            heads = {"w_q": config.n_heads, "w_k": config.kv_heads}.get(components, 0) if layout.interleaved else 0
            shape = shape[::-1] if transposed else shape
            yield StoredTensor(f"{theirs}{name}.{part}", parameters, shape, transposed, heads)


def interleaved_rows(rows: int, heads: int):
    """Return the index in a llama.cpp file of each row of W_q or W_k.

    In a head of D rows, our row h·D/2 + i (h = 0 or 1) is half h of pair i. llama.cpp stores it at row 2i + h.
    """
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
