"""The command by which the running program was started."""

import os
import shlex
import shutil
import sys


def started_as(package: str) -> str:
    """Return the command that starts `package` as the running program was started.

    This is the name of the package if its script is on the search path, the path of the script if the script is beside
    the running one, such as `.venv/bin/gradcheck`, and otherwise a call of the running Python, such as
    `.venv/bin/python -m gradcheck`. Messages contain this command so that the user can copy it.
    """
    folder = os.path.dirname(sys.argv[0])
    script = shutil.which(package, path=folder) if folder else None
    if script is None:
        return f"{shlex.quote(sys.orig_argv[0])} -m {package}"
    on_path = shutil.which(package)
    return package if on_path is not None and os.path.samefile(on_path, script) else shlex.quote(script)
