"""Right solutions of the exercises in another style than the textbook's: loops, einsum, other names, other formulas.

Each is the body of backward, in the order of the file where there are two; of AdamW of the update.
"""

import re
import textwrap

TEXT = """
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
    group = q.shape[-3] // K
    k_all, v_all = (np.repeat(a, group, axis=-3) for a in (k, v))
    grad_used = np.einsum("...qd,...kd->...qk", dy, v_all)
    g = softmax_backward(on_weights_backward(grad_used))
    grad_q = s * np.einsum("...qk,...kd->...qd", g, k_all)
    grad_k = s * np.einsum("...qk,...qd->...kd", g, q)
    grad_v = np.einsum("...qk,...qd->...kd", used, dy)

    def over_groups(a):
        return a.reshape(*a.shape[:-3], K, group, *a.shape[-2:]).sum(axis=-3)

    return grad_q, over_groups(grad_k), over_groups(grad_v)
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
gated_feed_forward 8
    return silu_backward(dp * u), dp * a
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
    scale = np.asarray(dloss) * share * kept
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
