"""Optional packages. Every command runs with only NumPy and SciPy; features that need more raise MissingExtra."""

import importlib
import importlib.util


class MissingExtra(ImportError):  # noqa: N818
    """A package of an optional extra is not installed. The message names the command that installs it."""


def require(package: str, *, otherwise: str = "", extra: str = "app", load: bool = True) -> None:
    """Raise MissingExtra if `package` cannot be imported, or without `load`, if it cannot be found.

    `otherwise` names an alternative, such as an option.
    """
    try:
        found = importlib.import_module(package) if load else importlib.util.find_spec(package)
    except ImportError:
        found = None
    if found is None:
        alternative = f", or {otherwise}" if otherwise else ""
        raise MissingExtra(
            f'{package} is not installed: install it with pip install "minitransformer[{extra}]"{alternative}',
            name=package,
        )
