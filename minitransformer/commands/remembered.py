"""What a model's file remembers of the command that made it, believed no further than one may.

The file may be a stranger's, who could write any path into it. A device or a pipe may never come to an end: it is read
where whoever types the command names it, and not where a file does.
"""

from pathlib import Path

from minitransformer.archive import ArchiveError
from minitransformer.values import texts


def remembered(training: dict) -> dict:
    """Return what a training state remembers of options, by name; nothing where no command has made it."""
    about = training.get("about")
    return about if isinstance(about, dict) else {}


def remembered_texts(path, training: dict, name: str):
    """Return what the model's file at `path` remembers as `name`: None, a str or several.

    Raises ArchiveError for anything else.
    """
    given = remembered(training).get(name)
    if given is not None and not isinstance(given, str):
        try:
            texts(f"about: {name}", given)
        except TypeError as error:
            raise ArchiveError(f"{path}: its training state is damaged ({error})") from None
    return given


def remembered_files(path, training: dict, name: str):
    """Return remembered_texts, which are paths. Raises ArchiveError where one is there and is no file or folder."""
    files = remembered_texts(path, training, name)
    for file in map(Path, [files] if isinstance(files, str) else files or []):
        if file.exists() and not file.is_file() and not file.is_dir():
            option = f"--{name.replace('_', '-')}"
            raise ArchiveError(
                f"{path}: remembers {file}, a device or a pipe, as its {name}: give it with {option} if that is meant"
            )
    return files
