"""Words for learners: noun phrases for code, and descriptions of typical mistakes.

Each of these mistakes is more than one edit of the textbook's line. In the wrong code of a mistake, V stands for the
right value of the statement. The code may use every name that the textbook's function defines before the statement.

**To add a mistake**, add a line `wrong code → kind: sentence` under its exercise and statement. The kind is a key of
gradcheck.mistakes.KINDS. Kind and sentence may follow on the next line, with a deeper indentation.
"""

from functools import partial, wraps

from gradcheck.lines import Component, typical
from gradcheck.mistakes import Row, rows_of
from minitransformer.learn.variants import of_result

# Noun phrases for the names of each backward pass. They describe code to a student without quoting it.
DY = "dy: the upstream gradient; dz: the upstream gradient; dp: the upstream gradient; dloss: the upstream gradient"
NORM = """gamma: the gain γ; x_hat: the normalized x̂; dx_hat: the gradient of x̂; r: the scale 1/σ;
shift: the path through the mean; scale: the mean of dx̂ · x̂; x_hat * scale: the path through r;
beta: the bias β; mu: the mean μ; eps: ε; positions: the tuple of axes"""
GLOSSARY = {
    "expression": "s: the sum s; a: a; b: b; du: the gradient of u; ds: the gradient of s",
    "fork": "s: the sine; ds: the gradient of s; np.cos(x): the slope of the sine",
    "sum_and_share": "S: the sum S; dS: the gradient of S",
    "neuron": "y: the output y; w: the vector of weights; dz: the gradient of z",
    "attend": """s: the scale; weights: the array of weights; total: the sum over the keys;
dweights: the gradient of the weights; dscores: the gradient of the scores; dy: the upstream gradient""",
    "tied": """h: h; dh: the gradient of h; dweight_out: the path through the output matrix;
embedding_backward(dx): the path through the embedding""",
    "bare_block": """dr: the gradient of r; residual1_backward: residual1's backward;
residual2_backward: residual2's backward""",
    "residual": "dy: the direct path; df: the path through the steps; step_backward(df): the step's backward",
    "heads": """dq @ w_q.T: the path through q; dk @ w_k.T: the path through k; dv @ w_v.T: the path through v;
attention_backward: attention's backward""",
    "whole_model": """dr_n: the path through the norm; dx_a: the path through the heads; dy: the direct path;
dtable_out: the path through the output matrix; embedding_backward(dx): the path through the embedding""",
    "one_page": """dy: the direct path past the feed-forward layer; dr: the direct path past attention;
dlogits: the gradient of the logits; dlogits.T @ n3: the path through the output matrix;
X.T @ dx: the path through the embedding;
dxq @ Wq.T: the path through q; dxk @ Wk.T: the path through k; dxv @ Wv.T: the path through v;
mean(dx1_hat): the path through the mean; x1_hat * mean(dx1_hat * x1_hat): the path through the variance;
mean(dx2_hat): the path through the mean; x2_hat * mean(dx2_hat * x2_hat): the path through the variance;
mean(dx3_hat): the path through the mean; x3_hat * mean(dx3_hat * x3_hat): the path through the variance""",
    "low_rank": "s: the scale; scaled: the scaled dy; a: the matrix A; b: the matrix B; h: h; dh: the gradient of h",
    "linear": "weight: the matrix W; weight.T: the transpose of W; bias: the bias; rows(dy): dy",
    "embedding": "ids: the array of indices; dweight: the gradient of the table",
    "unembedding": "weight: the table W; rows(x): x; rows(dy): dy",
    "layer_norm": f"{NORM}; x_hat * scale: the path through the variance",
    "rms_norm": NORM,
    "softmax": "weighted_sum: the weighted sum of dy; y: the output y; dy - weighted_sum: the difference",
    "log_softmax": "np.exp(z): softmax's output; z: the output z",
    "attention": """s: the scale; weights: the array of weights;
k: the array of keys; q: the array of queries; v: the array of values; dweights: the gradient of the weights;
dscores: the gradient of the scores; weigh_backward: softmax's backward""",
    "relu": "off: the mask; np.where(off, 0, dy): the masked gradient",
    "silu": "sigma: the logistic function σ; 1 - sigma: the slope of σ; x * (1 - sigma): the path through σ",
    "gelu": "u_slope: the slope of u; Phi: Φ; c: √(2/π); x * 2 * Phi * (1 - Phi) * u_slope: the path through Φ",
    "swiglu": "a: the gate silu(g); u: the factor u; da: the gradient of a; silu_backward: silu's backward",
    "dropout": "keep: the mask; scale: the scale of the kept entries",
    "cross_entropy": """a: the array of coefficients; p: the array of probabilities;
A: the sum of the coefficients; A * p: the first term;
dlosses: the gradient of the losses; share: the share of each loss""",
    "rotary": "cos: the cosine; sin: the sine; da: the gradient of a; db: the gradient of b",
    "multi_head_attention": """w_o_backward: W_o's backward; heads_backward: the heads' backward;
dxv: the path through v; attention_backward: attention's backward; dxq: the path through q; dxk: the path through k""",
    "feed_forward": """down_backward: W_down's backward; activation_backward: the activation's backward;
up_backward: W_up's backward""",
    "gated_feed_forward": """gate_backward(dg): the path through the gate; up_backward(du): the path through W_up;
swiglu_backward: swiglu's backward; down_backward: W_down's backward""",
    "block": """dr: the gradient of r; dmid: the direct path;
norm1_backward: norm1's backward; norm2_backward: norm2's backward;
attention_backward: attention's backward; feed_forward_backward: feed_forward's backward;
dropout1_backward: the dropout after attention; dropout2_backward: the dropout after feed_forward;
residual_mid_backward: the residual's backward""",
}
# Mistakes in any line of backward, in the notation of gradcheck/mistakes/table.py. Other formulas may give the same
# numbers as those of rank 2, and a correction of the learner's line is more certain than these.
IN_ANY_LINE = """
entries dropped: only the first of the batch is counted | N → N[:1]; N=dy,x,x_hat,ids,weights,dloss
entries dropped: only the last of the batch is counted | N → N[-1:]; N=dy,x,x_hat,ids,weights,dloss
entries dropped: only the first position of each sequence is counted | N → N[..., :1, :]; N=dy,x,x_hat,weights
entries dropped: only the last position of each sequence is counted | N → N[..., -1:, :]; N=dy,x,x_hat,weights
dy ignored: the modulus of the upstream gradient stands in place of it | N → abs(N); N=dy,dz,dp,dL,dloss
dy ignored: the upstream gradient is forgotten | N → np.ones_like(N); N=dy,dz,dp,dL,dloss
name replaced: y stands in place of x̂ | N → y; N=x_hat
name replaced: x stands in place of x̂ | N → x; N=x_hat
power changed: x̂ is squared | N → N ** 2; N=x_hat
backward call dropped: the gradient of the weights stands in place of that of the scores: softmax is skipped |
    N → dweights; N=dscores
axis changed: the sum runs over all entries, not over one axis | A.sum(*R) → A.sum()
axis changed: the mean runs over all entries, not over one axis | A.mean(*R) → A.mean()
division dropped: x − μ stands in place of x̂: it is not divided by σ | N → x - mu; rank=2 N=x_hat
term dropped: μ is not subtracted in its x̂ | N → x * r; rank=2 N=x_hat
"""

# Abbreviations of code in the table below.
LONGER = {
    "{MEAN}": ".mean(axis=-1, keepdims=True)",
    "{OVER_POSITIONS}": ".mean(axis=-2, keepdims=True)",
    "{SUM}": "(weights * dweights).sum(axis=-1, keepdims=True)",
    "{DENSITY}": "np.exp(-x * x / 2) / math.sqrt(2 * math.pi)",
}
TABLE = """
expression: ds
    2 * s → dy ignored: the upstream gradient is forgotten
    s * dL → factor dropped: the slope of the square lacks its factor
fork: dx
    np.cos(x) * dy → path dropped: it is the slope of the sine alone: the product rule is missing
    s * dy → path dropped: the path through s is missing
    np.cos(x) * ds → path dropped: the direct path is missing
    s * dy + ds → slope dropped: the slope of the sine is missing
sum_and_share: dx
    S * dy → path dropped: the path through the sum is missing
    dS + 0 * dy → path dropped: the direct path is missing
sum_and_share: dS
    x * dy → sum dropped: it is not summed: every entry of y reads S
neuron: dz
    dy → slope dropped: the slope of tanh is missing
    (1 - z**2) * dy → slope replaced: the slope of tanh is taken at z, not at tanh(z)
    (1 - y) * dy → power changed: y is not squared in the slope of tanh
    (1 - y) ** 2 * dy → power changed: the square is that of 1 − y
    y * dy → slope replaced: tanh stands in place of its slope
    y * (1 - y) * dy → slope replaced: the slope is that of the logistic function
attend: dscores
    weights * dweights → term dropped: the sum over the keys of weights · dweights is not subtracted
    weights * (1 - weights) * dweights → diagonal alone: only the diagonal of softmax's Jacobian is there
    dweights - total → factor dropped: the weights do not multiply the difference
tied: dweight
    dweight_out → path dropped: the path through the embedding is missing
    embedding_backward(dx) → path dropped: the path through the output matrix is missing
tied: dx
    dh → slope dropped: the slope of tanh is missing
residual: for
    backwards → order reversed: the steps are taken in the order of forward
    reversed(backwards[1:]) → backward call dropped: the first step is left out
    backwards[-1:] → backward call dropped: only the last step is taken back
residual: df
    step_backward(dy) → backward call dropped: every step gets dy, not the gradient that the step after it returns
    df + step_backward(df) → term added: the direct path is added at every step, not once
bare_block: dr
    dy + V → term added: the direct path is added once more
bare_block: dx
    residual1_backward(dy) → backward call dropped: residual2's backward is skipped
    dr → backward call dropped: residual1's backward is skipped
    dr + residual1_backward(dr) → term added: the direct path is added once more
    residual2_backward(residual1_backward(dy)) → order reversed: the order is wrong: residual1's backward comes first
    residual1_backward(dy) + residual2_backward(dy) → calls added: the two are added, not applied one after the other
residual: dx
    df → path dropped: the direct path is missing
    dy → path dropped: the path through the steps is missing
    dy * df → operator exchanged: the two paths are multiplied, not added
heads: dq, dk, dv
    [merge(attention_backward(da)[k]) for k in (0, 2, 1)] →
        gradients exchanged: the gradients of keys and values are exchanged
    [merge(attention_backward(da)[k]) for k in (1, 0, 2)] →
        gradients exchanged: the gradients of queries and keys are exchanged
    [merge(attention_backward(da)[k]) for k in (2, 1, 0)] →
        gradients exchanged: the gradients of queries and values are exchanged
    [d.reshape(x.shape[:-1] + (-1,)) for d in attention_backward(da)] →
        transpose lost: the heads are reshaped without exchanging them with the positions
heads: dx
    dq @ w_q.T → path dropped: the paths through k and v are missing
    dq @ w_q.T + dk @ w_k.T → path dropped: the path through v is missing
    (dq + dk + dv) @ w_q.T → name replaced: one matrix stands in place of all three
one_page: dE
    X.T @ dx → path dropped: the path through the output matrix is missing
    dlogits.T @ n3 → path dropped: the path through the embedding is missing
linear: dx
    dy @ np.linalg.pinv(weight) → transpose lost: the pseudo-inverse of W stands in place of its transpose
    dy{MEAN} * weight.sum(axis=1) → sum dropped: the products are not summed over the outputs
linear: dweight
    np.outer(rows(x).sum(axis=0), rows(dy).sum(axis=0)) → brackets misplaced: the sums come before the product
    rows(np.ones_like(x)).T @ rows(dy) → factor dropped: x is not in it: every row is the sum of dy
unembedding: dweight
    dy.reshape(dy.shape[-1], -1) @ rows(x) → transpose lost: dy is reshaped, which does not transpose it
    np.outer(rows(dy).sum(axis=0), rows(x).sum(axis=0)) → brackets misplaced: the sums come before the product
embedding: dweight
    dweight.__setitem__(ids, dy) →
        accumulation lost: a row that is read twice has the last of its gradients, not the sum
    [dweight.__setitem__(i, dweight[i] + d) for i, d in zip(ids, dy)] →
        accumulation lost: a row that is read twice in a sequence has only one of the two gradients
    np.maximum.at(dweight, ids, dy) →
        accumulation lost: a row that is read twice has the largest of its gradients, not the sum
rotary: dx
    joined(db, da, layout) → names exchanged: the first and the second of each pair are exchanged in the end
    dy * np.concatenate([cos, cos], axis=-1) → factor dropped: the sine is left out
    joined(da_turned * cos - db_turned * sin, db_turned * cos + da_turned * sin, layout) →
        sign flipped: it is turned forward once more, not back
    joined(da_turned * sin - db_turned * cos, db_turned * sin + da_turned * cos, layout) →
        names exchanged: sine and cosine are exchanged
    joined(da, db, 'half' if layout == 'interleaved' else 'interleaved') →
        layout changed: pairs are taken in one layout and put back in the other
rotary: da_turned, db_turned
    pairs(dy, 'half' if layout == 'interleaved' else 'interleaved') →
        layout changed: pairs are taken in the other layout and put back in this one
    pairs(dy, 'half') → layout changed: pairs are taken in the layout half, whatever is given
    pairs(dy, 'interleaved') → layout changed: pairs are taken in the layout interleaved, whatever is given
layer_norm, rms_norm: dx_hat
    dy * gamma ** 2 → factor added: the gain γ stands there twice
    dy * (1 + gamma) → name replaced: 1 + γ stands in place of γ
layer_norm, rms_norm: dgamma
    (dy * x_hat * r).sum(axis=tuple(range(dy.ndim - 1))) → factor added: it is multiplied by 1/σ once more
layer_norm: dx
    r * dx_hat → path dropped: mean and variance are taken for constants: both of their paths are missing
    r * (dx_hat - shift) → path dropped: the path through the variance is missing
    r * (dx_hat - x_hat * scale) → path dropped: the path through the mean is missing
    r * dx_hat - shift - x_hat * scale → brackets misplaced: 1/σ is multiplied with the direct path alone
    gamma * r * (dy - dy{MEAN} - x_hat * (dy * x_hat){MEAN}) →
        brackets misplaced: the gain γ multiplies the whole from outside the means
    r * (dx_hat - dy{MEAN} - x_hat * (dy * x_hat){MEAN}) → factor dropped: the gain γ is missing in the means
    r * (dx_hat - x.shape[-1] * (shift + x_hat * scale)) →
        sum and mean exchanged: sums over the features stand in place of both means
    r * (dx_hat + shift + x_hat * scale) → sign flipped: the signs of both indirect paths are wrong
    r * (dx_hat - shift - x * (dx_hat * x){MEAN}) →
        name replaced: x stands in place of x̂ on the path through the variance
    r * (dx_hat - shift - y * (dx_hat * y){MEAN}) →
        name replaced: y stands in place of x̂ on the path through the variance
    (dx_hat - shift - x_hat * scale) / np.sqrt(variance) → term dropped: ε is forgotten in the scale in front
    (dx_hat - shift - x_hat * scale) / (variance + eps) → power changed: it is divided by σ² + ε, not by its root
    r * (dx_hat - dx_hat.mean() - x_hat * (dx_hat * x_hat).mean()) →
        axis changed: the means run over all entries, not over the features of each position
    r * (dx_hat - dx_hat{OVER_POSITIONS} - x_hat * (dx_hat * x_hat){OVER_POSITIONS}) →
        axis changed: the means run over the positions, not over the features
rms_norm: dx
    r * dx_hat → path dropped: the path through the mean square is missing: it is taken for a constant
    r * (dx_hat - dx_hat{MEAN} - x_hat * scale) →
        term added: the mean of dx̂ is subtracted as well, as in layer normalization
    gamma * r * (dy - x_hat * (dy * x_hat){MEAN}) →
        brackets misplaced: the gain γ multiplies the whole from outside the mean
    r * (dx_hat - 2 * x_hat * scale) → term added: the path through the mean square counts twice
    r * dx_hat - x * scale → name replaced: x stands in place of r · x̂ on the path through the mean square
    r * (dx_hat - y * (dx_hat * y){MEAN}) → name replaced: y stands in place of x̂ on the path through the mean square
    (dx_hat - x_hat * scale) / np.sqrt(mean_square) → term dropped: ε is forgotten in the scale in front
    (dx_hat - x_hat * scale) / (mean_square + eps) →
        power changed: it is divided by the mean square + ε, not by its root
softmax: dx
    y * dy → term dropped: the sum over y · dy is not subtracted
    y * (1 - y) * dy → diagonal alone: only the diagonal of the Jacobian is there
    dy - y * weighted_sum → brackets misplaced: y multiplies the sum alone, not dy
    y * dy - weighted_sum → brackets misplaced: y multiplies dy alone, not the sum
    y * (dy - dy.sum(axis=axis, keepdims=True)) → factor dropped: dy is summed without the weights y
    y * (dy - dy.mean(axis=axis, keepdims=True)) → factor dropped: dy is averaged without the weights y
    dy - y * dy.sum(axis=axis, keepdims=True) → slope replaced: it is the gradient of log_softmax
    e * (dy - (e * dy).sum(axis=axis, keepdims=True)) → division dropped: the exponentials are not divided by their sum
log_softmax: dx
    dz * (1 - np.exp(z)) → diagonal alone: only the diagonal of the Jacobian is there
    dz - np.exp(z) → factor dropped: the sum over dz is left out, as though it were 1
    np.exp(z) * (dz - (np.exp(z) * dz).sum(axis=axis, keepdims=True)) → slope replaced: it is the gradient of softmax
    dz - dz.mean(axis=axis, keepdims=True) → term added: the mean of dz is subtracted
    dz - (np.exp(z) * dz).sum(axis=axis, keepdims=True) → brackets misplaced: softmax's output is inside the sum alone
attention: dscores
    weights * dweights → term dropped: the sum over the keys of weights · dweights is not subtracted
    weights * (1 - weights) * dweights → diagonal alone: only the diagonal of softmax's Jacobian is there
    dweights - {SUM} → factor dropped: the weights do not multiply the difference
    weights * (dweights + {SUM}) → sign flipped: the sign of the subtracted sum is wrong
    weights * dweights - {SUM} → brackets misplaced: the weights multiply dweights alone, not the sum
    dweights - weights * {SUM} → brackets misplaced: the weights multiply the sum alone, not dweights
    weights * (dweights - dweights.sum(axis=-1, keepdims=True)) → factor dropped: dweights is summed without the weights
    weights * (dweights - dweights{MEAN}) → factor dropped: dweights is averaged over the keys, without the weights
    weights * (dweights - (weights * dweights).sum(axis=-2, keepdims=True)) →
        axis changed: the sum runs over the queries, not over the keys
    weights * (dweights - (weights * dweights).sum()) → axis changed: the sum runs over all entries
    V / s → factor dropped: the scale is forgotten in dq and in dk
    s * V → factor added: the scale stands there twice in dq and in dk
attention: dq
    V / q.shape[-1] ** 0.5 / s → factor changed: the scale is 1/√D, whatever is given
attention: dk
    V / q.shape[-1] ** 0.5 / s → factor changed: the scale is 1/√D, whatever is given
relu: dx
    np.where(off, dy, 0) → mask forgotten: the entries where x > 0 and the others are exchanged
    np.where(dy <= 0, 0, dy) → mask forgotten: it is stopped where dy ≤ 0, not where x ≤ 0
    np.where(off | (dy <= 0), 0, dy) → mask forgotten: it is stopped where dy ≤ 0 as well as where x ≤ 0
silu, gelu: dx
    dy * (0.5 * (1 + np.tanh(0.851 * x))) * (1 + 1.702 * x * (1 - 0.5 * (1 + np.tanh(0.851 * x)))) →
        slope replaced: the slope is that of the form x · σ(1.702 x)
    dy * (x > 0) → slope replaced: the slope is that of ReLU
    dy * x → slope replaced: x stands in place of the slope
    dy * y → slope replaced: y stands in place of the slope
silu: dx
    dy * sigma → path dropped: the path through σ is missing
    dy * sigma * (1 - sigma) → slope replaced: it is the slope of σ alone
    dy * x * sigma * (1 - sigma) → path dropped: the direct path is missing
    dy * (sigma + x * (1 - sigma)) → slope replaced: the slope of σ is taken as 1 − σ
    dy * (sigma + x * (1 - sigma ** 2)) → slope replaced: the slope of σ is taken as that of tanh
    dy * y * (1 - y) → slope replaced: it is the logistic function's slope, at its own output
gelu: dx
    dy * (0.5 * (1 + np.tanh(0.5 * x))) * (1 + x * (1 - 0.5 * (1 + np.tanh(0.5 * x)))) →
        slope replaced: the slope is that of SiLU
    dy * Phi → path dropped: the path through Φ is missing
    dy * (Phi + x * {DENSITY}) → slope replaced: the slope of Φ is that of the exact form
    dy * (Phi + 2 * x * Phi * (1 - Phi)) → slope dropped: the chain rule ends at u: its slope is missing
    dy * (Phi + x * 2 * Phi * (1 - Phi)) * u_slope →
        brackets misplaced: the slope of u multiplies the direct path as well
    dy * (Phi + 0.5 * x * np.tanh(u) * u_slope) → slope replaced: tanh stands in place of its slope
    dy * (Phi + 0.5 * x * u_slope) → slope dropped: the slope of tanh is missing
    dy * (Phi + 0.5 * x * (1 - Phi ** 2) * u_slope) → slope replaced: the slope of tanh is taken at Φ
    dy * (Phi + 2 * x * Phi * (1 - Phi) * u) → slope replaced: u stands in place of its slope
    dy * (Phi + x * (1 - np.tanh(u) ** 2)) → factor dropped: the slope of u and a factor ½ are missing
gelu: u_slope
    c * (1 + 0.044715 * x * x) → factor dropped: the 3 of the cube's derivative is missing
    c + 3 * 0.044715 * x * x → brackets misplaced: √(2/π) multiplies the 1 alone, not the cube's derivative
swiglu: du
    dp * 0.5 * (1 + np.tanh(0.5 * g)) → slope replaced: σ(g) stands in place of silu(g)
swiglu: dg
    silu_backward(g) → backward call dropped: silu's backward gets g, not an upstream gradient
    da * 0.25 * (1 - np.tanh(0.5 * g) ** 2) → slope replaced: the slope is that of the logistic function, not of silu
    da * silu_backward(g) → backward call dropped: silu's backward gets g, not an upstream gradient
    da → slope dropped: the slope of silu is missing
    da * a → slope replaced: the slope of silu is taken as silu(g)
dropout: dx
    dy * keep / p → factor changed: it is divided by p, not by 1 − p
    dy * ~keep * scale → mask forgotten: the mask is inverted: it passes where x was dropped
    dy * keep / keep.mean() → factor changed: it is divided by the share that was kept, not by 1 − p
cross_entropy: dlogits
    A * p * dlosses[..., None] → term dropped: the target is not subtracted: it is the probabilities alone
    -a * dlosses[..., None] → factor dropped: the probabilities are missing
    V * p → factor added: it is multiplied by the probabilities once more
    V * p * (1 - p) → factor added: it is multiplied by p (1 − p)
cross_entropy: A
    1 → factor dropped: the sum of the coefficients is taken as 1
cross_entropy: dlosses
    share * np.ones(targets.shape) → dy ignored: the upstream gradient is forgotten
    V / targets.size → factor added: it is divided by the number of positions once more
    np.asarray(dloss, dtype) / targets.size * np.ones(targets.shape) →
        axis changed: the mean is over all positions: ignored ones are counted
feed_forward: dh
    da → backward call dropped: the activation's backward is skipped
    da * h → slope replaced: h stands in place of the activation's slope
    da * a → slope replaced: the activation itself stands in place of its slope
    da * (h > 0) → slope replaced: the activation's slope is that of ReLU
    activation_backward(activation_backward(da)) → factor added: the activation's slope is taken twice
gated_feed_forward: dx
    gate_backward(du) + up_backward(dg) →
        gradients exchanged: the two are exchanged: each goes through the other's matrix
multi_head_attention: dheads
    w_o_backward(dy).reshape(heads.shape) → transpose lost: the heads are cut without exchanging them with the positions
multi_head_attention: return
    projections_backward(0 * dxq, dxk, dxv) → path dropped: the path through q is missing
    projections_backward(dxq, 0 * dxk, dxv) → path dropped: the path through k is missing
    projections_backward(dxq, dxk, 0 * dxv) → path dropped: the path through v is missing
    projections_backward(dxq, dxk, dxv) / 3 → sum and mean exchanged: the three paths are averaged, not added
multi_head_attention: dxq, dxk, dxv
    (merge(dq), k_backward(dk), v_backward(dv)) → backward call dropped: rotary positions do not turn dq back
    (merge(dq), merge(dk), merge(dv)) → backward call dropped: rotary positions do not turn dq and dk back
block: dn2
    feed_forward_backward(dy) → backward call dropped: the dropout after feed_forward is skipped
block: dr
    norm2_backward(dn2) → path dropped: the direct path past feed_forward is missing
    dy + feed_forward_backward(norm2_backward(df)) → order reversed: the order is wrong: norm2's backward comes first
    norm2_backward(dy + dn2) → brackets misplaced: the direct path goes through norm2 as well
block: dn1
    attention_backward(dmid) → backward call dropped: the dropout after attention is skipped
block: dx
    dmid + attention_backward(norm1_backward(da)) →
        order reversed: the order is wrong: norm1's backward comes first
    norm1_backward(dmid + dn1) → brackets misplaced: the direct path goes through norm1 as well
"""


def rows_of_exercises(table: str) -> dict[str, list[Row]]:
    """Parse a table into {exercise: rows}."""
    for name, code in LONGER.items():
        table = table.replace(name, code)
    found: dict[str, list[Row]] = {}
    exercises, where = [], ""
    for line in table.replace(" →\n        ", " → ").strip().split("\n"):
        if line.startswith(" "):
            wrong, rest = line.strip().split(" → ")
            kind, _, sentence = rest.partition(": ")
            for name in exercises:
                found.setdefault(name, []).append(typical(kind, wrong, sentence, where=where))
        else:
            names, where = line.split(": ")
            exercises = names.split(", ")
    return found


OF_EXERCISES = rows_of_exercises(TABLE)
OF_ANY_LINE = rows_of(IN_ANY_LINE)


def component_of(exercise) -> Component | None:
    """Return the right version of an exercise, with the typical mistakes in it, or None without a solution."""
    if exercise.given or exercise.name not in GLOSSARY:
        return None
    rows = (*OF_EXERCISES.get(exercise.name, ()), *OF_ANY_LINE)
    return Component(exercise.reference, rows, partial(with_result_of, exercise))


def with_result_of(exercise, function):
    """Convert the textbook's function to one that returns what the exercise does, of a student's variant."""

    @wraps(function)
    def adapted(*inputs, **options):
        y, *_, its_backward = function(*inputs, **options)  # one_page.py returns the logits as well

        def backward(dy):
            return its_backward(of_result(exercise, dy))

        return of_result(exercise, y), backward

    return adapted


def glossary_of(exercise: str) -> dict:
    """Return {code: noun phrase} for an exercise."""
    entries = f"{DY}; {GLOSSARY.get(exercise, DY)}".split(";")
    return dict(entry.strip().split(": ") for entry in entries)
