"""Sliding windows: a position sees itself and the positions just before it (Child et al., 2019; Jiang et al., 2023).

Through L layers with windows of w positions, a position depends on L (w − 1) positions before it. A model that
alternates narrow and full layers reads far at half of the cost, since a layer with a window need only keep w keys.
"""

import numpy as np
from numpy.typing import NDArray


def window_mask(Tq: int, Tk: int, window: int) -> NDArray[np.bool_]:
    """Return a boolean mask (Tq, Tk) that is True for the last `window` keys up to the position of each query.

    The key at the position of the query is one of them. As in causal_mask, the last query is at the last key.
    """
    up_to_query = np.tri(Tq, Tk, Tk - Tq, dtype=bool)
    before_window = np.tri(Tq, Tk, Tk - Tq - window, dtype=bool)
    return up_to_query & ~before_window
