"""Byte-pair encoding: tokens for what occurs often, bytes for all the rest (Sennrich et al., 2016; GPT-2, 2019).

The vocabulary is the 256 bytes (so any text can be written, see byte.py) and tokens that were learned by merging
frequent neighbours (see bpe_training.py). To encode a text:

1. Split it into words (see splitting.py), and each word into its bytes.
2. In each word, find the neighbours whose merge was learned first, and merge them, everywhere in the word.
3. Repeat, until no neighbours have a merge.

With the merges  1: e s   2: es t   3: l o   4: lo w  learned from "low lower newest widest",

    lowest   →   l o w e s t   →   l o w es t   →   l o w est   →   lo w est   →   low est

a word that was not there is written with two tokens that were. Decoding is only a table: ids to bytes, joined.
"""

import heapq
from collections import Counter
from itertools import chain, pairwise

import numpy as np

from minitransformer.text.bpe_training import count_words, learn_merges
from minitransformer.text.byte import ByteLevelTokenizer, without_surrogates
from minitransformer.text.chunks import chunks_of
from minitransformer.text.gpt2_files import parse_merge, read_encoder, read_merges, spell, unspell
from minitransformer.text.splitting import split_words, whole_words
from minitransformer.text.tokenizer import stored


class BPETokenizer(ByteLevelTokenizer):
    """Byte-level BPE with GPT-2's words.

    tokens: a list of bytes, id i being tokens[i]. merges: pairs of bytes, the first learned first.
    A token that is neither a byte nor the result of a merge is *special*: `special_tokens` maps its text to its id. No
    text encodes to it, not even its own, but it decodes to its text. GPT-2 has one, "<|endoftext|>".
    """

    kind = "bpe"

    def __init__(self, tokens, merges):
        self.tokens = list(tokens)
        self.merges = list(merges)
        ids = {token: i for i, token in enumerate(self.tokens)}
        if len(ids) != len(self.tokens):
            twice = Counter(self.tokens).most_common(1)[0][0]
            raise ValueError(f"the token {spell(twice)!r} has two ids")
        single = [bytes([byte]) for byte in range(256)]
        merged = [left + right for left, right in self.merges]
        for token in (*single, *chain.from_iterable(self.merges), *merged):
            if token not in ids:
                raise ValueError(f"the token {spell(token)!r} has no id, but every byte and every merge needs one")
        special = ids.keys() - {*single, *merged}
        self.special_tokens = {token.decode("utf-8", "replace"): ids[token] for token in sorted(special, key=ids.get)}
        ranks = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(self.merges)}
        self._word_ids = WordCache([ids[byte] for byte in single], ranks)

    @classmethod
    def train(cls, text, vocab_size, progress=None):
        """Learn a vocabulary of `vocab_size` tokens from `text`, a str or an iterable of str.

        The first 256 ids are the bytes, and the rest in the order in which they were learned. If the text runs out of
        pairs to merge, the vocabulary stays smaller: read the result's `vocab_size`.
        progress: called as progress(tokens so far, vocab_size) as the merges are learned.
        Memory grows with the different words, not with the text, and is bounded (see count_words).
        Raises ValueError for a vocab_size below 256 and for lone surrogates.
        """
        if vocab_size < 256:
            raise ValueError(f"vocab_size must be at least 256, the number of bytes, not {vocab_size}")
        counts = count_words(whole_words(without_surrogates(chunks_of(text))))
        words = ((word.encode("utf-8"), count) for word, count in counts.items())
        return cls(*learn_merges(words, vocab_size, progress))

    @classmethod
    def from_gpt2(cls, encoder_json, vocab_bpe):
        """Read GPT-2's vocabulary from the paths of its two files; it then splits and merges exactly as GPT-2 does.

        Raises ValueError, naming the file and where it can the line, for files that are damaged or do not fit together.
        """
        tokens = read_encoder(encoder_json)
        merges = read_merges(vocab_bpe, tokens)
        try:
            return cls(tokens, merges)
        except ValueError as error:
            raise ValueError(f"{encoder_json}: {error}") from None

    @property
    def vocab_size(self):
        """The number of tokens."""
        return len(self.tokens)

    def _encode_escaped(self, chunks):
        return super()._encode_escaped(whole_words(chunks))

    def _encode(self, text, start):
        ids = chain.from_iterable(map(self._word_ids.__getitem__, split_words(text)))
        return np.fromiter(ids, np.int64)

    def _bytes_of(self, ids):
        return b"".join(map(self.tokens.__getitem__, ids.tolist()))

    def to_dict(self):
        """Tokens and merges are spelled as in GPT-2's files."""
        return {
            "kind": self.kind,
            "tokens": [spell(token) for token in self.tokens],
            "merges": [f"{spell(left)} {spell(right)}" for left, right in self.merges],
        }

    @classmethod
    def from_dict(cls, content):
        """Return the tokenizer that `to_dict` described."""
        tokens, merges = stored(content, "tokens", list), stored(content, "merges", list)
        if not all(isinstance(spelled, str) for spelled in (*tokens, *merges)):
            raise ValueError("not a tokenizer of kind 'bpe': its tokens and merges must be strings")
        return cls(map(unspell, tokens), map(parse_merge, merges))


class WordCache(dict):
    """Maps a word to its ids, working them out when the word is first asked for.

    Texts repeat their words, so this makes encoding 14 times as fast as merging every word anew (16 MB/s and 1.1 MB/s:
    Shakespeare, a vocabulary of 1,000). Long words are rarely met twice and are not kept, and when MOST words are
    known, all are forgotten, so that memory stays bounded.
    """

    MOST = 2**17
    LONGEST = 64

    def __init__(self, byte_ids, merges):
        super().__init__()
        self.byte_ids = byte_ids
        self.merges = merges

    def __missing__(self, word):
        symbols = [self.byte_ids[byte] for byte in word.encode("utf-8", "surrogateescape")]
        ids = tuple(apply_merges(symbols, self.merges))
        if len(word) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[word] = ids
        return ids


def apply_merges(symbols, merges):
    """Return the ids that are left when no two neighbours in `symbols`, a list of ids, can be merged.

    merges: maps a pair of ids to (rank, merged id); the lowest rank goes first, at every place, from left to right.

    The plain way looks through the word for the lowest rank once for every merge: the square of its length, ten billion
    steps for a word of a hundred thousand letters. Here a heap holds (rank, place) for every pair that can be merged,
    and a linked list the symbols that are left, which makes n log n of it. An entry whose pair has meanwhile lost a
    partner is passed over.
    """
    end = len(symbols)
    symbols = [*symbols, None]  # None: nothing here, or nothing here any more; it is in no pair
    following = list(range(1, end + 1))
    preceding = list(range(-1, end))
    heap = [(merges[pair][0], i) for i, pair in enumerate(pairwise(symbols)) if pair in merges]
    heapq.heapify(heap)
    while heap:
        current = heap[0][0]
        arisen = []  # places of new pairs: they wait until this rank is done everywhere, even if theirs is lower
        while heap and heap[0][0] == current:
            _, i = heapq.heappop(heap)
            if symbols[i] is None:
                continue
            j = following[i]
            rank, merged = merges.get((symbols[i], symbols[j]), (None, None))
            if rank != current:
                continue
            symbols[i], symbols[j] = merged, None
            following[i] = following[j]
            preceding[following[j]] = i
            arisen.append(i)
            if preceding[i] >= 0:
                arisen.append(preceding[i])
        for i in arisen:
            if symbols[i] is not None and (pair := (symbols[i], symbols[following[i]])) in merges:
                heapq.heappush(heap, (merges[pair][0], i))
    return [symbol for symbol in symbols if symbol is not None]
