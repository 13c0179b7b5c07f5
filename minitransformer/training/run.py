"""A run of training from beginning to end: steps, evaluations, samples, checkpoints, interruption and resumption.

A Run owns the model, the optimiser, the random generators and the output folder. It writes the model (model.npz, which
is also the checkpoint), the metrics (metrics.jsonl) and a picture. A run that was stopped at any moment, even killed,
can be resumed. The weights and the metrics, except the times, are then bit-identical to those of an uninterrupted run.
A run that is resumed with more steps continues, also after its end, with the learning rates of the longer run.
Evaluations, samples and checkpoints do not use the random generators of the training, so they do not affect it.
"""

import json
import math
import os
import signal
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from gradcheck.front.signals import handled
from minitransformer.generation import stream
from minitransformer.language_model import MODEL_FILE, LanguageModel
from minitransformer.muon import Together, muon_with_adamw
from minitransformer.optim import AdamW, cosine_schedule, decay_groups
from minitransformer.system.files import naming
from minitransformer.system.pictures import can_draw
from minitransformer.training.checkpoints import Checkpoint, save_checkpoint
from minitransformer.training.loop import fit
from minitransformer.training.loss_curve import LOSS_FILE, draw_loss_curve
from minitransformer.training.metrics import METRICS_FILE, read_records
from minitransformer.training.observer import Observer
from minitransformer.training.ranks import Ranks
from minitransformer.training.settings import Settings
from minitransformer.training.step import TrainingDiverged, losses_of_batches
from minitransformer.transformer import Transformer


class TrainingInterrupted(KeyboardInterrupt):
    """Raised when Ctrl-C has stopped a run after `step` steps. `folder` contains the checkpoint, or is None."""

    def __init__(self, step: int, steps: int, folder: Path | None):
        kept = f"saved in {folder}" if folder else "nothing was saved"
        super().__init__(f"interrupted after step {step} of {steps}, {kept}")
        self.step, self.folder = step, folder


def optimizer_for(model: Transformer, settings: Settings) -> AdamW | Together:
    rates = {"lr": settings.lr, "betas": settings.betas}
    if settings.optimizer == "adamw":
        return AdamW(decay_groups(model, settings.weight_decay, embeddings=settings.decay_embeddings), **rates)
    decay = {"weight_decay": settings.weight_decay, "embeddings": settings.decay_embeddings}
    return muon_with_adamw(model, muon_lr=settings.muon_lr, **rates, **decay)


class Run:
    """The training of the LanguageModel `lm`, after `step` of `settings.steps` steps.

    A subclass, such as Pretraining or PreferenceRun, defines

        draw()            draw the batches of a step (see loop.py); return them and their number of tokens
        evaluate()        return the metrics of an evaluation, without any effect on later steps
        first_ids()       ids at the beginning of samples without a prompt
        describe_data()   {"name": …, "sha256": fingerprint, and sizes, such as "rows": 12}

    and, if it has additional state, own_state and restore_own_state. It may replace `trained`, the model that takes the
    steps, `losses`, on_divergence and draw_picture.
    """

    picture = LOSS_FILE  # name of the file that `draw_picture` writes
    report = None  # name of the file of a final report, if there is one
    shares_batches = False  # True if `settings.replicas` may exceed 1
    ranks = Ranks()  # the ranks that train together (see ranks.py)
    losses = staticmethod(losses_of_batches)  # the weighted losses of a step (see loop.py)

    def __init__(self, lm: LanguageModel, settings: Settings):
        if settings.replicas > 1 and not self.shares_batches:
            raise ValueError(f"Settings: replicas must be 1 for {settings.kind}, not {settings.replicas}")
        self.lm, self.trained, self.settings = lm, lm.model, settings
        self.optimizer = optimizer_for(lm.model, settings)
        batch_seed, dropout_seed = np.random.SeedSequence(settings.seed).spawn(2)
        self.batch_rng, self.dropout_rng = np.random.default_rng(batch_seed), np.random.default_rng(dropout_seed)
        try:
            self.sample_prompt = (
                self.first_ids() if settings.sample_prompt is None else lm.encode(settings.sample_prompt)
            )
        except ValueError as error:
            raise ValueError(f"the sample prompt: {error}") from None
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.last, self.best = {}, {}  # the last record (see metrics.py), and the one with the lowest val_loss

    def own_state(self) -> tuple[dict, dict]:
        """Return the additional state for a checkpoint: arrays by name, and a JSON-serializable dictionary."""
        return {}, {}

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        """Restore the result of own_state.

        Raises KeyError, TypeError or ValueError, without changing the run, if the state is invalid.
        """

    @property
    def finished(self) -> bool:
        return self.step == self.settings.steps

    def carry_out(self, *, out=None, resume=False, plot=False, observer=None, about=None) -> list[dict]:
        """Take the remaining steps and return the records of the metrics. The arguments are those of pretrain."""
        if out is None and (resume or plot):
            raise ValueError("out must be a folder if resume or plot is True, not None")
        writes = self.ranks.first  # only the first of several ranks writes (see ranks.py)
        self.folder = Path(out) if writes and out is not None else None
        self.observer, self.about = (observer if writes else None) or Observer(), about or {}
        self.plot = plot and writes and can_draw()
        self.interrupted = False
        with self.ranks.at_work_in(self.folder):
            if resume:
                checkpoint = self.ranks.from_first(lambda: Checkpoint.read(self.folder / MODEL_FILE))
                checkpoint.restore(self)
            self.saved_step = self.step if resume else None
            with self.open_metrics(resume) as self.metrics:
                try:
                    self.observer.start(self.step, self.settings.steps)
                    if resume and checkpoint.settings.steps < self.settings.steps:
                        self.observer.extended(checkpoint.settings.steps, self.settings.steps)
                    with handled({signal.SIGINT: self.stop_soon}):
                        self.take_steps(begun=resume)
                except TrainingDiverged as error:
                    raise error.with_message(f"{error}; {self.kept()}") from None
                finally:
                    self.observer.stop()
        return self.records

    def open_metrics(self, resume: bool):
        """Open the metrics file.

        With `resume`, records after the checkpoint are removed. Otherwise, all files of an earlier run are removed.
        """
        self.records, size = [], 0
        if self.folder is None:
            return nullcontext()
        path = self.folder / METRICS_FILE
        if not resume:  # an old model with new metrics would be a wrong checkpoint
            for name in filter(None, (MODEL_FILE, METRICS_FILE, self.picture, self.report)):
                (self.folder / name).unlink(missing_ok=True)
        elif path.exists():
            self.records, size = read_records(path, self.step)
        file = open(path, "ab", buffering=0)  # noqa: SIM115 -- unbuffered, so that a killed process loses no record
        file.truncate(size)
        return file

    def take_steps(self, *, begun: bool) -> None:
        clock = time.perf_counter() - self.seconds
        if not begun:
            self.write_down({}, clock)
        s = self.settings
        schedule = partial(cosine_schedule, lr=s.lr, min_lr=s.final_lr, warmup=s.warmup_steps, steps=s.steps)

        def on_step(step, loss, norm):
            self.step = step
            self.tokens += self.drawn_tokens
            lr = self.optimizer.param_groups[0]["lr"]
            self.write_down({"loss": loss, "lr": lr, "grad_norm": norm}, clock)

        options = {"first": self.step, "lr": schedule, "clip": s.clip, "rng": self.dropout_rng, "losses": self.losses}
        try:
            fit(self.trained, self.batches(), self.optimizer, s.steps, on_step, **options)
        except TrainingDiverged as error:
            self.on_divergence(error)
            self.write_down({}, clock)
        if not self.finished:
            self.save()
        if self.plot:
            self.draw_picture(self.records, self.folder / self.picture)
        if self.ranks.any(self.interrupted):
            raise TrainingInterrupted(self.step, self.settings.steps, self.folder)

    def batches(self):
        while not self.finished and not self.ranks.any(self.interrupted):
            batches, self.drawn_tokens = self.draw()
            yield batches

    def on_divergence(self, error: TrainingDiverged) -> None:
        """Raise the error, or end the run with the weights before the step that diverged."""
        raise error

    def write_down(self, metrics: dict, clock: float) -> None:
        """Record the metrics of a step. Evaluate, sample and save if the settings require it after this step."""
        settings = self.settings

        def due(every):
            return self.finished or (every > 0 and self.step % every == 0)

        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            evaluation = self.evaluate() if self.step == 0 or due(settings.eval_every) else {}
        val_loss = evaluation.get("val_loss")
        if val_loss is not None and not math.isfinite(val_loss):
            raise TrainingDiverged(f"after step {self.step} the validation loss is {val_loss}", val_loss)
        self.seconds = time.perf_counter() - clock
        record = {"step": self.step, **metrics, **evaluation, "tokens": self.tokens, "seconds": round(self.seconds, 6)}
        if settings.sample_every and due(settings.sample_every):
            record["sample"] = self.sample()
        self.last = record
        if val_loss is not None and val_loss < self.best.get("val_loss", math.inf):
            self.best = record
        self.records.append(record)
        if self.folder is not None:
            with naming(self.metrics.name):
                self.metrics.write(json.dumps(record).encode() + b"\n")
        self.observer.record(record)
        if "sample" in record:
            self.observer.sample(self.step, record["sample"])
        if self.step == 0 or due(settings.checkpoint_every):
            self.ranks.check_equal_weights(self.lm.model)
            self.save()

    def draw_picture(self, records: list[dict], path) -> None:
        draw_loss_curve(records, path, f"training on {self.describe_data()['name']}")

    def sample(self) -> str:
        """Return the prompt and its continuation, which depends only on the weights, the seed and the step."""
        rng = np.random.default_rng([self.settings.seed, self.step])
        temperature = self.settings.sample_temperature
        new = stream(self.lm.model, self.sample_prompt, self.settings.sample_tokens, temperature=temperature, rng=rng)
        return self.lm.tokenizer.decode([*self.sample_prompt, *map(int, new)])

    def save(self) -> None:
        if self.folder is not None:
            with naming(self.metrics.name):
                os.fsync(self.metrics.fileno())  # before the checkpoint that refers to these records
            save_checkpoint(self.folder / MODEL_FILE, self, self.about)
            self.saved_step = self.step

    def stop_soon(self, signum, frame) -> None:
        """Handle the first Ctrl-C: the run stops after the current step. A second Ctrl-C stops immediately."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.interrupted = True
        self.observer.stopping(self.folder)

    def kept(self) -> str:
        if self.folder is None or self.saved_step is None:
            return "nothing was saved"
        return f"the last good checkpoint, of step {self.saved_step}, is {self.folder / MODEL_FILE}"
