"""Define functions for exercises, such as layers without dropout, caches and hooks.

The functions follow the conventions of the textbook. `CASES` contains their test cases, and the test cases of the
exercises from first_steps.py and optim.py.
"""

import numpy as np

from gradcheck import Call, Case
from gradcheck.museum import find
from minitransformer import first_steps
from minitransformer.cases import ONE_PAGE, Hooked, case, ids, module, shrink
from minitransformer.first_steps import fork, sum_and_share
from minitransformer.layers.activations import gelu_tanh, silu
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.embedding import embedding, unembedding
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.linear import linear, rows
from minitransformer.layers.multi_head_attention import MultiHeadAttention, merge, split
from minitransformer.layers.positions import cos_and_sin, turned
from minitransformer.layers.softmax import softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import Parameter
from minitransformer.one_page import gpt
from minitransformer.optim import adamw, clip_grad_norm, cosine_schedule


def residual(x, *steps):
    """Apply `steps` to x (..., C) one after the other, and add the result to x.

        f = steps(x)                                    (1)
        y = x + f                                       (2)

    Each step is a function that returns its value and its backward pass.
    """
    f, backwards = x, []
    for step in steps:
        f, step_backward = step(f)  # (1)
        backwards.append(step_backward)
    y = x + f  # (2)

    def backward(dy):
        """x reaches y directly and through the steps, whose backward passes run from the last to the first:

            df = stepsᵀ(dy)                                 (3)
            dx = dy + df                                    (4)

        The direct path carries dy on unchanged, however many residuals follow each other.
        """
        df = dy
        for step_backward in reversed(backwards):
            df = step_backward(df)  # (3) ← steps(x) (1)
        dx = dy + df  # (4) ← x + f (2)
        return dx

    return y, backward


def bare_block(x, norm1, attention, norm2, feed_forward):
    """Apply two residual steps to x (..., C): a transformer block without dropout, caches and hooks.

        r = x + attention(norm1(x))                     (5)
        y = r + feed_forward(norm2(r))                  (6)

    `residual(x, norm, layer)`, which is another exercise, returns x + layer(norm(x)) and its backward pass.
    """
    r, residual1_backward = residual(x, norm1, attention)  # (5)
    y, residual2_backward = residual(r, norm2, feed_forward)  # (6)

    def backward(dy):
        """Apply the chain rule from the last step to the first, with fᵀ(dy) for the backward pass of a residual:

            dr = residual2ᵀ(dy)                             (7)
            dx = residual1ᵀ(dr)                             (8)

        Each residual adds its two paths itself.
        """
        dr = residual2_backward(dy)  # (7) ← r + feed_forward(norm2(r)) (6)
        dx = residual1_backward(dr)  # (8) ← x + attention(norm1(x)) (5)
        return dx

    return y, backward


def heads(x, w_q, w_k, w_v, w_o, *, d_head):
    """Let each position of x (..., T, C) attend to itself and to earlier ones, in H = C / d_head parallel heads.

        q, k, v = split(x W_q), split(x W_k), split(x W_v)        (9)
        a = attention(q, k, v)                          (10)
        y = merge(a) W_o                                (11)

    `split` returns heads (..., H, T, d_head). `merge` is both the inverse and the backward pass of `split`.
    """
    q, k, v = (split(x @ w, d_head) for w in (w_q, w_k, w_v))  # (9)
    a, attention_backward = attention(q, k, v, mask=causal_mask(x.shape[-2], x.shape[-2]))  # (10)
    y = merge(a) @ w_o  # (11)

    def backward(dy):
        """Apply the chain rule from the last step to the first, with attentionᵀ(da) for the backward pass of attention:

            da = split(dy W_oᵀ)    dW_o = merge(a)ᵀ dy      (12)
            dq, dk, dv = attentionᵀ(da)                     (13)
            dW_q = xᵀ merge(dq)    dW_k = xᵀ merge(dk)    dW_v = xᵀ merge(dv)                 (14)
            dx = merge(dq) W_qᵀ + merge(dk) W_kᵀ + merge(dv) W_vᵀ                             (15)

        x reaches y along three paths, which add. The gradients of the matrices are sums over all positions.
        """
        da, dw_o = split(dy @ w_o.T, d_head), rows(merge(a)).T @ rows(dy)  # (12) ← merge(a) W_o (11)
        dq, dk, dv = map(merge, attention_backward(da))  # (13) ← attention(q, k, v) (10)
        dw_q, dw_k, dw_v = (rows(x).T @ rows(d) for d in (dq, dk, dv))  # (14) ← x W_q, x W_k, x W_v (9)
        dx = dq @ w_q.T + dk @ w_k.T + dv @ w_v.T  # (15) ← x W_q, x W_k, x W_v (9)
        return dx, dw_q, dw_k, dw_v, dw_o

    return y, backward


def tied(weight, *, ids):
    """Look up ids (..., T) in a table (V, C), apply tanh, and multiply by every row of the same table.

        x = W[ids]                                      (16)
        h = tanh(x)                                     (17)
        z = h Wᵀ                                        (18)

    The ids are integers and have no gradient.
    """
    x, embedding_backward = embedding(ids, weight)  # (16)
    h = np.tanh(x)  # (17)
    z, unembedding_backward = unembedding(h, weight)  # (18)

    def backward(dz):
        """The table reaches z along two paths, as the output matrix and as the embedding, and both gradients add:

            dh, dW_out = unembeddingᵀ(dz)                   (19)
            dx = (1 − h²) · dh                              (20)
            dW = dW_out + embeddingᵀ(dx)                    (21)

        Neither term of (21) alone is the gradient.
        """
        dh, dweight_out = unembedding_backward(dz)  # (19) ← h Wᵀ (18)
        dx = (1 - h**2) * dh  # (20) ← tanh(x) (17)
        dweight = dweight_out + embedding_backward(dx)  # (21) ← W[ids] (16)
        return dweight

    return z, backward


def chosen(z, *, temperature, top_p, u):
    """Choose one of V tokens by their logits z (V,). `u` is drawn uniformly from the interval [0, 1).

        p = softmax(z / temperature)                    (22)

    A quotient may exceed 709, where exp overflows. Order the tokens by p, the most probable first, and keep the fewest
    whose probabilities sum to at least `top_p`. The result is the first token at which the cumulative sum of p exceeds
    u times the sum of p over all kept tokens.
    """
    e = np.exp((z - z.max()) / temperature)
    p = e / e.sum()  # (22)
    order = np.argsort(-p)  # the tokens, the most probable first
    before = np.cumsum(p[order]) - p[order]  # for each of them, the sum of p over those before it
    kept = order[before < top_p]  # the fewest first tokens with a sum of at least top_p
    P = np.cumsum(p[kept])  # for each of them, the sum up to it
    return kept[(u * P[-1] >= P).sum()]


def whole_model(table, places, w_q, w_k, w_v, w_o, gamma, beta, w_up, w_down, *, ids, targets, d_head):
    """Return the mean cross-entropy of a model of one block, for ids and targets (B, T).

    The shapes are E (V, C) for the table, P (T, C) for the places, and those of the exercises for the others.

        x = E[ids] + P                                  (23)
        r = x + heads(x)                                (24)
        n = layer_norm(r)                               (25)
        u = n W_up                                      (26)
        h = silu(u)                                     (27)
        y = r + h W_down                                (28)
        z = y Eᵀ                                        (29)
        loss = cross_entropy(z)                         (30)

    Each function is another exercise, and returns its value and its backward pass.
    """
    e, embedding_backward = embedding(ids, table)
    x = e + places  # (23)
    a, heads_backward = heads(x, w_q, w_k, w_v, w_o, d_head=d_head)
    r = x + a  # (24)
    n, norm_backward = layer_norm(r, gamma, beta)  # (25)
    u, up_backward = linear(n, w_up)  # (26)
    h, silu_backward = silu(u)  # (27)
    f, down_backward = linear(h, w_down)
    y = r + f  # (28)
    z, unembedding_backward = unembedding(y, table)  # (29)
    loss, loss_backward = cross_entropy(z, targets)  # (30)

    def backward(dloss=1.0):
        """Apply the chain rule from the last line to the first, where fᵀ(dy) is the backward pass of f:

            dz = lossᵀ(dloss)                               (31)
            dy, dE_out = unembeddingᵀ(dz)                   (32)
            dh, dW_down = downᵀ(dy)                         (33)
            du = siluᵀ(dh)                                  (34)
            dn, dW_up = upᵀ(du)                             (35)
            dr_n, dγ, dβ = normᵀ(dn)                        (36)
            dr = dy + dr_n                                  (37)
            dx_a, dW_q, dW_k, dW_v, dW_o = headsᵀ(dr)       (38)
            dx = dr + dx_a                                  (39)
            dP = Σ dx                                       (40)
            dE = dE_out + embeddingᵀ(dx)                    (41)

        A value that is read twice has two gradients, which add: r, x and the table. (40) sums over the batch, because
        every sequence reads the same places.
        """
        dz = loss_backward(dloss)  # (31) ← cross_entropy(z) (30)
        dy, dtable_out = unembedding_backward(dz)  # (32) ← y Eᵀ (29)
        dh, dw_down = down_backward(dy)  # (33) ← r + h W_down (28)
        du = silu_backward(dh)  # (34) ← silu(u) (27)
        dn, dw_up = up_backward(du)  # (35) ← n W_up (26)
        dr_n, dgamma, dbeta = norm_backward(dn)  # (36) ← layer_norm(r) (25)
        dr = dy + dr_n  # (37) ← r + h W_down (28), layer_norm(r) (25)
        dx_a, dw_q, dw_k, dw_v, dw_o = heads_backward(dr)  # (38) ← x + heads(x) (24)
        dx = dr + dx_a  # (39) ← x + heads(x) (24)
        dplaces = dx.sum(axis=0)  # (40) ← E[ids] + P (23)
        dtable = dtable_out + embedding_backward(dx)  # (41) ← y Eᵀ (29), E[ids] + P (23)
        return dtable, dplaces, dw_q, dw_k, dw_v, dw_o, dgamma, dbeta, dw_up, dw_down

    return loss, backward


def training_step(weights, m, v, *, ids, targets, H, **settings):
    """Return (loss, weights, m, v) after a step of training on ids and targets (B, T).

    `weights`, `m` and `v` are tuples with an array for each weight w, and `settings` are those of adamw:

        loss = gpt(weights)                             (42)
        w_new, m_new, v_new = adamw(w, dw, m, v)        (43)

    The model `gpt` and its H heads are those of the exercise one_page, and `adamw` is that of the exercise adamw. If
    you have solved both, import your functions from your files: `from one_page import gpt`. Otherwise write them here.
    """
    loss, *_, backward = gpt(*weights, ids=ids, targets=targets, H=H)  # (42)
    states = zip(weights, backward(), m, v, strict=True)  # (w, dw, m, v) for each weight
    moved = [adamw(*state, **settings) for state in states]  # (43)
    return loss, *zip(*moved, strict=True)


# A check with dy = 1 misses three of these mistakes, and a check with a tolerance of 0.1 misses one.
PLANTED = """softmax-diagonal log-softmax batch-norm-ones batch-norm-std layer-norm-rank attention-transposed
pre-norm-residual input-twice gelu-mixed dy-ignored"""


def with_wrong_gradient(name, wrong) -> Case:
    """Return a Case for first_steps.check with a function of the museum. The function is repaired unless `wrong`."""
    exhibit = find(name)
    words = "with its mistake" if wrong else "right"
    return Case(
        f"check, {name}, {words}", lambda rng: Call(first_steps.check, exhibit.version(wrong), *exhibit.draw(rng)[0])
    )


def column_sums(x):
    """Add the rows of x (P, C)."""

    def backward(dy):
        return np.broadcast_to(dy, x.shape)

    return x.sum(axis=0), backward


def steep(x):
    """A difference of the values at x + h and x is a bad estimate of the slope, and one at x + h and x − h is exact."""

    def backward(dy):
        return 2e5 * x * dy

    return 1e5 * x**2, backward


ALTERED = {  # gradients of column_sums
    "entries that are too small": lambda dx: dx - 1,
    "entries that are too large": lambda dx: dx + 1,
    "a gradient of NaN": lambda dx: np.nan * dx,
    "an entry that is NaN": lambda dx: np.where(np.arange(dx.size).reshape(dx.shape) == 1, np.nan, dx),
    "a gradient without its first axis": lambda dx: dx[0],
    "a gradient without its last row": lambda dx: dx[:-1],
    "a gradient with another axis": lambda dx: dx[None],
    "a gradient with a row too many": lambda dx: np.concatenate([dx, dx[:1]]),
}


def with_altered_gradient(name, alter) -> Case:
    def altered(x):
        y, right_backward = column_sums(x)

        def backward(dy):
            return alter(right_backward(dy))

        return y, backward

    return Case(f"check, {name}", lambda rng: Call(first_steps.check, altered, rng.normal(size=(2, 3))))


def right_gradient(function) -> Case:
    name = f"check, {function.__name__}, right"
    return Case(name, lambda rng: Call(first_steps.check, function, 1e-3 * rng.normal(size=(2, 3))))


def number(rng):
    return np.array(rng.normal())


def schedule(step) -> Case:
    options = {"lr": 0.3, "min_lr": 0.1, "warmup": 4, "steps": 20}
    return Case(f"cosine_schedule, step {step} of 20 with warmup 4", lambda rng: Call(cosine_schedule, step, **options))


def choice(**options) -> Case:
    named = ", ".join(f"{name} {value}" for name, value in options.items())
    settings = {"temperature": 0.7, "top_p": 1.0, "u": 0.6} | options
    return Case(f"chosen, {named}", lambda rng: Call(chosen, 2 * rng.normal(size=9), **settings))


def tie(**options) -> Case:
    """Return a Case with the probabilities ½, ¼, ⅛ and ⅛, whose cumulative sums have no rounding errors."""
    named = ", ".join(f"{name} {value}" for name, value in options.items())
    settings = {"temperature": 1.0, "top_p": 1.0} | options
    return Case(
        f"chosen, sums without rounding, {named}", lambda rng: Call(chosen, np.log([0.25, 1, 0.25, 0.5]), **settings)
    )


def clipping_call(rng, max_norm, largest=1.0):
    parameters = [Parameter(rng.normal(size=shape)) for shape in ((3, 4), (5,))]
    for parameter in parameters:
        parameter.accumulate(rng.normal(size=parameter.data.shape))
        parameter.grad *= bool(largest)
    parameters[0].grad[0, 0] *= largest
    parameters.append(Parameter(rng.normal(size=2)))  # without a gradient
    return Call(clip_grad_norm, parameters, max_norm)


def step_call(rng):
    call = ONE_PAGE.draw(rng)
    m, v = (tuple(rng.normal(size=w.shape) ** 2 for w in call.inputs) for _ in range(2))
    settings = {"lr": 0.3, "betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.2, "t": 3}
    return Call(training_step, tuple(call.inputs), m, v, **call.options, **settings)


def adamw_call(rng):
    theta, g, m, v = rng.normal(size=(4, 2, 5))
    return Call(adamw, theta, g, m, v**2, lr=0.3, betas=(0.8, 0.95), eps=0.1, weight_decay=0.2, t=3)


def turned_call(rng, layout):
    cos, sin = cos_and_sin(np.arange(3, 8), 6, 100.0, None, np.float64)
    return Call(turned, rng.normal(size=(2, 4, 5, 6)), cos=cos, sin=sin, layout=layout)


CASES = [
    *[
        Case(f"turned, {layout}", lambda rng, layout=layout: turned_call(rng, layout))
        for layout in ("half", "interleaved")
    ],
    case("gelu_tanh", gelu_tanh, (2, 3, 5)),
    case("expression", first_steps.expression, number, number, number),
    case("neuron", first_steps.neuron, (3,), (3,), number),
    case("shares", first_steps.shares, number, number),
    case("attend", first_steps.attend, (4,), (5, 4), (5, 4)),
    case("fork", first_steps.fork, number),
    case("sum_and_share", first_steps.sum_and_share, (2, 3, 5)),
    case("residual", residual, (2, 3, 5), lambda rng: sum_and_share, lambda rng: fork),
    case("residual, one step", residual, (2, 3, 5), lambda rng: sum_and_share),
    case("bare_block", bare_block, (2, 3, 5), *[lambda rng, f=f: f for f in (sum_and_share, fork, fork, softmax)]),
    case("heads", heads, (2, 5, 6), (6, 6), (6, 6), (6, 6), (6, 6), d_head=2),
    module("MultiHeadAttention, hooked", lambda rng: Hooked(MultiHeadAttention(6, 3), shrink, ["heads"]), (2, 5, 6)),
    case("tied", tied, (11, 6), drawn=lambda rng: {"ids": ids(rng, 2, 5)}),
    case(
        *("whole_model", whole_model, (11, 6), (5, 6), (6, 6), (6, 6), (6, 6), (6, 6), (6,), (6,), (6, 7), (7, 6)),
        drawn=lambda rng: {"ids": ids(rng, 2, 5), "targets": rng.integers(0, 11, (2, 5)), "d_head": 2},
    ),
    ONE_PAGE,
    Case("training_step", step_call),
    Case("adamw", adamw_call),
    *[
        Case(f"clip_grad_norm, max_norm {norm}", lambda rng, norm=norm: clipping_call(rng, norm))
        for norm in (0.7, 2.0, 70.0)
    ],
    Case("clip_grad_norm, an infinite gradient", lambda rng: clipping_call(rng, 0.7, np.inf)),
    Case("clip_grad_norm, gradients of zero", lambda rng: clipping_call(rng, 0.7, 0)),
    *map(schedule, (0, 3, 4, 11, 19, 25)),
    *[choice(u=u, top_p=top_p) for u in (0.0, 0.3, 0.6, 0.9, 0.999) for top_p in (0.05, 0.5, 0.7, 0.9, 1.0)],
    *[choice(temperature=temperature) for temperature in (0.001, 5.0)],
    *[tie(u=u) for u in (0.0, 0.5)],
    *[tie(u=0.999, top_p=top_p) for top_p in (0.5, 0.75)],
    *map(right_gradient, (column_sums, steep)),
    *[with_wrong_gradient(name, wrong) for wrong in (False, True) for name in PLANTED.split()],
    *[with_altered_gradient(*pair) for pair in ALTERED.items()],
]
