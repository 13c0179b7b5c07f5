"""Resume runs, protect other models from being overwritten, and add advice to the message of Ctrl-C."""

import dataclasses
import shlex
from contextlib import contextmanager
from pathlib import Path

from gradcheck.front.program import started_as
from minitransformer.commands.options import flag_of, in_terms_of_options
from minitransformer.system.archive import ArchiveError
from minitransformer.training import MODEL_FILE, Observer, ProgressBar
from minitransformer.training.checkpoints import Checkpoint


def existing_run(arguments) -> Checkpoint | None:
    path = arguments.out / MODEL_FILE
    if arguments.resume:
        if not path.exists():
            raise FileNotFoundError(f"{arguments.out}: cannot resume: there is no {MODEL_FILE}; start without --resume")
        return Checkpoint.read(path)
    if path.exists() and not arguments.force and not is_untrained(path):
        raise FileExistsError(f"{arguments.out}: already contains a run; use --resume, --force or another --out")
    return None


def is_untrained(path: Path) -> bool:
    """Return True if `path` is the checkpoint of a run that ended before its first step."""
    try:
        return Checkpoint.read(path).training["step"] == 0
    except ArchiveError:  # a model without a run
        return False


def chosen(before, given: dict, checkpoint: Checkpoint | None):
    """Return a copy of `before`, a Settings or Config, with the fields in `given`.

    Raises ValueError if a field differs from a run that is resumed, except for a greater number of steps.
    """
    with in_terms_of_options(type(before)):
        after = dataclasses.replace(before, **given)
        if checkpoint is not None:
            checkpoint.check_fields(before, after)
        return after


def recorded_arguments(checkpoint: Checkpoint, arguments, names) -> dict:
    """Return the arguments that a checkpoint records. Raises ValueError if one of `names` now has another value."""
    before = checkpoint.about
    for name in names:
        now = getattr(arguments, name)
        if now is not None and now != before.get(name):
            checkpoint.refuse(flag_of(name), before.get(name), now)
    return before


def run_keywords(arguments, about: dict, announcement=()) -> dict:
    """Return the keyword arguments of a run. The lines of `announcement` are printed when the run starts."""
    return {
        "out": arguments.out,
        "resume": arguments.resume,
        "plot": not arguments.no_plot,
        "observer": Observer() if arguments.quiet else ProgressBar(announcement=announcement),
        "about": about,
    }


def refuse_to_overwrite(path: Path, about: dict, command: str) -> None:
    if path.exists() and Checkpoint.read(path).training.get("about") != about:
        raise FileExistsError(f"{path}: contains a model that {command} did not train; choose another --out")


@contextmanager
def when_interrupted(advice):
    """Return a context manager that adds advice() to the message of Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"{str(interrupt) or 'interrupted'}{advice()}") from None


def how_to_resume(command: str, out: Path, options: str = ""):
    """Return a context manager that adds the command that resumes the run to the message of Ctrl-C."""
    words = f"; to resume: {started_as('minitransformer')} {command} --out {shlex.quote(str(out))} --resume{options}"
    return when_interrupted(lambda: words if (out / MODEL_FILE).exists() else "; nothing was saved")
