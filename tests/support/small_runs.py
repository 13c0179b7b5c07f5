"""Training runs of a fraction of a second, for the tests of training, checkpoints, resuming and the command line."""

import numpy as np

from minitransformer import CharTokenizer, Config, LanguageModel, Transformer
from minitransformer.text import tokenize_corpus
from minitransformer.training import Observer, Settings, read_metrics

WORDS = ["a", "cat", "sat", "on", "the", "mat", "and", "saw", "that", "rat", "ate", "oat", "cake"]
TEXT = " ".join(np.random.default_rng(1).choice(WORDS, 500))
SETTINGS = Settings(steps=12, batch_size=3, lr=1e-2, eval_every=4, checkpoint_every=5, sample_every=6, sample_tokens=5)


def small_lm(text=TEXT, seed=0, **fields):
    """Return a LanguageModel of a few hundred parameters, dropout on, with a tokenizer trained on `text`."""
    tokenizer = CharTokenizer.train(text)
    defaults = {"context": 8, "d_model": 8, "n_heads": 2, "n_layers": 1, "dropout": 0.1}
    return LanguageModel(Transformer(Config(tokenizer.vocab_size, **(defaults | fields)), seed), tokenizer)


def small_corpus(text=TEXT):
    """Return `text` as a Corpus of the ids of small_lm's tokenizer."""
    return tokenize_corpus(text, CharTokenizer.train(text), name="small text")


def weights(lm):
    """Return a copy of every parameter's data, by name."""
    return {name: parameter.data.copy() for name, parameter in lm.model.named_parameters()}


def assert_same_weights(one, other):
    """Assert that two models, or results of `weights`, are bit-identical."""
    one, other = (x if isinstance(x, dict) else weights(x) for x in (one, other))
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), f"{name} differs"


def without_seconds(records):
    """Return the records of metrics, or those in a file, without the one thing that two runs do not share."""
    records = records if isinstance(records, list) else read_metrics(records)
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


class At(Observer):
    """Calls act() when the record of `step` arrives."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def record(self, record):
        """Act, if it is time."""
        if record["step"] == self.step:
            self.act()


def fail():
    """Raise an error that no run expects: the action of an At that stops a run."""
    raise ZeroDivisionError
