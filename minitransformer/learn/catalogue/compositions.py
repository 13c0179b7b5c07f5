"""What goes wrong where layers are put together: a path forgotten, a layer's backward skipped, an order reversed."""

import numpy as np

from minitransformer.layers.multi_head_attention import merge, split

FEED_FORWARD = {
    "dh": {
        "the activation's backward is skipped": lambda da: da,
        "the activation itself stands in place of its slope": lambda da, a: da * a,
        "h stands in place of the activation's slope": lambda da, h: da * h,
        "the activation's slope is that of ReLU": lambda da, h: da * (h > 0),
        "the activation's slope is taken as σ(h)": lambda da, h: da * logistic(h),
        "the activation's slope is taken twice": lambda da, activation_backward: activation_backward(
            activation_backward(da)
        ),
        "the activation is applied once more: a in place of da": lambda a, activation_backward: activation_backward(a),
        "a · (1 − a) stands in place of the activation's slope": lambda da, a: da * a * (1 - a),
    },
    "da": {
        "W_down's backward is given y, not dy": lambda y, down_backward: down_backward(y),
        "the activation's values are added": lambda dy, down_backward, a: down_backward(dy) + a,
    },
    "dx": {
        "dy is added, as the block's residual would": lambda dh, dy, up_backward: up_backward(dh) + dy,
        "it has the wrong sign": lambda dh, up_backward: -up_backward(dh),
        "W_up's backward is given h, not dh": lambda h, up_backward: up_backward(h),
        "W_up's backward is given a, not dh": lambda a, up_backward: up_backward(a),
    },
}

GATED_FEED_FORWARD = {
    "dg, du": {
        "the two are exchanged": lambda dp, swiglu_backward: swiglu_backward(dp)[::-1],
        "the slope of silu is missing in dg": lambda dp, u, swiglu_backward: (dp * u, swiglu_backward(dp)[1]),
        "the slope of silu is taken as σ in dg": lambda dp, u, g, swiglu_backward: (
            dp * u * logistic(g),
            swiglu_backward(dp)[1],
        ),
        "the slope of silu is taken as σ (1 − σ) in dg": lambda dp, u, g, swiglu_backward: (
            dp * u * logistic(g) * (1 - logistic(g)),
            swiglu_backward(dp)[1],
        ),
        "u is missing in dg": lambda dp, u, swiglu_backward: (swiglu_backward(dp / u)[0], swiglu_backward(dp)[1]),
        "g stands in place of silu(g) in du": lambda dp, g, swiglu_backward: (swiglu_backward(dp)[0], dp * g),
        "σ(g) stands in place of silu(g) in du": lambda dp, g, swiglu_backward: (
            swiglu_backward(dp)[0],
            dp * logistic(g),
        ),
        "u stands in place of silu(g) in du": lambda dp, u, swiglu_backward: (swiglu_backward(dp)[0], dp * u),
        "p stands in place of u and of silu(g)": lambda dp, p, u, swiglu_backward: (
            swiglu_backward(dp * p / u)[0],
            dp * p,
        ),
        "silu(g) is missing in du: it is dp": lambda dp, swiglu_backward: (swiglu_backward(dp)[0], dp),
        "both are dp": lambda dp: (dp, dp),
        "du is zero: p is taken to depend on g alone": lambda dp, swiglu_backward: (swiglu_backward(dp)[0], 0 * dp),
        "dg is zero: the gate is taken for a constant": lambda dp, swiglu_backward: (0 * dp, swiglu_backward(dp)[1]),
    },
    "dx": {
        "the path through the gate is missing": lambda du, up_backward: up_backward(du),
        "the path through W_up is missing": lambda dg, gate_backward: gate_backward(dg),
        "the path through W_up is subtracted": lambda dg, du, gate_backward, up_backward: (
            gate_backward(dg) - up_backward(du)
        ),
        "the paths are averaged, not added": lambda dg, du, gate_backward, up_backward: (
            (gate_backward(dg) + up_backward(du)) / 2
        ),
        "the paths are multiplied, not added": lambda dg, du, gate_backward, up_backward: (
            gate_backward(dg) * up_backward(du)
        ),
        "both are given dg": lambda dg, gate_backward, up_backward: gate_backward(dg) + up_backward(dg),
        "both are given du": lambda du, gate_backward, up_backward: gate_backward(du) + up_backward(du),
        "both are given dg + du": lambda dg, du, gate_backward, up_backward: (
            gate_backward(dg + du) + up_backward(dg + du)
        ),
        "dy is added, as the block's residual would": lambda dg, du, dy, gate_backward, up_backward: (
            gate_backward(dg) + up_backward(du) + dy
        ),
        "it has the wrong sign": lambda dg, du, gate_backward, up_backward: -(gate_backward(dg) + up_backward(du)),
    },
}

BLOCK = {
    "dr": {
        "the direct path past feed_forward is missing": lambda dy, known: second(dy, known),
        "the path through feed_forward is missing": lambda dy: dy,
        "the direct path counts twice": lambda dy, known: 2 * dy + second(dy, known),
        "the path through feed_forward is subtracted": lambda dy, known: dy - second(dy, known),
        "the paths are averaged, not added": lambda dy, known: (dy + second(dy, known)) / 2,
        "norm2's backward is skipped": lambda dy, known: dy + back(dy, known, "dropout2 feed_forward"),
        "feed_forward's backward is skipped": lambda dy, known: dy + back(dy, known, "dropout2 norm2"),
        "the dropout after feed_forward is skipped": lambda dy, known: dy + back(dy, known, "feed_forward norm2"),
        "norm1's backward stands in place of norm2's": lambda dy, known: (
            dy + back(dy, known, "dropout2 feed_forward norm1")
        ),
        "the order is wrong: norm2's backward comes first": lambda dy, known: (
            dy + back(dy, known, "dropout2 norm2 feed_forward")
        ),
        "the direct path goes through norm2 as well": lambda dy, known: back(
            dy + back(dy, known, "dropout2 feed_forward"), known, "norm2"
        ),
        "dropout is on the direct path as well": lambda dy, known: back(dy, known, "dropout2") + second(dy, known),
        "the mask is that of the dropout after attention": lambda dy, known: (
            dy + back(dy, known, "dropout1 feed_forward norm2")
        ),
        "attention's backward stands in place of feed_forward's": lambda dy, known: (
            dy + back(dy, known, "dropout2 attention norm2")
        ),
    },
    "dx": {
        "the direct path past attention is missing": lambda dr, known: first(dr, known),
        "the path through attention is missing": lambda dr: dr,
        "the direct path counts twice": lambda dr, known: 2 * dr + first(dr, known),
        "the path through attention is subtracted": lambda dr, known: dr - first(dr, known),
        "the paths are averaged, not added": lambda dr, known: (dr + first(dr, known)) / 2,
        "the path through attention begins at dy, not at dr": lambda dr, dy, known: dr + first(dy, known),
        "the direct path is dy, not dr": lambda dr, dy, known: dy + first(dr, known),
        "dy is added once more": lambda dy, dr, known: dr + dy + first(dr, known),
        "dr is without its direct path, where attention's path begins": lambda dr, dy, known: (
            dr + first(dr - dy, known)
        ),
        "norm1's backward is skipped": lambda dr, known: dr + back(dr, known, "dropout1 attention"),
        "attention's backward is skipped": lambda dr, known: dr + back(dr, known, "dropout1 norm1"),
        "the dropout after attention is skipped": lambda dr, known: dr + back(dr, known, "attention norm1"),
        "norm2's backward stands in place of norm1's": lambda dr, known: (
            dr + back(dr, known, "dropout1 attention norm2")
        ),
        "the order is wrong: norm1's backward comes first": lambda dr, known: (
            dr + back(dr, known, "dropout1 norm1 attention")
        ),
        "the direct path goes through norm1 as well": lambda dr, known: back(
            dr + back(dr, known, "dropout1 attention"), known, "norm1"
        ),
        "dropout is on the direct path as well": lambda dr, known: back(dr, known, "dropout1") + first(dr, known),
        "the mask is that of the dropout after feed_forward": lambda dr, known: (
            dr + back(dr, known, "dropout2 attention norm1")
        ),
        "it has the wrong sign": lambda dr, known: -dr - first(dr, known),
    },
}

MULTI_HEAD_ATTENTION = {
    "dheads": {
        "the heads are cut without exchanging them with the positions": lambda dy, w_o_backward, heads: w_o_backward(
            dy
        ).reshape(heads.shape),
        "channels are dealt out to the heads in the wrong order": lambda dy, w_o_backward, heads: np.moveaxis(
            w_o_backward(dy).reshape(*dy.shape[:-1], heads.shape[-1], -1), -1, -3
        ),
        "W_o's backward is skipped": lambda dy, self: split(dy, self.d_head),
        "the heads are in reverse": lambda dy, w_o_backward, self: merged_reverse(w_o_backward(dy), self.d_head),
    },
    "dq, dkeys, dvalues": {
        "attention's backward is skipped: all three are dheads": lambda dattended, v: (
            (dattended, dattended, dattended) if v.shape == dattended.shape else exchange([dattended, v], 0, 1)
        ),
        "dk and dv are exchanged": lambda dattended, attention_backward: exchange(attention_backward(dattended), 1, 2),
        "dq and dk are exchanged": lambda dattended, attention_backward: exchange(attention_backward(dattended), 0, 1),
        "dq and dv are exchanged": lambda dattended, attention_backward: exchange(attention_backward(dattended), 0, 2),
    },
    "dxq, dxk, dxv": {
        "rotary positions do not turn dq and dk back": lambda dq, dkeys, dvalues, self: (
            rotated(self, merge(dq)),
            merge(dkeys),
            merge(dvalues),
        ),
        "rotary positions do not turn dq back": lambda dq, dkeys, dvalues, k_backward, self: (
            rotated(self, merge(dq)),
            k_backward(dkeys),
            merge(dvalues),
        ),
        "rotary positions do not turn dk back": lambda dq, dkeys, dvalues, q_backward, self: (
            rotated(self, q_backward(dq)),
            merge(dkeys),
            merge(dvalues),
        ),
        "rotary positions turn dv as well": lambda dq, dkeys, dvalues, q_backward, k_backward, self: (
            rotated(self, q_backward(dq)),
            k_backward(dkeys),
            k_backward(dvalues),
        ),
        "dq's heads are put together without exchanging them with the positions": lambda dq, dkeys, dvalues, known: (
            in_wrong_order(gradients_of_heads(dq, dkeys, dvalues, known), 1)
        ),
        "heads are put together without exchanging them with the positions": lambda dq, dkeys, dvalues, known: (
            in_wrong_order(gradients_of_heads(dq, dkeys, dvalues, known), 3)
        ),
    },
    "dx": {
        "the path through q is missing": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            0 * dxq, dxk, dxv
        ),
        "the path through k is missing": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            dxq, 0 * dxk, dxv
        ),
        "the path through v is missing": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            dxq, dxk, 0 * dxv
        ),
        "only the path through q is there": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            dxq, 0 * dxk, 0 * dxv
        ),
        "only the path through k is there": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            0 * dxq, dxk, 0 * dxv
        ),
        "only the path through v is there": lambda dxq, dxk, dxv, projections_backward: projections_backward(
            0 * dxq, 0 * dxk, dxv
        ),
        "the three paths are averaged, not added": lambda dxq, dxk, dxv, projections_backward: (
            projections_backward(dxq, dxk, dxv) / 3
        ),
        "dxk and dxv are exchanged": lambda dxq, dxk, dxv, projections_backward: projections_backward(dxq, dxv, dxk),
        "all three are given dxq": lambda dxq, projections_backward: projections_backward(dxq, dxq, dxq),
        "dy is added, as the block's residual would": lambda dy, dxq, dxk, dxv, projections_backward: (
            projections_backward(dxq, dxk, dxv) + dy
        ),
        "it has the wrong sign": lambda dxq, dxk, dxv, projections_backward: -projections_backward(dxq, dxk, dxv),
    },
}


def back(dy, known, layers):
    """Return what the backward passes of some layers make of dy, one after the other."""
    for name in layers.split():
        dy = known[f"{name}_backward"](dy)
    return dy


def first(dr, known):
    """Return what comes back through attention."""
    return back(dr, known, "dropout1 attention norm1")


def second(dy, known):
    """Return what comes back through feed_forward."""
    return back(dy, known, "dropout2 feed_forward norm2")


def logistic(x):
    """Return 1 / (1 + exp(−x))."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def gradients_of_heads(dq, dkeys, dvalues, known):
    """Return dxq, dxk and dxv."""
    return known["q_backward"](dq), known["k_backward"](dkeys), known["v_backward"](dvalues), known["self"].d_head


def in_wrong_order(gradients, how_many):
    """Return dxq, dxk and dxv, of which the first have their heads put together without exchanging axes."""
    *gradients, d_head = gradients
    by_head = [split(d, d_head).reshape(d.shape) for d in gradients[:how_many]]
    return *by_head, *gradients[how_many:]


def exchange(gradients, i, j):
    """Return gradients of which two are exchanged, where they have one shape."""
    gradients = list(gradients)
    if gradients[i].shape != gradients[j].shape:
        raise ValueError("they do not have one shape")
    gradients[i], gradients[j] = gradients[j], gradients[i]
    return tuple(gradients)


def rotated(attention, x):
    """Return x, where there are rotary positions."""
    if attention.rotary is None:
        raise ValueError("there are no rotary positions")
    return x


def merged_reverse(x, d_head):
    """Return heads (..., H, T, D) of x (..., T, H · D), the last first."""
    return x.reshape(*x.shape[:-1], -1, d_head).swapaxes(-2, -3)[..., ::-1, :, :]


MISTAKES = {
    "feed_forward": FEED_FORWARD,
    "gated_feed_forward": GATED_FEED_FORWARD,
    "block": BLOCK,
    "multi_head_attention": MULTI_HEAD_ATTENTION,
}
