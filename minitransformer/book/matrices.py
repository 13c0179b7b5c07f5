"""Matrices: arrays as small tables between bars, as one writes them on a board."""

import numpy as np


def matrix(label: str, array, show, kind: str = "matrix") -> str:
    """Return an array as a table behind a label, each entry as `show` has it; of several axes, row by row."""
    array = np.asarray(array)
    rows = array.reshape(int(np.prod(array.shape[:-1])), array.shape[-1]) if array.ndim else array.reshape(1, 1)
    cells = "".join(f"<tr>{''.join(f'<td>{show(entry)}</td>' for entry in row)}</tr>" for row in rows)
    return f'<span class="given">{label}<table class="{kind}">{cells}</table></span>'


def board(matrices) -> str:
    """Return matrices side by side."""
    return f'<div class="board">{"".join(matrices)}</div>'


def with_decimals(decimals: int):
    """Return what shows a number with so many decimals."""

    def show(number):
        if not np.isfinite(number):
            return infinite(number)
        text = f"{number:.{decimals}f}"
        return "0" if not float(text) else text.replace("-", "−")

    return show


def with_digits(digits: int):
    """Return what shows a number with so many digits that count, and yes or no for one that is true or false."""

    def show(entry):
        if isinstance(entry, (bool, np.bool_)):
            return ("no", "yes")[int(entry)]
        return f"{float(entry) + 0.0:.{digits}g}".replace("-", "−") if np.isfinite(entry) else infinite(entry)

    return show


def infinite(number):
    """Infinity, with its sign, or what is no number."""
    return "NaN" if np.isnan(number) else ("−∞" if number < 0 else "∞")
