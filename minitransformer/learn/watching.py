"""Watching a folder: what is saved is checked."""

import time

from minitransformer.learn.workspace import exercises_in

PAUSE = 0.3  # seconds between two looks


def saved_files(folder, look=time.sleep):
    """Yield the name of each exercise whenever its file has been saved; for ever. `look` waits until the next look.

    A file that is being written looks different each time: it is saved once two looks see the same.
    """
    known = last = times(folder)
    while True:
        look(PAUSE)
        now = times(folder)
        saved = [name for name, at in now.items() if at == last.get(name) != known.get(name)]
        known = known | {name: now[name] for name in saved}
        last = now
        yield from saved


def times(folder) -> dict:
    """Return {exercise: when its file was changed, and how long it is}."""
    found = {}
    for name in exercises_in(folder):
        try:
            status = (folder / f"{name}.py").stat()
        except OSError:  # an editor is just replacing it
            continue
        if status.st_size:  # if it is empty, the text is still on its way
            found[name] = status.st_mtime_ns, status.st_size
    return found
