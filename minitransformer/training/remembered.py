"""Load the model of a checkpoint, and the options of the command that wrote the checkpoint.

A checkpoint may be untrusted. If it names a device or a pipe, which may be endless, the text is read from there only if
the command line names it too.
"""

from pathlib import Path

from minitransformer.language_model import LanguageModel, is_pretrained, model_file
from minitransformer.system.archive import ArchiveError, open_archive
from minitransformer.system.validation import brief, texts
from minitransformer.text import Corpus, TextFiles, default_corpus
from minitransformer.training.checkpoints import Checkpoint, damaged


def load_with_checkpoint(path) -> tuple[LanguageModel, Checkpoint | None]:
    """Load a model and its checkpoint. A file without a training state has no checkpoint."""
    if is_pretrained(path):
        return LanguageModel.load(path), None
    with open_archive(model_file(path)) as archive:
        has_one = "training" in archive.description
        return LanguageModel.from_archive(archive), Checkpoint.from_archive(archive) if has_one else None


def remembered_text(checkpoint: Checkpoint | None):
    """Return the text on which the model was trained, or None if it is unknown or was standard input."""
    if checkpoint is None or "text" not in checkpoint.about:
        return None
    files = remembered_files(checkpoint, "text")
    if files is None:
        return default_corpus()
    return None if "-" in files else TextFiles(files)


def was_trained_on(checkpoint: Checkpoint | None, corpus: Corpus) -> bool:
    return checkpoint is not None and checkpoint.training["corpus"]["sha256"] == corpus.fingerprint


def remembered_texts(checkpoint: Checkpoint, name: str):
    """Return the stored option `name`: None, a str or a list of str. Raises ArchiveError for any other type."""
    given = checkpoint.about.get(name)
    try:
        if given is not None and not isinstance(given, str):
            texts(f"about: {name}", given)
    except TypeError as error:
        raise damaged(checkpoint.path, error) from None
    return given


def remembered_files(checkpoint: Checkpoint, name: str):
    """Return the stored option `name`: None, a path or a list of paths. Raises ArchiveError for a device or a pipe."""
    given = remembered_texts(checkpoint, name)
    if given is None:
        return None
    files = [given] if isinstance(given, str) else given
    if not files or not all(files) or any("\0" in file for file in files):
        raise damaged(checkpoint.path, f"about: {name} must be one or several paths, not {brief(given)}")
    for file in filter(is_stream, files):
        option = f"--{name.replace('_', '-')}"
        raise ArchiveError(
            f"{checkpoint.path}: its entry {name} is {file}, a device or a pipe; to read it, use the option {option}"
        )
    return given


def is_stream(file) -> bool:
    """Return True for a device or a pipe, which may be endless or readable only once."""
    file = Path(file)
    return file.exists() and not file.is_file() and not file.is_dir()
