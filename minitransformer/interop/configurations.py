"""Conversion between Config and the config.json of GPT-2 and Llama.

A field that changes the result of the model is either supported or rejected by name. A missing field has the default of
Transformers, but most sizes are required. Dropout affects only training, so a dropout that cannot be expressed gives a
warning.
"""

import warnings

from minitransformer.config import Config, size
from minitransformer.system.archive import archive_errors
from minitransformer.system.validation import one_of, positive, true_or_false
from minitransformer.text.tokenizer import read_json

CONFIG_FILE = "config.json"
# {field of config.json: field of Config}
SIZES = {
    "gpt2": {
        "vocab_size": "vocab_size",
        "n_positions": "context",
        "n_embd": "d_model",
        "n_head": "n_heads",
        "n_layer": "n_layers",
        "n_inner": "d_ff",
    },
    "llama": {
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context",
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "intermediate_size": "d_ff",
        "num_key_value_heads": "n_kv_heads",
        "head_dim": "d_head",
    },
}
OPTIONAL = ("n_inner", "num_key_value_heads", "head_dim")
AS_WRITTEN = {"d_ff": "hidden_width", "n_kv_heads": "kv_heads", "d_head": "head_width"}  # with the default filled in
GPT2_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
LLAMA_ACTIVATIONS = ("silu", "swish")
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
ROPE_FIELDS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "default": (),
}
# Fields of a GPT-2 that change the result, with their only supported value, which is also their default.
FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}


def read_config(path, dtype: str) -> tuple[str, Config]:
    """Return the architecture ("gpt2" or "llama") and the Config in a config.json, or raise ArchiveError."""
    content = read_json(path)
    with archive_errors(path):
        architecture = one_of("model_type", content.get("model_type"), known=SIZES)
        if content.get("quantization_config") is not None:
            raise ValueError("quantization_config is not supported; only GGUF files may have quantised weights")
        return architecture, config_of(content, dtype)


def config_of(content: dict, dtype: str) -> Config:
    sizes: dict = {}
    for theirs, ours in SIZES[content["model_type"]].items():
        if content.get(theirs) is not None:
            sizes[ours] = size(theirs, content[theirs])
        elif theirs not in OPTIONAL:
            raise ValueError(f"the field {theirs!r} is missing")
    fields = gpt2_fields(content) if content["model_type"] == "gpt2" else llama_fields(content)
    return Config(**sizes, **fields, dtype=dtype)


def gpt2_fields(content: dict) -> dict:
    for name, value in FIXED.items():
        if content.get(name, value) != value:
            raise ValueError(f"{name} {content[name]!r} is not supported, only {value}")
    activation = one_of("activation_function", content.get("activation_function", "gelu_new"), known=GPT2_ACTIVATIONS)
    return {
        "norm": "layer_norm",
        "feed_forward": GPT2_ACTIVATIONS[activation],
        "positions": "learned",
        "bias": True,
        "tie_embeddings": true_or_false("tie_word_embeddings", content.get("tie_word_embeddings", True)),
        "dropout": one_dropout({name: content.get(name, 0.1) for name in DROPOUTS}),
        "eps": positive("layer_norm_epsilon", content.get("layer_norm_epsilon", 1e-5)),
    }


def llama_fields(content: dict) -> dict:
    names = ("attention_bias", "mlp_bias", "tie_word_embeddings")
    bias, mlp_bias, tied = (true_or_false(name, content.get(name, False)) for name in names)
    if bias != mlp_bias:
        raise ValueError(f"attention_bias {bias} with mlp_bias {mlp_bias} is not supported: Config has one for both")
    one_of("hidden_act", content.get("hidden_act", "silu"), known=LLAMA_ACTIVATIONS)
    rope_base, rope_scaling = rope(content)
    return {
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "positions": "rotary",
        "bias": bias,
        "tie_embeddings": tied,
        "dropout": one_dropout({"attention_dropout": content.get("attention_dropout", 0.0), "other dropout": 0.0}),
        "eps": positive("rms_norm_eps", content.get("rms_norm_eps", 1e-6)),
        "rope_base": rope_base,
        "rope_scaling": rope_scaling,
    }


def one_dropout(probabilities: dict):
    """Return the dropout probability. If the probabilities differ, issue a warning and return 0."""
    first, *others = probabilities.values()
    if all(other == first for other in others):
        return first
    shown = ", ".join(f"{name} {p}" for name, p in probabilities.items())
    warnings.warn(
        f"read without dropout, which affects only training: Config has a single probability for {shown}", stacklevel=2
    )
    return 0.0


def rope(content) -> tuple:
    """Return the base and the scaling of the rotary frequencies. Older and newer files have different fields."""
    fields = content.get("rope_scaling") or content.get("rope_parameters") or {}
    if not isinstance(fields, dict):
        raise ValueError(f"rope_parameters must be an object, not {fields!r}")
    base = positive("rope_theta", fields.get("rope_theta", content.get("rope_theta", 10000.0)))
    kind = one_of("rope_type", fields.get("rope_type", fields.get("type", "default")), known=ROPE_FIELDS)
    known = {"rope_theta", "rope_type", "type"}.union(*ROPE_FIELDS.values())
    for name in fields.keys() - known:
        if not (name == "partial_rotary_factor" and fields[name] == 1):
            raise ValueError(f"the rotary parameter {name} {fields[name]!r} is not supported")
    if kind == "default":
        return base, None
    return base, {"rope_type": kind} | {name: fields[name] for name in ROPE_FIELDS[kind] if name in fields}


def write_config(config: Config) -> dict:
    """Return the config.json for a Config. Raises ValueError, with the field, if the format cannot express a value."""
    kinds = {"learned": ("gpt2", written_gpt2), "rotary": ("llama", written_llama)}
    if config.positions not in kinds:
        raise ValueError(f"positions {config.positions!r} cannot be written, only {' or '.join(kinds)}")
    architecture, written = kinds[config.positions]
    sizes = {theirs: getattr(config, AS_WRITTEN.get(ours, ours)) for theirs, ours in SIZES[architecture].items()}
    common = {"tie_word_embeddings": config.tie_embeddings, "torch_dtype": config.dtype}
    content = {"model_type": architecture, **sizes, **written(config), **common}
    read = config_of(content, config.dtype)
    for name in ("norm", "feed_forward", "n_kv_heads", "d_head"):
        value, only = (getattr(side, AS_WRITTEN.get(name, name)) for side in (config, read))
        if value != only:
            raise ValueError(f"{name} {value!r} cannot be written to a {architecture}, only {only!r}")
    return content


def written_gpt2(config: Config) -> dict:
    spellings = {ours: theirs for theirs, ours in reversed(GPT2_ACTIVATIONS.items())}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": spellings.get(config.feed_forward, "gelu_new"),
        "layer_norm_epsilon": config.eps,
        **dict.fromkeys(DROPOUTS, config.dropout),
    }


def written_llama(config: Config) -> dict:
    if config.d_model % config.n_heads:
        raise ValueError(f"n_heads {config.n_heads} cannot be written: in a Llama it divides d_model {config.d_model}")
    if config.dropout:
        words = "which affects only training: Transformers' Llama has none between its layers"
        warnings.warn(f"written without the dropout of {config.dropout}, {words}", stacklevel=3)
    return {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "rms_norm_eps": config.eps,
        "rope_theta": config.rope_base,
        "rope_scaling": config.rope_scaling,
    }
