"""Conversion between Config and the config.json of GPT-2, Llama, Qwen3 and OLMo 2.

A field that changes the result of the model is either supported or rejected by name. A missing field has the default of
Transformers, but most sizes are required. Dropout affects only training, so a dropout that cannot be expressed gives a
warning.
"""

import dataclasses
import math
import warnings
from operator import itemgetter

from minitransformer.config import Config, size
from minitransformer.layers.feed_forward import FEED_FORWARDS
from minitransformer.layers.positions import POSITIONS
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
SIZES |= {"qwen3": SIZES["llama"], "olmo2": SIZES["llama"]}
OPTIONAL = ("n_inner", "num_key_value_heads", "head_dim")
# {field of Config: the property with the default filled in}
AS_WRITTEN = {"d_ff": "hidden_width", "n_kv_heads": "kv_heads", "d_head": "head_width", "windows": "layer_windows"}
AS_WRITTEN |= {"mixers": "layer_mixers", "n_active": "active_experts", "rotary_fraction": "rotary_width"}
# {architecture: parts of it that Config does not have}
MISSING = {
    "gemma2": "gains of 1 + γ, norms after the layers, scale of the embedding, or own scale of the scores",
    "gemma3": "images",
    "gemma3_text": "gains of 1 + γ, norms after the layers, scale of the embedding, or second base of rotary positions",
    "gpt_oss": "experts with biases and a clipped activation, or router with biases",
    "qwen2": "biases of the queries, keys and values alone",
    "qwen3_moe": "experts with a tensor each",
}
LAYER_TYPES = ("full_attention", "sliding_attention")
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
ROPE_FIELDS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
    "default": (),
}
# Fields of a GPT-2 that change the result, with their only supported value, which is also their default.
FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}


def read_config(path, dtype: str) -> tuple[str, Config]:
    """Return the architecture, a key of SIZES, and the Config in a config.json, or raise ArchiveError."""
    content = read_json(path)
    with archive_errors(path):
        architecture = content.get("model_type")
        if isinstance(architecture, str) and architecture in MISSING:
            raise ValueError(f"model_type {architecture!r} is not supported: Config has no {MISSING[architecture]}")
        one_of("model_type", architecture, known=SIZES)
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
    return Config(**READERS[content["model_type"]](content) | sizes, dtype=dtype)


def gpt2_fields(content: dict) -> dict:
    for name, value in FIXED.items():
        if content.get(name, value) != value:
            raise ValueError(f"{name} {content[name]!r} is not supported, only {value}")
    return {
        "norm": "layer_norm",
        "feed_forward": feed_forward_of(content, "activation_function", "gelu_new", gated=False),
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
    rope_base, rope_scaling = rope(content)
    return {
        "norm": "rms_norm",
        "feed_forward": feed_forward_of(content, "hidden_act", "silu", gated=True),
        "positions": "rotary",
        "bias": bias,
        "tie_embeddings": tied,
        "dropout": one_dropout({"attention_dropout": content.get("attention_dropout", 0.0), "other dropout": 0.0}),
        "eps": positive("rms_norm_eps", content.get("rms_norm_eps", 1e-6)),
        "rope_base": rope_base,
        "rope_scaling": rope_scaling,
    }


def qwen3_fields(content: dict) -> dict:
    check_no_bias(content)
    return llama_fields(content) | {"d_head": 128, "qk_norm": True, "windows": windows_of(content)}


def olmo2_fields(content: dict) -> dict:
    check_no_bias(content)
    added = {"block": "post_norm", "qk_norm": True, "qk_norm_over": "projection"}
    return llama_fields({"rms_norm_eps": 1e-5} | content) | added


def check_no_bias(content: dict) -> None:
    if content.get("attention_bias", False):
        raise ValueError("attention_bias True is not supported: Config has one for all layers")


READERS = {"gpt2": gpt2_fields, "llama": llama_fields, "qwen3": qwen3_fields, "olmo2": olmo2_fields}


def windows_of(content: dict) -> tuple | None:
    """Return the windows of the layers, or None if no layer has one."""
    if not content.get("use_sliding_window", False) or content.get("sliding_window") is None:
        return None
    window, layers = size("sliding_window", content["sliding_window"]), content["num_hidden_layers"]
    first = size("max_window_layers", content.get("max_window_layers", 28))
    kinds = content.get("layer_types") or [LAYER_TYPES[i >= first] for i in range(layers)]
    if len(kinds) != layers:
        raise ValueError(f"layer_types must have {layers} entries, num_hidden_layers, not {len(kinds)}")
    return tuple(window if one_of("layer_types", kind, known=LAYER_TYPES) == LAYER_TYPES[1] else None for kind in kinds)


def feed_forward_of(content: dict, name: str, default: str, *, gated: bool) -> str:
    """Return the key in FEED_FORWARDS of the activation in the field `name`."""
    known = {theirs: ours for ours, choice in FEED_FORWARDS.items() if choice.gated == gated for theirs in choice.hub}
    return known[one_of(name, content.get(name, default), known=known)]


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
    """Return the config.json for a Config, of the first architecture that can express it.

    The result is read again and compared, field by field. Raises ValueError, with a field, if no architecture can
    express the Config.
    """
    if config.positions not in WRITERS:
        raise ValueError(f"positions {config.positions!r} cannot be written, only {' or '.join(WRITERS)}")
    refusals = []
    for architecture in WRITERS[config.positions]:
        try:
            content = content_of(config, architecture)
            differing = differing_fields(config, architecture, config_of(content, config.dtype))
        except ValueError as error:
            refusals.append((math.inf, str(error)))
            continue
        if not differing:
            warn_of_dropout(config, architecture)
            return content
        name, (value, only) = next(iter(differing.items()))
        refusals.append((len(differing), f"{name} {value!r} cannot be written to a {architecture}, only {only!r}"))
    raise ValueError(min(refusals, key=itemgetter(0))[1])


def content_of(config: Config, architecture: str) -> dict:
    sizes = {theirs: getattr(config, AS_WRITTEN.get(ours, ours)) for theirs, ours in SIZES[architecture].items()}
    common = {"tie_word_embeddings": config.tie_embeddings, "torch_dtype": config.dtype}
    return {"model_type": architecture, **sizes, **WRITERS[config.positions][architecture](config), **common}


def differing_fields(config: Config, architecture: str, read: Config) -> dict:
    """Return {field: (value, value read)} of all fields that change the result of the model and that differ."""
    ignored = {"dropout"} | ({"bias"} if architecture == "gpt2" else set())  # a GPT-2 without biases has biases of zero
    if not POSITIONS[config.positions].turns:
        ignored |= {"rope_base", "rope_scaling", "rotary_fraction"}
    differing = {}
    for field in dataclasses.fields(Config):
        value, found = (getattr(side, AS_WRITTEN.get(field.name, field.name)) for side in (config, read))
        if field.name not in ignored and value != found:
            differing[field.name] = value, found
    return differing


def warn_of_dropout(config: Config, architecture: str) -> None:
    if config.dropout and architecture != "gpt2":
        words = f"which affects only training: Transformers' {architecture.capitalize()} has none between its layers"
        warnings.warn(f"written without the dropout of {config.dropout}, {words}", stacklevel=4)


def written_activation(config: Config, otherwise: str) -> str:
    """Return the name of the activation on the hub. If it has none, `otherwise`, whose difference is reported."""
    return next(iter(FEED_FORWARDS[config.feed_forward].hub), otherwise)


def check_division(config: Config, name: str) -> None:
    if config.d_model % config.n_heads:
        raise ValueError(f"n_heads {config.n_heads} cannot be written: in a {name} it divides d_model {config.d_model}")


def written_gpt2(config: Config) -> dict:
    check_division(config, "GPT-2")
    is_gated = FEED_FORWARDS[config.feed_forward].gated
    return {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new" if is_gated else written_activation(config, "gelu_new"),
        "layer_norm_epsilon": config.eps,
        **dict.fromkeys(DROPOUTS, config.dropout),
    }


def written_llama(config: Config) -> dict:
    check_division(config, "Llama")
    return {"architectures": ["LlamaForCausalLM"], "mlp_bias": config.bias, **written_rotary(config)}


def written_rotary(config: Config) -> dict:
    is_gated = FEED_FORWARDS[config.feed_forward].gated
    return {
        "hidden_act": written_activation(config, "silu") if is_gated else "silu",
        "attention_bias": config.bias,
        "rms_norm_eps": config.eps,
        "rope_theta": config.rope_base,
        "rope_scaling": config.rope_scaling,
    }


def written_qwen3(config: Config) -> dict:
    windows = [window for window in config.layer_windows if window is not None]
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "use_sliding_window": bool(windows),
        "sliding_window": windows[0] if windows else None,
        "max_window_layers": config.n_layers,
        "layer_types": [LAYER_TYPES[window is not None] for window in config.layer_windows],
        **written_rotary(config),
    }


def written_olmo2(config: Config) -> dict:
    check_division(config, "OLMo 2")
    return {"architectures": ["Olmo2ForCausalLM"], **written_rotary(config)}


WRITERS = {
    "learned": {"gpt2": written_gpt2},
    "rotary": {"llama": written_llama, "qwen3": written_qwen3, "olmo2": written_olmo2},
}
