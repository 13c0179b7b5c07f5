"""Find submitted files by name, such as `softmax (1).py` and `ada_41_softmax-2.py`.

A notebook counts as one file for each exercise whose function it defines. So does a Python file with another name if it
has the header of an exercise. A zip file counts as a folder. If an exercise has several files, those that define the
function are preferred, then those with the fewest blanks left (`...`), then the newest.
"""

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from minitransformer.learn.notebooks import header_in, sources_of_notebook, sources_of_text
from minitransformer.learn.reading import Unreadable, read_regular
from minitransformer.learn.unpacking import unpacked

DEEPEST, MOST_ENTRIES, MOST_READ, MOST_MODULES, MOST_ZIPS = 6, 100_000, 400, 50, 20
MOST_BYTES = {".py": 1_000_000, ".ipynb": 20_000_000}
SKIPPED = ("__pycache__", "__MACOSX", "site-packages", "node_modules")
FILE_NAME = re.compile(r"(.+?)(\.py|\.ipynb)(\.txt)?", re.IGNORECASE | re.DOTALL)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
IN_A_COPY = ("copy", "of", "final", "fixed", "new")  # words that mark a copy, not a different file


@dataclass(frozen=True)
class Submitted:
    """The file of one exercise in a submission."""

    file: str  # path in the submission
    content: bytes = b""
    modified: float = 0.0  # time of the last modification
    others: tuple = ()  # paths of the files for the same exercise that were not chosen
    modules: tuple = ()  # (name, content) of the Python files in the same folder, which the file may import
    trouble: str = ""  # reason why no file could be read, or ""
    folder: Path | None = field(default=None, repr=False)  # folder of the file


def submitted_in(place, exercises) -> tuple[dict[str, Submitted], str]:
    """Find the submitted file of each exercise in a folder or a zip file.

    Also return the reasons why zip files in it could not be read, or "". Raises Unreadable if there are no files, or
    too many.
    """
    with tempfile.TemporaryDirectory(prefix="minitransformer-") as temporary:
        python, others, troubles = files_in(Path(place), Path(temporary))
        if len(python) > MOST_READ:
            raise Unreadable(f"the folder contains more than {MOST_READ} Python files and notebooks")
        candidates = {name: [] for name in exercises}
        for file, path in python.items():
            for name, submitted in sources_in(path, file, exercises):
                candidates[name].append(replace(submitted, folder=path.parent))
        found = {name: chosen(exercises[name], entries) for name, entries in candidates.items() if entries}
    if found:
        return {name: replace(each, folder=None) for name, each in found.items()}, "; ".join(troubles)
    if troubles:
        raise Unreadable("; ".join(troubles))
    names = [*python, *others]
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    raise Unreadable(
        f"no exercise among the files {', '.join(names[:3])}{more}" if names else "the folder contains no file"
    )


def files_in(place, temporary):
    """Find the Python files and notebooks of a submission, and unpack its zip files into a temporary folder.

    Returns {name: path} of them, the names of the other files, and a list of reasons why zip files could not be read.
    """
    python, others, troubles = {}, [], []
    folders = [("", place)] if place.is_dir() else []
    archives, count = [] if folders else [(place.name, place)], 0
    while folders or archives:
        for before, folder in folders:
            files, rest = files_below(folder)
            python |= {before + path.relative_to(folder).as_posix(): path for path in files}
            for path in rest:
                found = archives if path.suffix.lower() == ".zip" else others
                found.append((before + path.relative_to(folder).as_posix(), path))
        folders, unread, archives = [], archives, []
        for name, path in unread:
            count += 1
            if count > MOST_ZIPS:
                raise Unreadable(f"the folder contains more than {MOST_ZIPS} zip files")
            into = temporary / str(count)
            into.mkdir()
            try:
                unpacked(path, into, is_wanted)
                folders.append((f"{name}/", into))
            except Unreadable as error:
                troubles.append(f"{name} {error}")
    return python, [name for name, _ in others], troubles


def is_wanted(place: PurePosixPath) -> bool:
    is_hidden = any(part.startswith(".") or part in SKIPPED for part in place.parts)
    is_right = FILE_NAME.fullmatch(place.name) or place.suffix.lower() == ".zip"
    return bool(is_right) and not is_hidden and len(place.parts) <= DEEPEST


def files_below(place) -> tuple[list[Path], list[Path]]:
    python, others, seen = [], [], 0

    def failed(error):
        if Path(error.filename) == place:
            raise Unreadable(f"the folder cannot be read: {error.strerror}")

    for at, folders, files in os.walk(place, onerror=failed):
        at, real = Path(at), {name for name in folders if not os.path.islink(os.path.join(at, name))}
        seen += len(folders) + len(files)
        if seen >= MOST_ENTRIES:
            raise Unreadable(f"the folder contains more than {MOST_ENTRIES:,} files")
        for name in sorted((*folders, *files)):
            if FILE_NAME.fullmatch(name) and not name.startswith("."):
                python.append(at / name)
            elif name not in real:
                others.append(at / name)
        is_deepest = len(at.relative_to(place).parts) == DEEPEST
        folders[:] = sorted(n for n in real if not (is_deepest or n.startswith(".") or n in SKIPPED))
    return python, others


def sources_in(path, file, exercises):
    match = FILE_NAME.fullmatch(path.name)
    ending = match[2].lower()
    words = words_of(match[1])
    if ending == ".py" and {*words[:1], *words[-1:]} & {"test", "tests"}:
        return
    name, is_exact = exercise_named(words, exercises)
    try:
        content, modified = read_regular(path, MOST_BYTES[ending])
        if name is None and ending == ".py":
            text = content.decode("utf-8", "replace")
            begun = {each: exercise for each, exercise in exercises.items() if header_in(text, each)}
            yield from ((each, Submitted(file, source, modified)) for each, source in sources_of_text(text, begun))
            return
        if ending == ".py":
            if is_exact or defines(content, exercises[name].target):
                yield name, Submitted(file, content, modified)
            return
        sources = dict(sources_of_notebook(content, exercises))
        if name is not None and name not in sources:
            raise Unreadable(f"has no cell that defines {exercises[name].target} with a backward pass")
        yield from ((name, Submitted(file, source, modified)) for name, source in sources.items())
    except Unreadable as error:
        if name is not None:
            yield name, Submitted(file, trouble=f"{file} {error}")


def words_of(stem) -> list[str]:
    return [word.lower() for word in WORD.findall(stem)]


def exercise_named(words, exercises) -> tuple[str | None, bool]:
    """Return the exercise with the longest name that occurs in the words of a file's name.

    Also return True if the rest of the name contains only numbers and words for a copy.
    """
    joined = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 8, len(words)) + 1)}
    for name in sorted(exercises, key=len, reverse=True):
        plain = name.replace("_", "").lower()
        if plain in joined:
            rest = "".join(word for word in words if word not in IN_A_COPY and not word.isdigit())
            return name, rest == re.sub(r"\d", "", plain)
    return None, False


def defines(content: bytes, target: str) -> bool:
    return re.search(rf"^(?:def|class) {target}\b".encode(), content, re.MULTILINE) is not None


def chosen(exercise, entries) -> Submitted:
    def rank(entry):
        blanks = sum(line.partition(b"#")[0].rstrip().endswith(b"...") for line in entry.content.split(b"\n"))
        return (bool(entry.trouble), not defines(entry.content, exercise.target), blanks, -entry.modified, entry.file)

    best, *others = sorted(entries, key=rank)
    if best.trouble:
        return best
    modules = {}
    for path in islice(best.folder.glob("*.py"), MOST_MODULES):
        if path.stem.isidentifier() and path.stem != exercise.name:
            with suppress(Unreadable):  # if the exercise imports it, the check reports the failed import
                modules[path.name], _ = read_regular(path, MOST_BYTES[".py"])
    return replace(best, others=tuple(other.file for other in others), modules=tuple(sorted(modules.items())))
