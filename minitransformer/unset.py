"""A model whose weights are still to come, from a file: what they will be, and what stands in their place till then.

The names and shapes of all Parameters follow from the configuration. Whoever reads a file compares these with what is
in it, and builds the model only when every one is there: a file of a few bytes can claim a million blocks.
"""

import numpy as np

from minitransformer.config import Config


def parameter_groups(config: Config):
    """Yield (prefix, {name: shape}) of what stands before the blocks, of each block, and of what stands after them.

    The prefix is "" or that of the block, such as "blocks.3."; before a name, it gives the Parameter's own.
    """
    C, V = config.d_model, config.vocab_size
    first = {"embedding.weight": (V, C)}
    if config.positions == "learned":
        first["positional_embedding.weight"] = (config.context, C)
    yield "", first
    block = block_shapes(config)
    for i in range(config.n_layers):
        yield f"blocks.{i}.", block
    last = norm_shapes("ln_final", config)
    if not config.tie_embeddings:
        last["lm_head.weight"] = (V, C)
    yield "", last


def parameter_shapes(config: Config):
    """Yield (name, shape) of each Parameter of a Transformer, in the order of named_parameters."""
    for prefix, shapes in parameter_groups(config):
        for name, shape in shapes.items():
            yield prefix + name, shape


def block_shapes(config: Config) -> dict:
    """Return {name: shape} of the Parameters of a block."""
    C, F = config.d_model, config.hidden_width
    Q, K = config.n_heads * config.head_width, config.kv_heads * config.head_width
    attention = {"w_q": (C, Q), "w_k": (C, K), "w_v": (C, K), "w_o": (Q, C)}
    gate = {"gate": (C, F)} if config.feed_forward == "swiglu" else {}
    feed_forward = gate | {"up": (C, F), "down": (F, C)}
    return {
        **norm_shapes("norm1", config),
        **linear_shapes("attention", attention, config),
        **norm_shapes("norm2", config),
        **linear_shapes("feed_forward", feed_forward, config),
    }


def norm_shapes(name: str, config: Config) -> dict:
    """Return {name: shape} of a norm's gain, and of its shift where it has one."""
    parts = ("gamma", "beta") if config.norm == "layer_norm" else ("gamma",)
    return {f"{name}.{part}": (config.d_model,) for part in parts}


def linear_shapes(module: str, weights: dict, config: Config) -> dict:
    """Return {name: shape} of the weights and biases of linear maps, given {name: (in, out)}."""
    shapes = {}
    for name, (features_in, features_out) in weights.items():
        shapes[f"{module}.{name}.weight"] = (features_in, features_out)
        if config.bias:
            shapes[f"{module}.{name}.bias"] = (features_out,)
    return shapes


class Unset:
    """In the place of a random generator: weights of the right shape and dtype that take no memory, and are read-only.

    For a model that gets its weights from a file, one after the other: drawing them first would take as long as reading
    them, and keep each of them twice for a while.
    """

    def normal(self, mean, std, shape):
        """Return what stands for a draw of this shape."""
        return UnsetDraw(shape)


class UnsetDraw:
    """One number in the place of all of an array."""

    def __init__(self, shape):
        self.shape = shape

    def astype(self, dtype):
        """Return an array of that dtype, every entry of which is the same zero in memory."""
        return np.broadcast_to(np.zeros((), dtype), self.shape)
