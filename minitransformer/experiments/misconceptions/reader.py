"""A small model that has read the Python manual in tokens, where an experiment needs one that has learned to write."""

from functools import cache

from minitransformer.config import Config
from minitransformer.language_model import LanguageModel
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, Corpus, default_corpus, tokenize_corpus
from minitransformer.training import Settings, pretrain
from minitransformer.transformer import Transformer

VOCAB_SIZE, CONTEXT, WIDTH = 500, 48, 64
STEPS = 500


@cache
def manual() -> tuple[BPETokenizer, Corpus]:
    """Return a tokenizer that was trained on the manual, and the manual in its tokens, the last tenth held out."""
    tokenizer = BPETokenizer.train(default_corpus(), VOCAB_SIZE)
    return tokenizer, tokenize_corpus(default_corpus(), tokenizer, name=DEFAULT_CORPUS)


def reader(seed: int) -> LanguageModel:
    """Return a model of two layers, trained for about ten seconds."""
    tokenizer, corpus = manual()
    model = Transformer(Config(tokenizer.vocab_size, CONTEXT, d_model=WIDTH, positions="rotary"), seed)
    lm = LanguageModel(model, tokenizer)
    pretrain(lm, corpus, Settings(steps=STEPS, batch_size=16, lr=3e-3, eval_every=0, eval_tokens=1000, seed=seed))
    return lm
