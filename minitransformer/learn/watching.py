"""Watch a folder for saved exercises."""

import time

from minitransformer.learn.workspace import exercises_in

PAUSE = 0.3  # seconds between polls


def saved_files(folder, look=time.sleep):
    """Poll a folder forever, and yield the name of each exercise that is saved.

    A changed file counts as saved when two consecutive polls find the same time and size. `look(seconds)` waits for the
    next poll.
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
    found = {}
    for name in exercises_in(folder):
        try:
            status = (folder / f"{name}.py").stat()
        except OSError:  # an editor is replacing it
            continue
        if status.st_size:  # an empty file is still being written
            found[name] = status.st_mtime_ns, status.st_size
    return found
