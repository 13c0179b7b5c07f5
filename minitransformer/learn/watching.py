"""Watching a folder: what is saved is checked."""

import time

from minitransformer.learn.workspace import exercises_in

PAUSE = 0.3  # seconds between two looks


def saved_files(folder, look=time.sleep):
    """Yield the name of each exercise whenever its file is saved; for ever. `look` waits until the next look."""
    before = times(folder)
    while True:
        look(PAUSE)
        now = times(folder)
        yield from (name for name, at in now.items() if before.get(name) != at)
        before = now


def times(folder) -> dict:
    """Return {exercise: when its file was changed}."""
    found = {}
    for name in exercises_in(folder):
        try:
            status = (folder / f"{name}.py").stat()
            found[name] = status.st_mtime_ns, status.st_size
        except OSError:  # an editor is just replacing it
            continue
    return found
