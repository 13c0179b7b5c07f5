"""Tokenizers, corpora, batches, and small languages with known answers. README.md lists the files."""

from minitransformer.text.batches import IGNORE_INDEX, check_length, random_batch, sequential_blocks
from minitransformer.text.bpe import BPETokenizer
from minitransformer.text.byte import ByteTokenizer
from minitransformer.text.char import CharTokenizer
from minitransformer.text.chunks import chunks_of
from minitransformer.text.corpora import DEFAULT_CORPUS, Corpus, TextFiles, default_corpus, reported, tokenize_corpus
from minitransformer.text.kept import kept_corpus
from minitransformer.text.patterns import (
    PATTERNS,
    Pattern,
    PatternTokenizer,
    accuracy,
    right_rows,
    spell,
)
from minitransformer.text.pretrained import PretrainedTokenizer
from minitransformer.text.tokenizer import NoTokenizer, Tokenizer, tokenizer_from_dict

__all__ = [
    "chunks_of",
    "Tokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "BPETokenizer",
    "PretrainedTokenizer",
    "NoTokenizer",
    "PatternTokenizer",
    "tokenizer_from_dict",
    "DEFAULT_CORPUS",
    "Corpus",
    "TextFiles",
    "default_corpus",
    "reported",
    "tokenize_corpus",
    "kept_corpus",
    "IGNORE_INDEX",
    "check_length",
    "random_batch",
    "sequential_blocks",
    "PATTERNS",
    "Pattern",
    "accuracy",
    "right_rows",
    "spell",
]
