"""YaRN: rotary positions of a trained model for much longer texts (Peng et al., 2023).

As in the scaling of Llama 3.1, pairs that complete many circles within the original context keep their frequency, and
pairs that complete few turn more slowly, because they have not met larger angles in training. The frequency of a pair
falls exponentially with its index. YaRN interpolates along the index, between the two at which a pair completes
`beta_fast` and `beta_slow` circles. In addition, it multiplies queries and keys by a number, which sharpens the softmax
over more keys.
"""

import math
from typing import Any

import numpy as np

from minitransformer.module import Array


def yarn_keep(channels: int, base: float, scaling: dict[str, Any]) -> Array:
    """Return the share (C/2,) of each pair's own frequency, from 1 for fast pairs to 0 for slow ones."""
    context = scaling["original_max_position_embeddings"]

    def index_of(circles: float) -> float:
        """Return the index of the pair that completes so many circles, as a real number."""
        return channels * math.log(context / (2 * math.pi * circles)) / (2 * math.log(base))

    first = max(math.floor(index_of(scaling.get("beta_fast", 32))), 0)
    last = min(math.ceil(index_of(scaling.get("beta_slow", 1))), channels - 1)
    width = last - first or 0.001
    return 1 - np.clip((np.arange(channels // 2) - first) / width, 0, 1)


def yarn_length(scaling: dict[str, Any]) -> float:
    """Return the factor of queries and keys, by default 0.1 ln s + 1 for a scaling factor s of at least 1."""
    return float(scaling.get("attention_factor", 0.1 * math.log(max(scaling["factor"], 1)) + 1))
