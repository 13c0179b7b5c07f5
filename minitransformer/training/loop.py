"""The loop of every kind of run: steps, evaluations, samples, checkpoints, and interruption.

A run with a folder writes its model (model.npz, which is also the checkpoint), its metrics (metrics.jsonl) and, on
request, a picture of its losses (loss.png). It can be stopped at any moment, by Ctrl-C or a kill, and resumed. The
resumed run ends with weights that are bit-identical to those of an uninterrupted one, and with the same metrics except
for the seconds. While it runs, no other run can write to the folder (see folders.py).
"""

import time
from pathlib import Path

from minitransformer.language_model import MODEL_FILE
from minitransformer.system.pictures import can_draw
from minitransformer.training.checkpoints import Checkpoint, save_checkpoint
from minitransformer.training.interruption import Interrupt, first_interrupt_waits
from minitransformer.training.metrics import METRICS_FILE, MetricsFile
from minitransformer.training.observer import Observer
from minitransformer.training.state import TrainingState
from minitransformer.training.step import TrainingDiverged


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped a run after `step` steps. `folder` contains its checkpoint, or is None."""

    def __init__(self, step: int, steps: int, folder: Path | None):
        kept = f"saved in {folder}" if folder else "nothing was saved"
        super().__init__(f"interrupted after step {step} of {steps}, {kept}")
        self.step, self.folder = step, folder


def carry_out(
    run: TrainingState,
    *,
    out=None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict | None = None,
) -> list[dict]:
    """Run the remaining steps and return the records of the metrics.

    Options and exceptions are those of pretrain.
    """
    if out is None and (resume or plot):
        raise ValueError("resume and plot need a folder, but out is None")
    folder = None if out is None else Path(out)
    if not run.ranks.first:  # of several ranks (see ranks.py), only the first writes
        folder, plot, observer = None, False, None
    plot = plot and can_draw()
    with run.ranks.at_work_in(folder):
        if resume:
            run.ranks.from_first(lambda: Checkpoint.read(folder / MODEL_FILE)).restore(run)
        journal = Journal(run, folder, resume=resume, plot=plot, observer=observer or Observer(), about=about or {})
        with journal, first_interrupt_waits(lambda: journal.observer.stopping(journal.folder)) as interrupt:
            try:
                take_steps(run, journal, interrupt, begun=resume)
            except TrainingDiverged as error:
                raise error.with_message(f"{error}; {journal.kept()}") from None
    return journal.metrics.records


def take_steps(run: TrainingState, journal: "Journal", interrupt: Interrupt, *, begun: bool) -> None:
    """Take the remaining steps, or raise TrainingInterrupted on request."""
    settings = run.settings
    clock = time.perf_counter() - run.seconds

    def due(every):
        return run.finished or (every > 0 and run.step % every == 0)

    def write_down(metrics):
        evaluation = run.evaluate() if run.step == 0 or due(settings.eval_every) else {}
        run.seconds = time.perf_counter() - clock
        journal.record(metrics | evaluation)
        if settings.sample_every and due(settings.sample_every):
            journal.sample()
        if run.step == 0 or due(settings.checkpoint_every):
            run.ranks.check_equal_weights(run.lm.model)
            journal.save()

    if not begun:
        write_down({})
    while not run.finished:
        if run.ranks.any(interrupt.requested):
            journal.save()
            journal.draw()
            raise TrainingInterrupted(run.step, settings.steps, journal.folder)
        write_down(run.advance())
    journal.draw()


class Journal:
    """The output of a run: metrics, checkpoints, a picture, and calls of the observer.

    With folder None, the metrics are only kept in memory.
    """

    def __init__(self, run, folder, *, resume, plot, observer, about):
        self.run, self.folder, self.plot, self.observer, self.about = run, folder, plot, observer, about
        self.saved_step = run.step if resume else None
        if folder is None:
            self.metrics = MetricsFile()
            return
        if not resume:  # an old model with new metrics would be a wrong checkpoint
            for name in filter(None, (MODEL_FILE, METRICS_FILE, run.picture, run.report)):
                (folder / name).unlink(missing_ok=True)
        self.metrics = MetricsFile(folder / METRICS_FILE, run.step if resume else None)

    def __enter__(self):
        self.observer.start(self.run.step, self.run.settings.steps)
        return self

    def __exit__(self, *exception):
        self.observer.stop()
        self.metrics.close()

    def record(self, metrics: dict) -> None:
        """Record the metrics of the latest step and of the evaluation after it."""
        run = self.run
        record = {"step": run.step, **metrics, "tokens": run.tokens, "seconds": round(run.seconds, 6)}
        run.note(record)
        self.metrics.append(record)
        self.observer.record(record)

    def sample(self) -> None:
        """Show a sample of the model's text."""
        self.observer.sample(self.run.step, self.run.sample())

    def save(self) -> None:
        """Save a checkpoint, after its metrics."""
        if self.folder is not None:
            self.metrics.sync()
            save_checkpoint(self.folder / MODEL_FILE, self.run, self.about)
            self.saved_step = self.run.step

    def draw(self) -> None:
        if self.plot:
            self.run.draw_picture(self.metrics.records, self.folder / self.run.picture)

    def kept(self) -> str:
        """Return the location of the last checkpoint in words."""
        if self.saved_step is None:
            return "nothing was saved"
        return f"the last good checkpoint, of step {self.saved_step}, is {self.folder / MODEL_FILE}"
