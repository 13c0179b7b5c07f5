"""Optional packages. Every command runs with only NumPy and SciPy; features that need more raise MissingExtra."""

import importlib


class MissingExtra(ImportError):  # noqa: N818
    """A package of an optional extra is not installed. The message names the command that installs it."""


def require(package: str, *, otherwise: str = "", extra: str = "app") -> None:
    """Raise MissingExtra if `package` cannot be imported. `otherwise` names an alternative, such as an option."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        alternative = f", or {otherwise}" if otherwise else ""
        raise MissingExtra(
            f'{package} is not installed: install it with pip install "minitransformer[{extra}]"{alternative}',
            name=package,
        ) from error
