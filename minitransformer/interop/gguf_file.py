"""GGUF, the file format of llama.cpp: metadata, a tokenizer, and weights, which are usually quantised.

Q4_1, for example, stores four bits q for each weight, and a half-precision scale d and minimum m for each block of 32
weights. The weight is d · q + m. The `gguf` package maps the file into memory and dequantises a few rows at a time.
Every key of the metadata is either supported or rejected by name, because an unknown key may change the model's result.
"""

from pathlib import Path

import numpy as np

from minitransformer.config import Config
from minitransformer.interop.architectures import LAYOUTS
from minitransformer.interop.filling import load_model
from minitransformer.interop.tokenizers import tokenizer_from_gguf
from minitransformer.system.archive import ArchiveError, archive_errors
from minitransformer.system.extras import require
from minitransformer.system.validation import one_of

MAGIC = b"GGUF"
# {field of Config: key of the metadata}
SIZES = {
    "context": "context_length",
    "d_model": "embedding_length",
    "n_layers": "block_count",
    "n_heads": "attention.head_count",
    "d_ff": "feed_forward_length",
}
ROTARY_FACTORS = "rope_freqs.weight"
MOST_ITEMS = 1 << 21  # values in a header, each of which takes about 500 bytes; a token takes two
# Exceptions that a damaged file can raise.
DAMAGE = (ValueError, KeyError, IndexError, TypeError, OverflowError, ArithmeticError, RecursionError, MemoryError)


def load_gguf(path, dtype: str):
    """Load a Transformer and its tokenizer from a GGUF file. The tokenizer is None if the file has none."""
    reader = open_gguf(path)
    with archive_errors(path):
        metadata = Metadata(reader)
        config, tokenizer, source = metadata.config(dtype), tokenizer_from_gguf(reader), GGUFTensors(path, reader)
    layout = LAYOUTS[metadata.architecture, "gguf"]
    del reader, metadata  # the lists of metadata have one array per token: a quarter of the memory of a small model
    return load_model(source, config, layout), tokenizer


def open_gguf(path):
    require("gguf", extra="interop")
    with open(path, "rb") as file:
        if file.read(4) != MAGIC:
            raise ArchiveError(f"{path}: expected a GGUF file, or a folder that contains config.json")
    try:
        with np.errstate(all="raise"):
            return bounded_reader()(path)
    except DAMAGE as error:
        raise ArchiveError(f"{path}: a damaged or truncated GGUF file ({str(error) or type(error).__name__})") from None


def bounded_reader():
    """Return a subclass of GGUFReader that checks sizes against the file length, and limits the number of values."""
    from gguf import GGUFReader, GGUFValueType

    class BoundedReader(GGUFReader):
        values_read = 0

        def _get(self, offset, dtype, count=1, override_order=None):
            self.values_read += 1
            if self.values_read > MOST_ITEMS:
                raise ValueError(f"its header has more than {MOST_ITEMS:,} values")
            end = offset + np.dtype(dtype).itemsize * int(count)
            if end > self.data.size:
                raise ValueError(f"the file has {self.data.size:,} bytes, but its contents extend to byte {end:,}")
            values = np.ndarray(int(count), dtype, self.data, offset)
            return values.view(values.dtype.newbyteorder(override_order or self.byte_order))

        def _get_field_parts(self, orig_offs, raw_type):
            raw_type = int(raw_type)  # comparing a NumPy number with an enum is slow and can suppress a Ctrl-C
            if raw_type == GGUFValueType.ARRAY and self._get(orig_offs + 4, np.uint64)[0] > MOST_ITEMS:
                raise ValueError(f"a list of metadata has more than {MOST_ITEMS:,} items")
            return super()._get_field_parts(orig_offs, raw_type)

    return BoundedReader


class Metadata:
    """The metadata of the model in a GGUF file. Raises ValueError or TypeError for an unsupported value."""

    def __init__(self, reader):
        if reader.byte_order != "I":
            raise ValueError("the byte order of the file must be that of this machine")
        self.reader = reader
        self.architecture = one_of("architecture", self.get("general.architecture"), known=CONFIGS)
        self.shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
        self.unread = {name for name in reader.fields if name.startswith(f"{self.architecture}.")}

    def get(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def take(self, key, default=None):
        """Return the value of an architecture key, and mark the key as read.

        Raises ValueError if the key is missing and has no default, or if the value is a list.
        """
        name = f"{self.architecture}.{key}"
        self.unread.discard(name)
        value = self.get(name, default)
        if value is None:
            raise ValueError(f"the key {name} is missing from the metadata")
        if isinstance(value, list):
            raise ValueError(f"{name} is a list, one value for each block, which is not supported")
        return value

    def require(self, key, value):
        """Raise ValueError if an architecture key has a value other than `value`. A missing key is accepted."""
        actual = self.take(key, value)
        if actual != value:
            raise ValueError(f"{self.architecture}.{key} {actual!r} is not supported, only {value!r}")

    def config(self, dtype) -> Config:
        sizes = {ours: self.take(key) for ours, key in SIZES.items()}
        fields = CONFIGS[self.architecture](self, sizes)
        self.take("vocab_size", 0)  # redundant, because the embedding has one row for each token
        for name in ("token_embd.weight", "blk.0.ffn_up.weight"):
            if name not in self.shapes:
                raise ValueError(f"the tensor {name} is missing")
        config = Config(
            vocab_size=int(self.shapes["token_embd.weight"][-1]),
            tie_embeddings="output.weight" not in self.shapes,
            dtype=dtype,
            **sizes,
            **fields,
        )
        if self.unread:
            name = min(self.unread)
            raise ValueError(f"the key {name} with the value {self.get(name)!r} is not supported")
        return config


def gpt2_fields(metadata: Metadata, sizes: dict) -> dict:
    metadata.require("attention.head_count_kv", sizes["n_heads"])
    return {
        "norm": "layer_norm",
        "feed_forward": "gelu_tanh",
        "positions": "learned",
        "bias": True,
        "eps": metadata.take("attention.layer_norm_epsilon"),
    }


def llama_fields(metadata: Metadata, sizes: dict) -> dict:
    metadata.require("expert_count", 0)
    metadata.require("expert_used_count", 0)
    metadata.require("tensor_data_layout", "Meta AI original pth")  # interleaved
    if ROTARY_FACTORS in metadata.shapes:
        raise ValueError(f"the rotary factors in {ROTARY_FACTORS} are not supported")
    d_head = metadata.take("attention.key_length", sizes["d_model"] // max(sizes["n_heads"], 1))
    metadata.require("attention.value_length", d_head)
    metadata.require("rope.dimension_count", d_head)
    return {
        "n_kv_heads": metadata.take("attention.head_count_kv", sizes["n_heads"]),
        "d_head": d_head,
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "positions": "rotary",
        "bias": "blk.0.attn_q.bias" in metadata.shapes,
        "eps": metadata.take("attention.layer_norm_rms_epsilon"),
        "rope_base": metadata.take("rope.freq_base", 10000.0),
        "rope_scaling": linear_scaling(metadata),
    }


CONFIGS = {"gpt2": gpt2_fields, "llama": llama_fields}


def linear_scaling(metadata: Metadata) -> dict | None:
    factor = metadata.take("rope.scale_linear", 1.0)
    kind = metadata.take("rope.scaling.type", "none" if factor == 1 else "linear")
    if kind == "none":
        return None
    if kind != "linear":
        raise ValueError(f"rotary scaling of type {kind!r} is not supported, only 'linear'")
    return {"rope_type": "linear", "factor": metadata.take("rope.scaling.factor", factor)}


class GGUFTensors:
    """The tensors of a GGUF file, as a source for filling.py. Raises ArchiveError for an unsupported quantisation."""

    def __init__(self, path, reader):
        from gguf.quants import dequantize

        self.path = Path(path)
        self.dequantize = dequantize
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.shapes = {tensor.name: tuple(map(int, reversed(tensor.shape))) for tensor in reader.tensors}
        for tensor in reader.tensors:
            try:
                with np.errstate(all="ignore"):  # values are checked when they are read
                    dequantize(tensor.data[:1] if tensor.data.ndim > 1 else tensor.data, tensor.tensor_type)
            except NotImplementedError:
                kind = tensor.tensor_type.name
                raise ArchiveError(f"{path}: the tensor {tensor.name} is {kind}, which is not supported") from None
            except DAMAGE as error:
                raise ArchiveError(f"{path}: the tensor {tensor.name} is damaged ({error})") from None

    def read(self, name, rows, columns):
        data, kind = self.tensors[name].data, self.tensors[name].tensor_type
        if data.ndim == 1:  # a single row of blocks
            return self.dequantize(data, kind)[rows]
        return self.dequantize(data[rows], kind)[..., columns]
