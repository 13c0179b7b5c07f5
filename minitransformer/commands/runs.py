"""The folders of runs: resuming a run, protecting the model of another, and the message after Ctrl-C."""

import shlex
from pathlib import Path

from minitransformer.training import MODEL_FILE
from minitransformer.training.checkpoints import Checkpoint


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
