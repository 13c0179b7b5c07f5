"""Format arrays as HTML tables between vertical bars."""

import numpy as np


def matrix(label: str, array, show, kind: str = "matrix") -> str:
    """Return an array as a label and a table. `show` converts an entry to text.

    The leading axes of an array with more than two axes are flattened to rows.
    """
    array = np.asarray(array)
    rows = array.reshape(int(np.prod(array.shape[:-1])), array.shape[-1]) if array.ndim else array.reshape(1, 1)
    cells = "".join(f"<tr>{''.join(f'<td>{show(entry)}</td>' for entry in row)}</tr>" for row in rows)
    return f'<span class="given">{label}<table class="{kind}">{cells}</table></span>'


def board(matrices) -> str:
    return f'<div class="board">{"".join(matrices)}</div>'


def with_decimals(decimals: int):
    """Return a function that formats a number with this number of decimals."""

    def show(number):
        if not np.isfinite(number):
            return infinite(number)
        text = f"{number:.{decimals}f}"
        return "0" if not float(text) else text.replace("-", "−")

    return show


def with_digits(digits: int):
    """Return a function that formats a number with this number of significant digits.

    Truth values are formatted as yes or no.
    """

    def show(entry):
        if isinstance(entry, (bool, np.bool_)):
            return ("no", "yes")[int(entry)]
        return f"{float(entry) + 0.0:.{digits}g}".replace("-", "−") if np.isfinite(entry) else infinite(entry)

    return show


def infinite(number):
    return "NaN" if np.isnan(number) else ("−∞" if number < 0 else "∞")
