"""A family: models that differ only in size, from a thousand parameters to a few million.

A size is an approximate number of parameters, which selects the model with the nearest number. All parameters are
counted, including the embedding, because without it the loss of small models does not follow a power law (Pearce and
Song, 2024). With tied embeddings, learned positions, biases and F = 4 C, a model of width C has

    N(C) = L (12 C² + 13 C) + (V + T + 2) C         (1)

parameters. Each block has 4 C² + 4 C in attention, 8 C² + 5 C in the feed-forward layer and 4 C in two norms. The
others are in the table of V tokens, the table of T positions, and the last norm.
"""

import math
from bisect import bisect_left

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import CONTEXT, VOCAB_SIZE
from minitransformer.system.validation import check_int
from minitransformer.transformer import Transformer

LAYERS = 2
MOST_PARAMETERS = 10**12
NARROW = 16  # narrower models have 2 heads and any even width, all others 4 heads and a multiple of 4
WIDTHS = [*range(2, NARROW, 2), *range(NARROW, 400_000, 4)]


def of_size(parameters: int, n_layers: int = LAYERS) -> Config:
    """Return the Config with `n_layers` layers and the nearest number of parameters."""
    check_int("model_sizes: each", parameters, minimum=count(WIDTHS[0], n_layers), maximum=MOST_PARAMETERS)
    above = bisect_left(WIDTHS, parameters, key=lambda width: count(width, n_layers))
    neighbours = WIDTHS[max(above - 1, 0) : above + 1]
    return of_width(min(neighbours, key=lambda width: abs(math.log(count(width, n_layers) / parameters))), n_layers)


def of_width(width: int, n_layers: int) -> Config:
    return Config(VOCAB_SIZE, CONTEXT, d_model=width, n_heads=2 if width < NARROW else 4, n_layers=n_layers)


def count(width: int, n_layers: int) -> int:
    return n_layers * (12 * width**2 + 13 * width) + (VOCAB_SIZE + CONTEXT + 2) * width  # (1)


def n_parameters(config: Config) -> int:
    return Transformer(config).n_parameters()
