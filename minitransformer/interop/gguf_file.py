"""One GGUF file, in which llama.cpp keeps a model: its metadata, its tokenizer, and its weights, most often quantised.

Quantisation keeps, for each block of 32 or 256 weights in a row, a scale and a few bits for each: Q4_1 a half-precision
scale d and minimum m and four bits q, which stand for d · q + m. The `gguf` package maps the file into memory and
dequantises a few rows at a time, whatever the kind; the model that comes out is the very one that llama.cpp runs, in
more bits than it needs.

The metadata takes the place of config.json. Every key of the architecture is either understood or refused by name, for
a key that is not understood may change what the model computes.
"""

from pathlib import Path

import numpy as np

from minitransformer.archive import ArchiveError
from minitransformer.config import Config
from minitransformer.interop.architectures import LAYOUTS
from minitransformer.interop.filling import load_model
from minitransformer.system.extras import require

MAGIC = b"GGUF"
ROTARY_FACTORS = "rope_freqs.weight"
MOST_ITEMS = 1 << 21  # in a list of metadata; a vocabulary of two million tokens would be the largest ever seen
# What reading a damaged file raises.
DAMAGE = (ValueError, KeyError, IndexError, TypeError, OverflowError, ArithmeticError, RecursionError, MemoryError)


def load_gguf(path, dtype: str):
    """Return the Transformer and the tokenizer, or None, in a GGUF file. Raises as load_pretrained does."""
    from minitransformer.interop.tokenizers import tokenizer_from_gguf

    reader = open_gguf(path)
    try:
        architecture, config = read_metadata(reader, dtype)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: {error}") from None
    tokenizer = tokenizer_from_gguf(reader)
    source = GGUFTensors(path, reader)
    del reader  # its lists of metadata, an array for each token, would be a quarter of a small model
    return load_model(source, config, LAYOUTS[architecture, "gguf"]), tokenizer


def open_gguf(path):
    """Return gguf's reader of a file. Raises OSError where it cannot be read, ArchiveError where it is no GGUF."""
    require("gguf", extra="interop")
    with open(path, "rb") as file:
        start = file.read(4)
    if start != MAGIC:
        raise ArchiveError(f"{path}: not a GGUF file{also_known(start)}")
    try:
        with np.errstate(all="raise"):
            return bounded_reader()(path)
    except DAMAGE as error:
        raise ArchiveError(f"{path}: a damaged or truncated GGUF file ({str(error) or type(error).__name__})") from None


def also_known(start: bytes) -> str:
    """Return words for what a file is instead, by its first bytes, where they tell."""
    if start.startswith(b"PK"):
        return (
            ": a zip archive, such as a wheel, a model of minitransformer (LanguageModel.load) or a pickle of PyTorch"
        )
    if start.startswith(b"\x80"):
        return ": a pickle, which would run whatever is in it when read"
    return "; of the Hugging Face layout, give the folder that holds config.json"


def bounded_reader():
    """Return gguf's GGUFReader, kept from believing sizes: it reads past the end as if nothing were there.

    A header that says a list has 2⁶⁰ items would otherwise be read until the memory is full.
    """
    from gguf import GGUFReader, GGUFValueType

    class BoundedReader(GGUFReader):
        def _get(self, offset, dtype, count=1, override_order=None):
            end = offset + np.dtype(dtype).itemsize * int(count)
            if end > self.data.size:
                raise ValueError(f"it ends at byte {self.data.size:,}, and should go on to {end:,}")
            values = np.ndarray(int(count), dtype, self.data, offset)
            return values.view(values.dtype.newbyteorder(override_order or self.byte_order))

        def _get_field_parts(self, orig_offs, raw_type):
            raw_type = int(raw_type)  # comparing a NumPy number with an enumeration is slow, and can lose a Ctrl-C
            if raw_type == GGUFValueType.ARRAY and self._get(orig_offs + 4, np.uint64)[0] > MOST_ITEMS:
                raise ValueError(f"a list of metadata has more than {MOST_ITEMS:,} items")
            return super()._get_field_parts(orig_offs, raw_type)

    return BoundedReader


def read_metadata(reader, dtype: str) -> tuple[str, Config]:
    """Return the architecture and the Config. Raises ValueError or TypeError for what is not supported."""
    metadata = Metadata(reader)
    return metadata.architecture, metadata.config(dtype)


class Metadata:
    """The metadata of a GGUF file that describe its model. Raises ValueError or TypeError for what is not supported."""

    def __init__(self, reader):
        if reader.byte_order != "I":
            raise ValueError("written for a machine of the other byte order")
        self.reader = reader
        self.architecture = self.get("general.architecture")
        if not isinstance(self.architecture, str) or self.architecture not in CONFIGS:
            raise ValueError(f"the architecture {self.architecture!r} is not supported; known are {', '.join(CONFIGS)}")
        self.tensors = {tensor.name for tensor in reader.tensors}
        self.unread = {name for name in reader.fields if name.startswith(f"{self.architecture}.")}

    def get(self, key, default=None):
        """Return the value of a key of any kind."""
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def take(self, key, default=None):
        """Return the value of a key of the architecture, now understood; without a default it must be there."""
        name = f"{self.architecture}.{key}"
        self.unread.discard(name)
        value = self.get(name, default)
        if value is None:
            raise ValueError(f"the metadata lack {name}")
        if isinstance(value, list):
            raise ValueError(f"{name} differs from block to block, which is not supported")
        return value

    def insist(self, key, value):
        """Raise ValueError unless a key of the architecture is missing or has this value."""
        actual = self.take(key, value)
        if actual != value:
            raise ValueError(f"{self.architecture}.{key} {actual!r} is not supported, only {value!r}")

    def config(self, dtype) -> Config:
        """Return the Config."""
        fields = CONFIGS[self.architecture](self)
        self.take("vocab_size", 0)  # the same as the rows of the embedding, which are there
        shapes = {tensor.name: tensor.shape for tensor in self.reader.tensors}
        for name in ("token_embd.weight", "blk.0.ffn_up.weight"):
            if name not in shapes:
                raise ValueError(f"the tensor {name} is missing")
        config = Config(
            vocab_size=int(shapes["token_embd.weight"][-1]),
            context=self.take("context_length"),
            d_model=self.take("embedding_length"),
            n_layers=self.take("block_count"),
            n_heads=self.take("attention.head_count"),
            d_ff=self.take("feed_forward_length"),
            tie_embeddings="output.weight" not in self.tensors,
            dtype=dtype,
            **fields,
        )
        if self.unread:
            name = min(self.unread)
            raise ValueError(f"the metadata {name} {self.get(name)!r} are not supported")
        return config


def gpt2_fields(metadata: Metadata) -> dict:
    """Return the fields of Config that are GPT-2's."""
    heads = metadata.take("attention.head_count")
    metadata.insist("attention.head_count_kv", heads)
    return {
        "norm": "layer_norm",
        "feed_forward": "gelu_tanh",
        "positions": "learned",
        "bias": True,
        "eps": metadata.take("attention.layer_norm_epsilon"),
    }


def llama_fields(metadata: Metadata) -> dict:
    """Return the fields of Config that are Llama's."""
    metadata.insist("expert_count", 0)
    metadata.insist("expert_used_count", 0)
    metadata.insist("tensor_data_layout", "Meta AI original pth")  # interleaved
    if ROTARY_FACTORS in metadata.tensors:
        raise ValueError(f"the rotary factors in {ROTARY_FACTORS} are not supported")
    heads, width = metadata.take("attention.head_count"), metadata.take("embedding_length")
    d_head = metadata.take("attention.key_length", width // max(heads, 1))
    metadata.insist("attention.value_length", d_head)
    metadata.insist("rope.dimension_count", d_head)
    return {
        "n_kv_heads": metadata.take("attention.head_count_kv", heads),
        "d_head": d_head,
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "positions": "rotary",
        "bias": "blk.0.attn_q.bias" in metadata.tensors,
        "eps": metadata.take("attention.layer_norm_rms_epsilon"),
        "rope_base": metadata.take("rope.freq_base", 10000.0),
        "rope_scaling": linear_scaling(metadata),
    }


CONFIGS = {"gpt2": gpt2_fields, "llama": llama_fields}


def linear_scaling(metadata: Metadata) -> dict | None:
    """Return the linear scaling of the rotary frequencies, of old style or new, or None."""
    factor = metadata.take("rope.scale_linear", 1.0)
    kind = metadata.take("rope.scaling.type", "none" if factor == 1 else "linear")
    if kind == "none":
        return None
    if kind != "linear":
        raise ValueError(f"rotary scaling of type {kind!r} is not supported, only 'linear'")
    return {"rope_type": "linear", "factor": metadata.take("rope.scaling.factor", factor)}


class GGUFTensors:
    """The tensors of a GGUF file: a source, as filling.py says. A kind that `gguf` cannot dequantise is refused."""

    def __init__(self, path, reader):
        from gguf.quants import dequantize

        self.path = Path(path)
        self.dequantize = dequantize
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.shapes = {tensor.name: tuple(map(int, reversed(tensor.shape))) for tensor in reader.tensors}
        for tensor in reader.tensors:
            try:
                with np.errstate(all="ignore"):  # what the numbers are is seen when they are read
                    dequantize(tensor.data[:1] if tensor.data.ndim > 1 else tensor.data, tensor.tensor_type)
            except NotImplementedError:
                kind = tensor.tensor_type.name
                raise ArchiveError(f"{path}: the tensor {tensor.name} is {kind}, which is not supported") from None
            except DAMAGE as error:
                raise ArchiveError(f"{path}: the tensor {tensor.name} is damaged ({error})") from None

    def read(self, name, rows, columns):
        """Return the numbers in some rows of a tensor, and in some columns of these."""
        data, kind = self.tensors[name].data, self.tensors[name].tensor_type
        if data.ndim == 1:  # a single row, of blocks
            return self.dequantize(data, kind)[rows]
        return self.dequantize(data[rows], kind)[..., columns]
