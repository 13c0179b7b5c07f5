"""The byte-level tokenizer of a real model, run by the package `tokenizers` of Hugging Face (extra `interop`).

A tokenizer.json describes a pipeline: normalization, splitting into words, byte-pair encoding, and tokens that are
added before and after the text. The models' makers ran it with this package, so it encodes each text exactly as they
did. bpe.py shows the algorithm in a readable form. Decoding needs only the bytes of each token.
"""

import json
from typing import Any, Unpack

import numpy as np

from minitransformer.system.extras import require
from minitransformer.text.byte import ByteLevelTokenizer, without_surrogates
from minitransformer.text.gpt2_files import in_order_of_id, token_bytes
from minitransformer.text.tokenizer import ROLES, Roles

# Llama 3's expression for words. It makes words of up to three digits, recognises contractions in capitals, allows any
# sign before the letters of a word, and appends line breaks to the signs before them.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class PretrainedTokenizer(ByteLevelTokenizer):
    """A tokenizer defined by the `content` of a tokenizer.json, a dictionary.

    tokens           list of bytes; token i has id i
    special_tokens   {text: id} of the added tokens. `encode` never produces them, so that the author of a text cannot
                     end a message with "<|im_end|>" and begin another one under a different role
    library          the `tokenizers.Tokenizer`
    bos_id, end_ids, chat_template, token_names   see Tokenizer

    Raises ValueError if the content is damaged or not that of a byte-level tokenizer, and MissingExtra if the extra
    `interop` is not installed. A missing entry, or an entry of the wrong type, may raise AttributeError, KeyError or
    TypeError.
    """

    kind = "pretrained"
    _fields = ROLES | {"content": dict}

    def __init__(self, content: dict[str, Any], **roles: Unpack[Roles]):
        self.content, self.library = content, library_of(content)
        added = self.library.get_added_tokens_decoder()
        spelled = in_order_of_id(self.library.get_vocab())
        tokens = [text.encode() if i in added else token_bytes(text) for i, text in enumerate(spelled)]
        super().__init__(tokens, {token.content: i for i, token in added.items()}, **roles)
        ordinary = (token for i, token in enumerate(self.tokens) if i not in added)
        self._lacking = {*range(256)}.difference(*(token for token in ordinary if len(token) == 1))

    def _encode_escaped(self, chunks):
        yield self._encode("".join(chunks), 0)  # at once, because only the library knows where a text may be cut

    def _encode(self, text, start):
        (text,) = without_surrogates([text])
        for byte in self._lacking.intersection(text.encode()):  # the library would leave it out
            raise ValueError(f"the vocabulary has no token for the byte 0x{byte:02x}, which the text contains")
        return np.array(self.library.encode(text, add_special_tokens=False).ids, np.int64)


def library_of(content: dict[str, Any]):
    """Return the `tokenizers.Tokenizer` of a tokenizer.json. Special tokens in a text are encoded as ordinary text."""
    require("tokenizers", extra="interop")
    import tokenizers

    decoder = content.get("decoder") or {"type": "ByteLevel"}
    if decoder["type"] != "ByteLevel" or '"ByteLevel"' not in json.dumps(content.get("pre_tokenizer")):
        raise ValueError(
            f"its decoder must be ByteLevel, and so must a step of its pre_tokenizer, not {decoder['type']}"
        )
    if content["model"].get("dropout"):
        raise ValueError(f"the model's dropout {content['model']['dropout']!r} is not supported")
    added = [{**token, "special": True} for token in content.get("added_tokens") or []]
    try:
        library = tokenizers.Tokenizer.from_str(json.dumps({**content, "added_tokens": added}))
    except Exception as error:  # the package raises no other class
        raise ValueError(f"the package tokenizers cannot read it: {error}") from None
    library.no_truncation()
    library.encode_special_tokens = True
    return library


def byte_level_bpe(spelled, merges, special, splitting: str, ignore_merges: bool = False):
    """Return a `tokenizers.Tokenizer` for byte-pair encoding. Raises ValueError if its parts are inconsistent.

    `spelled` are the tokens in order of id, `merges` are pairs of them joined by a space, and `special` are the texts
    of the special ones. `splitting` names the model whose words are merged: "gpt2"; "smollm2", which makes every digit
    a word; or "llama3". With `ignore_merges`, a word that is itself a token is encoded as this token without merging.
    """
    require("tokenizers", extra="interop")
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers as steps

    ids = {token: i for i, token in enumerate(spelled)}
    if len(ids) != len(spelled):
        raise ValueError("all tokens, also special ones, must differ")
    try:
        library = Tokenizer(models.BPE(ids, [tuple(m.split(" ")) for m in merges], ignore_merges=ignore_merges))
    except Exception as error:
        raise ValueError(f"the package tokenizers cannot read the merges: {error}") from None
    before: dict[str, list] = {
        "gpt2": [],
        "smollm2": [steps.Digits(True)],
        "llama3": [steps.Split(Regex(LLAMA3), "isolated")],
    }
    to_bytes = steps.ByteLevel(add_prefix_space=False, use_regex=splitting != "llama3")
    library.pre_tokenizer = steps.Sequence([*before[splitting], to_bytes])
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return library
