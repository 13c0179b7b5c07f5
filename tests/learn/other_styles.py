"""Right solutions of the exercises in another style than the textbook's: loops, einsum, other names, other formulas.

Each is the body of backward, in the order of the file where there are two; of AdamW of the update.
"""

import re
import textwrap

TEXT = """
relu_squared 8
    return np.where(x > 0, 2 * x, 0) * dy
softcap 8
    return dy / np.cosh(x / cap) ** 2
sink_softmax 8
    s = np.einsum("...k,...k->...", y, dy)[..., None]
    g = y * dy - y * s
    h = -(p * s)
    return g, np.moveaxis(h, -3, 0).reshape(len(sink), -1).sum(axis=1)
top_k_gates 8
    J = y[..., :, None] * (np.eye(x.shape[-1]) - y[..., None, :])
    return np.einsum("...ij,...i->...j", J, dy)
load_balance 8
    g = E * f * dloss / N
    return p * (g - (p * g).sum(axis=-1, keepdims=True))
mixture_of_experts 8
    t = dy.reshape(-1, dy.shape[-1])
    dg_, du_ = swiglu_backward(np.einsum("pc,pn,nfc->npf", t, gates, w_down))
    z = top_k_gates_backward(np.einsum("pc,npc->pn", t, h))
    into = z @ router.T + np.einsum("npf,ncf->pc", dg_, w_gate) + np.einsum("npf,ncf->pc", du_, w_up)
    down = np.einsum("npf,pn,pc->nfc", a, gates, t)
    return into.reshape(x.shape), X.T @ z, np.einsum("pc,npf->ncf", X, dg_), np.einsum("pc,npf->ncf", X, du_), down
reinforce 8
    return -dloss * np.asarray(advantages)[:, None] * mask / max(mask.sum(), 1)
grpo 8
    moved = np.where(clipped, 0.0, r)
    return dloss * w * (b - b * rho - moved * A)
expression 8
    outer = 2 * (a * b + c) * dL
    return outer * b, a * outer, outer
fork 8
    return dy * (np.sin(x) + x * np.cos(x))
sum_and_share 8
    J = x[..., :, None] + S[..., None] * np.eye(x.shape[-1])
    return np.einsum("...ij,...i->...j", J, dy)
neuron 8
    slope = dy / np.cosh(z) ** 2
    return slope * w, slope * x, slope
checker 4
    rng = np.random.default_rng(3)
    y, backward = function(*inputs)
    dy, worst = rng.normal(size=np.shape(y)), 0
    gradients = [backward(dy)] if len(inputs) == 1 else backward(dy)
    for position, (x, dx) in enumerate(zip(inputs, gradients)):
        if np.shape(dx) != x.shape:
            return np.inf
        direction = rng.normal(size=x.shape)
        sides = []
        for sign in (1, -1):
            moved = [*inputs[:position], x + sign * 1e-5 * direction, *inputs[position + 1 :]]
            sides.append(np.vdot(function(*moved)[0], dy))
        error = abs((sides[0] - sides[1]) / 2e-5 - np.vdot(dx, direction))
        worst = worst if error <= worst else error
    return worst
shares 8
    J = np.diag([y1, y2]) - np.outer([y1, y2], [y1, y2])
    return tuple(J.T @ np.asarray(dy))
attend 8
    dweights = v @ dy
    dscores = weights * (dweights - weights @ dweights)
    return s * dscores @ k, s * np.outer(dscores, q), np.outer(weights, dy)
heads 8
    inner = split(np.einsum("...o,io->...i", dy, w_o), d_head)
    parts = [merge(part) for part in attention_backward(inner)]
    positions = tuple(range(x.ndim - 1))
    of_weights = [np.tensordot(x, part, (positions, positions)) for part in parts]
    total = sum(part @ w.T for part, w in zip(parts, (w_q, w_k, w_v)))
    return total, *of_weights, np.tensordot(merge(a), dy, (positions, positions))
residual 8
    through = dy
    while backwards:
        through = backwards[-1](through)
        if len(backwards) == 1:
            return dy + through
        return dy + backwards[0](through)
    return 2 * dy
bare_block 8
    into = dy
    for f in (residual2_backward, residual1_backward):
        into = f(into)
    return into
tied 8
    first, table = unembedding_backward(dz)
    return embedding_backward(first - first * h * h) + table
low_rank 8
    flat_x, flat_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    both = s * flat_x.T @ flat_dy
    return s * (dy @ (a @ b).T), both @ b.T, a.T @ both
clipping 4
    moving = [p for p in parameters if p.grad is not None]
    size = np.linalg.norm(np.concatenate([np.zeros(1), *(np.ravel(p.grad) for p in moving)]))
    for p in moving:
        p.grad = p.grad * (max_norm / size if max_norm < size < np.inf else 1.0)
    return size
cosine_schedule 4
    if step < warmup:
        return lr / (warmup + 1) * (step + 1)
    share = min(1.0, (step - warmup) / (steps - warmup))
    return lr + (min_lr - lr) * math.sin(math.pi / 2 * share) ** 2
chosen 4
    q = np.exp(z / temperature - np.max(z / temperature))
    q = q / sum(q)
    names, total = [], 0.0
    for token in sorted(range(len(z)), key=lambda token: -q[token]):
        if total < top_p:
            names.append(token)
            total += q[token]
    left = u * total
    for token in names:
        left -= q[token]
        if left < 0:
            return token
    return names[-1]
whole_model 8
    grads = {}
    g, grads["table"] = unembedding_backward(loss_backward(dloss))
    g_hidden, grads["down"] = down_backward(g)
    g_n, grads["up"] = up_backward(silu_backward(g_hidden))
    g_r, grads["gamma"], grads["beta"] = norm_backward(g_n)
    g = g + g_r
    g_x, *grads["heads"] = heads_backward(g)
    g = g + g_x
    grads["table"] = grads["table"] + embedding_backward(g)
    return grads["table"], g[0] + g[1], *grads["heads"], grads["gamma"], grads["beta"], grads["up"], grads["down"]
one_page 8
    def norm(d, h, gain, r):
        d_hat = d * gain
        return r * (d_hat - mean(d_hat) - h * mean(d_hat * h)), (d * h).sum(0), d.sum(0)

    dz = dloss * (np.exp(z) - Y) / N
    dy, dg3, db3 = norm(dz @ E, x3_hat, g3, r3)
    slope = Phi + h * 2 * Phi * (1 - Phi) * ROOT * (1 + 3 * CUBE * h**2)
    du = (dy @ W2.T) * slope
    dr, dg2, db2 = norm(du @ W1.T, x2_hat, g2, r2)
    dr = dr + dy
    d_heads = split(dr @ Wo.T, B, H)
    dw = np.einsum("bhqd,bhkd->bhqk", d_heads, v)
    ds = weights * (dw - np.einsum("bhqk,bhqk->bhq", weights, dw)[..., None]) * s
    parts = [np.einsum("bhqk,bhkd->bhqd", ds, k), np.einsum("bhqk,bhqd->bhkd", ds, q)]
    parts = [merge(part) for part in (*parts, np.einsum("bhqk,bhqd->bhkd", weights, d_heads))]
    dx, dg1, db1 = norm(sum(part @ W.T for part, W in zip(parts, (Wq, Wk, Wv))), x1_hat, g1, r1)
    dx = dx + dr
    dE = np.zeros_like(E)
    np.add.at(dE, ids.ravel(), dx)
    projections = [n1.T @ part for part in parts]
    dP = dx.reshape(B, T, C).sum(0)
    return dE + dz.T @ n3, dP, dg1, db1, *projections, merged.T @ dr, dg2, db2, n2.T @ du, a.T @ dy, dg3, db3
training_step 4
    from minitransformer.one_page import gpt
    from minitransformer.optim import adamw

    loss, _, backward = gpt(*weights, ids=ids, targets=targets, H=H)
    new = ([], [], [])
    for w, g, first, second in zip(weights, backward(), m, v):
        for kept, part in zip(new, adamw(w, g, first, second, **settings)):
            kept.append(part)
    return loss, *new
linear 8
    grad_x = np.einsum("...o,io->...i", dy, weight)
    grad_w = np.zeros_like(weight)
    for p in np.ndindex(*x.shape[:-1]):
        grad_w = grad_w + np.outer(x[p], dy[p])
    if bias is None:
        return grad_x, grad_w
    return grad_x, grad_w, sum(dy[p] for p in np.ndindex(*dy.shape[:-1]))
embedding 8
    one_hot = (ids[..., None] == np.arange(V)).astype(dy.dtype)
    return np.tensordot(one_hot, dy, axes=(tuple(range(ids.ndim)), tuple(range(ids.ndim))))
unembedding 8
    first = 0
    for v in range(weight.shape[0]):
        first = first + dy[..., v, None] * weight[v]
    return first, np.tensordot(dy, x, axes=(tuple(range(x.ndim - 1)),) * 2)
rotary 8
    z = (lambda pair: pair[0] + 1j * pair[1])(pairs(dy, layout))
    back = z * (cos - 1j * sin)
    return joined(back.real, back.imag, layout)
layer_norm 8
    C = x.shape[-1]
    h = gamma * dy
    both = h.sum(-1, keepdims=True) + x_hat * np.sum(x_hat * h, axis=-1, keepdims=True)
    flat = dy.reshape(-1, C)
    return (C * h - both) * r / C, np.einsum("pc,pc->c", flat, x_hat.reshape(-1, C)), flat.sum(0)
rms_norm 8
    C = x.shape[-1]
    h = gamma * dy
    along = np.sum(h * x, axis=-1, keepdims=True) / C
    return r * h - r**3 * x * along, np.sum((dy * x * r).reshape(-1, C), axis=0)
softmax 8
    y_, dy_ = np.moveaxis(y, axis, -1), np.moveaxis(dy, axis, -1)
    J = y_[..., :, None] * (np.eye(y_.shape[-1]) - y_[..., None, :])
    return np.moveaxis(np.einsum("...ij,...i->...j", J, dy_), -1, axis)
log_softmax 8
    total = np.sum(dz, axis=axis, keepdims=True)
    p = np.exp(z)
    out = dz.copy()
    out -= p * total
    return out
attention 8
    grad_weights = np.einsum("...qc,...kc->...qk", dy, v)
    g = weigh_backward(grad_weights)
    grad_q = s * np.einsum("...qk,...kc->...qc", g, k)
    grad_k = s * np.einsum("...qk,...qc->...kc", g, q)
    return grad_q, grad_k, np.einsum("...qk,...qc->...kc", weights, dy)
multi_head_attention 12
    from_heads = heads_backward(split(w_o_backward(dy), self.d_head))
    parts = [list(attention_backward(from_heads))][0]
    parts[1:] = [part[..., part.shape[-2] - T :, :] for part in parts[1:]]
    return projections_backward(*(f(p) for f, p in zip((q_backward, k_backward, v_backward), parts)))
multi_head_attention 8
    total = v_backward(dxv)
    total = total + k_backward(dxk)
    return total + q_backward(dxq)
relu 8
    return dy * (x > 0)
silu 8
    slope = sigma + y * (1 - sigma)
    return slope * dy
gelu 8
    t = np.tanh(u)
    dt = 1 - t**2
    return dy * (0.5 * (1 + t) + 0.5 * x * dt * math.sqrt(2 / math.pi) * (1 + 0.134145 * x**2))
dropout 8
    return np.where(keep, dy / (1 - p), 0.0)
feed_forward 12
    return up_backward(activation_backward(down_backward(dy)))
swiglu 8
    (into_g,) = (silu_backward(u * dp),)
    return into_g, np.multiply(a, dp)
gated_feed_forward 12
    both = swiglu_backward(down_backward(dy))
    return sum(f(d) for f, d in zip((gate_backward, up_backward), both))
block 12
    into = dropout2_backward(dy)
    for f in (feed_forward_backward, norm2_backward):
        into = f(into)
    stream = residual_mid_backward(into + dy)
    into = dropout1_backward(stream)
    for f in (attention_backward, norm1_backward):
        into = f(into)
    return into + stream
cross_entropy 8
    scale = np.asarray(dloss) * share * np.ones(z.shape[:-1])
    return np.einsum("...c,...->...c", p * a.sum(-1, keepdims=True) - a, scale)
adamw 4
    b1, b2 = betas
    m = m + (1 - b1) * (g - m)
    v = v + (1 - b2) * (g * g - v)
    step = lr / (1 - b1**t) * m / (np.sqrt(v / (1 - b2**t)) + eps)
    return theta * (1 - lr * weight_decay) - step, m, v
"""
BODIES: dict = {}
for name, indent, body in re.findall(r"^(\w+) (\d+)\n((?:    .*\n|\n)+)", TEXT, re.MULTILINE):
    BODIES.setdefault(name, []).append(textwrap.indent(textwrap.dedent(body), " " * int(indent)))
