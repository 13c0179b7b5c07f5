"""Plain fine-tuning: pretraining gone on with, on another text, while a part of the model stays as it is."""

import os
from typing import Any

from minitransformer.language_model import LanguageModel
from minitransformer.text import Corpus, TextFiles, tokenize_corpus
from minitransformer.training.finetuning.settings import FineTuningSettings
from minitransformer.training.finetuning.trainable import training_only
from minitransformer.training.observer import Observer
from minitransformer.training.pretraining import pretrain


def fine_tune(
    lm: LanguageModel,
    text: str | TextFiles | Corpus,
    settings: FineTuningSettings | None = None,
    *,
    merge: bool = True,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train the model of `lm`, in place, on the next token of `text`. Returns the metrics' records (see metrics.py).

    text      a Corpus of the tokenizer's ids, or what tokenize_corpus takes: a str, a TextFiles
    settings  steps, lr, what is trained, ...; merge is that of fine_tune_for_safety, and the rest are pretrain's

    What is not trained stays as it is to the bit, and afterwards every parameter is frozen, or not, as it was found.
    Raises what pretrain raises, and ValueError for parameters that the model does not have.
    """
    settings = settings or FineTuningSettings()
    corpus = text if isinstance(text, Corpus) else tokenize_corpus(text, lm.tokenizer)
    with training_only(lm.model, settings.trainable, seed=settings.seed, merge=merge):
        return pretrain(lm, corpus, settings, out=out, resume=resume, plot=plot, observer=observer, about=about)
