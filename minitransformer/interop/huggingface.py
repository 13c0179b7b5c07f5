"""Folders in the layout of the Hugging Face hub: config.json, and weights in model.safetensors or in shards.

A safetensors file consists of a JSON header and the data. The `safetensors` package compares the header with the length
of the file. A pickle such as pytorch_model.bin can execute arbitrary code, so it is rejected. Sharded weights are in
several files (shards) of the same folder. The index, a JSON file, maps each tensor to its shard.
"""

import json
import re
from pathlib import Path

import numpy as np

from minitransformer.interop.architectures import LAYOUTS
from minitransformer.interop.configurations import CONFIG_FILE, read_config
from minitransformer.interop.filling import load_model
from minitransformer.interop.tokenizers import tokenizer_from_folder
from minitransformer.system.archive import ArchiveError
from minitransformer.system.extras import require
from minitransformer.system.validation import brief
from minitransformer.text.tokenizer import read_json

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD = re.compile(r"[\w.-]+\.safetensors")  # a name without a directory
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # NumPy has no bfloat16
LIKE_LLAMA = ("llama", "qwen3", "olmo2")
PREFIXES = {"gpt2": "transformer.", **dict.fromkeys(LIKE_LLAMA, "model.")}
# Constants that older versions of Transformers stored with the weights: masks and rotary frequencies.
BUFFERS = {
    "gpt2": re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
    **dict.fromkeys(LIKE_LLAMA, re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")),
}


def load_folder(folder: Path, dtype: str):
    """Load a Transformer and its tokenizer from a folder. The tokenizer is None if the folder has none."""
    require("safetensors", extra="interop")
    if not (folder / CONFIG_FILE).exists():
        raise FileNotFoundError(f"{folder}: the folder must contain {CONFIG_FILE} (the Hugging Face layout)")
    architecture, config = read_config(folder / CONFIG_FILE, dtype)
    source = SafetensorsFolder(folder, architecture)
    return load_model(source, config, LAYOUTS[architecture, "huggingface"]), tokenizer_from_folder(folder)


class SafetensorsFolder:
    """The tensors of a folder, without prefixes and buffers, as a source for filling.py."""

    def __init__(self, folder: Path, architecture: str):
        self.path = folder
        self.tensors = {}
        for path, promised in weight_files(folder).items():
            tensors = mapped_tensors(path)
            for stored in promised - tensors.keys():
                raise ArchiveError(f"{folder / INDEX_FILE}: {path.name} must contain {stored}, but does not")
            for stored, tensor in tensors.items():
                name = stored.removeprefix(PREFIXES[architecture])
                if BUFFERS[architecture].fullmatch(name):
                    continue
                if name in self.tensors:
                    raise ArchiveError(f"{path}: the tensor {stored} occurs twice in the files of the folder")
                self.tensors[name] = tensor
        self.shapes = {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name, rows, columns):
        part = self.tensors[name][(rows, columns)[: self.tensors[name].ndim]]
        if part.dtype == DTYPES["BF16"]:  # the upper 16 bits of a float32
            return (part.astype(np.uint32) << 16).view(np.float32)
        return part


def weight_files(folder: Path) -> dict:
    if (folder / WEIGHTS_FILE).exists():
        return {folder / WEIGHTS_FILE: set()}
    index = folder / INDEX_FILE
    if not index.exists():
        for pickle in sorted(folder.glob("*.bin")):
            raise ArchiveError(f"{folder}: its weights must be in {WEIGHTS_FILE}, not in {pickle.name}, a pickle")
        raise FileNotFoundError(f"{folder}: the folder must contain {WEIGHTS_FILE} or {INDEX_FILE}")
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArchiveError(f"{index}: weight_map must be a non-empty object, not {brief(weight_map)}")
    by_shard = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not SHARD.fullmatch(shard):
            raise ArchiveError(f"{index}: a shard must be the name of a safetensors file in the folder, not {shard!r}")
        by_shard.setdefault(folder / shard, set()).add(name)
    return by_shard


def mapped_tensors(path: Path) -> dict:
    """Map the arrays of a safetensors file into memory, and return them by name."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb") as file:  # raises an OSError with the name of the file, unlike safe_open
        start = 8 + int.from_bytes(file.read(8), "little")
        try:
            with safe_open(path, framework="numpy"):
                pass  # the header is valid
        except (SafetensorError, ValueError, OSError) as error:
            raise ArchiveError(f"{path}: expected a safetensors file, found another or damaged one ({error})") from None
        header = json.loads(file.read(start - 8))
    data, tensors = np.memmap(path, np.uint8, "r"), {}
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ArchiveError(f"{path}: the tensor {name} is {entry['dtype']}; supported are {', '.join(DTYPES)}")
        offset = start + entry["data_offsets"][0]
        tensors[name] = np.ndarray(tuple(entry["shape"]), DTYPES[entry["dtype"]], data, offset)
    return tensors
