"""Models that several experiments train: the training loop, a reader of the Python manual, and finished runs."""

from functools import cache

import numpy as np

from minitransformer.config import Config
from minitransformer.language_model import LanguageModel
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, Corpus, default_corpus, tokenize_corpus
from minitransformer.training import Settings, pretrain, training_step
from minitransformer.training.remembered import load_with_training, remembered_text, was_trained_on
from minitransformer.transformer import Transformer

VOCAB_SIZE, CONTEXT, WIDTH = 500, 48, 64
STEPS, TOKENS = 500, 768  # TOKENS per step
PARTS = 5  # parts of a finished run's held-out text, in place of seeds


def train(model, draw_batch, *, steps: int, lr: float, min_lr: float, warmup: int, clip=None, look=None, **options):
    """Train with AdamW on `steps` batches, with a cosine schedule of the learning rate.

    draw_batch   draw_batch() returns the (inputs, targets) of a step
    look         look(step) is called after each step, from 1 to `steps`
    options      of AdamW
    """
    optimizer = AdamW(model.parameters(), **options)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=lr, min_lr=min_lr, warmup=warmup, steps=steps)
        training_step(model, optimizer, [draw_batch()], clip=clip)
        if look is not None:
            look(step + 1)
    return model


@cache
def manual() -> tuple[BPETokenizer, Corpus]:
    """Return a tokenizer trained on the Python manual, and the tokenized manual, whose last tenth is held out."""
    tokenizer = BPETokenizer.train(default_corpus(), VOCAB_SIZE)
    return tokenizer, tokenize_corpus(default_corpus(), tokenizer, name=DEFAULT_CORPUS)


def reader(seed: int, context: int = CONTEXT) -> LanguageModel:
    """Return a model of two layers, trained on the manual for about ten seconds."""
    tokenizer, corpus = manual()
    model = Transformer(Config(tokenizer.vocab_size, context, d_model=WIDTH, positions="rotary"), seed)
    lm = LanguageModel(model, tokenizer)
    settings = Settings(steps=STEPS, batch_size=TOKENS // context, lr=3e-3, eval_every=0, eval_tokens=1000, seed=seed)
    pretrain(lm, corpus, settings)
    return lm


def finished_run(folder) -> tuple[LanguageModel, list]:
    """Return the model that `train` wrote to a folder, and the ids of its held-out text in PARTS.

    The parts replace the seeds. Their spread shows the effect of another text, but not of another training run.
    Raises ValueError if the model's file does not name its text, or if the text has changed, and OSError.
    """
    lm, training = load_with_training(folder)
    text = remembered_text(folder, training)
    if text is None:
        raise ValueError(f"{folder}: its model does not name the file it was trained on; minitransformer train does")
    corpus = tokenize_corpus(text, lm.tokenizer)
    if not was_trained_on(training, corpus):
        raise ValueError(f"{folder}: {corpus.name} has changed since the model was trained, so nothing is held out")
    return lm, np.array_split(corpus.val_ids, PARTS)
