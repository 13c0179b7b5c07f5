"""Learning the merges of byte-pair encoding (Sennrich, Haddow and Birch, 2016).

Begin with the 256 bytes as tokens. Again and again, find the pair of neighbouring tokens that occurs most often, make
it a new token, and put that in the pair's place everywhere:

    counts        low × 5   lower × 2   newest × 6   widest × 3
    merge 1       e s       9 times (6 + 3)          n e w es t   w i d es t
    merge 2       es t      9 times                  n e w est    w i d est
    merge 3       l o       7 times (5 + 2)          lo w   lo w e r

The order is the whole result: encoding replays it. Ties go to the pair with the smallest ids, the left one first, so
that the same text always gives the same tokenizer. (No two merges spell one token, as "a" + "bc" and "ab" + "c" would:
where no merge reaches across its ends, the same run of bytes goes through the same merges wherever it stands.)

The plain way counts every pair anew for every merge, at a cost of merges × text. Here nothing is counted twice:

- Equal words are merged alike, so each *different* word is laid out once, weighted with how often it occurs. All of
  them stand in one row of symbols, with GAP between words and a linked list over it (`following`, `preceding`), where
  a merge costs the same however long the word is.
- `counts[pair]` is kept exact. Merging (b, c) to d in "a b c e" loses (a, b) and (c, e), and gains (a, d) and (d, e).
- `positions[pair]` lists where a pair has ever arisen. A position is never struck off when its pair is broken up, only
  looked at again when its turn comes.
- The most frequent pair is on top of a heap. An entry there may be out of date, since a count that falls is not sought
  in it: on top, it is compared with `counts`, and put back with its true count if it was too high.

So the work of a merge is the number of its occurrences in different words, and the total grows about as the text does.
"""

import heapq
from array import array
from collections import Counter, defaultdict

from minitransformer.text.splitting import split_words

GAP = -1
ENOUGH = 2**23  # bytes of different words, which take about 50 bytes of memory each


def count_words(pieces, splitting="gpt2"):
    """Count the words of a text that comes in pieces of whole words (see splitting.py). Returns a Counter of str.

    Once the different words add up to ENOUGH bytes it stops, after the same word however the text was cut. Ordinary
    text of 100 MB stays below. Text that hardly repeats a word does not, but then more of it would not change the
    merges by much, and memory stays bounded.
    """
    counts, size = Counter(), 0
    for piece in pieces:
        words = split_words(piece, splitting)
        new = sum(len(word.encode("utf-8")) for word in set(words) - counts.keys())
        if size + new < ENOUGH:
            counts.update(words)
            size += new
            continue
        for word in words:
            size += 0 if word in counts else len(word.encode("utf-8"))
            counts[word] += 1
            if size >= ENOUGH:
                return counts
    return counts


def learn_merges(words, vocab_size, progress=None):
    """Learn merges until there are `vocab_size` tokens, or no pair is left.

    words: (word, count) for each different word, as bytes, with the number of times it occurs.
    progress: called as progress(tokens so far, vocab_size) after each merge.
    Returns (tokens, merges): tokens a list of bytes, id i being tokens[i] and the first 256 the bytes in order; merges
    a list of pairs of bytes, in the order in which they were learned.
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
    """The words as rows of symbols, with the count of every pair of neighbours and the positions where it occurs."""

    def __init__(self, words):
        self.symbols = array("i", [GAP])
        self.weights = array("q", [0])  # how often the word at this position occurs
        for word, weight in words:
            self.symbols.extend(word)
            self.symbols.append(GAP)
            self.weights.extend([weight] * (len(word) + 1))
        self.following = array("i", range(1, len(self.symbols) + 1))
        self.preceding = array("i", range(-1, len(self.symbols) - 1))
        self.counts = Counter()
        self.positions = defaultdict(lambda: array("i"))
        for position in range(len(self.symbols) - 1):
            self._add(position)
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def _add(self, position):
        """Count the pair that begins at `position`, unless it reaches into a gap. Returns it, or None."""
        pair = self.symbols[position], self.symbols[self.following[position]]
        if GAP in pair:
            return None
        self.counts[pair] += self.weights[position]
        self.positions[pair].append(position)
        return pair

    def _remove(self, position):
        """Uncount the pair that begins at `position`."""
        pair = self.symbols[position], self.symbols[self.following[position]]
        if GAP not in pair:
            self.counts[pair] -= self.weights[position]

    def most_frequent(self):
        """Return the most frequent pair, of several the one with the smallest ids; None if no pair is left."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.counts[pair]:
                return pair if count else None
            if self.counts[pair]:
                heapq.heapreplace(self.heap, (-self.counts[pair], pair))
            else:
                heapq.heappop(self.heap)
        return None

    def merge(self, pair, merged):
        """Put the symbol `merged` in the place of `pair` everywhere, from left to right."""
        symbols, following, preceding = self.symbols, self.following, self.preceding
        arisen = set()
        for position in sorted(set(self.positions.pop(pair))):
            right = following[position]
            if (symbols[position], symbols[right]) != pair:
                continue  # broken up since, or overlapped by the occurrence just merged, as in "aaa"
            before, after = preceding[position], following[right]
            for broken in (before, position, right):
                self._remove(broken)
            symbols[position], symbols[right] = merged, GAP
            following[position], preceding[after] = after, position
            arisen.update((self._add(before), self._add(position)))
        for new in arisen - {None}:
            heapq.heappush(self.heap, (-self.counts[new], new))
