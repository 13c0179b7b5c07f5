"""Loading a tokenizer of any kind."""

from minitransformer.system.archive import ArchiveError
from minitransformer.system.values import dictionary
from minitransformer.text.bpe import BPETokenizer
from minitransformer.text.byte import ByteTokenizer
from minitransformer.text.char import CharTokenizer
from minitransformer.text.no_tokenizer import NoTokenizer
from minitransformer.text.pattern_words import PatternTokenizer
from minitransformer.text.tokenizer import read_json

TOKENIZERS = ByteTokenizer, CharTokenizer, BPETokenizer, PatternTokenizer, NoTokenizer
KINDS = {tokenizer.kind: tokenizer for tokenizer in TOKENIZERS}


def tokenizer_from_dict(content):
    """Return the tokenizer that `to_dict` described, or raise TypeError or ValueError."""
    kind = dictionary("tokenizer", content).get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind of tokenizer {kind!r}: expected one of {', '.join(KINDS)}")
    return KINDS[kind].from_dict(content)


def load_tokenizer(path):
    """Load a tokenizer of any kind from a file written by `save`.

    Raises OSError for a file that cannot be read, ArchiveError for one that is damaged or not a tokenizer.
    """
    content = read_json(path)
    try:
        return tokenizer_from_dict(content)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: {error}") from None
