"""Parts of the package that register themselves in a table of another part, which does not import them.

The engine registers its twins in a table of module.py, and the readers of other programs' files register in a table of
language_model.py. `__init__.py` lists such parts here. The owner of the table loads them when it is first needed.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

EXTENSIONS: dict[str, str] = {}  # {module with the table: package that registers itself there}


@cache
def load_extension_of(module: str) -> None:
    """Load the package that registers itself in a table of `module`, if it exists. Later calls do nothing.

    Another thread that calls this function waits until the package is loaded.
    """
    extension = EXTENSIONS.get(module)
    if extension is not None and find_spec(extension) is not None:
        import_module(extension)
