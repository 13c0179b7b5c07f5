"""A language model: a transformer with its tokenizer. It maps text to logits, and continues text."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minitransformer.config import Config
from minitransformer.generation import stream
from minitransformer.losses import cross_entropy
from minitransformer.module import Array, apply
from minitransformer.system.archive import Archive, ArchiveError, archive_errors, open_archive, save_archive
from minitransformer.system.extensions import load_extension_of
from minitransformer.system.validation import dictionary
from minitransformer.text import Tokenizer, sequential_blocks, tokenizer_from_dict
from minitransformer.transformer import Transformer

KIND = "language model"
PARAMETERS = "parameters."  # prefix of the parameters' names in a file
MODEL_FILE = "model.npz"  # name of the model's file in the folder of a training run
READERS: dict[str, Callable[..., "LanguageModel"]] = {}  # interop/ registers its load_pretrained as "pretrained"
MOST_MISSING = 10**7  # weights; if a file lacks more, it is rejected before the model is created


class LanguageModel:
    """A Transformer, `model`, and its `tokenizer`, one of the classes in text/.

    Raises ValueError if the tokenizer has more tokens than the model.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        check_vocabulary(tokenizer, model.config)
        self.model = model
        self.tokenizer = tokenizer

    def logits(self, text: str) -> Array:
        """Return the logits (T, V) after each of the T tokens of a text, which must fit in the model's context."""
        return self.model.predict(self.encode(text))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids (T,) of a text.

        If the model was trained with a token at the beginning of every text, the ids start with it. Raises ValueError
        if there are no ids.
        """
        ids = self.tokenizer.encode(text)
        if self.tokenizer.bos_id is not None:
            ids = np.concatenate([[self.tokenizer.bos_id], ids])
        if not len(ids):
            raise ValueError("the text must have at least one token, but it is empty")
        return ids

    def generate(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> str:
        """Return the prompt followed by its continuation. The settings are those of generation.generate."""
        return prompt + "".join(self.stream(prompt, max_new_tokens, **settings))

    def stream(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> Iterator[str]:
        """Yield the continuation in pieces. A character of several tokens is yielded after the last one."""
        return self.tokenizer.decode_stream(self.stream_ids(prompt, max_new_tokens, **settings))

    def stream_ids(self, prompt: str, max_new_tokens: int = 50, **settings: Any) -> Iterator[int]:
        """Yield the ids of the continuation one by one. The token that ends a text is not yielded."""
        end_ids = self.tokenizer.end_ids
        settings = {"vocab_size": self.tokenizer.vocab_size, "stop": end_ids, **settings}
        ids = stream(self.model, self.encode(prompt), max_new_tokens, **settings)
        return (int(i) for i in ids if i not in end_ids)

    def perplexity(self, text: str) -> float:
        """Return the exponential of the mean cross-entropy (in nats) of all tokens except the first.

        Each token is predicted from the tokens before it. A text longer than the context is divided into blocks that
        are predicted independently. Raises ValueError if the text has fewer than two tokens.
        """
        ids = self.encode(text)
        if len(ids) < 2:
            raise ValueError(f"perplexity: the text must have at least 2 tokens, not {len(ids)}")
        return math.exp(mean_loss(self.model, ids))

    def save(
        self,
        path: str | os.PathLike[str],
        extra_arrays: dict[str, Any] | None = None,
        extra_description: dict[str, Any] | None = None,
    ) -> None:
        """Write the model, its configuration and its tokenizer to one file, atomically.

        `extra_arrays` and `extra_description` are stored in the same file. Checkpoints use them for the training state.
        """
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
        """Load a file written by `save`, or the checkpoint in the folder of a training run.

        A GGUF file, or a folder in the Hugging Face layout, is read by interop.load_pretrained, in float32. Raises
        OSError if the file cannot be read, and ArchiveError if it is damaged or inconsistent.
        """
        if is_pretrained(path):
            load_extension_of(__name__)
            return READERS["pretrained"](path)
        with open_archive(model_file(path)) as archive:
            return cls.from_archive(archive)

    @classmethod
    def from_archive(cls, archive: Archive) -> "LanguageModel":
        """Load the model from an open archive, after checking the name, shape and dtype of every parameter."""
        config, tokenizer = described_model(archive)
        stored = archive.under(PARAMETERS)
        with archive_errors(archive.path):
            model = unset_model(config, [archive.header(name).shape for name in stored.values()])
        parameters = dict(model.named_parameters())
        check_parameters(archive, stored, parameters)
        arrays = archive.read(stored.values())
        for name, parameter in parameters.items():
            parameter.data = np.ascontiguousarray(arrays[stored[name]])
        return cls(model, tokenizer)


def mean_loss(model, ids, batch_size: int = 8) -> float:
    """Return the mean cross-entropy (in nats) of all ids (T,) except the first.

    The ids are divided into blocks as long as the context, which are predicted independently.
    """
    context = min(model.config.context, len(ids) - 1)  # a longer block would consist mostly of padding
    total = 0.0
    for inputs, targets in sequential_blocks(ids, context, batch_size):
        total += float(apply(cross_entropy, model.predict(inputs), targets, reduction="sum")[0])
    return total / (len(ids) - 1)


def described_model(archive: Archive) -> tuple[Config, Tokenizer]:
    """Return the Config and the tokenizer of the model in an archive. Raises ArchiveError if it contains none."""
    description = archive.description
    if description.get("kind") != KIND:
        raise ArchiveError(f"{archive.path}: the file contains no language model")
    try:
        config = Config(**dictionary("config", description.get("config")))
        tokenizer = tokenizer_from_dict(description.get("tokenizer"))
        check_vocabulary(tokenizer, config)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{archive.path}: its description does not define a model ({error})") from None
    return config, tokenizer


def unset_model(config: Config, shapes: list[tuple]) -> Transformer:
    """Return model_without_values(config), for a file that contains arrays of these shapes.

    Raises ValueError if the file is much smaller than the model. Otherwise a small file could exhaust the memory.
    """
    stored = sum(map(math.prod, shapes))
    if config.n_layers > len(shapes) or config.fewest_weights > stored + MOST_MISSING:
        blocks, weights = f"{config.n_layers:,} blocks", f"{config.fewest_weights:,} weights or more"
        raise ValueError(f"a model of {blocks} and {weights} does not fit {len(shapes):,} arrays of {stored:,} numbers")
    return model_without_values(config)


def model_without_values(config: Config) -> Transformer:
    """Return a Transformer whose matrices are read-only zeros that take no memory. The caller sets the values."""
    return Transformer(config, rng=Unset())  # type: ignore[arg-type]


class Unset:
    """A replacement for a numpy Generator that draws zeros. All entries of an array share the memory of one number."""

    def normal(self, mean, std, shape):
        self.shape = shape
        return self

    def astype(self, dtype):
        return np.broadcast_to(np.zeros((), dtype), self.shape)


def check_vocabulary(tokenizer: Tokenizer, config: Config) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens, but the model has only {config.vocab_size}")


def check_parameters(archive: Archive, stored: dict, parameters: dict) -> None:
    """Raise ArchiveError unless `stored`, {parameter name: array name}, fits `parameters`, {name: Parameter}."""
    for name, parameter in parameters.items():
        if name not in stored:
            raise ArchiveError(f"{archive.path}: the parameter {name} is missing")
        header, data = archive.header(stored[name]), parameter.data
        if (header.dtype, header.shape) != (data.dtype, data.shape):
            raise ArchiveError(
                f"{archive.path}: parameter {name} is {header.dtype} {header.shape}, but the configuration requires "
                f"{data.dtype} {data.shape}"
            )
    for name in stored.keys() - parameters.keys():
        raise ArchiveError(f"{archive.path}: unknown parameter {name}")


def is_pretrained(path) -> bool:
    """Return True if `path` is a file or folder that interop.load_pretrained reads."""
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
    """Return the path of a model file. `path` is the file, or the folder of a training run. Raises OSError."""
    path = Path(path)
    if path.is_dir():
        if not (path / MODEL_FILE).exists():
            raise FileNotFoundError(f"{path}: the folder contains no {MODEL_FILE}, which train writes")
        return path / MODEL_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; to train a model, use `minitransformer train`")
    if not path.is_file():
        raise OSError(f"{path}: expected a model file, found a device or a pipe")
    return path
