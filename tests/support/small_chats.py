"""Chat templates of real models, and a small model with one: it babbles, but in turns."""

import numpy as np
from strategies import random_model

from minitransformer import BPETokenizer, Config, LanguageModel

SMOLLM2 = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

SPECIAL = {
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
}
TRAINING_TEXT = "you are a helpful assistant named SmolLM, trained by Hugging Face. system user what is it " * 4


def chat_tokenizer(kind="smollm2", **options):
    """Return a small tokenizer with SmolLM2's chat template or Llama 3's. `options` of BPETokenizer replace its own."""
    trained = BPETokenizer.train(TRAINING_TEXT, 330)
    special = {text: trained.vocab_size + i for i, text in enumerate(SPECIAL[kind])}
    first, *_, last = SPECIAL[kind]
    defaults = {
        "special_tokens": special,
        "bos_id": special[first] if kind == "llama3" else None,
        "end_ids": [special[last]],
        "chat_template": {"smollm2": SMOLLM2, "llama3": LLAMA3}[kind],
        "token_names": {"bos_token": first, "eos_token": last},
    }
    tokens = [*trained.tokens, *(text.encode() for text in special)]
    return BPETokenizer(tokens, trained.merges, **(defaults | options))


def chat_lm(kind="smollm2", context=256, **options):
    """Return a LanguageModel of a few thousand parameters with such a tokenizer, in float64.

    The parameters are random, of order 1, and positions are learned, so that it does not say the same thing for ever.
    """
    tokenizer = chat_tokenizer(kind, **options)
    options = {"positions": "learned", "norm": "rms_norm", "tie_embeddings": False, "dtype": "float64"}
    config = Config(tokenizer.vocab_size, context, d_model=16, n_heads=2, **options)
    return LanguageModel(random_model(config, np.random.default_rng(4)), tokenizer)
