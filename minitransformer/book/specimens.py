"""Define specimens: small calls on which the textbook's equations are executed.

The inputs are random. The axes have different lengths, so that a missing transpose raises an error. Equations of
entries, such as ∂y_i/∂x_j, are executed at one position.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck.complex_step import derivatives
from minitransformer import first_steps, optim
from minitransformer.config import Config
from minitransformer.generation import sample
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention, causal_mask, masked_softmax, scaled_dot_product
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import Linear, linear
from minitransformer.layers.lora import LowRankLinear, low_rank
from minitransformer.layers.modern.balancing_bias import balancing_bias
from minitransformer.layers.modern.delta_rule import delta_rule, delta_step
from minitransformer.layers.modern.grpo import grpo
from minitransformer.layers.modern.latent_attention import absorbed_attention, cut, join, latent_attention, share
from minitransformer.layers.modern.load_balance import load_balance
from minitransformer.layers.modern.mixture_of_experts import mixture_of_experts
from minitransformer.layers.modern.post_norm_block import PostNormBlock
from minitransformer.layers.modern.reinforce import reinforce
from minitransformer.layers.modern.relu_squared import relu_squared
from minitransformer.layers.modern.sigmoid import sigmoid
from minitransformer.layers.modern.sink_softmax import sink_softmax
from minitransformer.layers.modern.softcap import softcap
from minitransformer.layers.modern.top_k_gates import top_k_gates
from minitransformer.layers.multi_head_attention import MultiHeadAttention, merge, projections, split
from minitransformer.layers.positions import cos_and_sin, frequencies, sinusoidal_positions, turned
from minitransformer.layers.recomputation import checkpointed
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import Parameter
from minitransformer.transformer import Transformer

REDUCTIONS = ("plain", "mean", "sum", "none")


@dataclass(frozen=True)
class Specimen:
    """A call of a function, on which the equations in the function's docstrings are executed."""

    function: str
    call: Callable  # the function, or an object that calls it
    inputs: tuple
    options: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)  # {symbol: value, or code that reads the call's variables}
    also: tuple = ()  # qualified names of other functions whose lines compute equations of this function
    variant: str = ""  # the variant of this call; an equation whose remark names another variant is not executed
    variants: tuple = ()  # names of the variants of an equation, such as "mean" and "sum"
    explains: bool | None = None  # True for equations without a number, False for numbered ones, None for all
    letters: dict = field(default_factory=dict)  # {length: name of an axis} for the picture of the shapes
    shows: dict = field(default_factory=dict)  # {(of, by): caption} of Jacobians to draw
    is_on_ladder: bool = False  # True if the chapter's ladder shows this call; the default is the first one
    dy: object = None  # the argument of backward, or None for random numbers

    def value(self, symbol, local):
        """Return the value of a symbol in `names`, or None if `local` lacks the variable."""
        code = self.names[symbol]
        if not isinstance(code, str):
            return code
        return local.get(code) if code.isidentifier() else eval(code, globals(), local)


def normal(*shape, other=0):
    """Draw normal numbers with one decimal, none of them 0."""
    drawn = np.round(np.random.default_rng([*shape, *[other] * bool(other)]).normal(size=shape), 1)
    return np.where(drawn == 0, 0.1, drawn)


def on(call, inputs, sizes="", names="", known=None, **fields):
    """Return the Specimen of a call. `inputs` are arrays, or axis letters of random arrays:

        on(linear, "P I, I O, O", "P=3 I=4 O=2", "W = weight; b = bias")

    `names` defines symbols by code, and `known` by value.
    """
    lengths = {letter: int(length) for letter, length in (size.split("=") for size in sizes.split())}
    if isinstance(inputs, str):
        shapes = [tuple(lengths[letter] for letter in letters.split()) for letters in inputs.split(",")]
        inputs = [normal(*shape, other=shapes[:k].count(shape)) for k, shape in enumerate(shapes)]
    names = dict(name.split(" = ", 1) for name in names.split("; ") if name) | (known or {})
    letters = {length: letter for letter, length in lengths.items()}
    function = fields.pop("function", called_by(call).__qualname__)
    return Specimen(function, call, (*inputs,), names=names, letters=letters, **fields)


def value_of(function):
    return lambda *inputs: function(*inputs)[0]


def applied(*names):
    return "; ".join(f"{name} = value_of(self.{name})" for name in names)


def after_blocks(model, ids):
    x = model.embed(ids, 0, None)[0]
    masks, positions = model.masks_and_positions(ids, 0)
    for block, mask in zip(model.blocks, masks, strict=True):
        x = block(x, mask=mask, positions=positions)[0]
    return x


def randomized(module):
    for k, (_, parameter) in enumerate(module.named_parameters()):
        parameter.data = normal(*parameter.data.shape, other=k + 1)
    return module


def of_the_chain_rule():
    """Return the specimens of module.py, with functions whose Jacobians are not symmetric."""
    x, dy, dy_g = normal(4), *normal(4, 4)[:2]
    normalized = partial(layer_norm, gamma=normal(4, other=1), beta=normal(4, other=2))
    (y, f_backward), (_, g_backward) = log_softmax(x), normalized(x)
    functions = {"f": value_of(log_softmax), "g": value_of(normalized)}
    J_f, J_g, (z, z_backward) = derivatives(functions["f"], x), derivatives(functions["g"], x), normalized(y)
    rows, bias, drows = normal(3, 4), normal(4), normal(3, 4, other=1)
    shifted, shift_backward = linear(rows, np.eye(4), bias)
    values = [
        {"x": x, "y": y, "J": J_f, "dx": f_backward(dy), "dy": dy, "∂y/∂x": J_f},
        {"J_f": J_f, "J_g": J_g, "dx": f_backward(dy) + g_backward(dy_g)[0], "dy_f": dy, "dy_g": dy_g},
        {"x": x, "y_f": y, "y_g": normalized(x)[0], **functions},
        {"x": x, "y": y, "z": z, "dx": f_backward(z_backward(dy)[0]), "dz": dy, "J_f": J_f, **functions}
        | {"J_g": derivatives(functions["g"], y)},
        {"dx": dy + f_backward(dy), "dy": dy, "J_f": J_f},
        {"x": x, "f": value_of(silu), "dx": silu(x)[1](dy), "dy": dy},
        {"x": rows, "b": bias, "y": shifted, "dy": drows, "db": shift_backward(drows)[2]},
    ]
    return [Specimen("", tuple, (), names=names) for names in values]


def three_steps(**settings):
    theta, m, v = np.ones(1), np.zeros(1), np.zeros(1)
    for t, g in enumerate(normal(3, 1), start=1):
        theta, m, v = optim.adamw(theta, g, m, v, t=t, **settings)


def weights_of_steps(beta, t):
    return np.array([(1 - beta) * beta ** (t - k) / (1 - beta**t) for k in range(1, t + 1)])


def specimens_of_cases(path, cases) -> list[Specimen]:
    found = []
    for case in cases:
        call = case.call(np.random.default_rng(0))
        code = getattr(inspect.unwrap(called_by(call.target)), "__code__", None)
        if code is not None and Path(code.co_filename).resolve() == Path(path).resolve():
            found.append(Specimen(code.co_qualname, call.target, tuple(call.inputs), dict(call.options)))
    return found


def called_by(target):
    """Return the function that is executed when a function, a partial or a module is called."""
    while isinstance(target, partial):
        target = target.func
    if inspect.isroutine(target):
        return target
    return getattr(type(target), "forward", type(target).__call__)


def of_positions() -> list[Specimen]:
    width, gradients = "C = channels; ω = omega", "da′ = da_turned; db′ = db_turned"
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    llama3["original_max_position_embeddings"] = 64
    cos, sin = cos_and_sin([20], 6, 10000.0, None, float)
    rotation = (
        "The position is 20, and each pair is two adjacent channels. Each pair is rotated by its own angle, and the "
        "entries between pairs are 0. The first pair has turned by 20 radians, more than three circles, and the last "
        "has hardly moved"
    )
    half = {"cos": np.cos(normal(3, 2)), "sin": np.sin(normal(3, 2)), "layout": "half"}
    interleaved = {"cos": cos, "sin": sin, "layout": "interleaved"}
    stretched = f"{width}; s = scaling['factor']"
    of_context = f"{stretched}; N = scaling['original_max_position_embeddings']"
    return [
        on(frequencies, (8,), names=width),
        on(frequencies, (8, 10000.0, {"rope_type": "linear", "factor": 3.0}), names=stretched),
        on(frequencies, (8, 10.0, llama3), names=of_context),
        on(sinusoidal_positions, (3, 4), function="sinusoidal_rows", names="ω = frequencies(C)"),
        on(turned, "T D", "T=3 D/2=2 D=4", gradients, options=half),
        on(turned, (normal(1, 6),), "", gradients, options=interleaved, shows={("y", "x"): rotation}),
    ]


WITH_A_MASK: dict[str, Any] = {"also": ("masked_softmax",), "variants": ("unmasked", "if"), "variant": "masked"}


def of_attention() -> list[Specimen]:
    by_query = (
        "There are one head with one channel, four positions and the causal mask. A query affects only its output. The "
        "first query sees only one key, so its gradient is 0"
    )
    by_key = (
        "A key affects the outputs of all queries that see it. Each row sums to 0, because adding the same bias to "
        "every key does not change the output"
    )
    shows = {("y", "q"): by_query, ("y", "k"): by_key}
    shows["y", "v"] = "The entries are the attention weights. Each row sums to 1"
    visible = [normal(1, 4, 1, other=333 + k) for k in range(3)]  # every entry is visible in a heat map
    causal = {"weigh": partial(masked_softmax, mask=causal_mask(4, 4), on_weights=None)}
    dropping = partial(dropout, keep=normal(3, 5, other=2) > -0.5, p=0.3)
    mask = {"mask": normal(3, 5) > -0.5}
    functions = "softmax = value_of(softmax); on_weights = value_of(on_weights)"
    attend = "attend = value_of(partial(scaled_dot_product, scale=scale, weigh=weigh))"
    groups = {"repeat": lambda x: x[[0, 0, 0, 1, 1, 1]], "repeatᵀ": lambda dx: np.stack([sum(dx[:3]), sum(dx[3:])])}
    return [
        on(scaled_dot_product, "H Tq D, H Tk D, H Tk Dv", "H=2 Tq=3 Tk=5 D=4 Dv=6", "softmax = value_of(softmax)"),
        on(scaled_dot_product, visible, options=causal, shows=shows, **WITH_A_MASK),
        on(scaled_dot_product, "Tq D, Tk D, Tk Dv", "Tq=3 Tk=5 D=4 Dv=2", explains=True),
        on(scaled_dot_product, "t d, t d, t d", "t=3 d=2", explains=False, is_on_ladder=True),
        on(masked_softmax, "Tq Tk", "Tq=3 Tk=5", functions, options=mask | {"on_weights": dropping}),
        on(attention, "H Tq D, K Tk D, K Tk Dv", "H=6 Tq=3 Tk=5 D=4 Dv=7 K=2", attend, groups, options=mask),
    ]


def of_feed_forward() -> list[Specimen]:
    shows = {("p", "g"): "The diagonal is <i>u</i> · silu′(<i>g</i>), for <i>g</i> = −6, −1, 1, 3"}
    shows["p", "u"] = "The diagonal is silu(<i>g</i>). Where <i>g</i> is far below 0, <i>u</i> is hardly passed on"
    gate, silu_too = np.array([-6.0, -1.0, 1.0, 3.0]), "silu = value_of(silu)"
    up_and_down = "W_up = self.up.weight.data; W_down = self.down.weight.data"
    plain = f"{up_and_down}; b_up = self.up.bias.data; b_down = self.down.bias.data; f = value_of(self.activation)"
    gated = f"{up_and_down}; W_gate = self.gate.weight.data; {silu_too}"
    return [
        on(randomized(FeedForward(4, 5)), "P C", "P=3 C=4 F=5", plain),
        on(swiglu, "P F, P F", "P=3 F=4", silu_too),
        on(swiglu, (gate, normal(4, other=1)), "", silu_too, shows=shows),
        on(randomized(GatedFeedForward(4, 5)), "P C", "P=3 C=4 F=5", gated),
    ]


PLAIN: dict[str, Any] = {"variant": "plain", "variants": REDUCTIONS, "is_on_ladder": True}


def of_cross_entropy() -> list[Specimen]:
    names = (
        "x = logits; t = targets; ε = smooth; ignored = ignore_index; dz = -a * dlosses[..., None]; dL = dloss; "
        "log_softmax = value_of(log_softmax)"
    )
    settings, targets = {"weight": np.abs(normal(6)), "label_smoothing": 0.1}, np.array([2, 3, 0])
    return [
        on(
            cross_entropy,
            (logits, targets),
            "P=3 V=6" if reduction == "mean" else "",
            names,
            options=settings | {"reduction": reduction, "ignore_index": ignored},
            also=("coefficients", "share_of_a_position"),
            variant=reduction,
            variants=REDUCTIONS,
        )
        for reduction, ignored, logits, targets in (
            ("mean", -100, normal(3, 6), targets),
            ("sum", -100, normal(3, 6), targets),
            ("none", 3, normal(3, 6), targets),
            ("sum", -100, normal(6), np.array(2)),
        )
    ] + [on(cross_entropy, (normal(3, 6), targets), "P=3 V=6", names, {"onehot": np.eye(6).__getitem__}, **PLAIN)]


def of_optimizers() -> list[Specimen]:
    settings = {"lr": 0.1, "betas": (0.9, 0.85), "eps": 0.3, "weight_decay": 0.4}
    state = normal(4), normal(4, other=1), normal(4, other=2) / 10, normal(4, other=3) ** 2
    average = {"names": "a = weights_of_steps(beta1, t); b = weights_of_steps(beta2, t)"}
    average["known"] = {"g": normal(3, 1)[:, 0]}
    clipped, unclipped = Parameter(normal(4)), Parameter(normal(4))
    clipped.grad = unclipped.grad = normal(4)
    schedule, letters = {"lr": 0.5, "min_lr": 0.1, "warmup": 4, "steps": 9}, "t = step; w = warmup; S = steps"
    return [
        on(optim.adamw, state, "n=4", "λ = weight_decay", options={"t": 3} | settings, explains=False),
        on(three_steps, (), function="adamw", options=settings, explains=True, **average),
        *(
            on(optim.clip_grad_norm, ([of], most), "", "g′ = parameters[0].grad", {"g": normal(4)})
            for of, most in ((clipped, 0.3), (unclipped, 30.0))
        ),
        *(on(optim.cosine_schedule, (step,), "", letters, options=schedule) for step in (2, 6)),
    ]


def of_the_delta_rule() -> list[Specimen]:
    over_time = "I = np.eye(q.shape[-1]); S = np.stack(S[1:]); carried = np.stack(carried[-2::-1]); "
    over_time += "dS = np.stack(carried[-2::-1]) + dy[:, :, None] * q[:, None]"
    return [
        on(
            delta_step,
            (normal(2, 3), normal(3), normal(3, other=1), normal(2), np.float64(0.7), np.float64(0.8)),
            "Dv=2 D=3",
            "S′ = S_next; I = np.eye(3)",
        ),
        on(delta_rule, "T D, T D, T Dv, T, T", "T=5 D=3 Dv=2", over_time, function="delta_scan"),
    ]


def of_latent_attention() -> list[Specimen]:
    lengths, axes = "n=2 t=3 D=5 R=4 u=6 L=7 v=8", "n t D, n t R, u L, u R, n L D, n L v"
    names = "W_key = w_key; W_value = w_value; dW_key = dw_key; dW_value = dw_value; s = scale"
    heads = {"attend": lambda q, k, v: attention(q, *(x.reshape(-1, *x.shape[-2:]) for x in (k, v)), scale=1 / 3)[0]}
    return [
        on(
            latent_attention,
            axes,
            lengths,
            names,
            heads | {"join": join, "share": value_of(share), "cut": partial(cut, width=5)},
        ),
        on(absorbed_attention, axes, lengths, names, heads | {"join": join, "cut": partial(cut, width=7)}),
    ]


def of_rewards() -> dict[str, list[Specimen]]:
    given = {"advantages": normal(3), "mask": np.arange(4) < np.array([[2], [4], [3]])}
    old_and_reference = {"old": normal(3, 4, other=1), "reference": normal(3, 4, other=2)}
    return {
        "layers/modern/reinforce.py": [on(reinforce, "o t", "o=3 t=4", "dL = dloss", options=given)],
        "layers/modern/grpo.py": [
            on(grpo, "o t", "o=3 t=4", "ε = epsilon; β = b; dL = dloss", options=given | old_and_reference)
        ],
    }


def specimens() -> dict[str, list[Specimen]]:
    weight_and_bias, onehot = "W = weight; b = bias", {"onehot": np.eye(6).__getitem__}
    column, jacobian = {"I": np.eye(5), "e": np.ones(5)}, "derivatives(lambda x: {}[0], x)"
    block = randomized(TransformerBlock(4, 2, 5))
    heads = randomized(MultiHeadAttention(4, 2, d_head=5, bias=False))
    narrow = randomized(MultiHeadAttention(4, 2, bias=False))
    of_experts = "; ".join(f"W_{name} = w_{name}; dW_{name} = dw_{name}" for name in ("gate", "up", "down"))
    of_experts += "; W_router = router; dW_router = drouter"
    of_heads = "; ".join(f"W_{c} = self.w_{c}.weight.data" for c in "qkvo")
    tiny = Transformer(Config(6, context=5, d_model=4, n_heads=2, n_layers=1, dtype="float64"))
    parts = ("embedding", "positional_embedding", "lm_head", "ln_final", "dropout")
    choice = {"temperature": 0.7, "top_k": None, "top_p": None, "rng": np.random.default_rng(0)}
    return {
        "first_steps.py": [
            on(first_steps.expression, (2.0, -3.0, 10.0), dy=1.0),
            on(first_steps.fork, (np.array(0.7),)),
            on(first_steps.sum_and_share, "C", "C=3"),
            on(first_steps.neuron, (normal(3), normal(3, other=1), 0.5), "n=3"),
            on(first_steps.shares, (np.array(0.5), np.array(-0.2))),
            on(first_steps.attend, "D, T D, T D", "T=3 D=2"),
        ],
        "module.py": of_the_chain_rule(),
        "layers/linear.py": [
            on(linear, "P I, I O, O", "P=3 I=4 O=2", weight_and_bias),
        ],
        "layers/embedding.py": [
            on(embedding, (np.array([3, 1, 3]), normal(6, 4)), "P=3 V=6 C=4", "W = weight; id = ids", onehot),
            on(unembedding, "P C, V C", "P=3 V=6 C=4", "W = weight"),
        ],
        "layers/positions.py": of_positions(),
        "layers/layer_norm.py": [
            on(layer_norm, "P C, C, C", "P=3 C=4"),
            on(layer_norm, "C, C, C", "C=5", f"J = {jacobian.format('layer_norm(x, 1 + 0 * x, 0 * x)')}", column),
        ],
        "layers/rms_norm.py": [
            on(rms_norm, "P C, C", "P=3 C=4"),
            on(rms_norm, "C, C", "C=5", f"J = {jacobian.format('rms_norm(x, 1 + 0 * x)')}", column),
        ],
        "layers/softmax.py": [
            on(function, inputs, "P=3 n=4", "m = x.max(axis=-1, keepdims=True)")
            for function in (softmax, log_softmax)
            for inputs in ("P n", "n")
        ],
        "layers/attention.py": of_attention(),
        "layers/multi_head_attention.py": [
            on(
                heads,
                "T C",
                "H=2 T=3 C=4 D=5 H·D=10",
                f"{of_heads}; attention = value_of(attention)",
                {"split": lambda x: split(x, 5), "merge": merge},
            ),
            on(
                narrow,
                "T C",
                "T=3 C=4",
                of_heads,
                {"split": lambda x: split(x, 2), "merge": merge},
                explains=False,
                is_on_ladder=True,
            ),
            on(
                projections,
                (normal(3, 4), *(randomized(Linear(4, width)) for width in (6, 2, 5))),
                "T=3 C=4",
                "W_q = w_q.weight.data; W_k = w_k.weight.data; W_v = w_v.weight.data",
            ),
        ],
        "layers/activations.py": [
            on(function, axes, "P=3 C=4", known={"f": value_of(function)})
            for function in (relu, silu, gelu_exact, gelu_tanh)
            for axes in ("P C", "C")
        ],
        "layers/dropout.py": [
            on(dropout, "P C", "P=3 C=4", options={"keep": normal(3, 4, other=2) > -0.5, "p": 0.3}),
            on(dropout, "C", "C=4", options={"keep": normal(4) > -0.5, "p": 0.3}, explains=True),
        ],
        "layers/feed_forward.py": of_feed_forward(),
        "layers/block.py": [
            on(block, "T C", "T=3 C=4", applied("norm1", "attention", "norm2", "feed_forward")),
        ],
        "transformer.py": [
            on(
                randomized(tiny),
                (np.array([[3, 1, 3], [0, 5, 2]]),),
                "B=2 T=3 C=4 V=6",
                f"{applied(*parts)}; T = ids.shape[-1]; h = after_blocks(self, ids)",
                also=("Transformer.embed", "Transformer.up_to_head"),
            )
        ],
        "losses.py": of_cross_entropy(),
        "optim.py": of_optimizers(),
        "generation.py": [on(sample, "B V", "B=2 V=5", "τ = temperature; softmax = value_of(softmax)", options=choice)],
        "layers/lora.py": [
            on(low_rank, "P I, I R, R O", "P=3 I=4 R=2 O=5", "A = a; B = b; dA = da; dB = db", options={"scale": 0.7}),
            on(
                randomized(LowRankLinear(Linear(4, 3), 2, 3.0)).merged_weight,
                (),
                names="A = self.a.data; B = self.b.data; W = self.weight.data; s = self.scale",
            ),
        ],
        "layers/modern/relu_squared.py": [on(relu_squared, axes, "P=3 C=4") for axes in ("P C", "C")],
        "layers/modern/softcap.py": [on(softcap, axes, "P=3 C=4", options={"cap": 0.7}) for axes in ("P C", "C")],
        "layers/modern/sigmoid.py": [on(sigmoid, axes, "P=3 C=4") for axes in ("P C", "C")],
        "layers/modern/sink_softmax.py": [on(sink_softmax, "i t k, i", "i=2 t=3 k=4")],
        "layers/modern/top_k_gates.py": [
            on(top_k_gates, "t i", "t=3 i=5", "softmax = value_of(softmax)", options={"k": 2}),
        ],
        "layers/modern/load_balance.py": [
            on(
                load_balance,
                "t i",
                "t=3 i=5",
                "softmax = value_of(softmax); dL = dloss",
                options={"k": 2},
            ),
        ],
        "layers/modern/balancing_bias.py": [
            on(
                balancing_bias,
                "i",
                "t=3 i=5",
                "b = balance; db = dbalance; dL = dloss",
                options={"k": 2, "logits": normal(3, 5)},
            ),
        ],
        "layers/modern/mixture_of_experts.py": [
            on(
                mixture_of_experts,
                "p c, c n, n c F, n c F, n F c",
                "p=3 c=4 n=5 F=6",
                f"{of_experts}; swiglu = value_of(swiglu); top_k_gates = value_of(partial(top_k_gates, k=k))",
                options={"k": 2},
            )
        ],
        "layers/modern/latent_attention.py": of_latent_attention(),
        "layers/modern/post_norm_block.py": [
            on(
                randomized(PostNormBlock(4, 2, 5)),
                "T C",
                "T=3 C=4",
                applied("norm1", "attention", "norm2", "feed_forward"),
                function="PostNormBlock.forward",
            )
        ],
        "layers/modern/delta_rule.py": of_the_delta_rule(),
        **of_rewards(),
        "layers/recomputation.py": [
            on(
                checkpointed,
                (block, normal(3, 4)),
                names="f = value_of(module); fᵀ = module(x)[1]",
                function="",
                also=("checkpointed",),
            )
        ],
    }
