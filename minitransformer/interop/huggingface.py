"""A folder in the layout of the Hugging Face hub: config.json, and weights in model.safetensors or in shards.

A safetensors file consists of a JSON header, with the name, dtype, shape and position of each tensor, and the numbers.
Reading it executes no code. The `safetensors` package reads it and compares the header with the length of the file. A
pickle such as pytorch_model.bin can execute arbitrary code, so it is rejected.

Sharded weights have an index, a JSON file that maps each tensor to its shard. The shards must be names of files in the
same folder. Anything else, such as a path to another folder, is rejected.
"""

import json
import os
import re
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from minitransformer.interop.architectures import LAYOUTS
from minitransformer.interop.configurations import CONFIG_FILE, read_config
from minitransformer.interop.filling import load_model
from minitransformer.system.archive import ArchiveError
from minitransformer.system.extras import require
from minitransformer.text.tokenizer import read_json

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = ("F64", "F32", "F16", "BF16")
PREFIXES = {"gpt2": "transformer.", "llama": "model."}
# Constants that older versions of Transformers stored with the weights: masks and rotary frequencies.
BUFFERS = {
    "gpt2": re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
    "llama": re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"),
}


def load_folder(folder, dtype: str):
    """Return the Transformer and the tokenizer in a folder. The tokenizer is None if there is none."""
    from minitransformer.interop.tokenizers import tokenizer_from_folder

    require("safetensors", extra="interop")
    folder = Path(folder)
    if not (folder / CONFIG_FILE).exists():
        raise FileNotFoundError(f"{folder}: the folder has no {CONFIG_FILE}, so it is not in the Hugging Face layout")
    architecture, config = read_config(folder / CONFIG_FILE, dtype)
    source = SafetensorsFolder(folder, architecture)
    return load_model(source, config, LAYOUTS[architecture, "huggingface"]), tokenizer_from_folder(folder)


class SafetensorsFolder:
    """The tensors of a folder by name, without prefix and buffers: a source for filling.py."""

    def __init__(self, folder: Path, architecture: str):
        self.path = folder
        self.shapes = {}
        self.tensors = {}  # {name: (file with the tensor, name of the tensor in it)}
        for path, promised in weight_files(folder):
            file = SafetensorsFile(path)
            for stored in promised - file.names:
                raise ArchiveError(
                    f"{folder / INDEX_FILE}: {stored} should be in {path.name}, which does not contain it"
                )
            for stored in file.names:
                name = stored.removeprefix(PREFIXES[architecture])
                if BUFFERS[architecture].fullmatch(name):
                    continue
                if name in self.tensors:
                    raise ArchiveError(f"{path}: the tensor {stored} occurs twice in the files of the folder")
                self.tensors[name] = file, stored
                self.shapes[name] = file.shape(stored)

    def read(self, name, rows, columns):
        file, stored = self.tensors[name]
        return file.read(stored, (rows, columns)[: len(self.shapes[name])])


def weight_files(folder: Path) -> list[tuple[Path, set]]:
    """Return pairs (file, names of the tensors that it must contain according to the index)."""
    if (folder / WEIGHTS_FILE).exists():
        return [(folder / WEIGHTS_FILE, set())]
    if (folder / INDEX_FILE).exists():
        return list(shards(folder).items())
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise ArchiveError(
            f"{folder}: its weights are in {pickles[0]}, a pickle, which can execute code when it is read; "
            f"convert it to {WEIGHTS_FILE}"
        )
    raise FileNotFoundError(f"{folder}: the folder has neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def shards(folder: Path) -> dict:
    """Return {path of a shard: names of its tensors} from the index of a folder."""
    index = folder / INDEX_FILE
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArchiveError(f"{index}: its weight_map is missing or not an object")
    by_shard = {}
    for name, shard in weight_map.items():
        if not is_file_name(shard):
            raise ArchiveError(f"{index}: the shard {shard!r} is not the name of a safetensors file in the folder")
        by_shard.setdefault(folder / shard, set()).add(name)
    return by_shard


def is_file_name(name) -> bool:
    """Return True for a safetensors file name without any directory, on all systems."""
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
    """One memory-mapped safetensors file. Raises OSError or ArchiveError."""

    def __init__(self, path: Path):
        from safetensors import SafetensorError, safe_open

        with open(path, "rb"):  # raises an OSError with the name of the file, unlike safe_open
            pass
        try:
            self.file = safe_open(path, framework="numpy")
            self.names = set(self.file.keys())
        except (SafetensorError, ValueError, OSError) as error:
            raise ArchiveError(f"{path}: not a safetensors file, or a damaged one ({error})") from None
        self.path = path

    def shape(self, name) -> tuple:
        """Return the shape of a tensor, or raise ArchiveError for an unsupported dtype."""
        tensor = self.file.get_slice(name)
        if tensor.get_dtype() not in DTYPES:
            raise ArchiveError(
                f"{self.path}: the tensor {name} is {tensor.get_dtype()}; supported are {', '.join(DTYPES)}"
            )
        return tuple(tensor.get_shape())

    def read(self, name, index):
        tensor = self.file.get_slice(name)
        return widened(self.bfloat16_bits[name][index]) if tensor.get_dtype() == "BF16" else tensor[index]

    @cached_property
    def bfloat16_bits(self) -> dict:
        """Return the bfloat16 tensors as memory-mapped uint16, because NumPy has no bfloat16.

        The reader of safetensors has already checked the positions in the header.
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
    """Convert bfloat16 numbers, given as uint16, to float32. They are the upper 16 bits of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
