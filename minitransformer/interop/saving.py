"""Write a model to a folder that Transformers' from_pretrained loads with the same results."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from minitransformer.interop.architectures import LAYOUTS, tensors
from minitransformer.interop.configurations import CONFIG_FILE, write_config
from minitransformer.interop.huggingface import PREFIXES, WEIGHTS_FILE
from minitransformer.interop.tokenizers import save_tokenizer
from minitransformer.language_model import LanguageModel, model_without_values
from minitransformer.system.extras import require
from minitransformer.system.files import (
    TEMPORARY_END,
    TEMPORARY_START,
    copy_ownership,
    move_to,
    status,
    write_atomically,
)
from minitransformer.system.folders import at_work_in


def save_pretrained(lm: LanguageModel, folder) -> None:
    """Write a model and its tokenizer to a folder in the Hugging Face layout.

    A model with learned positions becomes a GPT-2, and a model with rotary positions a Llama, or a Qwen3 if its queries
    and keys are normalized, or an OLMo 2 if its norms follow the layers. Existing files are replaced only after all new
    files have been written. Raises ValueError, with the field of Config, if no architecture can express the model.
    Raises OSError if a file cannot be written, and MissingExtra if the extra `interop` is not installed.
    """
    require("safetensors", extra="interop")
    folder = Path(folder)
    ends = list(lm.tokenizer.end_ids)
    ids = {"bos_token_id": lm.tokenizer.bos_id, "eos_token_id": ends if len(ends) > 1 else next(iter(ends), None)}
    content = write_config(lm.model.config) | ids
    beside = {"dir": folder, "prefix": TEMPORARY_START, "suffix": TEMPORARY_END}
    with at_work_in(folder), tempfile.TemporaryDirectory(**beside) as temporary:
        temporary = Path(temporary)
        write_weights(lm.model, content["model_type"], temporary / WEIGHTS_FILE)
        save_tokenizer(lm.tokenizer, temporary)
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(temporary / CONFIG_FILE, lambda file: file.write(text.encode()))
        as_new = status(temporary / CONFIG_FILE)  # safetensors gives only the owner access to its file
        for path in sorted(temporary.iterdir()):
            with open(path, "r+b") as file:
                copy_ownership(file, status(folder / path.name) or as_new)
                os.fsync(file.fileno())
            move_to(path, folder / path.name)


def write_weights(model, architecture: str, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    config, parameters = model.config, dict(model.named_parameters())
    # GPT-2 always has biases.
    written = model_without_values(dataclasses.replace(config, bias=True)) if architecture == "gpt2" else model
    arrays, missing = {}, set(parameters)
    for tensor in tensors(written, LAYOUTS[architecture, "huggingface"]):
        prefix = "" if tensor.name.startswith("lm_head") else PREFIXES[architecture]
        array = np.zeros(tensor.shape[::-1] if tensor.transposed else tensor.shape, config.dtype)  # a missing bias
        if all(name in parameters for name in tensor.parameters):
            array = np.concatenate([parameters[name].data for name in tensor.parameters], axis=-1)
        missing -= set(tensor.parameters)
        arrays[prefix + tensor.name] = np.ascontiguousarray(array.T) if tensor.transposed else array
    if missing:
        raise ValueError(f"the parameter {min(missing)} cannot be written to a {architecture}, which has no such part")
    try:
        save_file(arrays, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path}: cannot write: {error}") from None
