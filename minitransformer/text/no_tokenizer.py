"""What stands where a model has no tokenizer: its files held none, so it knows ids and no text."""

from minitransformer.text.tokenizer import Tokenizer, stored
from minitransformer.values import whole


class NoTokenizer(Tokenizer):
    """A vocabulary of `vocab_size` ids whose text nobody knows. To encode anything, or to decode, raises ValueError.

    Raises TypeError for a size that is no integer, ValueError for one below 1.
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
        """Return the number of ids."""
        return {"kind": self.kind, "vocab_size": self.vocab_size}

    @classmethod
    def from_dict(cls, content):
        """Return the one that `to_dict` described."""
        return cls(stored(content, "vocab_size", int))


def no_text():
    """Return what is raised wherever text is asked for."""
    return ValueError(
        "the model came without a tokenizer, so it reads and writes ids alone (lm.model); for text, give it one: "
        "LanguageModel(lm.model, tokenizer)"
    )
