"""Fine-tuning on a text: continued pretraining of a part of the model."""

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
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train the model of `lm`, in place, on the next token of `text`.

    `text` is a str, a TextFiles, or a Corpus that was encoded with the tokenizer of `lm`. The other options, the result
    and the exceptions are those of pretrain. Frozen parameters stay bit-identical, and requires_grad of all parameters
    is restored at the end. Raises ValueError if the settings select more blocks than the model has.
    """
    settings = settings or FineTuningSettings()
    corpus = text if isinstance(text, Corpus) else tokenize_corpus(text, lm.tokenizer)
    with training_only(lm.model, settings.trainable, seed=settings.seed):
        return pretrain(lm, corpus, settings, out=out, resume=resume, plot=plot, observer=observer, about=about)
