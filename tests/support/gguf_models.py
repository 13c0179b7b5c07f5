"""GGUF files of small random models, written as llama.cpp's converter does, with the `gguf` package's own writer."""

import gguf
import numpy as np

from minitransformer import Config
from minitransformer.text.gpt2_files import spell

COMMON = {"vocab_size": 40, "context": 16, "d_model": 64, "n_heads": 4, "n_layers": 2, "d_ff": 96}
LLAMA = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "n_kv_heads": 2, "bias": False}
CONFIGS = {
    "gpt2": Config(**COMMON, feed_forward="gelu_tanh"),
    "gpt2 untied": Config(**COMMON, feed_forward="gelu_tanh", tie_embeddings=False, eps=1e-3),
    "llama": Config(**COMMON, **LLAMA, rope_base=500.0, eps=1e-6),
    "llama untied, biased, wide heads, scaled": Config(
        **COMMON,
        **LLAMA | {"bias": True},
        d_head=32,
        tie_embeddings=False,
        rope_scaling={"rope_type": "linear", "factor": 4.0},
    ),
}
NAMES = {
    "attention.w_q": "attn_q",
    "attention.w_k": "attn_k",
    "attention.w_v": "attn_v",
    "attention.w_o": "attn_output",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
}


def permuted(weights, heads):
    """Return the rows of W_q or W_k (out, ...) as convert_hf_to_gguf.py permutes them."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def converted(model):
    """Return {name of the tensor: float32 array} of a model, in the orientation and order of llama.cpp."""
    config, p = model.config, {name: parameter.data for name, parameter in model.named_parameters()}
    tensors = {"token_embd.weight": p["embedding.weight"], "output_norm.weight": p["ln_final.gamma"]}
    if not config.tie_embeddings:
        tensors["output.weight"] = p["lm_head.weight"]
    if config.norm == "layer_norm":
        tensors["position_embd.weight"] = p["positional_embedding.weight"]
        tensors["output_norm.bias"] = p["ln_final.beta"]
    for i in range(config.n_layers):
        ours, theirs = f"blocks.{i}.", f"blk.{i}."
        for norm, name in (("norm1", "attn_norm"), ("norm2", "ffn_norm")):
            tensors[f"{theirs}{name}.weight"] = p[f"{ours}{norm}.gamma"]
            if config.norm == "layer_norm":
                tensors[f"{theirs}{name}.bias"] = p[f"{ours}{norm}.beta"]
        for name, short in NAMES.items():
            for kind in ("weight", "bias"):
                if f"{ours}{name}.{kind}" in p:
                    tensor = p[f"{ours}{name}.{kind}"].T
                    if config.positions == "rotary" and short in ("attn_q", "attn_k"):
                        tensor = permuted(tensor, config.n_heads if short == "attn_q" else config.kv_heads)
                    tensors[f"{theirs}{short}.{kind}"] = np.ascontiguousarray(tensor)
        if config.norm == "layer_norm":
            for kind in ("weight", "bias"):
                parts = [tensors.pop(f"{theirs}attn_{x}.{kind}") for x in "qkv"]
                tensors[f"{theirs}attn_qkv.{kind}"] = np.concatenate(parts)
    return tensors


def add_tokenizer(writer):
    """Add a tokenizer of all bytes, one merge and one special token, 258 in all, to the metadata of a GGUF file."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*(spell(bytes([byte])) for byte in range(256)), "ca", "<|endoftext|>"])
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["c a"])
    writer.add_eos_token_id(257)


def write_gguf(path, model, kind="F32", *, vectors="F32", tensors=None, change=None):
    """Write a model to a GGUF file, its matrices and `vectors` quantised. `change(writer)` may add to the metadata.

    Returns the tensors as a reader gets them, dequantised. `tensors`, unless None, are written in place of the model's.
    """
    config = model.config
    architecture = "gpt2" if config.positions == "learned" else "llama"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_width)
    writer.add_head_count(config.n_heads)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(config.eps)
    else:
        writer.add_head_count_kv(config.kv_heads)
        writer.add_layer_norm_rms_eps(config.eps)
        writer.add_rope_freq_base(config.rope_base)
        writer.add_rope_dimension_count(config.head_width)
        writer.add_vocab_size(config.vocab_size)
        if config.d_head is not None:
            writer.add_key_length(config.head_width)
            writer.add_value_length(config.head_width)
        if config.rope_scaling is not None:
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(config.rope_scaling["factor"])
    if change is not None:
        change(writer)
    kind, vectors = gguf.GGMLQuantizationType[kind], gguf.GGMLQuantizationType[vectors]
    read_back = {}
    for name, array in (converted(model) if tensors is None else tensors).items():
        as_kind = kind if array.ndim > 1 else vectors
        data = gguf.quants.quantize(array.astype(np.float32), as_kind)
        writer.add_tensor(name, data, raw_dtype=as_kind)
        read_back[name] = gguf.quants.dequantize(data, as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_back
