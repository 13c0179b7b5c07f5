"""The gated delta rule in chunks: a few large products instead of several small ones for each position.

The recurrence of delta_scan reads one position after another. Within a chunk of n positions it is a triangular system
of linear equations, so only the chunks follow one another (Yang, Kautz and Hatamizadeh, 2024, section 3.3). Let S be
the state before the chunk, e_t the error at its position t, and u_t = β_t e_t. With the products of the gates

    decay_ts = gate_{s+1} ⋯ gate_t for s ≤ t, and 0 for s > t           (1)

where s = 0 stands for the state before the chunk, the recurrence S_t = gate_t S_{t−1} + u_t k_tᵀ is solved by

    S_t = decay_t0 S + Σ_{s≤t} decay_ts u_s k_sᵀ                        (2)

Now write a row of a matrix for each position, a for the column decay_t0, β for the diagonal matrix of its entries, and
∘ for products of entries. The error e_t = v_t − gate_t S_{t−1} k_t contains, by (2), the errors before it, through

    overlap = decay ∘ K Kᵀ below the diagonal                           (3)
    E = V − a ∘ K Sᵀ − overlap U    U = β E                             (4)
    E = (I + overlap β)⁻¹ (V − a ∘ K Sᵀ)                                (5)

and the outputs y_t = S_t q_t and the last state are, by (2),

    weights = decay ∘ Q Kᵀ    Y = a ∘ Q Sᵀ + weights U                  (6)
    S′ = decay_n0 S + Uᵀ (decay_n ∘ K)                                  (7)

where decay_n is the last row of (1). Backward. U reaches the loss through Y, S′ and the later errors of its chunk:

    dU = weightsᵀ dY + (decay_n ∘ K) dS′ᵀ − overlapᵀ dE    dE = β dU    (8)
    dE = (I + overlap β)⁻ᵀ β (weightsᵀ dY + (decay_n ∘ K) dS′ᵀ)         (9)
    dβ_t = e_tᵀ du_t    dV = dE    dweights = dY Uᵀ    doverlap = −dE Uᵀ below the diagonal     (10)

Each of Q, K, S and decay is a factor of several products, and the paths add:

    dQ = a ∘ dY S + (decay ∘ dweights) K                                (11)
    dK = (decay ∘ dweights)ᵀ Q + (decay ∘ doverlap) K + (decay ∘ doverlap)ᵀ K − a ∘ dE S + decay_n ∘ U dS′    (12)
    dS = decay_n0 dS′ + (a ∘ dY)ᵀ Q − (a ∘ dE)ᵀ K                       (13)

The decay from s to t contains gate_r if s < r ≤ t, as decay_tr gate_r decay_{r−1,s}, so

    dgate_r = Σ_{s<r≤t} decay_tr ddecay_ts decay_{r−1,s}                (14)

No product of gates is divided by another one: decay_t0 / decay_s0 would be 0 / 0 if the product to s is too small.
"""

import numpy as np

from minitransformer.fast.registration import twin_of
from minitransformer.layers.modern import delta_rule as textbook

CHUNK = 16  # positions
AXES = (-2, -2, -2, -1, -1)  # of the positions in q, k, v, beta and gate


def after_a_state(delta_scan, rng):
    """Apply delta_scan and its backward to a chunk and two positions, after a state."""
    T = CHUNK + 2
    inputs = [rng.normal(size=shape) / 2 for shape in ((2, 4, 3), (2, T, 3), (2, T, 3), (2, T, 4))]
    (state, y), backward = delta_scan(*inputs, *rng.random((2, 2, T)))
    return [state, y, *backward(rng.normal(size=state.shape), rng.normal(size=y.shape))]


@twin_of(textbook.delta_scan, "c7289eb76679", repeats=(textbook.delta_step,), cases=(after_a_state,))
def delta_scan(before, q, k, v, beta, gate):
    """Apply the gated delta rule to T positions, from a state (..., Dv, D). Returns ((state, output), backward).

    A single position, as in generation, is faster in the textbook. Saved for backward: the arrays that delta_chunk
    saves for each chunk, among them one state.
    """
    if q.shape[-2] == 1:
        return textbook.delta_scan(before, q, k, v, beta, gate)
    return in_chunks(before, q, k, v, beta, gate, positions=CHUNK)


def in_chunks(before, q, k, v, beta, gate, *, positions):
    """Apply delta_chunk to chunks of `positions` positions, of which the last may be shorter.

    Saved for backward: the arrays that delta_chunk saves for each chunk.
    """
    ends = range(positions, q.shape[-2], positions)
    state, outputs, backwards = before, [], []
    parts = [np.split(x, ends, axis=axis) for x, axis in zip((q, k, v, beta, gate), AXES, strict=True)]
    for chunk in zip(*parts, strict=True):
        (state, output), chunk_backward = delta_chunk(state, *chunk)
        outputs.append(output)
        backwards.append(chunk_backward)

    def backward(dstate, dy):
        of_chunks = []
        for step, upstream in zip(reversed(backwards), reversed(np.split(dy, ends, axis=-2)), strict=True):
            dstate, *of_inputs = step(dstate, upstream)
            of_chunks.append(of_inputs)
        joined = zip(zip(*reversed(of_chunks), strict=True), AXES, strict=True)
        return dstate, *(np.concatenate(parts, axis=axis) for parts, axis in joined)

    return (state, np.concatenate(outputs, axis=-2)), backward


def delta_chunk(S, q, k, v, beta, gate):
    """Apply delta_step to the n positions of a chunk, from a state S (..., Dv, D). Returns ((state, output), backward).

    Saved for backward: S (..., Dv, D), q (..., n, D), k (..., n, D), beta (..., n), decay (..., n + 1, n + 1), q_with_k
    (..., n, n), k_with_k (..., n, n), q_of_S (..., n, Dv), k_of_S (..., n, Dv), overlap (..., n, n), inverse (..., n,
    n), errors (..., n, Dv), u (..., n, Dv), weights (..., n, n).
    """
    decay = decays(gate)  # (1)
    a, within, whole, to_end = parts(decay)
    q_with_k, k_with_k = q @ transposed(k), np.tril(k @ transposed(k), -1)
    q_of_S, k_of_S = q @ transposed(S), k @ transposed(S)
    overlap = within * k_with_k  # (3)
    inverse = np.linalg.inv(np.eye(q.shape[-2], dtype=q.dtype) + overlap * beta[..., None, :])
    errors = inverse @ (v - a * k_of_S)  # (5)
    u = beta[..., None] * errors  # (4)
    weights = within * q_with_k  # (6)
    y = a * q_of_S + weights @ u  # (6)
    state = whole * S + transposed(u) @ (to_end * k)  # (2) (7)

    def backward(dstate, dy):
        a, within, whole, to_end = parts(decay)
        k_of_dstate = k @ transposed(dstate)
        du_direct = transposed(weights) @ dy + to_end * k_of_dstate
        de = transposed(inverse) @ (beta[..., None] * du_direct)  # (9)
        du = du_direct - transposed(overlap) @ de  # (8)
        dbeta = (errors * du).sum(axis=-1)  # (10)
        dweights, doverlap = dy @ transposed(u), -np.tril(de @ transposed(u), -1)  # (10)
        dq_with_k, dk_with_k = within * dweights, within * doverlap
        dq_of_S, dk_of_S = a * dy, -a * de
        dq = dq_of_S @ S + dq_with_k @ k  # (11)
        dk = transposed(dq_with_k) @ q + (dk_with_k + transposed(dk_with_k)) @ k
        dk += dk_of_S @ S + to_end * (u @ dstate)  # (12)
        dS = whole * dstate + transposed(dq_of_S) @ q + transposed(dk_of_S) @ k  # (13)
        da = (dy * q_of_S - de * k_of_S).sum(axis=-1, keepdims=True)
        da[..., -1, :] += (dstate * S).sum(axis=(-1, -2))[..., None]
        dwithin = dweights * q_with_k + doverlap * k_with_k
        dwithin[..., -1, :] += (u * k_of_dstate).sum(axis=-1)
        ddecay = np.concatenate([da, dwithin], axis=-1)
        dgate = (transposed(within) @ ddecay * decay[..., :-1, :]).sum(axis=-1)  # (14)
        return dS, dq, dk, de, dbeta, dgate

    return (state, y), backward


def decays(gate):
    """Return the products of the gates (..., n) from each position to each later one, (..., n + 1, n + 1)."""
    n = gate.shape[-1]
    factors = np.ones((*gate.shape[:-1], n + 1, n + 1), gate.dtype)
    np.copyto(factors[..., 1:, :], gate[..., None], where=np.tri(n, n + 1, dtype=bool))
    return np.tril(np.cumprod(factors, axis=-2))


def parts(decay):
    """Return decay_t0, decay_ts for s > 0, decay_n0 and decay_ns for s > 0, as factors of matrices with n rows."""
    return decay[..., 1:, :1], decay[..., 1:, 1:], decay[..., -1:, :1], decay[..., -1, 1:, None]


def transposed(x):
    return x.swapaxes(-1, -2)
