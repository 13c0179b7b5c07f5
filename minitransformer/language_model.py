"""A language model: a transformer with the tokenizer it was trained with. Text in, logits and text out."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minitransformer.config import Config
from minitransformer.generation import stream
from minitransformer.losses import cross_entropy
from minitransformer.module import Array, apply
from minitransformer.system.archive import Archive, ArchiveError, open_archive, save_archive
from minitransformer.system.values import dictionary
from minitransformer.text import Tokenizer, sequential_blocks, tokenizer_from_dict
from minitransformer.transformer import Transformer

KIND = "language model"
PARAMETERS = "parameters."  # the prefix of the names of their arrays
MODEL_FILE = "model.npz"  # in a folder that training writes to
MOST_MISSING = 10**7  # weights; a file that lacks no more is compared name by name


class LanguageModel:
    """`model` is a Transformer, `tokenizer` any of text/. Raises ValueError where their vocabularies do not fit."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        check_vocabulary(tokenizer, model.config)
        self.model = model
        self.tokenizer = tokenizer

    def logits(self, text: str) -> Array:
        """Return the logits (T, V) after each of the T tokens of the text. It must fit the model's context."""
        return self.model.predict(self.encode(text))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids (T,) of a text, after the token that begins every text where the model was trained with one.

        Raises ValueError for a text without tokens.
        """
        ids = self.tokenizer.encode(text)
        if self.tokenizer.bos_id is not None:
            ids = np.concatenate([[self.tokenizer.bos_id], ids])
        if not len(ids):
            raise ValueError("the text is empty: there is nothing to predict from")
        return ids

    def generate(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> str:
        """Return the prompt and its continuation; the settings are those of generation.generate."""
        return prompt + "".join(self.stream(prompt, max_new_tokens, **settings))

    def stream(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> Iterator[str]:
        """Yield the continuation piece by piece. A character of several tokens comes when its last token does."""
        return self.tokenizer.decode_stream(self.stream_ids(prompt, max_new_tokens, **settings))

    def stream_ids(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> Iterator[int]:
        """Yield the ids of the continuation one by one, up to the token that ends a text, which is left out."""
        end_ids = self.tokenizer.end_ids
        settings = {"vocab_size": self.tokenizer.vocab_size, "stop": end_ids, **settings}
        ids = stream(self.model, self.encode(prompt), max_new_tokens, **settings)
        return (int(i) for i in ids if i not in end_ids)

    def perplexity(self, text: str) -> float:
        """Return exp of the mean cross-entropy in nats of each token after the first, given those before it.

        A text longer than the context is cut into blocks, each of which starts without a past. Raises ValueError for a
        text of fewer than two tokens.
        """
        ids = self.encode(text)
        if len(ids) < 2:
            raise ValueError(f"perplexity needs at least 2 tokens, and the text has {len(ids)}")
        return math.exp(mean_loss(self.model, ids))

    def save(
        self,
        path: str | os.PathLike[str],
        extra_arrays: dict[str, Any] | None = None,
        extra_description: dict[str, Any] | None = None,
    ) -> None:
        """Write model, configuration and tokenizer to one file, atomically; training adds its own state to it."""
        arrays = {PARAMETERS + name: p.data for name, p in self.model.named_parameters()}
        description = {
            "kind": KIND,
            "config": self.model.config.to_dict(),
            "tokenizer": self.tokenizer.to_dict(),
            **(extra_description or {}),
        }
        save_archive(path, arrays | (extra_arrays or {}), description)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LanguageModel":
        """Read a file that `save` wrote, or the folder of a training run, whose checkpoint is such a file.

        A GGUF file, or a folder of the Hugging Face layout, is read by interop.load_pretrained, in float32.
        Raises OSError for a file that cannot be read, ArchiveError for one that is damaged or does not fit together.
        """
        if is_pretrained(path):
            from minitransformer.interop import load_pretrained  # it returns an object of this class

            return load_pretrained(path)
        with open_archive(model_file(path)) as archive:
            return cls.from_archive(archive)

    @classmethod
    def from_archive(cls, archive: Archive) -> "LanguageModel":
        """Build the model from an open archive, after a comparison of every parameter's name, shape and dtype."""
        config, tokenizer = described_model(archive)
        stored = archive.under(PARAMETERS)
        try:
            model = unset_model(config, [archive.header(name).shape for name in stored.values()])
        except ValueError as error:
            raise ArchiveError(f"{archive.path}: {error}") from None
        parameters = dict(model.named_parameters())
        check_parameters(archive, stored, parameters)
        arrays = archive.read(stored.values())
        for name, parameter in parameters.items():
            parameter.data = np.ascontiguousarray(arrays[stored[name]])
        return cls(model, tokenizer)


def mean_loss(model, ids, batch_size: int = 8) -> float:
    """Return the mean cross-entropy in nats of ids (T,), all but the first, predicted in blocks of the context."""
    context = min(model.config.context, len(ids) - 1)  # a block of 8,192 for a text of 100 would be mostly filling
    total = 0.0
    for inputs, targets in sequential_blocks(ids, context, batch_size):
        total += float(apply(cross_entropy, model.predict(inputs), targets, reduction="sum")[0])
    return total / (len(ids) - 1)


def described_model(archive: Archive) -> tuple[Config, Tokenizer]:
    """Return the configuration and the tokenizer of the model in an archive. Raises ArchiveError if it has none."""
    description = archive.description
    if description.get("kind") != KIND:
        raise ArchiveError(f"{archive.path}: holds no language model")
    try:
        config = Config(**dictionary("config", description.get("config")))
        tokenizer = tokenizer_from_dict(description.get("tokenizer"))
        check_vocabulary(tokenizer, config)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{archive.path}: its description does not make a model ({error})") from None
    return config, tokenizer


def unset_model(config: Config, shapes: list[tuple]) -> Transformer:
    """Return a Transformer with read-only zeros for matrices, to be filled from a file with arrays of these shapes.

    Raises ValueError if the configuration claims more blocks than there are arrays, or far more weights than there are
    numbers. A file of a few bytes can claim a model that would exhaust the memory.
    """
    if config.n_layers > len(shapes):
        raise ValueError(f"the configuration says {config.n_layers:,} blocks, and the file has {len(shapes):,} arrays")
    stored = sum(map(math.prod, shapes))
    if config.fewest_weights > stored + MOST_MISSING:
        raise ValueError(
            f"the configuration says {config.fewest_weights:,} weights or more, and the file has {stored:,} numbers"
        )
    return model_without_values(config)


def model_without_values(config: Config) -> Transformer:
    """Return a Transformer whose matrices are read-only zeros that take no memory.

    A reader compares names and shapes with the file before it allocates anything, and then fills one Parameter after
    the other. Drawing random weights first would take as long as reading them.
    """
    return Transformer(config, rng=Unset())  # type: ignore[arg-type]


class Unset:
    """A random generator whose draws, by normal(…).astype(dtype), are the same zero in memory for every entry."""

    def normal(self, mean, std, shape):
        self.shape = shape
        return self

    def astype(self, dtype):
        return np.broadcast_to(np.zeros((), dtype), self.shape)


def check_vocabulary(tokenizer: Tokenizer, config: Config) -> None:
    """Raise ValueError for a tokenizer with more tokens than the model."""
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens and the model only {config.vocab_size}")


def check_parameters(archive: Archive, stored: dict, parameters: dict) -> None:
    """Raise ArchiveError unless the archive's arrays `stored`, {parameter: name}, fit the model's Parameters."""
    for name, parameter in parameters.items():
        if name not in stored:
            raise ArchiveError(f"{archive.path}: the file lacks parameter {name}")
        header, data = archive.header(stored[name]), parameter.data
        if (header.dtype, header.shape) != (data.dtype, data.shape):
            raise ArchiveError(
                f"{archive.path}: parameter {name} is {header.dtype} {header.shape}, the configuration says "
                f"{data.dtype} {data.shape}"
            )
    for name in stored.keys() - parameters.keys():
        raise ArchiveError(f"{archive.path}: the file has an unknown parameter {name}")


def is_pretrained(path) -> bool:
    """Whether `path` is a model that others wrote: a GGUF file, or a folder with a config.json and no model of ours.

    A file is taken for one by its first four bytes, those of a GGUF file, or by the names .gguf and .safetensors.
    """
    path = Path(path)
    if path.is_dir():
        return (path / "config.json").exists() and not (path / MODEL_FILE).exists()
    if path.suffix.lower() in (".gguf", ".safetensors"):
        return path.exists()
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"GGUF"


def model_file(path) -> Path:
    """Return the path of a model's file, given the file itself or the folder that training wrote it to.

    Raises FileNotFoundError for a folder that holds no model, or a path that does not exist, OSError for a device.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise FileNotFoundError(f"{path}: the folder holds no {MODEL_FILE}, the file that train writes")
        return path / MODEL_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder; minitransformer train makes a model")
    if not path.is_file():
        raise OSError(f"{path}: is a device or a pipe, not a model's file")
    return path
