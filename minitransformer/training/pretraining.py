"""Pretraining: predict the next token in random windows of a text.

The loop over steps is the same for all kinds of runs (see run.py). This file defines the batches and the evaluation.
"""

import numpy as np

from minitransformer.language_model import LanguageModel
from minitransformer.system.validation import brief
from minitransformer.text import Corpus
from minitransformer.text.batches import random_starts
from minitransformer.training.balancing import balanced
from minitransformer.training.observer import Observer
from minitransformer.training.ranks import ModelOnRanks, Ranks
from minitransformer.training.replicas import with_replicas
from minitransformer.training.run import Run
from minitransformer.training.settings import Settings


def pretrain(
    lm: LanguageModel,
    corpus: Corpus,
    settings: Settings | None = None,
    *,
    out=None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict | None = None,
    communicator=None,
) -> list[dict]:
    """Train the model of `lm`, in place, on the text of `corpus`.

    out            folder to write to, or None. An earlier run in it is overwritten unless `resume`
    resume         continue from the checkpoint in `out`, which must have the same model, text and settings, except that
                   `steps` may be greater
    plot           draw loss.png when the run ends or is interrupted; warns if matplotlib is not installed
    observer       an Observer, which is called at each event, or None
    about          a JSON-serializable dictionary, which is stored in the checkpoint
    communicator   an MPI communicator (mpi4py), whose ranks all call this function with equal arguments (see ranks.py)

    Returns the records of the metrics (see metrics.py). Raises ValueError if the text is too short or the checkpoint
    belongs to another run, and ArchiveError (a ValueError) if the checkpoint is damaged. Raises OSError if `out` cannot
    be written, and BlockingIOError if another run uses it. Raises TrainingDiverged if the loss or the gradient is not
    finite; the last checkpoint is then kept. After Ctrl-C, the run finishes the current step, saves it, and raises
    TrainingInterrupted (a KeyboardInterrupt). A second Ctrl-C stops immediately.
    """
    run = Pretraining(lm, corpus, settings or Settings(), communicator)
    return run.carry_out(out=out, resume=resume, plot=plot, observer=observer, about=about)


class Pretraining(Run):
    """The training of the LanguageModel `lm` on `corpus`. Arguments and exceptions are those of pretrain."""

    shares_batches = True

    def __init__(self, lm: LanguageModel, corpus: Corpus, settings: Settings, communicator=None):
        corpus.require_context(lm.model.config.context)
        self.corpus = corpus
        super().__init__(lm, settings)
        trained, self.optimizer = balanced(lm.model, self.optimizer, settings)
        self.trained = with_replicas(trained, settings.replicas)
        if communicator is not None:
            self.ranks = Ranks(communicator)
            self.trained = ModelOnRanks(self.trained, self.ranks)

    def draw(self):
        settings, ids, context = self.settings, self.corpus.train_ids, self.lm.model.config.context
        self.starts = random_starts(ids, settings.accumulate * settings.batch_size, context, self.batch_rng)
        windows = ids[self.starts + np.arange(context + 1)].astype(np.int64)
        batches = [(batch[:, :-1], batch[:, 1:]) for batch in np.split(windows, settings.accumulate)]
        return batches, len(self.starts) * context

    def on_divergence(self, error):
        if error.gradient is None:  # an evaluation diverged
            raise error
        where = brief(self.starts[:, 0].tolist())
        raise error.with_message(f"{error}; the windows of this batch start at the tokens {where}") from None

    def evaluate(self) -> dict:
        ids = self.corpus.val_ids
        if not len(ids):
            return {}
        if self.settings.eval_tokens is not None:
            ids = ids[: self.settings.eval_tokens + 1]
        return {"val_loss": self.ranks.mean_loss(self.lm.model, ids, self.settings.batch_size)}

    def first_ids(self):
        return self.corpus.train_ids[:1].astype(np.int64)

    def describe_data(self) -> dict:
        return {
            "name": self.corpus.name,
            "training_tokens": len(self.corpus.train_ids),
            "validation_tokens": len(self.corpus.val_ids),
            "sha256": self.corpus.fingerprint,
        }
