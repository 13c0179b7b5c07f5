"""The options of the command that made a model, read from the model's file.

The file may be untrusted and contain any path, for example that of a device that can be read without end. A device or a
pipe is therefore read only if the user names it on the command line.
"""

from pathlib import Path

from minitransformer.language_model import LanguageModel, is_pretrained, model_file
from minitransformer.system.archive import ArchiveError, open_archive
from minitransformer.system.values import brief, text, texts
from minitransformer.text import Corpus, TextFiles, default_corpus
from minitransformer.training.checkpoints import check_state, damaged
from minitransformer.training.pretraining import fingerprint


def load_with_training(path) -> tuple[LanguageModel, dict]:
    """Load a model and its training state. The state is {} if the file contains none."""
    if is_pretrained(path):
        return LanguageModel.load(path), {}
    with open_archive(model_file(path)) as archive:
        lm, training = LanguageModel.from_archive(archive), archive.description.get("training")
        if training is not None:
            check_state(training, archive.path)
        return lm, training or {}


def remembered_text(path, training: dict):
    """Return the text on which the model at `path` was trained, or None if it is unknown or came from standard input.

    Raises ArchiveError for an invalid entry, and the exceptions of TextFiles.
    """
    if "text" not in remembered(training):
        return None
    files = remembered_files(model_file(path), training, "text")
    if files is None:
        return default_corpus()
    return None if "-" in files else TextFiles(files)


def was_trained_on(training: dict, corpus: Corpus) -> bool:
    return training.get("corpus", {}).get("sha256") == fingerprint(corpus)


def remembered(training: dict) -> dict:
    """Return the options of the command that wrote a training state, or {} if no command wrote it."""
    about = training.get("about")
    return about if isinstance(about, dict) else {}


def remembered_texts(path, training: dict, name: str, *, several: bool = True):
    """Return the option `name`: None, a str or, if `several`, a list of str.

    Raises ArchiveError if it has another type.
    """
    given = remembered(training).get(name)
    try:
        if given is not None and not (several and isinstance(given, str)):
            (texts if several else text)(f"about: {name}", given)
    except TypeError as error:
        raise damaged(path, error) from None
    return given


def remembered_files(path, training: dict, name: str, *, several: bool = True):
    """Return the option `name`: None, a path or, if `several`, a list of paths.

    Raises ArchiveError for another type, an empty list, an invalid path, and the path of a device or a pipe.
    """
    given = remembered_texts(path, training, name, several=several)
    if given is None:
        return None
    files = [given] if isinstance(given, str) else given
    if not files or not all(files) or any("\0" in file for file in files):
        raise damaged(path, f"about: {name} must be one or several paths, not {brief(given)}")
    for file in filter(is_stream, files):
        option = f"--{name.replace('_', '-')}"
        raise ArchiveError(
            f"{path}: its entry {name} is {file}, a device or a pipe; to read it, use the option {option}"
        )
    return given


def remembered_file(path, training: dict, name: str) -> str | None:
    return remembered_files(path, training, name, several=False)


def is_stream(file) -> bool:
    """Return True for a device or a pipe, which may be endless or readable only once."""
    file = Path(file)
    return file.exists() and not file.is_file() and not file.is_dir()
