"""What a model's file remembers of the command that made it, believed no further than one may.

The file may be a stranger's, who could write any path into it. A device or a pipe may never come to an end: it is read
where whoever types the command names it, and not where a file does.
"""

from pathlib import Path

from minitransformer.archive import ArchiveError, open_archive
from minitransformer.language_model import LanguageModel, is_pretrained, model_file
from minitransformer.text import Corpus, TextFiles, default_corpus
from minitransformer.training.checked_state import check_state
from minitransformer.training.pretraining import fingerprint
from minitransformer.values import text, texts


def load_with_training(path) -> tuple[LanguageModel, dict]:
    """Return the model, and what its file remembers of its training: nothing, if it was not made by a run."""
    if is_pretrained(path):
        return LanguageModel.load(path), {}
    with open_archive(model_file(path)) as archive:
        lm, training = LanguageModel.from_archive(archive), archive.description.get("training")
        if training is not None:
            check_state(training, archive.path)
        return lm, training or {}


def remembered_text(path, training: dict):
    """Return the text that the model at `path` remembers it was trained on; None where it remembers none.

    Raises ArchiveError where that is no text, and what TextFiles raises.
    """
    if "text" not in remembered(training):
        return None
    files = remembered_files(model_file(path), training, "text")
    if files is None:
        return default_corpus()
    return None if "-" in files else TextFiles(files)


def was_trained_on(training: dict, corpus: Corpus) -> bool:
    """Whether the run says that it was trained on just this text."""
    return training.get("corpus", {}).get("sha256") == fingerprint(corpus)


def remembered(training: dict) -> dict:
    """Return what a training state remembers of options, by name; nothing where no command has made it."""
    about = training.get("about")
    return about if isinstance(about, dict) else {}


def remembered_texts(path, training: dict, name: str):
    """Return what the model's file at `path` remembers as `name`: None, a str or several.

    Raises ArchiveError for anything else.
    """
    given = remembered(training).get(name)
    if not isinstance(given, str | None):
        checked(path, texts, name, given)
    return given


def remembered_files(path, training: dict, name: str):
    """Return remembered_texts, which are paths. Raises ArchiveError for none, or where one is a device or a pipe."""
    given = remembered_texts(path, training, name)
    if given is None:
        return None
    files = checked(path, paths, name, [given] if isinstance(given, str) else given)
    for file in files:
        if is_stream(file):
            option = f"--{name.replace('_', '-')}"
            raise ArchiveError(
                f"{path}: remembers {file}, a device or a pipe, as its {name}: give it with {option} if that is meant"
            )
    return given


def is_stream(file) -> bool:
    """Whether there is, at a path, what can be read once or without end: a device or a pipe."""
    file = Path(file)
    return file.exists() and not file.is_file() and not file.is_dir()


def remembered_file(path, training: dict, name: str) -> str | None:
    """Return remembered_files where there may be one alone. Raises ArchiveError for several."""
    given = remembered_files(path, training, name)
    return given if given is None else checked(path, text, name, given)


def paths(name: str, given):
    """Return a list of str. Raises ValueError unless there are some, and each can be a path."""
    if not given or not all(given) or any("\0" in path for path in given):
        raise ValueError(f"{name} names no file")
    return given


def checked(path, check, name: str, given):
    """Return check(name, given), as in values.py. Raises ArchiveError, naming file and part, for what it refuses."""
    try:
        return check(f"about: {name}", given)
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: its training state is damaged ({error})") from None
