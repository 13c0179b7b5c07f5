"""Models in the files of Hugging Face and llama.cpp, read and written. README.md lists the files.

Needs the extra `interop`: safetensors, gguf, and jinja2 for chat templates.
"""

from minitransformer.interop.loading import load_pretrained
from minitransformer.interop.saving import save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]
