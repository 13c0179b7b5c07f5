"""Specimens: small calls of the textbook's functions, on which their equations are executed.

The inputs are random. The axes have different lengths, so that a missing transpose raises an error. Equations of
entries, such as ∂y_i/∂x_j, are executed at one position.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from minitransformer import first_steps, optim
from minitransformer.config import Config
from minitransformer.generation import sample
from minitransformer.layers.activations import gelu_exact, gelu_tanh, relu, silu
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import dropout
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward, swiglu
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import Linear, linear
from minitransformer.layers.lora import LowRankLinear, low_rank
from minitransformer.layers.multi_head_attention import MultiHeadAttention, merge, projections, split
from minitransformer.layers.positions import cos_and_sin, frequencies, sinusoidal_positions, turned
from minitransformer.layers.recomputation import recomputed
from minitransformer.layers.rms_norm import rms_norm
from minitransformer.layers.softmax import finite_max, log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import Parameter
from minitransformer.transformer import Transformer

REDUCTIONS = ("mean", "sum", "none")

# Equations that are not executed: {file: {line: reason}}.
NOT_EXECUTED = {
    "transformer.py": {
        "h = blocks(x) (L of them, under the causal mask) (2)": "it is a loop over the blocks, whose equations are in "
        "another chapter"
    },
    "layers/positions.py": {
        "R_uᵀ R_t = │ cos uω sin uω│ │cos tω −sin tω│": "its matrices are drawn with lines",
        "= │cos (t−u)ω −sin (t−u)ω│ = R_{t−u}": "its matrices are drawn with lines",
    },
}


def why_not_executed(file: str, line: str) -> str:
    """Return the reason why a line of a docstring is not executed, or "" if it is executed."""
    return NOT_EXECUTED.get(file, {}).get(" ".join(line.split()), "")


@dataclass(frozen=True)
class Specimen:
    """A call of a function, on which the equations of the function are executed.

    function    qualified name of the function
    names       {symbol: name in the code, or a function of the local variables that returns the value}
    also        qualified names of other functions whose lines compute equations of this function
    variant     an equation with a remark that names one of `variants`, such as (mean), is executed only if it names
                this one
    explains    True: execute only equations without a number; False: only those with one; None: all
    letters     {length: name of an axis} for the picture of the shapes
    shows       {(of, by): caption} of Jacobians that no equation defines; axes of length 1 are removed
    dy          the argument of backward; None: random numbers
    """

    function: str
    call: Callable
    inputs: tuple
    options: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    also: tuple = ()
    variant: str = ""
    variants: tuple = ()
    explains: bool | None = None
    letters: dict = field(default_factory=dict)
    shows: dict = field(default_factory=dict)
    dy: object = None


def normal(*shape, other=0):
    return np.random.default_rng([*shape, *[other] * bool(other)]).normal(size=shape)


def on(call, inputs, sizes="", **fields):
    """Return the Specimen of a call.

    `inputs` are arrays, or the letters of the axes of random arrays:

        on(linear, "P I, I O, O", "P=3 I=4 O=2")

    `sizes` are the lengths of the axes, for the random arrays and for the picture of the shapes.
    """
    lengths = {letter: int(length) for letter, length in (size.split("=") for size in sizes.split())}
    if isinstance(inputs, str):
        shapes = [tuple(lengths[letter] for letter in letters.split()) for letters in inputs.split(",")]
        inputs = [normal(*shape, other=shapes[:k].count(shape)) for k, shape in enumerate(shapes)]
    letters = {length: letter for letter, length in lengths.items()}
    return Specimen(
        **{"function": called_by(call).__qualname__, "letters": letters} | fields, call=call, inputs=(*inputs,)
    )


def value_of(function):
    """Return a function that calls a differentiable function and returns only y."""
    return lambda *inputs: function(*inputs)[0]


def constant(value):
    return lambda local: value


def values_of(**functions):
    """Define symbols as differentiable functions that return only y, as in `values_of(softmax=softmax)`."""
    return {symbol: constant(value_of(function)) for symbol, function in functions.items()}


def parameters(**paths):
    """Define symbols as parameters of the called module, as in `parameters(W_up="up.weight")`."""

    def finder(path):
        return lambda local: dict(local["self"].named_parameters())[path].data

    return {symbol: finder(path) for symbol, path in paths.items()}


def weight_of(name, local):
    return local[name].weight.data


def submodules(*names):
    """Define symbols as functions that apply submodules of the called module."""

    def finder(name):
        return lambda local: value_of(getattr(local["self"], name))

    return {name: finder(name) for name in names}


def after_blocks(local):
    model, x = local["self"], local["self"].embed(local["ids"], 0, None)[0]
    mask, positions = model.mask_and_positions(local["ids"], 0)
    for block in model.blocks:
        x = block(x, mask=mask, positions=positions)[0]
    return x


def randomized(module):
    for k, (_, parameter) in enumerate(module.named_parameters()):
        parameter.data = np.random.default_rng(k).normal(size=parameter.data.shape)
    return module


def one_function():
    """Return the specimen for y = f(x) in chapter zero, with log_softmax as f.

    Its Jacobian is not symmetric, so a missing transpose changes the result.
    """
    x, dy = normal(4), normal(4, 4)[0]
    y, backward = log_softmax(x)
    jacobian = jacobian_of(log_softmax, x)
    names = {"x": x, "y": y, "J": jacobian, "dx": backward(dy), "dy": dy, "∂y/∂x": jacobian}
    return Specimen("", tuple, (), names={symbol: constant(value) for symbol, value in names.items()})


def two_paths():
    """Return the specimen for an x that is used twice: by log_softmax and layer_norm."""

    def normalized(x):
        return layer_norm(x, normal(4, other=1), normal(4, other=2))

    x, dy_f, dy_g = normal(4), normal(4, 4)[0], normal(4, 4)[1]
    dx = log_softmax(x)[1](dy_f) + normalized(x)[1](dy_g)[0]
    jacobians = {"J_f": jacobian_of(log_softmax, x), "J_g": jacobian_of(normalized, x)}
    names = jacobians | {"dx": dx, "dy_f": dy_f, "dy_g": dy_g}
    return Specimen("", tuple, (), names={symbol: constant(value) for symbol, value in names.items()})


def jacobian_of(function, x):
    return np.stack([np.imag(function(x + 1e-30j * row)[0]) / 1e-30 for row in np.eye(len(x))], axis=1)


def three_steps(**settings):
    """Run three steps of AdamW from m = v = 0, with the gradients g_1, g_2, g_3."""
    theta, m, v = np.ones(1), np.zeros(1), np.zeros(1)
    for t, g in enumerate(normal(3, 1), start=1):
        theta, m, v = optim.adamw(theta, g, m, v, t=t, **settings)


def weights_of_steps(rate):
    """Return a function that computes the weight of each step, 1 to t, in a moving average of AdamW."""

    def weights(local):
        beta, t = local[rate], local["t"]
        return np.array([(1 - beta) * beta ** (t - k) / (1 - beta**t) for k in range(1, t + 1)])

    return weights


def specimens_of_cases(path, cases) -> list[Specimen]:
    found = []
    for case in cases:
        call = case.call(np.random.default_rng(0))
        code = getattr(inspect.unwrap(called_by(call.target)), "__code__", None)
        if code is not None and Path(code.co_filename).resolve() == Path(path).resolve():
            found.append(Specimen(code.co_qualname, call.target, tuple(call.inputs), dict(call.options)))
    return found


def called_by(target):
    """Return the function that a call of a function, partial function or module executes."""
    while isinstance(target, partial):
        target = target.func
    if inspect.isroutine(target):
        return target
    return getattr(type(target), "forward", type(target).__call__)


def of_positions() -> list[Specimen]:
    width, angle = {"C": "channels", "ω": "omega"}, "The position is 20, and each pair is two adjacent channels."
    stretched = width | {"s": lambda local: local["scaling"]["factor"]}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    llama3["original_max_position_embeddings"] = 64
    old_context = {"N": lambda local: local["scaling"]["original_max_position_embeddings"]}
    cos, sin = cos_and_sin([20], 6, 10000.0, None, float)
    gradients = {"da′": "da_turned", "db′": "db_turned"}
    rotation = (
        f"{angle} Each pair is rotated, and the entries between pairs are 0. The first pair has made more than three "
        "turns, and the last has hardly moved"
    )
    return [
        on(frequencies, (8,), names=width),
        on(frequencies, (8, 10000.0, {"rope_type": "linear", "factor": 3.0}), names=stretched),
        on(frequencies, (8, 10.0, llama3), names=stretched | old_context),
        on(
            sinusoidal_positions, (3, 4), function="sinusoidal_rows", names={"ω": lambda local: frequencies(local["C"])}
        ),
        on(
            turned,
            "T D",
            "T=3 D/2=2 D=4",
            options={"cos": np.cos(normal(3, 2)), "sin": np.sin(normal(3, 2)), "layout": "half"},
            names=gradients,
        ),
        on(
            turned,
            (normal(1, 6),),
            options={"cos": cos, "sin": sin, "layout": "interleaved"},
            names=gradients,
            shows={("y", "x"): rotation},
        ),
    ]


def of_attention() -> list[Specimen]:
    by_query = (
        "There are one head with one channel, four positions and the causal mask. A query affects only its output. The "
        "first query sees only one key, so its gradient is 0"
    )
    by_key = (
        "A key affects the outputs of all queries that see it. Each row sums to 0, because adding the same bias to "
        "every key does not change the output"
    )
    by_value = "The entries are the attention weights. Each row sums to 1"
    return [
        on(
            attention,
            "H Tq D, H Tk D, H Tk Dv",
            "H=2 Tq=3 Tk=5 D=4 Dv=6",
            options={"mask": normal(3, 5) > -0.5},
            names=values_of(softmax=softmax),
        ),
        on(
            attention,
            [normal(1, 4, 1, other=333 + k) for k in range(3)],  # no entry is too small to be visible
            options={"mask": causal_mask(4, 4)},
            names=values_of(softmax=softmax),
            shows={("y", "q"): by_query, ("y", "k"): by_key, ("y", "v"): by_value},
        ),
    ]


def of_feed_forward() -> list[Specimen]:
    by_gate = "The diagonal is <i>u</i> · silu′(<i>g</i>), for <i>g</i> = −6, −1, 1, 3"
    by_factor = "The diagonal is silu(<i>g</i>). Where <i>g</i> is far below 0, the gate is nearly closed"
    gate = np.array([-6.0, -1.0, 1.0, 3.0])
    plain = parameters(W_up="up.weight", b_up="up.bias", W_down="down.weight", b_down="down.bias")
    gated = parameters(W_gate="gate.weight", W_up="up.weight", W_down="down.weight")
    activation = {"f": lambda local: value_of(local["self"].activation)}
    names = values_of(silu=silu)
    return [
        on(randomized(FeedForward(4, 5)), "P C", "P=3 C=4 F=5", names=plain | activation),
        on(swiglu, "P F, P F", "P=3 F=4", names=names),
        on(swiglu, (gate, normal(4, other=1)), names=names, shows={("p", "g"): by_gate, ("p", "u"): by_factor}),
        on(randomized(GatedFeedForward(4, 5)), "P C", "P=3 C=4 F=5", names=gated | names),
    ]


def of_cross_entropy() -> list[Specimen]:
    def upstream(local):
        return np.where(local["kept"], local["dloss"], 0) if local["reduction"] == "none" else local["dloss"]

    names = {"x": "logits", "t": "targets", "ε": "smooth", "ignored": "ignore_index", "dL": upstream}
    names |= {"dz": lambda local: -local["a"] * local["dlosses"][..., None]} | values_of(log_softmax=log_softmax)
    settings = {"weight": np.abs(normal(6)), "label_smoothing": 0.1}
    return [
        on(
            cross_entropy,
            (logits, targets),
            "P=3 V=6" if reduction == "mean" else "",
            options=settings | {"reduction": reduction, "ignore_index": ignored},
            names=names,
            variant=reduction,
            variants=REDUCTIONS,
        )
        for reduction, ignored, logits, targets in (
            ("mean", -100, normal(3, 6), np.array([2, 3, 0])),
            ("sum", -100, normal(3, 6), np.array([2, 3, 0])),
            ("none", 3, normal(3, 6), np.array([2, 3, 0])),
            ("sum", -100, normal(6), np.array(2)),
        )
    ]


def of_optimizers() -> list[Specimen]:
    settings = {"lr": 0.1, "betas": (0.9, 0.8), "eps": 0.3, "weight_decay": 0.4}
    state = normal(4), normal(4, other=1), normal(4, other=2) / 10, normal(4, other=3) ** 2
    history = {"a": weights_of_steps("beta1"), "b": weights_of_steps("beta2"), "g": constant(normal(3, 1)[:, 0])}
    clipped, unclipped = Parameter(normal(4)), Parameter(normal(4))
    clipped.grad = unclipped.grad = normal(4)
    clipping = {"g": constant(normal(4)), "g′": lambda local: local["parameters"][0].grad}
    schedule = {"lr": 0.5, "min_lr": 0.1, "warmup": 4, "steps": 9}
    letters = {"t": "step", "w": "warmup", "S": "steps"}
    return [
        on(optim.adamw, state, "n=4", options={"t": 3} | settings, names={"λ": "weight_decay"}, explains=False),
        on(three_steps, (), function="adamw", options=settings, names=history, explains=True),
        on(optim.clip_grad_norm, ([clipped], 0.3), names=clipping),
        on(optim.clip_grad_norm, ([unclipped], 30.0), names=clipping),
        on(optim.cosine_schedule, (2,), options=schedule, names=letters),
        on(optim.cosine_schedule, (6,), options=schedule, names=letters),
    ]


def of_low_rank() -> list[Specimen]:
    names = {"A": "a", "B": "b", "dA": "da", "dB": "db"}
    merged = parameters(A="a", B="b", W="weight") | {"s": lambda local: local["self"].scale}
    adapted = randomized(LowRankLinear(Linear(4, 3), 2, 3.0))
    return [
        on(low_rank, "P I, I R, R O", "P=3 I=4 R=2 O=5", options={"scale": 0.7}, names=names),
        on(adapted.merged_weight, (), names=merged),
    ]


def specimens() -> dict[str, list[Specimen]]:
    """Return {file relative to the package: its specimens}."""
    width = {"C": lambda local: local["x"].shape[-1]}
    block = randomized(TransformerBlock(4, 2, 5))
    return {
        "first_steps.py": [
            on(first_steps.expression, (2.0, -3.0, 10.0), dy=1.0),
            on(first_steps.neuron, (normal(3), normal(3, other=1), 0.5), "n=3"),
            on(first_steps.shares, (np.array(0.5), np.array(-0.2))),
            on(first_steps.attend, "D, T D, T D", "T=3 D=2"),
        ],
        "module.py": [one_function(), two_paths()],
        "layers/linear.py": [
            on(linear, "P I, I O, O", "P=3 I=4 O=2", names={"W": "weight", "b": "bias"}),
            on(linear, "I, I O, O", "I=4 O=2", names={"W": "weight", "b": "bias"}, explains=True),
        ],
        "layers/embedding.py": [
            on(embedding, (np.array([3, 1, 3]), normal(6, 4)), "P=3 V=6 C=4", names={"W": "weight", "id": "ids"}),
            on(unembedding, "P C, V C", "P=3 V=6 C=4", names={"W": "weight"}),
        ],
        "layers/positions.py": of_positions(),
        "layers/layer_norm.py": [
            on(layer_norm, "P C, C, C", "P=3 C=4", names=width),
            on(layer_norm, "C, C, C", "C=5", names=width),
        ],
        "layers/rms_norm.py": [
            on(rms_norm, "P C, C", "P=3 C=4", names=width),
            on(rms_norm, "C, C", "C=5", names=width),
        ],
        "layers/softmax.py": [
            on(function, inputs, "P=3 n=4", names={"m": lambda local: finite_max(local["x"], -1)})
            for function in (softmax, log_softmax)
            for inputs in ("P n", "n")
        ],
        "layers/attention.py": of_attention(),
        "layers/multi_head_attention.py": [
            on(
                randomized(MultiHeadAttention(4, 2, d_head=5, bias=False)),
                "T C",
                "H=2 T=3 C=4 D=5 H·D=10",
                names=parameters(W_q="w_q.weight", W_k="w_k.weight", W_v="w_v.weight", W_o="w_o.weight")
                | {"split": constant(lambda x: split(x, 5)), "merge": constant(merge)}
                | values_of(attention=attention),
            ),
            on(
                projections,
                (normal(3, 4), *(randomized(Linear(4, width)) for width in (6, 2, 5))),
                "T=3 C=4",
                names={f"W_{c}": partial(weight_of, f"w_{c}") for c in "qkv"},
            ),
        ],
        "layers/activations.py": [
            *(on(function, "P C", "P=3 C=4") for function in (relu, silu, gelu_exact, gelu_tanh)),
            on(gelu_tanh, "C", "C=4"),
        ],
        "layers/dropout.py": [
            on(dropout, "P C", "P=3 C=4", options={"keep": normal(3, 4, other=2) > -0.5, "p": 0.3}),
            on(dropout, "C", "C=4", options={"keep": normal(4) > -0.5, "p": 0.3}, explains=True),
        ],
        "layers/feed_forward.py": of_feed_forward(),
        "layers/block.py": [
            on(block, "T C", "T=3 C=4", names=submodules("norm1", "attention", "norm2", "feed_forward"))
        ],
        "transformer.py": [
            on(
                randomized(Transformer(Config(6, context=5, d_model=4, n_heads=2, n_layers=1, dtype="float64"))),
                (np.array([[3, 1, 3], [0, 5, 2]]),),
                "B=2 T=3 C=4 V=6",
                names=submodules("embedding", "positional_embedding", "lm_head", "ln_final")
                | {"T": lambda local: local["ids"].shape[-1], "h": after_blocks},
                also=("Transformer.embed", "Transformer.up_to_head"),
            )
        ],
        "losses.py": of_cross_entropy(),
        "optim.py": of_optimizers(),
        "generation.py": [
            on(
                sample,
                "B V",
                "B=2 V=5",
                options={"temperature": 0.7, "top_k": None, "top_p": None, "rng": np.random.default_rng(0)},
                names={"τ": "temperature"} | values_of(softmax=softmax),
            )
        ],
        "layers/lora.py": of_low_rank(),
        "layers/recomputation.py": [
            on(
                recomputed,
                (block, normal(3, 4)),
                function="",
                names={
                    "f": lambda local: value_of(local["module"]),
                    "fᵀ": lambda local: local["module"](local["x"])[1],
                },
                also=("recomputed",),
            )
        ],
    }
