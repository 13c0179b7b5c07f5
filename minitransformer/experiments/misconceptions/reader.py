"""A model that has learned to write: a small one that reads the Python manual, or that of a finished run of `train`."""

from functools import cache

import numpy as np

from minitransformer.config import Config
from minitransformer.language_model import LanguageModel
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, Corpus, default_corpus, tokenize_corpus
from minitransformer.training import Settings, pretrain
from minitransformer.training.remembered import load_with_training, remembered_text, was_trained_on
from minitransformer.transformer import Transformer

VOCAB_SIZE, CONTEXT, WIDTH = 500, 48, 64
STEPS, TOKENS = 500, 768  # in each step
PARTS = 5  # of the text held out by a finished run, in place of seeds


@cache
def manual() -> tuple[BPETokenizer, Corpus]:
    """Return a tokenizer that was trained on the manual, and the manual in its tokens, the last tenth held out."""
    tokenizer = BPETokenizer.train(default_corpus(), VOCAB_SIZE)
    return tokenizer, tokenize_corpus(default_corpus(), tokenizer, name=DEFAULT_CORPUS)


def reader(seed: int, context: int = CONTEXT) -> LanguageModel:
    """Return a model of two layers, trained for about ten seconds."""
    tokenizer, corpus = manual()
    model = Transformer(Config(tokenizer.vocab_size, context, d_model=WIDTH, positions="rotary"), seed)
    lm = LanguageModel(model, tokenizer)
    settings = Settings(steps=STEPS, batch_size=TOKENS // context, lr=3e-3, eval_every=0, eval_tokens=1000, seed=seed)
    pretrain(lm, corpus, settings)
    return lm


def finished_run(folder) -> tuple[LanguageModel, list]:
    """Return the model that `train` wrote to a folder, and the ids of the last tenth of its text, in PARTS.

    The parts take the place of seeds: they say what another text would have shown, and not what another training would.
    Raises ValueError for a model that does not know its text, or whose text has changed, and OSError.
    """
    lm, training = load_with_training(folder)
    text = remembered_text(folder, training)
    if text is None:
        raise ValueError(f"{folder}: its model does not say which file it was trained on; minitransformer train does")
    corpus = tokenize_corpus(text, lm.tokenizer)
    if not was_trained_on(training, corpus):
        raise ValueError(f"{folder}: {corpus.name} is no longer what its model was trained on: nothing is held out")
    return lm, np.array_split(corpus.val_ids, PARTS)
