"""Safetensors files byte by byte, also such as no library would write, and folders of small random models."""

import json
from pathlib import Path

import numpy as np
from strategies import random_model

from minitransformer import ByteTokenizer, Config, LanguageModel
from minitransformer.interop import save_pretrained
from minitransformer.interop.huggingface import WEIGHTS_FILE
from minitransformer.text import NoTokenizer

LLAMA = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False}
SIZES = {"vocab_size": 29, "context": 12, "d_model": 12, "n_heads": 4, "n_layers": 2, "d_ff": 10}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 6,
}
CONFIGS = {
    "gpt2": Config(**SIZES, feed_forward="gelu_tanh", dropout=0.1),
    "gpt2 untied, exact": Config(**SIZES, tie_embeddings=False, eps=1e-3),
    "gpt2 float64": Config(**SIZES, feed_forward="relu", dtype="float64"),
    "llama": Config(**SIZES, **LLAMA, d_head=4),
    "llama grouped, biased, untied": Config(
        **SIZES, **LLAMA | {"bias": True}, n_kv_heads=2, d_head=6, tie_embeddings=False, rope_base=77.0
    ),
    "llama multi-query, scaled": Config(**SIZES, **LLAMA, n_kv_heads=1, d_head=8, rope_scaling=LLAMA3),
}


def save_random(name, folder, seed=0):
    """Save a random model with the configuration `name` to a folder and return it."""
    model = random_model(CONFIGS[name], seed)
    save_pretrained(LanguageModel(model, NoTokenizer(model.config.vocab_size)), folder)
    return model


def header_and_data(path):
    """Return the header of a safetensors file as a dictionary, and the bytes after it."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def tensors_of(path):
    """Return {name: array} of a file of float32 or float64."""
    header, data = header_and_data(path)
    dtypes = {"F32": np.float32, "F64": np.float64}
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtypes[entry["dtype"]])
        .reshape(entry["shape"])
        .astype(np.float64)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def write_raw(path, header, data):
    """Write a header (a dictionary or bytes) and the data after it."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + data)


def write_tensors(path, tensors, dtype="F32"):
    """Write {name: array} as a safetensors file of one dtype."""
    header, data = {}, b""
    for name, array in tensors.items():
        content = as_bytes(array, dtype)
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    write_raw(path, header, data)


def as_bytes(array, dtype):
    """Return an array's bytes in a dtype of safetensors; bfloat16 is float32 cut short."""
    if dtype == "BF16":
        return (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(array).astype({"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4"}[dtype]).tobytes()


def edit_tensors(folder, change, dtype="F32"):
    """Change the dictionary of the tensors in a folder, and write it back."""
    tensors = tensors_of(folder / WEIGHTS_FILE)
    change(tensors)
    write_tensors(folder / WEIGHTS_FILE, tensors, dtype)


def edit_config(folder, **fields):
    """Change fields of a folder's config.json; `...` removes one."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


def shard(folder, count, **index):
    """Divide the weights of a folder among `count` files with an index, whose fields may be replaced."""
    tensors = tensors_of(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).unlink()
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    weight_map = {tensor: names[i % count] for i, tensor in enumerate(tensors)}
    for name in names:
        write_tensors(folder / name, {tensor: tensors[tensor] for tensor in tensors if weight_map[tensor] == name})
    content = {"metadata": {}, "weight_map": weight_map} | index
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return weight_map


def byte_lm(**fields):
    """Return a small language model on bytes that save_pretrained can write."""
    sizes = {"vocab_size": 256, "context": 12, "d_model": 8, "n_heads": 2, "n_layers": 1}
    return LanguageModel(random_model(Config(**sizes | fields)), ByteTokenizer())
