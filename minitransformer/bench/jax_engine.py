"""JAX as an engine, with the interface of numpy_engine.py. Only the process of a JAX engine imports this file.

XLA compiles a training step (forward, loss, backward, clipping and AdamW) as one function, and the decoding of a token
with a key–value cache as another. Parameters are a dictionary with the names of this package. check_supported refuses a
Config with other parts than those of the named sizes.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from minitransformer.bench.numpy_engine import CLIP, LEARNING_RATE
from minitransformer.bench.sizes import check_supported
from minitransformer.layers.positions import frequencies
from minitransformer.transformer import Transformer

BETAS, EPS, WEIGHT_DECAY = (0.9, 0.999), 1e-8, 0.01
ACTIVATIONS = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "relu": jax.nn.relu,
    "swiglu": lambda gate, up: jax.nn.silu(gate) * up,
}


class JaxEngine:
    """A JAX model with the initial weights of a Transformer, and its optimizer."""

    def __init__(self, config, seed: int = 0):
        check_supported("JaxEngine", config, feed_forwards=ACTIVATIONS)
        self.config = config
        self.parameters = {name: jnp.asarray(p.data) for name, p in Transformer(config, seed).named_parameters()}
        zeros = {name: jnp.zeros_like(array) for name, array in self.parameters.items()}
        self.moments, self.steps = (zeros, zeros), 0
        self.compiled_step = jax.jit(partial(training_step, config))
        self.compiled_token = jax.jit(partial(next_token, config), donate_argnums=1)

    def training_step(self, ids, targets) -> float:
        self.steps += 1
        results = self.compiled_step(self.parameters, self.moments, self.steps, ids, targets)
        loss, self.parameters, self.moments = results
        return float(loss)

    def stream(self, ids, n: int):
        shape = len(ids) + n, self.config.kv_heads, self.config.head_width
        caches = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(self.config.n_layers)]
        new, start = jnp.asarray(ids), 0
        for _ in range(n):
            token, caches = self.compiled_token(self.parameters, caches, new, start)
            start += len(new)
            new = token[None]
            yield int(token)

    def restart_replicas(self):
        """Do nothing, because JAX uses threads instead of replicas."""

    def random(self, *shape):
        return jax.random.uniform(jax.random.key(0), shape)

    def multiply(self, a, b, out):
        jnp.matmul(a, b).block_until_ready()


def training_step(config, parameters, moments, step, ids, targets):
    loss, gradients = jax.value_and_grad(partial(mean_loss, config))(parameters, ids, targets)
    norm = jnp.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
    new, firsts, seconds = {}, {}, {}
    for name, theta in parameters.items():
        g = scale * gradients[name]
        firsts[name] = m = BETAS[0] * moments[0][name] + (1 - BETAS[0]) * g
        seconds[name] = v = BETAS[1] * moments[1][name] + (1 - BETAS[1]) * g**2
        m_hat, v_hat = m / (1 - BETAS[0] ** step), v / (1 - BETAS[1] ** step)
        new[name] = theta - LEARNING_RATE * (m_hat / (jnp.sqrt(v_hat) + EPS) + WEIGHT_DECAY * theta)
    return loss, new, (firsts, seconds)


def mean_loss(config, parameters, ids, targets):
    hidden = jax.vmap(lambda sequence: features(config, parameters, sequence)[0])(ids)
    log_p = jax.nn.log_softmax(unembed(parameters, hidden))
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1).mean()


def next_token(config, parameters, caches, ids, start):
    """Return the most likely token after ids (T,), and the new caches. The first id has the position `start`."""
    hidden, caches = features(config, parameters, ids, caches, start)
    return unembed(parameters, hidden[-1]).argmax(), caches


def unembed(parameters, hidden):
    return hidden @ parameters.get("lm_head.weight", parameters["embedding.weight"]).T


def features(config, parameters, ids, caches=None, start=0):
    """Return the output (T, C) of the final norm for ids (T,), and the caches with the new keys and values.

    `caches` is a list of (keys, values), one for each block, each (positions, K, D). None means an empty context.
    """
    positions = start + jnp.arange(len(ids))
    x, turn, new_caches = parameters["embedding.weight"][ids], None, []
    if config.positions == "learned":
        x = x + parameters["positional_embedding.weight"][positions]
    else:
        angles = positions[:, None] * frequencies(config.head_width, config.rope_base).astype(np.float32)
        turn = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]  # (T, 1, D/2)
    for i in range(config.n_layers):
        prefix = f"blocks.{i}."
        block = {name.removeprefix(prefix): p for name, p in parameters.items() if name.startswith(prefix)}
        a, cache = attend(config, block, norm(config, block, "norm1", x), turn, caches and caches[i], positions)
        x = x + a
        x = x + feed_forward(config, block, norm(config, block, "norm2", x))
        new_caches.append(cache)
    return norm(config, parameters, "ln_final", x), new_caches


def attend(config, block, x, turn, cache, positions):
    T, D = len(x), config.head_width
    q, k, v = (linear(block, f"attention.w_{letter}", x).reshape(T, -1, D) for letter in "qkv")
    if turn is not None:
        q, k = rotate(q, *turn), rotate(k, *turn)
    if cache is None:
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return linear(block, "attention.w_o", y.reshape(T, -1)), None
    place = positions[0], 0, 0
    k, v = jax.lax.dynamic_update_slice(cache[0], k, place), jax.lax.dynamic_update_slice(cache[1], v, place)
    mask = jnp.arange(len(k)) <= positions[:, None]
    y = jax.nn.dot_product_attention(q, k, v, mask=mask[None])
    return linear(block, "attention.w_o", y.reshape(T, -1)), (k, v)


def rotate(x, cos, sin):
    """Rotate the channels i and i + D/2 of x (T, heads, D) as a pair."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def feed_forward(config, block, x):
    names = [name for name in ("feed_forward.gate", "feed_forward.up") if f"{name}.weight" in block]
    hidden = ACTIVATIONS[config.feed_forward](*(linear(block, name, x) for name in names))
    return linear(block, "feed_forward.down", hidden)


def norm(config, parameters, name, x):
    if config.norm == "rms_norm":
        return parameters[f"{name}.gamma"] * x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + config.eps)
    centred = x - x.mean(-1, keepdims=True)
    x_hat = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + config.eps)
    return parameters[f"{name}.gamma"] * x_hat + parameters[f"{name}.beta"]


def linear(parameters, name, x):
    y = x @ parameters[f"{name}.weight"]
    return y + parameters[f"{name}.bias"] if f"{name}.bias" in parameters else y
