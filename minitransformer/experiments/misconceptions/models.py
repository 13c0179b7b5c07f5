"""Models that several experiments use: a model trained on the Python manual, and models of finished runs."""

import json
from functools import cache, partial
from pathlib import Path

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.emergence.family import LAYERS
from minitransformer.experiments.emergence.plan import RUNS_FOLDER
from minitransformer.language_model import LanguageModel
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.system.validation import check_int
from minitransformer.text import DEFAULT_CORPUS, BPETokenizer, Corpus, default_corpus, tokenize_corpus
from minitransformer.training import Settings, fit, pretrain
from minitransformer.training.remembered import load_with_checkpoint, remembered_text, was_trained_on
from minitransformer.transformer import Transformer

VOCAB_SIZE, CONTEXT, WIDTH = 500, 48, 64
STEPS, TOKENS = 500, 768  # steps, and tokens per step
PARTS = 5  # the held-out text of a finished run is divided into parts, which replace the seeds


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


def finished_run(folder, least: int) -> tuple[LanguageModel, list]:
    """Load the model of a finished run of `train`, and its held-out text in PARTS arrays of ids.

    The spread of results over the parts shows the effect of the text, but not that of the training run.
    """
    lm, checkpoint = load_with_checkpoint(folder)
    text = remembered_text(checkpoint)
    if text is None:
        raise ValueError(f"{folder}: the model must record its training text, as `minitransformer train` does")
    corpus = tokenize_corpus(text, lm.tokenizer)
    if not was_trained_on(checkpoint, corpus):
        raise ValueError(f"{folder}: {corpus.name} must be unchanged since the training")
    parts = np.array_split(corpus.val_ids, PARTS)
    check_int(f"{folder}: the model's context", lm.model.config.context, minimum=least)
    check_int(f"{folder}: the tokens of each part of the held-out text", len(parts[-1]), minimum=least)
    return lm, parts


def runs_by_size(folder, capabilities) -> list[dict]:
    """Return the results of a sweep for each size, smallest first, as dictionaries with seeds as keys.

    Only models of the family that were tested in all `capabilities` are included. If the runs differ in the number of
    steps, only the longest ones are included.
    """
    found: dict = {}
    for path in sorted((Path(folder) / RUNS_FOLDER).glob("*.json")):
        try:
            run = json.loads(path.read_bytes())
            plan, scores = run["plan"], run["lengths"][-1]["scores"]
            if plan["config"]["n_layers"] == LAYERS and scores.keys() >= set(capabilities):
                found.setdefault(plan["steps"], {}).setdefault(run["parameters"], {})[plan["seed"]] = run
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise ValueError(f"{path}: expected a run of `minitransformer scale`, found another file") from None
    if not found:
        raise ValueError(f"{folder}: contains no runs of `minitransformer scale` of {' and '.join(capabilities)}")
    sizes = [runs for _, runs in sorted(found[max(found)].items())]
    check_int(f"{folder}: the number of seeds of each size", min(map(len, sizes)), minimum=2)
    return sizes
