"""Read and write models in the formats of Hugging Face and llama.cpp. README.md lists the files.

The package requires the extra `interop`, which installs safetensors, gguf, tokenizers, and, for chat templates, jinja2.
"""

from pathlib import Path

from minitransformer.interop.gguf_file import load_gguf
from minitransformer.interop.huggingface import load_folder
from minitransformer.interop.saving import save_pretrained
from minitransformer.language_model import READERS, LanguageModel
from minitransformer.system.archive import archive_errors
from minitransformer.text import NoTokenizer

__all__ = ["load_pretrained", "save_pretrained"]


def load_pretrained(path, dtype: str = "float32") -> LanguageModel:
    """Load a GPT-2 or Llama model with its tokenizer from a Hugging Face folder or a GGUF file.

    The weights are converted to `dtype`, "float32" or "float64". No code from the files is executed. A model without a
    tokenizer accepts only ids, and raises ValueError for text. Raises OSError if a file cannot be read, ArchiveError (a
    ValueError) if a file is damaged or unsupported, and MissingExtra if the extra `interop` is not installed.
    """
    path = Path(path)
    model, tokenizer = load_folder(path, dtype) if path.is_dir() else load_gguf(path, dtype)
    with archive_errors(path):
        return LanguageModel(model, tokenizer or NoTokenizer(model.config.vocab_size))


READERS["pretrained"] = load_pretrained
