"""The folders of runs: resuming a run, protecting the model of another, and the message after Ctrl-C."""

import dataclasses
import shlex
from pathlib import Path

from minitransformer.commands.options import in_terms_of_options
from minitransformer.training import MODEL_FILE, Settings
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.training.remembered import remembered


def existing_run(arguments) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None for a new run.

    Raises FileNotFoundError if there is no run to resume, and FileExistsError if a run would be overwritten without
    --force.
    """
    path = arguments.out / MODEL_FILE
    if arguments.resume:
        if not path.exists():
            raise FileNotFoundError(f"{arguments.out}: there is no {MODEL_FILE} to resume from; begin without --resume")
        return Checkpoint.read(path)
    if path.exists() and not arguments.force:
        raise FileExistsError(
            f"{arguments.out}: holds a run already; --resume resumes it, --force overwrites it, or choose another --out"
        )
    return None


def chosen_settings(defaults: Settings, given: dict, checkpoint: Checkpoint | None) -> Settings:
    """Return the given settings on top of the defaults, or of the checkpoint's, which they must not contradict."""
    before = defaults if checkpoint is None else checkpoint.settings
    with in_terms_of_options(type(before)):
        settings = dataclasses.replace(before, **given)
        if checkpoint is not None:
            checkpoint.check_fields(before, settings)
        return settings


def recorded_arguments(checkpoint: Checkpoint, arguments, options: dict) -> dict:
    """Return the arguments that a checkpoint records. `options` are the names of the options by argument.

    Raises ValueError for an argument that differs from the recorded one.
    """
    before = remembered(checkpoint.training)
    for name, option in options.items():
        now = getattr(arguments, name)
        if now is not None and now != before.get(name):
            raise ValueError(f"{checkpoint.path}: cannot resume: {option} was {before.get(name)}, and now is {now}")
    return before


def refuse_to_overwrite(path: Path, about: dict, command: str) -> None:
    """Raise FileExistsError if the file is a model that this command did not make and may have taken hours."""
    if path.exists() and Checkpoint.read(path).training.get("about") != about:
        raise FileExistsError(f"{path}: holds a model that {command} did not make; choose another folder with --out")


def how_to_resume(interrupt, command: str, out: Path, options: str = "") -> str:
    """Return the reason of an interruption and the command that resumes the run, in one line."""
    reason = str(interrupt) or "interrupted"
    if not (out / MODEL_FILE).exists():
        return f"{reason}; nothing was saved"
    return f"{reason}; go on with: minitransformer {command} --out {shlex.quote(str(out))} --resume{options}"
