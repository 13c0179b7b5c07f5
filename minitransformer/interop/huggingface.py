"""A folder in the layout of the Hugging Face hub: config.json, and the weights in model.safetensors or in shards.

A safetensors file is a header in JSON, the name, dtype, shape and place of each tensor, and then the numbers; to read
it runs nothing. The `safetensors` package reads it and holds the header against the length of the file. A pickle, which
pytorch_model.bin is, runs whatever its author wrote, so it is refused.

Sharded weights come with an index, a JSON file that says which shard holds which tensor. The names in it are names of
files in the same folder, and anything else, such as a way out of the folder, is refused.
"""

import json
import os
import re
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from minitransformer.archive import ArchiveError
from minitransformer.interop.architectures import LAYOUTS
from minitransformer.interop.configurations import CONFIG_FILE, read_config, read_json
from minitransformer.interop.filling import load_model
from minitransformer.system.extras import require

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = ("F64", "F32", "F16", "BF16")
PREFIXES = {"gpt2": "transformer.", "llama": "model."}
# Constants that older versions of Transformers stored beside the weights: masks, and the rotary frequencies.
BUFFERS = {
    "gpt2": re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
    "llama": re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
}


def load_folder(folder, dtype: str):
    """Return the Transformer and the tokenizer, or None, in a folder. Raises as load_pretrained does."""
    from minitransformer.interop.tokenizers import tokenizer_from_folder

    require("safetensors", extra="interop")
    folder = Path(folder)
    if not (folder / CONFIG_FILE).exists():
        raise FileNotFoundError(
            f"{folder}: the folder holds no {CONFIG_FILE}, so it is none of the Hugging Face layout"
        )
    architecture, config = read_config(folder / CONFIG_FILE, dtype)
    source = SafetensorsFolder(folder, architecture)
    return load_model(source, config, LAYOUTS[architecture, "huggingface"]), tokenizer_from_folder(folder)


class SafetensorsFolder:
    """The tensors of a folder by their names without prefix, the buffers left out: a source, as filling.py says."""

    def __init__(self, folder: Path, architecture: str):
        self.path = folder
        self.shapes = {}
        self.tensors = {}  # name → the file that holds the tensor, and its name there
        for path, promised in weight_files(folder):
            file = SafetensorsFile(path)
            for stored in promised - file.names:
                raise ArchiveError(f"{folder / INDEX_FILE}: {stored} should be in {path.name}, which does not hold it")
            for stored in file.names:
                name = stored.removeprefix(PREFIXES[architecture])
                if BUFFERS[architecture].fullmatch(name):
                    continue
                if name in self.tensors:
                    raise ArchiveError(f"{path}: the tensor {stored} is there twice, or in two files")
                self.tensors[name] = file, stored
                self.shapes[name] = file.shape(stored)

    def read(self, name, rows, columns):
        """Return the floating-point numbers in some rows and columns of a tensor (rows of one with one axis)."""
        file, stored = self.tensors[name]
        return file.read(stored, (rows, columns)[: len(self.shapes[name])])


def weight_files(folder: Path) -> list[tuple[Path, set]]:
    """Return each file of weights with the names that the index promises to be in it; without an index, none."""
    if (folder / WEIGHTS_FILE).exists():
        return [(folder / WEIGHTS_FILE, set())]
    if (folder / INDEX_FILE).exists():
        return list(shards(folder).items())
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise ArchiveError(
            f"{folder}: its weights are in {pickles[0]}, a pickle, which would run whatever is in it when read; "
            f"convert it to {WEIGHTS_FILE}"
        )
    raise FileNotFoundError(f"{folder}: the folder holds neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def shards(folder: Path) -> dict:
    """Return {path of a shard: names of its tensors} from the index of a folder. Raises ArchiveError if it is wrong."""
    index = folder / INDEX_FILE
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArchiveError(f"{index}: its weight_map is missing or no object")
    by_shard = {}
    for name, shard in weight_map.items():
        if not is_file_name(shard):
            raise ArchiveError(f"{index}: the shard {shard!r} is not the name of a safetensors file in the folder")
        by_shard.setdefault(folder / shard, set()).add(name)
    return by_shard


def is_file_name(name) -> bool:
    """Whether `name` is that of a safetensors file that this system can have; no path, neither here nor on another."""
    try:
        os.fsencode(name)
    except (TypeError, UnicodeEncodeError):
        return False
    return (
        name.endswith(".safetensors")
        and name == PurePosixPath(name).name == PureWindowsPath(name).name
        and name.isprintable()
    )


class SafetensorsFile:
    """One safetensors file, memory-mapped. Raises OSError where it cannot be read, ArchiveError where it is damaged."""

    def __init__(self, path: Path):
        from safetensors import SafetensorError, safe_open

        with open(path, "rb"):  # an OSError with the file's name, where safe_open's has none
            pass
        try:
            self.file = safe_open(path, framework="numpy")
            self.names = set(self.file.keys())
        except (SafetensorError, ValueError, OSError) as error:
            raise ArchiveError(f"{path}: not a safetensors file, or a damaged one ({error})") from None
        self.path = path

    def shape(self, name) -> tuple:
        """Return the shape of a tensor. Raises ArchiveError unless its dtype is floating-point and known."""
        tensor = self.file.get_slice(name)
        if tensor.get_dtype() not in DTYPES:
            raise ArchiveError(
                f"{self.path}: the tensor {name} is {tensor.get_dtype()}; supported are {', '.join(DTYPES)}"
            )
        return tuple(tensor.get_shape())

    def read(self, name, index):
        """Return a part of a tensor, at a tuple of slices."""
        tensor = self.file.get_slice(name)
        return widened(self.bfloat16_bits[name][index]) if tensor.get_dtype() == "BF16" else tensor[index]

    @cached_property
    def bfloat16_bits(self) -> dict:
        """The tensors of bfloat16 as mapped uint16: NumPy does not know the dtype, so the reader does not return them.

        It has found that the places in the header are right, so these need no second check.
        """
        with open(self.path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        return {
            name: np.memmap(self.path, "<u2", "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] == "BF16"
        }


def widened(bits):
    """Return the float32 numbers of bfloat16's bits, uint16: they are float32's upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
