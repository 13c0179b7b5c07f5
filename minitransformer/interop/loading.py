"""load_pretrained: a language model from the files that others wrote."""

from pathlib import Path

from minitransformer.archive import ArchiveError
from minitransformer.interop.gguf_file import load_gguf
from minitransformer.interop.huggingface import load_folder
from minitransformer.language_model import LanguageModel
from minitransformer.text import NoTokenizer


def load_pretrained(path, dtype: str = "float32") -> LanguageModel:
    """Read a GPT-2 or a Llama: a folder in the layout of the Hugging Face hub, or one GGUF file.

    The tokenizer is the one that the files hold; where they hold none, ids still work and text raises ValueError. The
    weights become `dtype`, "float32" or "float64", whatever they are stored in. Nothing in the files is ever executed.

    Raises OSError for files that are missing or cannot be read, ArchiveError (a ValueError) for damaged ones and for
    what is not supported, by its name, and MissingExtra where the extra `interop` is not installed.
    """
    path = Path(path)
    model, tokenizer = load_folder(path, dtype) if path.is_dir() else load_gguf(path, dtype)
    try:
        return LanguageModel(model, tokenizer or NoTokenizer(model.config.vocab_size))
    except ValueError as error:
        raise ArchiveError(f"{path}: {error}") from None
