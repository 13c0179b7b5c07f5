"""The gated delta rule: attention whose memory is one matrix, whatever the length (Yang, Kautz and Hatamizadeh, 2024).

The state S is a table of values by keys: S k is the value that it returns for a key k. Each position writes one pair
into it and reads one answer. To write v at k is a step of gradient descent, of size β, on the loss ½ ‖S k − v‖², whose
derivative with respect to S is (S k − v) kᵀ. This is the delta rule (Widrow and Hoff, 1960), here for the memory of a
sequence (Schlag et al., 2021). The gate, from 0 to 1, first lets the whole state fade.

For a key of length 1 and a step of size 1, the state then returns exactly v for k, whatever it returned before. So what
it returned before gets no gradient: the gradient of the old state, times k, is zero. Linear attention, S + v kᵀ without
the difference, adds all values of a key instead.
"""

from collections.abc import Callable

import numpy as np

from minitransformer.layers.modern.checks import check_delta_rule
from minitransformer.module import Array, Arrays, Backward


def delta_step(
    S: Array, q: Array, k: Array, v: Array, beta: Array, gate: Array
) -> tuple[tuple[Array, Array], Callable[[Array, Array], Arrays]]:
    """Write v (..., Dv) at k (..., D) into S (..., Dv, D), and read at q (..., D). Returns ((state, output), backward).

    For each sequence, with the numbers β and gate (...):

        decayed = gate · S                              (1)
        e = v − decayed k                               (2)
        S′ = decayed + β · e kᵀ                         (3)
        y = S′ q                                        (4)

    e is the error: the part of v that the state does not return yet, *after* the decay. With v − S k instead, a state
    that has faded would be corrected as if it had not, and only for gate = 1 would this be the same.

    Saved for backward: S (..., Dv, D), decayed (..., Dv, D), S_next (..., Dv, D), e (..., Dv), q (..., D), k (..., D),
    beta (...), gate (...).
    """
    decayed = scaled(S, gate)  # (1)
    e = v - times(decayed, k)  # (2)
    S_next = decayed + scaled(outer(e, k), beta)  # (3)
    y = times(S_next, q)  # (4)

    def backward(dstate, dy):
        """S′ reaches the loss along two paths: through y, and through the later steps, whose gradient is `dstate`:

            dS′ = dstate + dy qᵀ    dq = S′ᵀ dy             (5)

        By entries, (3) is S′_ij = decayed_ij + β e_i k_j, so

            de = β · dS′ k    dβ = eᵀ dS′ k                 (6)

        The decayed state reaches S′ directly, and through the error, where (2) has a minus. v reaches it there alone:

            dv = de    ddecayed = dS′ − de kᵀ               (7)

        The key is read twice, where it is written and where the old value is looked up, and the paths add:

            dk = β · dS′ᵀ e − decayedᵀ de                   (8)

        Last, with a sum over all entries, as one number scales them all,

            dgate = Σ_ij S_ij ddecayed_ij    dS = gate · ddecayed      (9)
        """
        dS_next = dstate + outer(dy, q)  # (5) ← S′ q (4)
        dq = times(S_next.swapaxes(-1, -2), dy)  # (5) ← S′ q (4)
        written = times(dS_next, k)
        de = beta[..., None] * written  # (6) ← β · e kᵀ (3)
        dbeta = (e * written).sum(axis=-1)  # (6) ← β · e kᵀ (3)
        dv = de  # (7) ← v − decayed k (2)
        ddecayed = dS_next - outer(de, k)  # (7) ← decayed + β · e kᵀ (3), v − decayed k (2)
        through_write = beta[..., None] * times(dS_next.swapaxes(-1, -2), e)
        dk = through_write - times(decayed.swapaxes(-1, -2), de)  # (8) ← β · e kᵀ (3), v − decayed k (2)
        dgate = (ddecayed * S).sum(axis=(-1, -2))  # (9) ← gate · S (1)
        dS = scaled(ddecayed, gate)  # (9) ← gate · S (1)
        return dS, dq, dk, dv, dbeta, dgate

    return (S_next, y), backward


def delta_rule(q: Array, k: Array, v: Array, beta: Array, gate: Array) -> tuple[Array, Backward[Arrays]]:
    """Return y (..., T, Dv) of q and k (..., T, D), v (..., T, Dv), beta and gate (..., T), from a state of zeros.

    Saved for backward: the arrays that delta_scan saves.

    Raises: TypeError for an array that is not floating-point; ValueError for inconsistent shapes, or no positions.
    """
    check_delta_rule(q, k, v, beta, gate)
    shape = (*v.shape[:-2], v.shape[-1], q.shape[-1])
    (_, y), scan_backward = delta_scan(np.zeros(shape, v.dtype), q, k, v, beta, gate)

    def backward(dy):
        """The last state is not used, so its gradient is zero, and the first is a constant."""
        _, dq, dk, dv, dbeta, dgate = scan_backward(np.zeros(shape, dy.dtype), dy)
        return dq, dk, dv, dbeta, dgate

    return y, backward


def delta_scan(
    before: Array, q: Array, k: Array, v: Array, beta: Array, gate: Array
) -> tuple[tuple[Array, Array], Callable[[Array, Array], Arrays]]:
    """Apply delta_step to T positions, from a state `before` (..., Dv, D). Returns ((state, output), backward).

    The other arguments and the output are those of delta_rule. With S_0 the state before, and I the identity matrix,
    (1) to (4) at position t together are

        S_t = gate_t S_{t−1} (I − β_t k_t k_tᵀ) + β_t v_t k_tᵀ      (10)
        y_t = S_t q_t                                   (11)

    Saved for backward: the arrays that each delta_step saves, two states of Dv × D for each position.
    """
    S, outputs, backwards = [before], [], []
    for at in range(q.shape[-2]):
        inputs_at = [np.take(x, at, axis=-2) for x in (q, k, v)] + [
            np.take(number, at, axis=-1) for number in (beta, gate)
        ]
        (state, output), step_backward = delta_step(S[at], *inputs_at)  # (10)
        S.append(state)
        outputs.append(output)
        backwards.append(step_backward)
    y = np.stack(outputs, axis=-2)  # (11)

    def backward(dstate, dy):
        """The steps run backward, from the last to the first. Each receives the gradient of its state from the step
        after it, adds the one of its own output, by (5), and passes the rest to the step before it:

            dS_t = dy_t q_tᵀ + gate_{t+1} dS_{t+1} (I − β_{t+1} k_{t+1} k_{t+1}ᵀ)      (12)

        which is (10) transposed. After the last step, it is `dstate`. A value that is written at t reaches y at
        every later position, with the product of all factors between. Where a later step writes at the same key, its I
        − β k kᵀ removes the old value from the state, and its gradient from dS.

        With one position the state before it is zero, so the decay, the look-up of the old value and the carried
        gradient do not matter, and a check does not detect an error in them. With gate = 1, S and decayed are equal,
        and a backward that takes one for the other passes.
        """
        carried, of_steps = [dstate], []
        for step, upstream in zip(reversed(backwards), reversed(np.moveaxis(dy, -2, 0)), strict=True):
            to_earlier, *of_inputs = step(carried[-1], upstream)  # (12) ← S_t q_t (11), gate_t S_{t−1} (10)
            carried.append(to_earlier)
            of_steps.append(of_inputs)
        dq, dk, dv, dbeta, dgate = (
            np.stack(parts, axis=axis)
            for parts, axis in zip(zip(*reversed(of_steps), strict=True), (-2, -2, -2, -1, -1), strict=True)
        )
        return carried[-1], dq, dk, dv, dbeta, dgate

    return (S[-1], y), backward


def scaled(matrix, number):
    """Multiply each matrix of (..., Dv, D) by its number of (...)."""
    return number[..., None, None] * matrix


def times(matrix, vector):
    """Return the product of each matrix with its vector."""
    return (matrix @ vector[..., None])[..., 0]


def outer(a, b):
    """Return the matrix a bᵀ of each pair of vectors."""
    return a[..., None] * b[..., None, :]
