"""Random models of Transformers, for the tests that hold ours against them: saved, loaded, compared."""

import json
import warnings
from contextlib import contextmanager

import numpy as np
import pytest

SEEDS = range(8)
KINDS = ("gpt2", "llama", "qwen3", "olmo2")


def import_transformers():
    """Return the module, or skip the test. Warnings of its import are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@contextmanager
def float32_is_float64(torch):
    """Let Transformers compute in float64 throughout.

    Whatever a model's dtype, it computes the Llama's norm and rotary angles, the softmax of attention and the loss in
    float32, which agrees with nothing to more than seven digits. Inside this block, its float32 is float64.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch, "float", torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield


def model_of_transformers(kind, seed):
    """Return a model in float64 with a random configuration and random weights: no gain is 1 and no bias 0."""
    import torch
    import transformers

    rng = np.random.default_rng([seed, *kind.encode()])
    config = {"gpt2": random_gpt2, "llama": random_llama, "qwen3": random_qwen3, "olmo2": random_olmo2}[kind](rng)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            values = rng.standard_normal(parameter.shape) / (parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 1)
            parameter.copy_(torch.from_numpy(values))
    return model


def random_gpt2(rng):
    """Return a random GPT2Config."""
    from transformers import GPT2Config

    heads = int(rng.integers(1, 5))
    return GPT2Config(
        vocab_size=int(rng.integers(20, 50)),
        n_positions=int(rng.integers(14, 24)),
        n_embd=heads * int(rng.integers(3, 9)),
        n_layer=int(rng.integers(1, 4)),
        n_head=heads,
        n_inner=[None, int(rng.integers(5, 40))][rng.integers(2)],
        activation_function=str(rng.choice(["gelu_new", "gelu", "relu", "gelu_pytorch_tanh"])),
        layer_norm_epsilon=float(rng.choice([1e-5, 1e-3])),
        tie_word_embeddings=bool(rng.integers(2)),
        bos_token_id=None,
        eos_token_id=None,
    )


def random_llama(rng):
    """Return a random LlamaConfig: grouped, multi-query or plain heads, every kind of rotary scaling that we know."""
    from transformers import LlamaConfig

    kv_heads, group, d_head = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(2, 6))
    bias = bool(rng.integers(2))
    scaling = [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.5},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 16, "beta_fast": 4.0},
    ][rng.integers(4)]
    return LlamaConfig(
        vocab_size=int(rng.integers(20, 50)),
        hidden_size=kv_heads * group * int(rng.integers(3, 9)),
        intermediate_size=int(rng.integers(5, 40)),
        num_hidden_layers=int(rng.integers(1, 4)),
        num_attention_heads=kv_heads * group,
        num_key_value_heads=kv_heads,
        head_dim=d_head,
        max_position_embeddings=int(rng.integers(14, 24)),
        rms_norm_eps=float(rng.choice([1e-6, 1e-3])),
        tie_word_embeddings=bool(rng.integers(2)),
        rope_parameters={"rope_theta": float(rng.choice([100.0, 10000.0])), **scaling},
        attention_bias=bias,
        mlp_bias=bias,
        bos_token_id=None,
        eos_token_id=None,
    )


SHARED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SHARED += ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "rope_parameters")


def random_qwen3(rng):
    """Return a random Qwen3Config: the sizes of random_llama, and windows in some layers of some models."""
    from transformers import Qwen3Config

    llama = random_llama(rng).to_dict()
    layers = llama["num_hidden_layers"]
    windows = {"use_sliding_window": True, "sliding_window": int(rng.integers(1, 8)), "max_window_layers": layers}
    kinds = [str(kind) for kind in rng.choice(["full_attention", "sliding_attention"], layers)]
    return Qwen3Config(
        **{name: llama[name] for name in (*SHARED, "head_dim")},
        **(windows | {"layer_types": kinds} if rng.integers(2) else {}),
        bos_token_id=None,
        eos_token_id=None,
    )


def random_olmo2(rng):
    """Return a random Olmo2Config with the sizes of random_llama and heads that divide the width."""
    from transformers import Olmo2Config

    llama = random_llama(rng).to_dict()
    sizes = {name: llama[name] for name in SHARED}
    sizes["hidden_size"] = llama["num_attention_heads"] * llama["head_dim"]
    return Olmo2Config(**sizes, bos_token_id=None, eos_token_id=None, pad_token_id=None)


def in_old_style(folder):
    """Rewrite the rotary fields of a folder's config.json as Transformers wrote them before its version 5."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    parameters = content.pop("rope_parameters")
    content["rope_theta"] = parameters.pop("rope_theta")
    content["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
    path.write_text(json.dumps(content))
