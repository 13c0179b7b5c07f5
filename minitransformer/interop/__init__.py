"""Real models: the weights that people use, read from the files that others wrote, and written for others to read.

    lm = load_pretrained("SmolLM2-135M-Instruct.Q4_1.gguf")
    print(lm.generate("The capital of France is", 8, temperature=0))
    save_pretrained(lm, "smollm2")  # and then AutoModelForCausalLM.from_pretrained("smollm2")

Needs the extra `interop` (safetensors, gguf, and jinja2 for chat templates). In reading order:

    architectures.py    where the numbers lie: the names and orientations of GPT-2 and Llama, and of two kinds of file
    configurations.py   config.json as a Config, and back
    filling.py          from tensors to Parameters: checked first, then layer by layer
    huggingface.py      a folder of the Hugging Face layout
    gguf_file.py        a file of llama.cpp
    loading.py          either of them                             load_pretrained
    saving.py           a folder that Transformers loads           save_pretrained
    tokenizer_json.py   tokenizer.json as a tokenizer of ours, and back
    tokenizers.py       the tokenizer in either kind of files      tokenizer_from_folder, tokenizer_from_gguf
    templates.py        chat templates, rendered in a process of their own: template_worker.py
    chat.py             a conversation as one text                 render_chat, encode_chat, Conversation
    fetching.py         a real model from the Python Package Index
"""

from minitransformer.interop.loading import load_pretrained
from minitransformer.interop.saving import save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]
