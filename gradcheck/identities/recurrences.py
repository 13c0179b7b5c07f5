"""Linear attention: a recurrence, a product with a mask, and chunks of both."""

import numpy as np

from gradcheck.identities.identity import same_as


def linear_attention(q, k, v):
    state, outputs = 0, []
    for t in range(len(q)):
        state = state + np.outer(v[t], k[t])
        outputs.append(state @ q[t])
    return np.stack(outputs)


@same_as(linear_attention, (3, 2), (3, 2), (3, 2), near_miss=("len(q))", "len(q), k=-1)"))
def linear_attention_with_a_mask(q, k, v):
    """Linear attention as a recurrence is a masked product (Katharopoulos et al., 2020).

    S_t = S_{t−1} + v_t k_tᵀ, y_t = S_t q_t    y = (mask · q kᵀ) v

    Near miss: a position does not attend to itself.
    """
    return (np.tri(len(q)) * (q @ k.T)) @ v


def gated_linear_attention(q, k, v, gate):
    state, outputs = 0, []
    for t in range(len(q)):
        state = gate[t] * state + np.outer(v[t], k[t])
        outputs.append(state @ q[t])
    return np.stack(outputs)


@same_as(gated_linear_attention, (3, 2), (3, 2), (3, 2), (3,), near_miss=("[:, None] / decay", "[:, None] * decay"))
def gated_linear_attention_with_a_mask(q, k, v, gate):
    """With gates, the mask holds the products of the gates between two positions (Yang et al., 2023).

    y = (mask · q kᵀ) v with mask_ts = g_{s+1} ⋯ g_t for s ≤ t

    Near miss: the products from the beginning to both positions are multiplied.
    """
    decay = np.cumprod(gate)
    mask = np.tri(len(q)) * (decay[:, None] / decay)
    return (mask * (q @ k.T)) @ v


@same_as(gated_linear_attention, (4, 2), (4, 2), (4, 2), (4,), near_miss=("decay[-1] / decay * v", "decay * v"))
def gated_linear_attention_in_chunks(q, k, v, gate):
    """Chunks with a state between them are the recurrence (Yang et al., 2023).

    y = decay · (q Sᵀ) + (mask · q kᵀ) v within a chunk, and S′ = decay_end S + Σ decay_end / decay_s v_s k_sᵀ

    Near miss: each value decays from the beginning of its chunk, and not to its end.
    """
    state, outputs = np.zeros((2, 2)), []
    for chunk in (slice(0, 2), slice(2, 4)):
        decay = np.cumprod(gate[chunk])
        mask = np.tri(2) * (decay[:, None] / decay)
        outputs.append(decay[:, None] * (q[chunk] @ state.T) + (mask * (q[chunk] @ k[chunk].T)) @ v[chunk])
        state = decay[-1] * state + (decay[-1] / decay * v[chunk].T) @ k[chunk]
    return np.concatenate(outputs)


def delta_rule(q, k, v, beta):
    state, outputs = np.zeros((2, 2)), []
    for t in range(len(q)):
        state = state + beta[t] * np.outer(v[t] - state @ k[t], k[t])
        outputs.append(state @ q[t])
    return np.stack(outputs)


@same_as(delta_rule, (3, 2), (3, 2), (3, 2), (3,), near_miss=("np.tri(3, k=-1)", "np.tri(3)"))
def delta_rule_in_one_chunk(q, k, v, beta):
    """The delta rule over a chunk is the solution of a triangular system (Yang et al., 2024).

    u_t = β_t (v_t − Σ_{s<t} u_s ⟨k_s, k_t⟩)    (I + β · strict(k kᵀ)) u = β · v    y = (mask · q kᵀ) u

    Near miss: a position corrects itself.
    """
    system = np.eye(3) + beta[:, None] * np.tri(3, k=-1) * (k @ k.T)
    u = np.linalg.solve(system, beta[:, None] * v)
    return (np.tri(3) * (q @ k.T)) @ u


def fast_weights(q, k, v, beta):
    state, outputs = np.zeros((2, 2)), []
    for t in range(len(q)):
        state = state @ (np.eye(2) - beta[t] * np.outer(k[t], k[t])) + beta[t] * np.outer(v[t], k[t])
        outputs.append(state @ q[t])
    return np.stack(outputs)


@same_as(fast_weights, (3, 2), (3, 2), (3, 2), (3,), near_miss=("state @ k[t]", "state @ q[t]"))
def gradient_descent_on_the_state(q, k, v, beta):
    """The delta rule is a step of gradient descent (Schlag et al., 2021).

    S_t = S_{t−1} (I − β k kᵀ) + β v kᵀ = S_{t−1} − β ∇ ½ |S_{t−1} k − v|²

    Near miss: the state is read with the query.
    """
    state, outputs = np.zeros((2, 2)), []
    for t in range(len(q)):
        error = state @ k[t] - v[t]
        state = state - beta[t] * np.outer(error, k[t])
        outputs.append(state @ q[t])
    return np.stack(outputs)
