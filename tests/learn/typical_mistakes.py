"""A hundred mistakes that people make, written without knowledge of the diagnoses.

A path forgotten, a factor, an axis, a transpose, a mean for a sum, a saved value for an input, a sign, an order.
"""

# exercise | right → wrong
TABLE = """
linear | dx = dy @ weight.T → dx = (weight @ dy.reshape(-1, dy.shape[-1]).T).T.reshape(x.shape) / len(x)
linear | dbias = rows(dy).sum(axis=0) → dbias = dy[0].sum(axis=0)
linear | dweight = rows(x).T @ rows(dy) → dweight = x[0].T @ dy[0]
linear | dweight = rows(x).T @ rows(dy) → dweight = rows(x).T @ rows(dy) / rows(x).shape[0]
linear | dweight = rows(x).T @ rows(dy) → dweight = rows(dy).T @ rows(x)
embedding | np.add.at(dweight, ids, dy) → dweight[ids] = dy
embedding | np.add.at(dweight, ids, dy) → dweight[ids] += dy
embedding | np.add.at(dweight, ids, dy) → np.add.at(dweight, ids[0], dy[0])
unembedding | dx = dy @ weight → dx = dy @ weight / weight.shape[0]
unembedding | dweight = rows(dy).T @ rows(x) → dweight = rows(dy).T @ rows(x) + weight
rotary | da = da_turned * cos + db_turned * sin → da = da_turned * cos - db_turned * sin
rotary | db = db_turned * cos - da_turned * sin → db = db_turned * cos + da_turned * sin
rotary | da_turned, db_turned = pairs(dy, layout) → da_turned, db_turned = pairs(dy, 'half')
rotary | dx = joined(da, db, layout) → dx = joined(db, da, layout)
layer_norm | scale = (dx_hat * x_hat).mean(axis=-1, keepdims=True) →
    scale = (dx_hat * x_hat).sum(axis=-1, keepdims=True)
layer_norm | dx = r * (dx_hat - shift - x_hat * scale) → dx = dx_hat * r
layer_norm | dx = r * (dx_hat - shift - x_hat * scale) → dx = r * (dx_hat - shift - x * scale)
layer_norm | dx = r * (dx_hat - shift - x_hat * scale) → dx = (dx_hat - shift - x_hat * scale) / variance
layer_norm | dx_hat = dy * gamma → dx_hat = dy / gamma
layer_norm | dgamma = (dy * x_hat).sum(axis=positions) → dgamma = (dy * x).sum(axis=positions)
layer_norm | shift = dx_hat.mean(axis=-1, keepdims=True) → shift = dy.mean(axis=-1, keepdims=True)
layer_norm | dx = r * (dx_hat - shift - x_hat * scale) → dx = r * (dx_hat - shift + x_hat * scale)
layer_norm | return dx, dgamma, dbeta → return dx, dbeta, dgamma
rms_norm | dx = r * (dx_hat - x_hat * scale) → dx = r * (dx_hat - dx_hat.mean(axis=-1, keepdims=True) - x_hat * scale)
rms_norm | dx = r * (dx_hat - x_hat * scale) → dx = r * dx_hat
rms_norm | dx = r * (dx_hat - x_hat * scale) → dx = r * (dx_hat - 2 * x_hat * scale)
rms_norm | dx = r * (dx_hat - x_hat * scale) → dx = r * dx_hat - x_hat * scale
rms_norm | dgamma = (dy * x_hat) → dgamma = (dy * gamma * x_hat)
softmax | dx = y * (dy - weighted_sum) → dx = y * (1 - y) * dy
softmax | dx = y * (dy - weighted_sum) → dx = dy * y
softmax | weighted_sum = (y * dy).sum(axis=axis, keepdims=True) → weighted_sum = dy.sum(axis=axis, keepdims=True)
softmax | weighted_sum = (y * dy).sum(axis=axis, keepdims=True) → weighted_sum = (y * dy).sum(axis=-1, keepdims=True)
softmax | dx = y * (dy - weighted_sum) → dx = dy - y * weighted_sum
log_softmax | dx = dz - np.exp(z) * dz.sum(axis=axis, keepdims=True) → dx = dz - np.exp(z)
log_softmax | dx = dz - np.exp(z) * dz.sum(axis=axis, keepdims=True) → dx = dz - np.exp(z) * dz
log_softmax | dx = dz - np.exp(z) * dz.sum(axis=axis, keepdims=True) → dx = dz * (1 - np.exp(z))
log_softmax | np.exp(z) * dz.sum → z * dz.sum
attention | dq = s * dscores @ k → dq = dscores @ k
attention | dk = s * dscores.swapaxes(-1, -2) @ q → dk = dscores.swapaxes(-1, -2) @ q
attention | dq = s * dscores @ k → dq = s * s * dscores @ k
attention | dscores = weigh_backward(dweights) → dscores = weights * dweights
attention | dscores = weigh_backward(dweights) → dscores = dweights
attention | dweights = dy @ v.swapaxes(-1, -2) → dweights = dy @ v.swapaxes(-1, -2) / v.shape[-1]
attention | return dq, dk, dv → return dk, dq, dv
attention | dscores = weigh_backward(dweights) →
    dscores = weights * (dweights - dweights.mean(axis=-1, keepdims=True))
attention | s * dscores.swapaxes(-1, -2) @ q → s * scores.swapaxes(-1, -2) @ q
relu | dx = np.where(off, 0, dy) → dx = np.where(dy > 0, dy, 0)
relu | dx = np.where(off, 0, dy) → dx = dy * y
relu | dx = np.where(off, 0, dy) → dx = (x > 0) * 1.0
silu | dx = dy * sigma * (1 + x * (1 - sigma)) → dx = dy * sigma * (1 - sigma)
silu | dx = dy * sigma * (1 + x * (1 - sigma)) → dx = dy * (sigma + sigma * (1 - sigma))
silu | dx = dy * sigma * (1 + x * (1 - sigma)) → dx = dy * (sigma + x * sigma)
silu | dx = dy * sigma * (1 + x * (1 - sigma)) → dx = dy * sigma + x * sigma * (1 - sigma)
gelu | dx = dy * (Phi + x * 2 * Phi * (1 - Phi) * u_slope) → dx = dy * Phi
gelu | 3 * 0.044715 → 0.044715
gelu | x * 2 * Phi * (1 - Phi) → x * Phi * (1 - Phi)
gelu | x * 2 * Phi * (1 - Phi) → x * (1 - np.tanh(u) ** 2)
gelu | dx = dy * (Phi + x * 2 * Phi * (1 - Phi) * u_slope) → dx = dy * (Phi + x * 2 * Phi * (1 - Phi))
gelu | dx = dy * (Phi + x * 2 * Phi * (1 - Phi) * u_slope) → dx = dy * (Phi + 2 * Phi * (1 - Phi) * u_slope)
gelu | dx = dy * (Phi + x * 2 * Phi * (1 - Phi) * u_slope) →
    dx = dy * (Phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
dropout | dx = dy * keep * scale → dx = dy
dropout | dx = dy * keep * scale → dx = dy * scale
dropout | dx = dy * keep * scale → dx = dy * keep * (1 - p)
dropout | dx = dy * keep * scale → dx = dy * ~keep * scale
feed_forward | dx = up_backward(dh) → dx = dy + up_backward(dh)
feed_forward | dh = activation_backward(da) → dh = da
feed_forward | dh = activation_backward(da) → dh = da * h
swiglu | du = dp * a → du = dp * g
swiglu | da = dp * u → da = dp
swiglu | return dg, du → return du, dg
gated_feed_forward | dx = gate_backward(dg) + up_backward(du) → dx = gate_backward(dg)
gated_feed_forward | dx = gate_backward(dg) + up_backward(du) → dx = gate_backward(dg) * up_backward(du)
gated_feed_forward | dx = gate_backward(dg) + up_backward(du) → dx = gate_backward(du) + up_backward(dg)
block | dr = dy + norm2 → dr = norm2
block | dx = dmid + norm1 → dx = dy + dmid + norm1
block | dx = dmid + norm1 → dx = norm1
block | feed_forward_backward(df) → feed_forward_backward(dy)
block | da = dropout1_backward(dmid) → da = dropout1_backward(dy)
block | dn1 = attention_backward(da) → dn1 = norm1_backward(da)
cross_entropy | dlogits = (A * p - a) * dlosses[..., None] → dlogits = (p - a) * dlosses[..., None]
cross_entropy | dlogits = (A * p - a) * dlosses[..., None] → dlogits = (A * p - a) * dlosses[..., None] / targets.size
cross_entropy | dlogits = (A * p - a) * dlosses[..., None] → dlogits = (a - A * p) * dlosses[..., None]
cross_entropy | share * np.asarray(dloss, dtype), a → share, a
cross_entropy | share * np.asarray(dloss, dtype) → np.asarray(dloss, dtype)
cross_entropy | A = a.sum(axis=-1, keepdims=True) → A = a.mean(axis=-1, keepdims=True)
cross_entropy | share * np.asarray(dloss, dtype) → np.asarray(dloss, dtype) / targets.size
cross_entropy | (A * p - a) → (A * z - a)
adamw | (np.sqrt(v_hat) + eps) → np.sqrt(v_hat + eps)
adamw | m_hat = m_new / (1 - beta1**t) → m_hat = m_new
adamw | m_hat = m_new / (1 - beta1**t) → m_hat = m_new / (1 - beta1)
adamw | v_hat = v_new / (1 - beta2**t) → v_hat = v_new / (1 - beta1**t)
adamw | decayed = theta - lr * weight_decay * theta → decayed = theta - weight_decay * theta
adamw | (1 - beta2) * g**2 → (1 - beta2) * g
adamw | m_new = beta1 * m + (1 - beta1) * g → m_new = beta1 * m + g
adamw | m_new = beta1 * m + (1 - beta1) * g → m_new = (1 - beta1) * m + beta1 * g
adamw | theta_new = decayed - lr * m_hat → theta_new = decayed + lr * m_hat
multi_head_attention | v_backward(dv) → v_backward(dk)
multi_head_attention | dx = q_backward(dxq) + k_backward(dxk) + v_backward(dxv) → dx = q_backward(dxq) + v_backward(dxv)
multi_head_attention | dx = q_backward(dxq) + k_backward(dxk) + v_backward(dxv) →
    dx = (q_backward(dxq) + k_backward(dxk) + v_backward(dxv)) / 3
multi_head_attention | dheads = split(w_o_backward(dy), self.d_head) → dheads = w_o_backward(dy).reshape(heads.shape)
"""
LINES = TABLE.strip().replace(" →\n    ", " → ").split("\n")
MISTAKES = [tuple(line.replace(" | ", " → ", 1).split(" → ")) for line in LINES]
