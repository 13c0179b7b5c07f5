"""Text in and out of a model: tokenizers, corpora, and simple patterns.

Nothing here knows of transformers. In reading order:

    chunks.py         a text as a stream, so that it may be of any size
    tokenizer.py      what all tokenizers share: encode, decode, save, load
    byte.py           bytes as tokens                            ByteTokenizer
    char.py           characters as tokens                       CharTokenizer
    bpe.py            byte-pair encoding, as in GPT-2            BPETokenizer
    splitting.py        its first step: a text into words
    merging.py          its second: a word into tokens
    bpe_training.py     where its merges come from
    gpt2_files.py       GPT-2's own vocabulary files
    no_tokenizer.py   what a model without one has               NoTokenizer
    loading.py        a tokenizer of any kind from its file      load_tokenizer, tokenizer_from_dict
    corpora.py        where text comes from, and its ids         default_corpus, TextFiles, tokenize_corpus, Corpus
    batches.py        ids into exercises                         random_batch, sequential_blocks
    patterns.py       little languages with known answers        PATTERNS, pattern_batch
    pattern_words.py  their words as tokens                      PatternTokenizer
"""

from minitransformer.text.batches import IGNORE_INDEX, check_length, random_batch, sequential_blocks
from minitransformer.text.bpe import BPETokenizer
from minitransformer.text.byte import ByteTokenizer
from minitransformer.text.char import CharTokenizer
from minitransformer.text.chunks import chunks_of
from minitransformer.text.corpora import DEFAULT_CORPUS, Corpus, TextFiles, default_corpus, reported, tokenize_corpus
from minitransformer.text.loading import load_tokenizer, tokenizer_from_dict
from minitransformer.text.no_tokenizer import NoTokenizer
from minitransformer.text.pattern_words import PatternTokenizer
from minitransformer.text.patterns import PATTERNS, Pattern, accuracy, pattern_batch, right_rows, spell
from minitransformer.text.tokenizer import Tokenizer

__all__ = [
    "chunks_of",
    "Tokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "BPETokenizer",
    "NoTokenizer",
    "PatternTokenizer",
    "load_tokenizer",
    "tokenizer_from_dict",
    "DEFAULT_CORPUS",
    "Corpus",
    "TextFiles",
    "default_corpus",
    "reported",
    "tokenize_corpus",
    "IGNORE_INDEX",
    "check_length",
    "random_batch",
    "sequential_blocks",
    "PATTERNS",
    "Pattern",
    "accuracy",
    "pattern_batch",
    "right_rows",
    "spell",
]
