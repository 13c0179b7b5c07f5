"""A family: models alike but for their size, from a thousand parameters to a few million.

A size may be given as

    an integer      about so many parameters: the width that comes nearest, at 2 layers
    a dictionary    fields of Config, such as {"d_model": 64, "n_layers": 8}
    a Config        as it is; its vocab_size and context must be those of alphabet.py, or larger

An integer always makes 2 layers, however large, so that along the family nothing changes but the width; what depth does
is a comparison of its own, at equal parameters. The parameters that count are all of them, with the embedding's: in the
smallest models it is a third, and a law in the others alone bends there (Pearce and Song, 2024).

With tied embeddings, learned positions, biases and F = 4 C, a model of width C has

    N(C) = L (12 C² + 13 C) + (V + T + 2) C         (1)

parameters: in each block 4 C² + 4 C of attention, 8 C² + 5 C of the feed-forward layer and 4 C of two norms; then the
table of V tokens, that of T positions, and the last norm.
"""

import numbers

from minitransformer.config import Config
from minitransformer.experiments.emergence.alphabet import CONTEXT, VOCAB_SIZE
from minitransformer.transformer import Transformer
from minitransformer.values import whole

LAYERS = 2
MOST_PARAMETERS = 10**12  # of one of a family that is compared with models of a thousand
NARROW = 16  # below this width models have 2 heads and any even width; from here on 4 heads, and multiples of 4


def configuration(size) -> Config:
    """Return the Config of a size, in any of its three forms.

    Raises TypeError for another type, ValueError for a number too small, or what Config raises.
    """
    if isinstance(size, Config):
        for name, least in (("vocab_size", VOCAB_SIZE), ("context", CONTEXT)):
            whole(f"model_sizes: {name}", getattr(size, name), least=least)
        return size
    if isinstance(size, dict):
        return configuration(Config(**({"vocab_size": VOCAB_SIZE, "context": CONTEXT} | size)))
    if isinstance(size, numbers.Integral) and not isinstance(size, bool):
        return of_size(int(size))
    raise TypeError(f"model_sizes: a size is an integer, a dictionary or a Config, not {size!r}")


def of_size(parameters: int, n_layers: int = LAYERS) -> Config:
    """Return the model of so many layers whose number of parameters is nearest, by ratio, to the one given.

    Raises ValueError for fewer than the narrowest model has, or more than MOST_PARAMETERS.
    """
    whole("model_sizes: each", parameters, most=MOST_PARAMETERS)
    narrowest = of_width(2, n_layers)
    if parameters < count(2, n_layers):
        least = count(2, n_layers)
        raise ValueError(f"model_sizes: {n_layers} layers have at least {least} parameters, not {parameters}")
    best = narrowest
    width = 2
    while count(width, n_layers) < 2 * parameters:
        width += 2 if width < NARROW else 4
        nearer = distance(count(width, n_layers), parameters) < distance(count(best.d_model, n_layers), parameters)
        best = of_width(width, n_layers) if nearer else best
    return best


def of_width(width: int, n_layers: int) -> Config:
    """Return the model of a width and so many layers."""
    return Config(VOCAB_SIZE, CONTEXT, d_model=width, n_heads=2 if width < NARROW else 4, n_layers=n_layers)


def count(width: int, n_layers: int) -> int:
    """Return the number of parameters of the family's model of a width."""
    return n_layers * (12 * width**2 + 13 * width) + (VOCAB_SIZE + CONTEXT + 2) * width  # (1)


def distance(one: int, other: int) -> float:
    """Return by what factor two numbers differ."""
    return max(one, other) / min(one, other)


def n_parameters(config: Config) -> int:
    """Return the number of parameters of any model."""
    return Transformer(config).n_parameters()


def shape_name(config: Config) -> str:
    """Return what a model is called: "2x64" for 2 layers of width 64."""
    return f"{config.n_layers}x{config.d_model}"
