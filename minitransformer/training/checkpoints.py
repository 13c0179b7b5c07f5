"""Checkpoints: files from which a run is resumed as if it had not been interrupted.

A checkpoint is a file of a LanguageModel, so it can be loaded as a model. The file has two additional parts. The arrays
include the averages of every trained parameter (AdamW's m and v, or Muon's m). The description has an entry "training"
with everything else that a step depends on:

    step, seconds, last, best     the progress of the run
    kind, settings                the settings; the learning-rate schedule follows from these and the step
    trained                       the names of the parameters that are not frozen
    optimizer_steps               the number of the optimizer's steps for each parameter
    random                        the states of the random generators, which determine all later batches
    corpus                        a fingerprint of the data's ids
    own                           the additional state of this kind of run
    environment                   facts that influence the last bits of the result
    about                         information from the caller, such as the path of the text

Low-rank adapters are saved twice: merged into the weights, so that the model can be used, and separately, so that the
run can be resumed. The file is written atomically, so a killed process leaves either the previous checkpoint or the
new one.
"""

import math
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from minitransformer.config import Config
from minitransformer.language_model import PARAMETERS, check_parameters, described_model
from minitransformer.layers.lora import merged, unmerged_parameters
from minitransformer.optim import Optimizer
from minitransformer.system.archive import Archive, ArchiveError, open_archive
from minitransformer.system.validation import brief, check_int, dictionary, kinds, number, one_of, text, texts
from minitransformer.text import Tokenizer
from minitransformer.training.environment import environment
from minitransformer.training.metrics import check_record
from minitransformer.training.settings import Settings

PROGRESS = ("step", "seconds", "last", "best")  # attributes of a Run
AVERAGE, UNMERGED, OWN = "optimizer.{}.{}", "unmerged.", "own."


def save_checkpoint(path, run, about: dict) -> None:
    """Write the state of `run`, a training.run.Run, to `path`. An existing file is replaced atomically."""
    own_arrays, own = run.own_state()
    arrays = {OWN + name: array for name, array in own_arrays.items()}
    arrays |= {UNMERGED + name: array for name, array in unmerged_parameters(run.lm.model).items()}
    steps = {}
    for part in run.optimizer.parts:
        for name, state in zip(moved_parameters(run, part), part.state, strict=True):
            if state is not None:
                steps[name], *averages = state
                arrays |= zip(average_names(part, name), averages, strict=True)
    training = {name: getattr(run, name) for name in PROGRESS} | {
        "kind": run.settings.kind,
        "settings": run.settings.to_dict(),
        "trained": trained_parameters(run),
        "optimizer_steps": steps,
        "random": {"batches": run.batch_rng.bit_generator.state, "dropout": run.dropout_rng.bit_generator.state},
        "corpus": run.describe_data(),
        "own": own,
        "environment": environment(),
        "about": about,
    }
    with merged(run.lm.model):
        run.lm.save(path, arrays, {"training": training})


def trained_parameters(run) -> list[str]:
    return [name for name, parameter in run.lm.model.named_parameters() if parameter.requires_grad]


def moved_parameters(run, optimizer: Optimizer) -> list[str]:
    """Return the names of the parameters of an optimizer, in the order of its state."""
    names = {id(parameter): name for name, parameter in run.lm.model.named_parameters()}
    return [names[id(parameter)] for parameter in optimizer.parameters()]


def average_names(optimizer: Optimizer, parameter: str) -> list[str]:
    """Return the names, in the file, of the averages in the state of a parameter."""
    return [AVERAGE.format(average, parameter) for average in optimizer.averages]


@dataclass(frozen=True)
class Checkpoint:
    """The description of a run in a checkpoint file. Only `restore` reads the arrays."""

    path: Path
    config: Config
    tokenizer: Tokenizer
    settings: Settings
    training: dict

    @classmethod
    def read(cls, path) -> "Checkpoint":
        with open_archive(path) as archive:
            return cls.from_archive(archive)

    @classmethod
    def from_archive(cls, archive: Archive) -> "Checkpoint":
        path, training = archive.path, archive.description.get("training")
        if "training" not in archive.description:
            raise ArchiveError(f"{path}: the file contains no training run that can be resumed")
        config, tokenizer = described_model(archive)
        try:
            known = kinds(Settings)
            kind = one_of("kind of run", dictionary("training", training).get("kind"), known=known)
            settings = known[kind](**dictionary("settings", training.get("settings")))
        except (TypeError, ValueError) as error:
            raise damaged(path, error) from None
        check_state(training, path, settings.steps)
        return cls(Path(path), config, tokenizer, settings, training)

    @property
    def about(self) -> dict:
        """Return the options of the command that wrote the checkpoint. They are empty if a Python program wrote it."""
        about = self.training.get("about")
        return about if isinstance(about, dict) else {}

    def refuse(self, name: str, before, now) -> None:
        raise ValueError(f"{self.path}: cannot resume: {name} was {before}, and now is {now}")

    def check_same(self, run) -> None:
        """Raise ValueError if `run` differs from the earlier run. The message describes the first difference."""
        tokenizer = run.lm.tokenizer
        self.check_fields(self.config, run.lm.model.config)
        if self.tokenizer.to_dict() != tokenizer.to_dict():
            before, now = (f"{t.kind} ({t.vocab_size} tokens)" for t in (self.tokenizer, tokenizer))
            self.refuse("the tokenizer", before, now if now != before else f"another {now}")
        if self.settings.kind != run.settings.kind:
            self.refuse("the run", self.settings.kind, run.settings.kind)
        self.check_fields(self.settings, run.settings)
        before, now = self.training["corpus"], run.describe_data()
        if before["sha256"] != now["sha256"]:
            self.refuse("the text", data_in_words(before), f"another, {data_in_words(now)}")
        before, now = self.training["trained"], trained_parameters(run)
        for name in sorted(set(before) ^ set(now)):
            self.refuse(f"parameter {name}", *(("trained", "frozen") if name in before else ("frozen", "trained")))

    def check_fields(self, before, now) -> None:
        """Raise ValueError for the first field in which `now` differs from `before`. Only `steps` may be greater."""
        now = now.to_dict()
        for name, value in before.to_dict().items():
            if now[name] != value and not (name == "steps" and now[name] > value):
                self.refuse(name, value, now[name])

    def restore(self, run) -> None:
        """Set `run` to the state in this checkpoint. If an exception is raised, `run` is unchanged.

        Raises ValueError if the configuration, tokenizer, text or settings differ, and ArchiveError if the file is
        inconsistent. Warns if the environment differs, because the last bits of the result may then differ.
        """
        self.check_same(run)
        arrays = run.ranks.from_first(lambda: self.read_arrays(run))
        try:
            run.restore_own_state(arrays_under(OWN, arrays), self.training["own"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise damaged(self.path, f"own: {reason}") from None
        parameters = arrays_under(PARAMETERS, arrays) | arrays_under(UNMERGED, arrays)
        for name, parameter in run.lm.model.named_parameters():
            parameter.data = np.ascontiguousarray(parameters[name])
        steps = self.training["optimizer_steps"]
        for part in run.optimizer.parts:
            part.state = [
                [steps[name], *(arrays[average] for average in average_names(part, name))] if name in steps else None
                for name in moved_parameters(run, part)
            ]
        states = self.training["random"]
        run.batch_rng.bit_generator.state, run.dropout_rng.bit_generator.state = states["batches"], states["dropout"]
        for name in PROGRESS:
            setattr(run, name, self.training[name])
        run.tokens = run.last.get("tokens", 0)
        self.warn_of_environment()

    def read_arrays(self, run) -> dict:
        """Load the arrays that `run` needs. The keys of the result are the names in the file."""
        steps = self.training["optimizer_steps"]
        with open_archive(self.path) as archive:
            stored = archive.under(PARAMETERS) | archive.under(UNMERGED)
            check_parameters(archive, stored, dict(run.lm.model.named_parameters()))
            averages = {
                average: stored[name]
                for part in run.optimizer.parts
                for name in filter(steps.__contains__, moved_parameters(run, part))
                for average in average_names(part, name)
            }
            for average, parameter in averages.items():
                if average not in archive.members:
                    raise damaged(self.path, f"{average} is missing")
                if archive.header(average) != archive.header(parameter):
                    raise damaged(self.path, f"{average} differs from {parameter} in shape or dtype")
            return archive.read([*stored.values(), *averages, *archive.under(OWN).values()])

    def warn_of_environment(self) -> None:
        before = {"engine": "on"} | self.training["environment"]  # older versions could not turn the engine off
        differing = [
            f"{name} was {before.get(name)}, and now is {now}"
            for name, now in environment().items()
            if before.get(name) != now
        ]
        if differing:
            consequence = "the last bits of the result may differ from those of a run that was not interrupted"
            warnings.warn(f"{self.path}: {consequence}: {'; '.join(differing)}", stacklevel=3)


def arrays_under(prefix: str, arrays: dict) -> dict:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def data_in_words(described: dict) -> str:
    sizes = [f"{value:,} {name.replace('_', ' ')}" for name, value in described.items() if isinstance(value, int)]
    return f"{described['name']} ({', '.join(sizes)})" if sizes else described["name"]


# Validation of a training state loaded from a file, before a run is changed.


def damaged(path, reason) -> ArchiveError:
    return ArchiveError(f"{path}: its training state is damaged ({reason})")


def check_state(training: dict, path, steps=math.inf) -> None:
    """Raise ArchiveError if the training state is invalid. The message contains the file and the section.

    `steps` is the number of steps of the run. The entries `kind` and `settings` are checked by Settings.
    """
    try:
        for name, check in SECTIONS.items():
            if name not in dictionary("training", training):
                raise ValueError(f"the section {name} is missing")
            check(name, training[name])
        check_int("step", training["step"], maximum=steps)
        for name, t in training["optimizer_steps"].items():
            check_int(f"optimizer_steps: {name}", t, minimum=1, maximum=training["step"])
    except (TypeError, ValueError) as error:
        raise damaged(path, error) from None


def check_data(name: str, described) -> None:
    for part in ("name", "sha256"):
        text(f"{name}: {part}", dictionary(name, described).get(part))


def check_generators(name: str, states) -> None:
    """Validate the states of the random generators. An even increment is invalid, because sampling might never end."""
    for generator in ("batches", "dropout"):
        state, bits = dictionary(name, states).get(generator), np.random.PCG64()
        try:
            bits.state = state
            fits = bits.state == state and state["state"]["inc"] % 2 == 1
        except (KeyError, OverflowError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"{name}: {generator} must be a valid state of a PCG64 generator, not {brief(state)}")


# The function(name, value) that validates each section.
SECTIONS = {
    "step": partial(check_int, minimum=0),
    "seconds": partial(number, minimum=0, below=math.inf),
    "last": lambda name, record: record == {} or check_record(name, record),
    "best": lambda name, record: record == {} or check_record(name, record),
    "trained": texts,
    "optimizer_steps": dictionary,
    "random": check_generators,
    "corpus": check_data,
    "own": dictionary,
    "environment": dictionary,
}
