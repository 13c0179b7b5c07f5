"""The gated delta rule in chunks gives the results of the recurrence, in less memory."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes

from gradcheck import same_gradient
from minitransformer.cases import of_recurrence
from minitransformer.fast import delta_chunks, delta_scan
from minitransformer.fast.delta_chunks import in_chunks
from minitransformer.layers.modern.delta_rule import delta_scan as recurrence


def drawn(rng, batch, T, D, Dv, gates=(0, 1e-200, -0.7, 0.5, 1)):
    """Return a state, q, k, v, beta and gate."""
    state, q, k, v = (rng.normal(size=(*batch, *shape)) for shape in ((Dv, D), (T, D), (T, D), (T, Dv)))
    return state, q, k / np.sqrt(D), v, rng.normal(size=(*batch, T)), rng.choice(gates, (*batch, T))


@given(rng=rngs, batch=batch_shapes, T=st.integers(1, 12), D=sizes, Dv=sizes, positions=st.integers(1, 13))
def test_chunks_of_any_size_give_the_recurrence_after_any_state(rng, batch, T, D, Dv, positions):
    arrays = drawn(rng, batch, T, D, Dv)
    (outputs, backward), (expected, plain_backward) = in_chunks(*arrays, positions=positions), recurrence(*arrays)
    dys = [rng.normal(size=output.shape) for output in expected]
    for found, array in zip((*outputs, *backward(*dys)), (*expected, *plain_backward(*dys)), strict=True):
        assert found.shape == array.shape
        np.testing.assert_allclose(found, array, rtol=1e-9, atol=1e-10 * max(1, np.abs(array).max(initial=0)))


def compared_with_the_recurrence(rng, positions):
    """Return the certificate that chunks, after a state, and the recurrence have equal outputs and gradients."""
    inputs = *drawn(rng, (), T=3, D=2, Dv=1)[:-1], rng.random(3)
    plain, chunks = (of_recurrence(scan, *inputs) for scan in (recurrence, partial(in_chunks, positions=positions)))
    return same_gradient(plain.target, chunks.target, *plain.inputs, seed=0)


@pytest.mark.parametrize("positions", [2, 3])
def test_they_are_the_same_function_for_all_real_numbers(rng, positions):
    assert compared_with_the_recurrence(rng, positions)


def test_gates_in_the_reverse_order_are_another_function(rng, monkeypatch):
    decays = delta_chunks.decays
    monkeypatch.setattr(delta_chunks, "decays", lambda gate: decays(gate[..., ::-1]))
    assert compared_with_the_recurrence(rng, 3).verdict == "refused"


def test_equal_keys_that_replace_each_other_lose_no_digits_in_float32(rng):
    # The inverse as a sum of powers would add entries of up to 3,432, which cancel.
    T = 64
    arrays = drawn(rng, (), T, 8, 4, gates=(1,))
    k = np.broadcast_to(arrays[2][:1] / np.linalg.norm(arrays[2][:1]), (T, 8))
    arrays = [x.astype(np.float32) for x in (*arrays[:2], k, arrays[3], np.ones(T), arrays[5])]
    (state, y), _ = delta_scan(*arrays)
    (exact_state, exact), _ = recurrence(*(x.astype(float) for x in arrays))
    np.testing.assert_allclose(y, exact, atol=1e-5)
    np.testing.assert_allclose(state, exact_state, atol=1e-5)


def test_one_state_is_saved_for_each_chunk_and_not_for_each_position(rng):
    arrays = drawn(rng, (4,), 64, 24, 24)

    def saved(scan):
        tracemalloc.start()
        kept = scan(*arrays)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size if kept else 0

    delta_scan(*arrays)  # which compares it with the textbook
    assert saved(delta_scan) < 0.3 * saved(recurrence)
