"""Sinusoidal and rotary positions."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs

from minitransformer import rotary, sinusoidal_positions
from minitransformer.layers.positions import Rotary, SinusoidalPositions, frequencies

layouts = st.sampled_from(["half", "interleaved"])
positions_of_four = st.lists(st.integers(-50, 5000), min_size=4, max_size=4).map(np.array)


def as_complex(x, layout):
    """The pairs (a, b) of x as the complex numbers a + ib."""
    half = x.shape[-1] // 2
    if layout == "half":
        return x[..., :half] + 1j * x[..., half:]
    return x[..., 0::2] + 1j * x[..., 1::2]


@pytest.mark.parametrize("T, C", [(1, 2), (5, 6), (40, 8)])
def test_sinusoidal_positions_follow_the_formula_entry_by_entry(T, C):
    table = sinusoidal_positions(T, C)
    for t in range(T):
        for i in range(C // 2):
            assert table[t, 2 * i] == pytest.approx(np.sin(t / 10000 ** (2 * i / C)), abs=1e-12)
            assert table[t, 2 * i + 1] == pytest.approx(np.cos(t / 10000 ** (2 * i / C)), abs=1e-12)


def test_a_step_of_one_position_is_the_same_rotation_of_every_pair_wherever_it_is_taken():
    table = as_complex(sinusoidal_positions(9, 6), "interleaved")
    assert np.allclose(table[1:] / table[:-1], table[1] / table[0])
    assert np.allclose(abs(table[1] / table[0]), 1)


def test_sinusoidal_positions_have_no_parameters_and_no_gradient():
    layer = SinusoidalPositions(4)
    y, backward = layer(np.array([2, 5]))
    assert np.array_equal(y, sinusoidal_positions(7, 4)[[2, 5]].astype(np.float32))
    assert layer.parameters() == [] and backward(y) is None


def test_a_row_of_sinusoids_is_the_same_to_the_bit_whatever_rows_it_comes_with(rng):
    table = sinusoidal_positions(500, 12).astype(np.float32)
    for count in (1, 2, 3, 7, 64, 301):
        positions = np.sort(rng.choice(500, count, replace=False))
        assert np.array_equal(SinusoidalPositions(12)(positions)[0], table[positions])


@given(rngs, batch_shapes, st.sampled_from([2, 4, 6]), positions_of_four, layouts, st.sampled_from([100.0, 10000.0]))
def test_rotary_is_multiplication_by_a_complex_number_of_length_one(rng, batch, D, positions, layout, base):
    x, dy = rng.normal(size=(2, *batch, 4, D))
    y, backward = rotary(x, positions=positions, base=base, layout=layout)
    omega = np.array([base ** (-2 * i / D) for i in range(D // 2)])
    turn = np.exp(1j * np.multiply.outer(positions, omega))
    assert np.allclose(as_complex(y, layout), as_complex(x, layout) * turn)
    assert np.allclose(as_complex(backward(dy), layout), as_complex(dy, layout) * turn.conj())


@given(rngs, positions_of_four, st.integers(-300, 300), layouts)
def test_rotary_scores_depend_on_the_relative_position_only(rng, positions, shift, layout):
    q, k = rng.normal(size=(2, 4, 6))

    def scores(positions):
        turned_q = rotary(q, positions=positions, layout=layout)[0]
        turned_k = rotary(k, positions=positions, layout=layout)[0]
        return turned_q @ turned_k.T

    assert np.allclose(scores(positions), scores(positions + shift))
    assert not np.allclose(scores(np.arange(4)), scores(2 * np.arange(4)), atol=1e-3)


def test_linear_scaling_divides_every_frequency():
    scaled = frequencies(8, 500.0, {"rope_type": "linear", "factor": 4.0})
    assert np.allclose(scaled, frequencies(8, 500.0) / 4)


def test_llama3_scaling_divides_only_the_frequencies_that_turn_slowly():
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    for before, after in zip(frequencies(64, 500000.0), frequencies(64, 500000.0, scaling), strict=True):
        wavelength = 2 * np.pi / before
        if wavelength < 8192 / 4:
            expected = before
        elif wavelength > 8192 / 1:
            expected = before / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * before / 8 + smooth * before
        assert after == pytest.approx(expected, rel=1e-12)


def test_the_module_passes_its_settings_on(rng):
    x, scaling = rng.normal(size=(3, 4)), {"rope_type": "linear", "factor": 2.0}
    options = {"base": 50.0, "layout": "interleaved", "scaling": scaling}
    expected = rotary(x, positions=np.arange(3), **options)[0]
    assert np.array_equal(Rotary(**options)(x, positions=np.arange(3))[0], expected)
    assert not np.allclose(expected, rotary(x, positions=np.arange(3))[0])


@pytest.mark.parametrize("factor, length", [(4.0, 0.1 * np.log(4) + 1), (0.5, 1.0)])
def test_yarn_keeps_fast_pairs_slows_down_slow_ones_and_lengthens_queries_and_keys(factor, length, rng):
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 512}
    ratio = frequencies(64, 10000.0, scaling) / frequencies(64, 10000.0)
    circles = 512 * frequencies(64, 10000.0) / (2 * np.pi)
    assert np.allclose(ratio[circles > 50], 1) and np.allclose(ratio[circles < 0.5], 1 / factor)
    assert (np.diff(ratio) * (factor - 1) <= 1e-12).all() and len(np.unique(ratio.round(6))) > 10
    x, positions = rng.normal(size=(5, 64)), np.arange(3, 8)
    y, backward = rotary(x, positions=positions, scaling=scaling)
    plain, _ = rotary(x, positions=positions)
    fast = np.flatnonzero(circles > 50)
    assert np.allclose(y[:, fast], length * plain[:, fast])
    assert np.allclose(np.linalg.norm(backward(y)), length**2 * np.linalg.norm(x))
    given = rotary(x, positions=positions, scaling=scaling | {"attention_factor": 1.0})[0]
    assert np.allclose(given * length, y)
