"""The tokenizer of a model whose files contain none."""

from minitransformer.system.values import whole
from minitransformer.text.tokenizer import Tokenizer, stored


class NoTokenizer(Tokenizer):
    """A vocabulary of `vocab_size` ids without text; encoding and decoding raise ValueError.

    Only the empty text can be encoded. Raises TypeError if vocab_size is not an integer, ValueError if it is below 1.
    """

    kind = "none"

    def __init__(self, vocab_size):
        self.vocab_size = whole("NoTokenizer: vocab_size", vocab_size, least=1)

    def _encode(self, text, start):
        raise no_text()

    def decode(self, ids):
        """Raise ValueError."""
        raise no_text()

    def to_dict(self):
        """Return the kind and the number of ids."""
        return {"kind": self.kind, "vocab_size": self.vocab_size}

    @classmethod
    def from_dict(cls, content):
        """Return the NoTokenizer that `to_dict` described."""
        return cls(stored(content, "vocab_size", int))


def no_text():
    """Return the ValueError for any use of text."""
    return ValueError(
        "the model has no tokenizer, so it reads and writes only ids (lm.model); for text, add a tokenizer: "
        "LanguageModel(lm.model, tokenizer)"
    )
