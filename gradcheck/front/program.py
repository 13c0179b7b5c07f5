"""The beginning of a command line that a reader can copy: it starts a program as this one was started."""

import os
import shlex
import shutil
import sys


def started_as(package: str) -> str:
    """Return the words that start a command of `package` in the shell from which this program was started.

    They are `package` if its script is on the search path, the path of the script if it is in the folder of the running
    script, as in `.venv/bin/gradcheck`, and otherwise the running Python, as in `.venv/bin/python -m gradcheck`.
    """
    folder = os.path.dirname(sys.argv[0])
    script = shutil.which(package, path=folder) if folder else None
    if script is None:
        return f"{shlex.quote(sys.orig_argv[0])} -m {package}"
    on_path = shutil.which(package)
    return package if on_path is not None and os.path.samefile(on_path, script) else shlex.quote(script)
