"""The checks of arguments of this folder, one function for each function that needs more than a floating-point array.

As in layers/checks.py, each raises TypeError or ValueError with one line.
"""

import numpy as np

from minitransformer.module import require_floating
from minitransformer.system.validation import check_int, number, positive

SCALINGS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
OPTIONAL_OF_SCALINGS = {"yarn": ("beta_fast", "beta_slow", "attention_factor")}


def check_softcap(x, cap):
    require_floating("softcap", x=x)
    number("softcap: cap", cap, above=0)


def check_sink_softmax(x, sink):
    require_floating("sink_softmax", x=x, sink=sink)
    if x.ndim < 3 or not x.shape[-1]:
        raise ValueError(f"sink_softmax: x {x.shape} must be (..., heads, queries, keys), with at least one key")
    if sink.shape != x.shape[-3:-2]:
        raise ValueError(f"sink_softmax: sink {sink.shape} must have one entry for each of the heads of x {x.shape}")


def check_router_logits(function, x, k):
    require_floating(function, x=x)
    if x.ndim == 0:
        raise ValueError(f"{function}: x {x.shape} must be (..., experts)")
    check_int(f"{function}: k", k, minimum=1, maximum=x.shape[-1])


def check_balancing_bias(balance, logits, k):
    check_router_logits("balancing_bias", logits, k)
    require_floating("balancing_bias", balance=balance)
    if balance.shape != logits.shape[-1:]:
        raise ValueError(
            f"balancing_bias: balance {balance.shape} must have one entry for each of the experts of logits "
            f"{logits.shape}"
        )


def check_mixture(x, router, w_gate, w_up, w_down, k):
    require_floating("mixture_of_experts", x=x, router=router, w_gate=w_gate, w_up=w_up, w_down=w_down)
    if x.ndim == 0 or router.ndim != 2 or len(router) != x.shape[-1]:
        raise ValueError(f"mixture_of_experts: router {router.shape} must have a row for each channel of x {x.shape}")
    (C, E), F = router.shape, w_gate.shape[-1] if w_gate.ndim else 0
    for name, array, shape in (("w_gate", w_gate, (E, C, F)), ("w_up", w_up, (E, C, F)), ("w_down", w_down, (E, F, C))):
        if array.shape != shape:
            raise ValueError(f"mixture_of_experts: {name} must have shape {shape}, not {array.shape}")
    check_int("mixture_of_experts: k", k, minimum=1, maximum=E)


def check_delta_rule(q, k, v, beta, gate):
    require_floating("delta_rule", q=q, k=k, v=v, beta=beta, gate=gate)
    if q.ndim < 2 or not q.shape[-2] or k.shape != q.shape or v.shape[:-1] != q.shape[:-1]:
        raise ValueError(
            f"delta_rule: q {q.shape} and k {k.shape} must have the same shape (..., positions, channels), and v "
            f"{v.shape} the same positions, at least one"
        )
    for name, array in (("beta", beta), ("gate", gate)):
        if array.shape != q.shape[:-1]:
            raise ValueError(
                f"delta_rule: {name} must have shape {q.shape[:-1]}, one entry per position, not {array.shape}"
            )


def check_latent_attention(function, q, qr, c, kr, w_key, w_value):
    require_floating(function, q=q, qr=qr, c=c, kr=kr, w_key=w_key, w_value=w_value)
    if q.ndim < 3 or q.shape[:-1] != qr.shape[:-1]:
        raise ValueError(
            f"{function}: q {q.shape} and qr {qr.shape} must be (..., heads, positions, channels), with the same "
            "heads and positions"
        )
    if c.ndim < 2 or c.shape[:-1] != kr.shape[:-1] or c.shape[:-2] != q.shape[:-3] or qr.shape[-1] != kr.shape[-1]:
        raise ValueError(
            f"{function}: c {c.shape} and kr {kr.shape} must have the same positions and the leading axes of q "
            f"{q.shape}, and kr must have the channels of qr {qr.shape}"
        )
    H, L, D = q.shape[-3], c.shape[-1], q.shape[-1]
    if w_key.shape != (H, L, D) or w_value.shape[:-1] != (H, L):
        raise ValueError(
            f"{function}: w_key must have shape {(H, L, D)}, not {w_key.shape}, and w_value {w_value.shape} "
            f"({H}, {L}, channels)"
        )


def check_rewards(function, logp, advantages, *of_tokens):
    """Check log-probabilities (B, T), advantages (B,), and other arrays (B, T)."""
    require_floating(function, logp=logp, advantages=advantages)
    if logp.ndim != 2 or advantages.shape != logp.shape[:1]:
        raise ValueError(
            f"{function}: logp {logp.shape} must be (B, T), and advantages {advantages.shape} must have B entries"
        )
    for array in of_tokens:
        if np.shape(array) != logp.shape:
            raise ValueError(
                f"{function}: mask, old and reference must have logp's shape {logp.shape}, not {np.shape(array)}"
            )


def check_grpo(logp, old, advantages, reference, mask, clip, beta):
    check_rewards("grpo", logp, advantages, mask, old, reference)
    number("grpo: clip", clip, minimum=0)
    number("grpo: beta", beta, minimum=0)


def check_scaling(scaling):
    """Raise TypeError or ValueError if `frequencies` does not support this scaling."""
    if scaling is None:
        return
    if not isinstance(scaling, dict):
        raise TypeError(f"rope_scaling must be a dictionary, not {scaling!r}")
    kind = scaling.get("rope_type")
    if kind not in SCALINGS:
        raise ValueError(f"rope_scaling: unknown rope_type {kind!r}; choose from {', '.join(SCALINGS)}")
    for name in SCALINGS[kind]:
        if name not in scaling:
            raise ValueError(
                f"rope_scaling of type {kind!r} must have the key {name!r}, but has only {', '.join(scaling)}"
            )
        positive(f"rope_scaling: {name}", scaling[name])
    for name in OPTIONAL_OF_SCALINGS.get(kind, ()):
        if name in scaling:
            positive(f"rope_scaling: {name}", scaling[name])
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        raise ValueError(f"rope_scaling: low_freq_factor must be less than high_freq_factor, not {low} and {high}")
