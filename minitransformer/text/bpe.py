"""Byte-pair encoding: tokens for frequent byte sequences (Sennrich et al., 2016; GPT-2, 2019).

A learned vocabulary contains the 256 bytes, so that any text can be encoded (see byte.py), and tokens that merge
frequent pairs of neighbours (see bpe_training.py). To encode a text:

1. Split it into words (see splitting.py), and each word into its bytes.
2. In each word, find the pair of neighbours whose merge was learned first, and merge it.
3. Repeat until no pair of neighbours has a merge (see merging.py).

With the merges  1: e s   2: l o   3: es t   4: lo w  learned from "low lower newest widest",

    lowest   →   l o w e s t   →   l o w es t   →   lo w es t   →   lo w est   →   low est

This word does not occur in the training text, but needs only two tokens. Decoding joins the bytes of the tokens.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Self, Unpack

import numpy as np

from minitransformer.system import validation
from minitransformer.text.bpe_training import count_words, learn_merges
from minitransformer.text.byte import ByteLevelTokenizer, without_surrogates
from minitransformer.text.chunks import chunks_of
from minitransformer.text.gpt2_files import in_order_of_id, parse_merge, read_merges, spell, token_bytes, unspell
from minitransformer.text.merging import WordCache
from minitransformer.text.splitting import split_words, whole_words
from minitransformer.text.tokenizer import ROLES, Roles, read_json, stored


class BPETokenizer(ByteLevelTokenizer):
    """Byte-level BPE that splits and merges exactly as GPT-2 does.

    tokens           list of bytes; token i has id i
    merges           pairs of bytes, in the order in which they were learned
    special_tokens   {text: id} of special tokens, such as GPT-2's "<|endoftext|>" between two texts (default: all
                     tokens that are neither a byte nor the result of a merge). `decode` writes their text. `encode`
                     never produces them, so that the author of a text cannot end a message and begin another one
    bos_id, end_ids, chat_template, token_names   see Tokenizer

    A vocabulary need not contain all bytes. `encode` raises ValueError for a text with a byte that is missing. The
    constructor raises ValueError if its arguments are inconsistent, and TypeError if a text is not a str.
    """

    kind = "bpe"
    # Optional entries of a tokenizer's file; files of older versions have none of them.
    _fields = ROLES | {"special_tokens": dict}

    def __init__(
        self,
        tokens: Iterable[bytes],
        merges: Iterable[tuple[bytes, bytes]],
        *,
        special_tokens: Mapping[str, int] | None = None,
        **roles: Unpack[Roles],
    ):
        tokens, self.merges = list(tokens), list(merges)
        if not tokens:
            raise ValueError("tokens must contain at least one token, but it is empty")
        super().__init__(
            tokens, without_merge(tokens, self.merges) if special_tokens is None else special_tokens, **roles
        )
        if "" in self.special_tokens or len(set(self.special_tokens.values())) != len(self.special_tokens):
            raise ValueError(
                f"special_tokens must differ in ids and texts, not {validation.brief(self.special_tokens)}"
            )
        named = [validation.text(f"token_names: {name}", token) for name, token in self.token_names.items()]
        "".join(without_surrogates([*self.special_tokens, *named, self.chat_template or ""]))
        ids = ids_of_text(self.tokens, self.special_tokens)
        for token in chain.from_iterable((left, right, left + right) for left, right in self.merges):
            if token not in ids:
                raise ValueError(f"tokens must contain {spell(token)!r}, which a merge uses")
        ranks = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(self.merges)}
        self._word_ids = WordCache(ids, ranks)

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        progress: Callable[[int, int], object] | None = None,
    ) -> Self:
        """Learn a vocabulary of `vocab_size` tokens, or fewer for a short text, from a str or an iterable of str.

        The first 256 ids are the bytes. The others follow in the order in which they were learned. After each merge,
        progress is called as progress(tokens so far, vocab_size). The memory depends on the number of different words,
        not on the length of the text. Raises ValueError for a vocab_size below 256 or a lone surrogate.
        """
        if vocab_size < 256:
            raise ValueError(f"vocab_size must be at least 256, the number of bytes, not {vocab_size}")
        counts = count_words(whole_words(without_surrogates(chunks_of(text))))
        words = ((word.encode("utf-8"), count) for word, count in counts.items())
        return cls(*learn_merges(words, vocab_size, progress))

    @classmethod
    def from_gpt2(cls, encoder_json: str | os.PathLike[str], vocab_bpe: str | os.PathLike[str]) -> Self:
        """Read GPT-2's vocabulary from its two files. The token "<|endoftext|>", if it exists, ends a text.

        Raises ValueError if the files are damaged or inconsistent. The message contains the file and, if possible, the
        line.
        """
        vocabulary, merges = read_json(encoder_json), read_merges(vocab_bpe)
        try:
            tokens = [token_bytes(spelled) for spelled in in_order_of_id(vocabulary)]
            return cls(tokens, merges, end_ids=[i for i, token in enumerate(tokens) if token == b"<|endoftext|>"])
        except ValueError as error:
            raise ValueError(f"{encoder_json}: {error}") from None

    def _encode_escaped(self, chunks):
        return super()._encode_escaped(whole_words(chunks))

    def _encode(self, text, start):
        ids = chain.from_iterable(map(self._word_ids.__getitem__, split_words(text)))
        return np.fromiter(ids, np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary, with tokens and merges as in GPT-2's files."""
        return super().to_dict() | {
            "tokens": [spell(token) for token in self.tokens],
            "merges": [f"{spell(left)} {spell(right)}" for left, right in self.merges],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        tokens, merges = stored(content, "tokens", list), stored(content, "merges", list)
        if not all(isinstance(spelled, str) for spelled in (*tokens, *merges)):
            raise ValueError("not a tokenizer of kind 'bpe': its tokens and merges must be strings")
        if content.get("splitting", "gpt2") != "gpt2" or content.get("ignore_merges"):  # written by an older version
            raise ValueError("a tokenizer of kind 'bpe' must split a text as GPT-2 does; load the model's own files")
        options = {name: stored(content, name, expected) for name, expected in cls._fields.items() if name in content}
        return cls(map(unspell, tokens), map(parse_merge, merges), **options)


def without_merge(tokens, merges):
    """Map the text of each token that is neither a byte nor the result of a merge to its id."""
    made = {left + right for left, right in merges}
    rest = {token: i for i, token in enumerate(tokens) if len(token) != 1 and token not in made}
    return {token.decode("utf-8", "replace"): i for token, i in rest.items()}


def ids_of_text(tokens, special_tokens):
    """Return the ids of the ordinary tokens. Raises ValueError if a token occurs twice."""
    special = set(special_tokens.values())
    text = [(token, i) for i, token in enumerate(tokens) if i not in special]
    ids = dict(text)
    if len(ids) != len(text):
        twice = Counter(token for token, _ in text).most_common(1)[0][0]
        raise ValueError(f"tokens must be different, but {spell(twice)!r} occurs twice")
    return ids
