"""Learn the merges of byte-pair encoding (Sennrich, Haddow and Birch, 2016).

Begin with the 256 bytes as tokens. Find the pair of neighbouring tokens that occurs most often, make it a new token,
and replace every occurrence of the pair with this token. Repeat:

    counts        low × 5   lower × 2   newest × 6   widest × 3
    merge 1       e s       9 times (6 + 3)          n e w es t   w i d es t
    merge 2       es t      9 times                  n e w est    w i d est
    merge 3       l o       7 times (5 + 2)          lo w   lo w e r

The result is the list of merges in this order, because encoding applies them in the same order. If several pairs are
equally frequent, the pair with the smallest left id is merged, and among these the pair with the smallest right id. The
same text thus always gives the same tokenizer. (No two merges give the same token, as "a" + "bc" and "ab" + "c" would,
because equal sequences of bytes go through the same merges unless a merge crosses one of their ends.)

A direct implementation recounts every pair for every merge, at a cost of merges × text. This one counts every pair only
once:

- Equal words are merged in the same way, so each *different* word is stored once, weighted by its frequency. All words
  are in one array of symbols, separated by GAP. A linked list (`following`, `preceding`) connects the remaining
  symbols, so a merge costs the same in a word of any length.
- `counts[pair]` is always exact. Merging (b, c) to d in "a b c e" removes (a, b) and (c, e), and adds (a, d) and
  (d, e).
- `positions[pair]` lists all positions where a pair has occurred. A position is not removed when its pair is broken up;
  it is checked when the pair is merged.
- A heap finds the most frequent pair. Its entries may be out of date, because they are not updated when a count falls.
  The top entry is therefore compared with `counts`, and put back with the true count if it was too high.

A merge thus costs time in proportion to its occurrences in different words, and the total time is about linear in the
size of the text.
"""

import heapq
from array import array
from collections import Counter, defaultdict
from itertools import chain

from minitransformer.text.splitting import split_words

GAP = -1
ENOUGH = 2**23  # bytes in all different words; each byte needs about 50 bytes of memory


def count_words(pieces):
    """Count the words in `pieces`, which are texts that consist of whole words (see splitting.py).

    Counting stops when the different words have ENOUGH bytes in total, which bounds the memory. Ordinary text of 100 MB
    stays below the limit.
    """
    counts, size = Counter(), 0
    for word in chain.from_iterable(map(split_words, pieces)):
        counts[word] += 1
        if counts[word] == 1:
            size += len(word.encode("utf-8"))
            if size >= ENOUGH:
                break
    return counts


def learn_merges(words, vocab_size, progress=None):
    """Learn a vocabulary of `vocab_size` tokens, or fewer if no pair is left. Return the tokens and the merges.

    `words` are pairs of a word, as bytes, and its frequency. `progress` is as in BPETokenizer.train.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    merges = []
    pairs = PairIndex(words)
    while len(tokens) < vocab_size and (pair := pairs.most_frequent()):
        left, right = tokens[pair[0]], tokens[pair[1]]
        pairs.merge(pair, len(tokens))
        tokens.append(left + right)
        merges.append((left, right))
        if progress is not None:
            progress(len(tokens), vocab_size)
    return tokens, merges


class PairIndex:
    """All words as one array of symbols, with the count and the positions of every pair of neighbours."""

    def __init__(self, words):
        self.symbols, self.weights = array("i"), array("q")  # a weight is the frequency of the word
        for word, weight in words:
            self.symbols.extend((GAP, *word))
            self.weights.extend([weight] * (len(word) + 1))
        self.symbols.append(GAP)
        self.following = array("i", range(1, len(self.symbols)))
        self.preceding = array("i", range(-1, len(self.symbols)))
        self.counts, self.positions = Counter(), defaultdict(lambda: array("i"))
        for position in range(len(self.following)):
            self._add(position)
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def _pair(self, position):
        return self.symbols[position], self.symbols[self.following[position]]

    def _add(self, position):
        pair = self._pair(position)
        if GAP not in pair:
            self.counts[pair] += self.weights[position]
            self.positions[pair].append(position)

    def most_frequent(self):
        """Return the most frequent pair, or None if no pair is left. Ties are resolved by the smallest ids."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.counts[pair]:
                return pair if count < 0 else None
            heapq.heapreplace(self.heap, (-self.counts[pair], pair))
        return None

    def merge(self, pair, merged):
        """Replace every occurrence of `pair` with the symbol `merged`, from left to right."""
        following, preceding, arisen = self.following, self.preceding, set()
        for position in sorted(set(self.positions.pop(pair))):
            if self._pair(position) != pair:
                continue  # broken up earlier, or overlapped by the occurrence just merged, as in "aaa"
            right = following[position]
            before, after = preceding[position], following[right]
            for broken in (before, position, right):
                self.counts[self._pair(broken)] -= self.weights[broken]
            self.symbols[position], self.symbols[right] = merged, GAP
            following[position], preceding[after] = after, position
            for new in (before, position):
                self._add(new)
                arisen.add(self._pair(new))
        for new in arisen:  # a pair with GAP has a count of at most 0 and is never chosen
            heapq.heappush(self.heap, (-self.counts[new], new))
