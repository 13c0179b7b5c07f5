"""Pretraining: predict the next token of random stretches of a text, again and again.

    for each step:
        draw windows of the text at random places
        move the weights by the gradient of their loss
        now and then: evaluate on text held out, write a sample, save a checkpoint

The loop itself is that of every run (see loop.py); what a step and an evaluation are is here.
"""

import hashlib
import math

import numpy as np

from minitransformer.language_model import LanguageModel
from minitransformer.text import Corpus, random_batch
from minitransformer.training.loop import carry_out
from minitransformer.training.loss_curve import LOSS_FILE, draw_loss_curve
from minitransformer.training.observer import Observer
from minitransformer.training.ranks import ModelOnRanks, Together
from minitransformer.training.replicas import with_replicas
from minitransformer.training.settings import Settings
from minitransformer.training.state import TrainingState
from minitransformer.training.step import TrainingDiverged, training_step

POSITIONS_NAMED = 16


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
    """Train the model of `lm`, in place, on the text of `corpus`. Returns the metrics' records (see metrics.py).

    out        the folder to write to, made where it does not exist; None: nothing is written. A run that is there
               already is overwritten unless `resume`
    resume     go on from the checkpoint in `out`, which must be of the same model, text and settings
    plot       also draw loss.png there, when the run ends or is interrupted; warns if matplotlib is not installed
    observer   is told what happens; None: nobody
    about      anything that JSON can hold, to be kept in the checkpoint
    communicator   one of MPI (mpi4py), whose ranks all call this with equal models, texts and settings: they train
               together (see ranks.py), and the first alone reads and writes in `out`, draws, and has its observer told

    Raises ValueError for a text that is too short, or a checkpoint of another run or damaged (ArchiveError); OSError
    where `out` cannot be written, and BlockingIOError, one of its kinds, where another run is at work there;
    TrainingDiverged, with the last good checkpoint kept; TrainingInterrupted (a KeyboardInterrupt) at Ctrl-C, when the
    step is finished and saved. A second Ctrl-C stops at once.
    """
    run = Pretraining(lm, corpus, settings or Settings(), communicator)
    return carry_out(run, out=out, resume=resume, plot=plot, observer=observer, about=about)


class Pretraining(TrainingState):
    """The training of the LanguageModel `lm` on `corpus`.

    communicator: an MPI communicator, whose ranks train together (see ranks.py); None: this process alone.
    Raises ValueError for a corpus that is too short for the model's context, or a sample prompt that has no ids;
    MissingExtra for replicas without threadpoolctl.
    """

    picture = LOSS_FILE
    shares_batches = True

    def __init__(self, lm: LanguageModel, corpus: Corpus, settings: Settings, communicator=None):
        corpus.require_context(lm.model.config.context)
        self.corpus = corpus
        super().__init__(lm, settings)
        self.fingerprint = fingerprint(corpus)
        self.trained = with_replicas(lm.model, settings.replicas)
        if communicator is not None:
            self.ranks = Together(communicator)
            self.trained = ModelOnRanks(self.trained, self.ranks)

    @property
    def tokens(self) -> int:
        """How many tokens it has trained on."""
        return self.step * self.settings.accumulate * self.settings.batch_size * self.lm.model.config.context

    def advance(self) -> dict:
        """Take one step. Returns its loss, learning rate and gradient's norm; raises TrainingDiverged."""
        settings = self.settings
        lr = self.set_learning_rate()
        before = self.batch_rng.bit_generator.state
        try:
            batches = self.draw(self.corpus.train_ids)
            loss, norm = training_step(self.trained, self.optimizer, batches, clip=settings.clip, rng=self.dropout_rng)
        except TrainingDiverged as error:
            self.batch_rng.bit_generator.state = before
            where = self.named_positions(self.draw(Positions(len(self.corpus.train_ids))))
            raise error.with_message(
                f"step {self.step + 1}: {error}; its batch is the windows at tokens {where}"
            ) from None
        self.step += 1
        return {"loss": loss, "lr": lr, "grad_norm": norm}

    def draw(self, ids):
        """Return the next step's batches out of `ids`, a list of (inputs, targets).

        They are drawn as one, so that more than there is memory for is refused before it is filled.
        """
        number, size, context = self.settings.accumulate, self.settings.batch_size, self.lm.model.config.context
        inputs, targets = random_batch(ids, number * size, context, self.batch_rng)
        return list(zip(np.split(inputs, number), np.split(targets, number), strict=True))

    @staticmethod
    def named_positions(batches) -> str:
        """Write where the windows of batches that were drawn out of Positions begin."""
        starts = np.concatenate([inputs[:, 0] for inputs, _ in batches]).tolist()
        more = f" and {len(starts) - POSITIONS_NAMED} more" if len(starts) > POSITIONS_NAMED else ""
        return ", ".join(map(str, starts[:POSITIONS_NAMED])) + more

    def evaluate(self) -> dict:
        """Return the mean loss on the validation split, or its first `eval_tokens`; nothing if there is no such split.

        Raises TrainingDiverged if it is not finite.
        """
        ids = self.corpus.val_ids
        if not len(ids):
            return {}
        if self.settings.eval_tokens is not None:
            ids = ids[: self.settings.eval_tokens + 1]
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is looked for
            val_loss = self.ranks.mean_loss(self.lm.model, ids, self.settings.batch_size)
        if not math.isfinite(val_loss):
            raise TrainingDiverged(f"step {self.step}: the validation loss after it is {val_loss}", val_loss)
        return {"val_loss": val_loss}

    def first_ids(self):
        """Return the ids that samples begin with where no prompt is given."""
        return self.corpus.train_ids[:1].astype(np.int64)

    def describe_data(self) -> dict:
        """Return what tells one text from another."""
        return {
            "name": self.corpus.name,
            "training_tokens": len(self.corpus.train_ids),
            "validation_tokens": len(self.corpus.val_ids),
            "sha256": self.fingerprint,
        }

    @staticmethod
    def data_in_words(described: dict) -> str:
        """Return what describe_data returned, in words."""
        return f"{described['name']} ({described['training_tokens']} + {described['validation_tokens']} tokens)"

    def draw_picture(self, records, path) -> None:
        """Draw the losses."""
        draw_loss_curve(records, path, f"training on {self.corpus.name}")


class Positions:
    """Ids 0, 1, 2, … that take no memory: a batch drawn from them says which places of a text it would have had."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, positions):
        return positions


def fingerprint(corpus: Corpus) -> str:
    """Return a SHA-256 of the ids of both splits: equal for equal ids alone."""
    digest = hashlib.sha256(f"{len(corpus.train_ids)} {len(corpus.val_ids)}".encode())
    for ids in (corpus.train_ids, corpus.val_ids):
        digest.update(np.ascontiguousarray(ids))
    return digest.hexdigest()
