"""A run of training with a recipe: the loss after its last step, and its pace, the median time of a step.

Only the process of an engine imports this file.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from minitransformer.config import Config
from minitransformer.language_model import LanguageModel
from minitransformer.text import CharTokenizer, TextFiles, default_corpus, tokenize_corpus
from minitransformer.training.pretraining import Pretraining
from minitransformer.training.recipes import MODEL, Recipe
from minitransformer.training.settings import Settings
from minitransformer.transformer import Transformer

WARM_UP = 3  # steps that do not count


class TimedRun(Pretraining):
    """A run that evaluates after its last step only, on all held-out tokens."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.marks: list[float] = []  # the beginnings of the steps, and the end of the last one

    def draw(self) -> tuple:
        self.marks.append(time.perf_counter())
        return super().draw()

    def evaluate(self) -> dict:
        if not self.finished:
            return {}
        self.marks.append(time.perf_counter())
        return super().evaluate()


def prepared(recipe: Recipe, text: list[str] | None, steps: int, seed: int, replicas: int = 1) -> TimedRun:
    """Return the run of a recipe on the files `text`, before its first step. None is the text of `train`."""
    text = default_corpus() if text is None else TextFiles(text)
    tokenizer = CharTokenizer.train(text)
    config = Config(tokenizer.vocab_size, **MODEL | recipe.model)
    settings = {"eval_tokens": None, "checkpoint_every": 0, "replicas": replicas, **recipe.settings}
    lm = LanguageModel(Transformer(config, seed), tokenizer)
    return TimedRun(lm, tokenize_corpus(text, tokenizer), Settings(steps=steps, seed=seed, **settings))


def course(recipe: Recipe, text: list[str] | None, steps: int, seed: int, *, replicas: Callable[[int], int]) -> dict:
    """Take all steps. Return the validation loss, and the pace in seconds.

    `replicas` is a function of the batch size.
    """
    batch_size = recipe.settings.get("batch_size", Settings.batch_size)
    run = prepared(recipe, text, steps, seed, replicas(batch_size))
    records = run.carry_out()
    return {"loss": records[-1]["val_loss"], "pace": pace_of(run.marks)}


def pace_of(marks: list[float]) -> float:
    """Return the median time between marks. In the first steps, memory is allocated and twins are compared."""
    return median(after - before for before, after in pairwise(marks[min(WARM_UP, len(marks) - 2) :]))
