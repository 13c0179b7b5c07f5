"""Optional packages. Every command runs with only NumPy and SciPy; features that need more raise MissingExtra."""

import importlib
import importlib.metadata
import importlib.util
import os
import shlex
from pathlib import Path

from gradcheck.front.program import started_as

CLONE = Path(__file__).resolve().parents[2]  # if it contains setup.cfg


class MissingExtra(ImportError):  # noqa: N818
    """Raised if a package of an optional extra is not installed. The message contains the command that installs it."""


def require(package: str, *, otherwise: str = "", extra: str = "app", load: bool = True) -> None:
    """Raise MissingExtra if `package` cannot be imported.

    With load=False, the package is only searched for, and not imported. `otherwise` describes an alternative for the
    message, such as an option.
    """
    try:
        found = importlib.import_module(package) if load else importlib.util.find_spec(package)
    except ImportError:
        found = None
    if found is None:
        alternative = f", or {otherwise}" if otherwise else ""
        words = f"{package} is not installed: install it with {install_command(extra)}{alternative}"
        raise MissingExtra(words, name=package)


def install_command(extra: str) -> str:
    """Return the command that installs an extra.

    In a clone, the command installs from there. Otherwise it lists the packages, because no index has this package.
    """
    if (CLONE / "setup.cfg").is_file():
        folder = "." if Path(os.path.realpath(".")) == CLONE else str(CLONE)
        return f"{started_as('pip')} install -e {shlex.quote(f'{folder}[{extra}]')}"
    requirements = importlib.metadata.requires("minitransformer") or ()
    pairs = (requirement.replace("'", '"').split(";") for requirement in requirements if ";" in requirement)
    packages = [shlex.quote(package.strip()) for package, marker in pairs if f'extra == "{extra}"' in marker]
    return f"{started_as('pip')} install {' '.join(packages)}"
