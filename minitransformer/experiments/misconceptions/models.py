"""The training of the experiments, and the model that several of them use, which reads the Python manual."""

from functools import cache, partial

from minitransformer.config import Config
from minitransformer.language_model import LanguageModel
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, Corpus, default_corpus, tokenize_corpus
from minitransformer.training import Settings, fit, pretrain
from minitransformer.transformer import Transformer

VOCAB_SIZE, CONTEXT, WIDTH = 500, 48, 64
STEPS, TOKENS = 500, 768  # steps, and tokens per step


def train(model, draw_batch, steps, lr, min_lr=0.0, warmup=30, *, look=None, clip=1.0, betas=(0.9, 0.98), decay=0.1):
    """Train with AdamW and a cosine schedule, and return the model. `look` is the argument on_step of `fit`."""
    optimizer = AdamW(model.parameters(), betas=betas, weight_decay=decay)
    schedule = partial(cosine_schedule, lr=lr, min_lr=min_lr, warmup=warmup, steps=steps)
    fit(model, ([draw_batch()] for _ in range(steps)), optimizer, steps, look, lr=schedule, clip=clip)
    return model


@cache
def manual() -> tuple[BPETokenizer, Corpus]:
    tokenizer = BPETokenizer.train(default_corpus(), VOCAB_SIZE)
    return tokenizer, tokenize_corpus(default_corpus(), tokenizer, name=DEFAULT_CORPUS)


def reader(seed: int, context: int = CONTEXT) -> LanguageModel:
    tokenizer, corpus = manual()
    model = Transformer(Config(tokenizer.vocab_size, context, d_model=WIDTH, positions="rotary"), seed)
    lm = LanguageModel(model, tokenizer)
    settings = Settings(steps=STEPS, batch_size=TOKENS // context, lr=3e-3, eval_every=0, eval_tokens=1000, seed=seed)
    pretrain(lm, corpus, settings)
    return lm
