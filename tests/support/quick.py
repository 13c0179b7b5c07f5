"""A share of the rows of a table, for a quick run of pytest."""

import pytest


def a_share(rows, every, first=0):
    """Return the rows of a table as parameters of a test. All but each `every`-th, from `first` on, are marked slow.

    For tables whose rows go through the same code: the whole table is a test of the code's reach, a share of it tells
    that the code works.
    """
    parameters = []
    for i, row in enumerate(rows):
        values = row.values if hasattr(row, "marks") else row if isinstance(row, tuple) else (row,)
        marks = pytest.mark.slow if i % every != first else ()
        parameters.append(pytest.param(*values, id=getattr(row, "id", None), marks=marks))
    return parameters
