"""The arithmetic of the measurements: medians, ratios, exponents, FLOP, peaks, profiles. No test depends on a speed."""

import sys
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitransformer import Config
from minitransformer.bench import comparison, timing
from minitransformer.bench.components import ComponentClock, by_component, total
from minitransformer.bench.estimates import FEWEST, fit_exponent, paired_ratio, summary
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.scaling import SERIES, doubling, verdict
from minitransformer.bench.sizes import SIZES, Size
from minitransformer.bench.worker import OURS, EngineError
from minitransformer.language_model import model_without_values
from minitransformer.layers.attention import attention, causal_mask

SIZES_OF_BOTH = {"context": 7, "d_model": 12, "n_layers": 2, "d_ff": 20}
LLAMA_FIELDS = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False}
GPT = Config(11, n_heads=3, **SIZES_OF_BOTH)
LLAMA = Config(13, n_heads=4, n_kv_heads=2, d_head=4, tie_embeddings=False, **SIZES_OF_BOTH, **LLAMA_FIELDS)
each_family = pytest.mark.parametrize("config", [GPT, LLAMA], ids=["GPT", "Llama"])
B, T = 3, 5


# Medians and ratios.


@given(values=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_summary_holds_the_quartiles_of_numpy(values):
    found = summary(values)
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([found["lower"], found["median"], found["upper"]], expected, rtol=1e-12)
    assert found["count"] == len(values)


def test_the_interval_of_a_ratio_is_students_over_the_rounds_not_over_the_turns():
    stats = pytest.importorskip("scipy.stats")
    ours = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    theirs = [[1.0, 1.21], [1.2, 1.2], [1.5, 1.5]]
    logs = np.log([1.1, 1.2, 1.5])
    low, high = stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs))
    found = paired_ratio(ours, theirs)
    expected = np.exp([logs.mean(), low, high])
    np.testing.assert_allclose([found["ratio"], found["low"], found["high"]], expected, rtol=1e-9)


def test_an_engine_with_another_loss_is_found_before_anything_is_timed():
    comparison.require_equal_losses({OURS: [4.0, 3.0], "torch": [4.0001, 3.0001]})
    with pytest.raises(EngineError, match=r"textbook computes the loss 4\.1, but engine computes 4: the models differ"):
        comparison.require_equal_losses({"engine": [5.0, 4.0], "torch": [5.0, 4.0], "textbook": [5.0, 4.1]})


# From answers to results.


def answers(*steps, memory=100, flops=1e9, bandwidth=1e9):
    """The answers of one engine in a round whose turns have these times."""
    limits = {"flops": flops, "bandwidth": bandwidth}
    return {"steps": list(steps), "decode": list(steps), "memory": memory, "limits": limits}


def collected(*rounds):
    """The results of these rounds at one size."""
    facts = {"parameters": 1, "flops": 3e8, "bytes_per_token": 2e8}
    raw = {"rounds": list(rounds), "facts": facts, "versions": {"NumPy": "2"}}
    return comparison.collect({"some": raw}, {"some": Size(GPT, batch=4, length=5)})


def test_results_are_the_quotients_of_their_definitions():
    found = collected(
        {OURS: answers([0.5, 0.5], [0.5]), "torch": answers([1.0], [1.0], memory=150, flops=2e9)},
        {OURS: answers([0.5], [0.5, 0.5]), "torch": answers([1.0], [1.0], memory=250)},
    )
    assert found["limits"] == {"flops": 2e9, "bandwidth": 1e9} and found["versions"] == {"NumPy": "2"}
    ours, theirs = (found["sizes"]["some"]["engines"][name] for name in (OURS, "torch"))
    assert (ours["step"]["median"], ours["step"]["count"], ours["turns"]) == (0.5, 6, [[0.5, 0.5], [0.5, 0.5]])
    assert (ours["tokens_per_second"], ours["of_peak"]) == (40.0, 0.3)
    assert (ours["decode"]["tokens_per_second"], ours["decode"]["of_bandwidth"]) == (2.0, 0.4)
    assert (theirs["of_peak"], theirs["memory"]) == (0.15, 200)
    ratios = found["sizes"]["some"]["ratios"]["torch"]
    assert ratios["step"]["ratio"] == pytest.approx(2.0) and ratios["decode"]["ratio"] == pytest.approx(2.0)
    assert ratios["memory"] == 2.0


# Exponents.


@given(exponent=st.floats(-1, 3), constant=st.floats(1e-9, 1e9), count=st.integers(4, 9))
def test_a_power_law_has_its_exponent_and_no_margin(exponent, constant, count):
    fit = fit_exponent([(2**i, constant * 2 ** (i * exponent)) for i in range(count)])
    assert fit["exponent"] == pytest.approx(exponent, abs=1e-9)
    assert fit["margin"] < 1e-6
    assert fit["constant"] == pytest.approx(constant)


def test_an_exponent_and_its_margin_are_those_of_linear_regression(rng):
    stats = pytest.importorskip("scipy.stats")
    sizes = 2.0 ** np.arange(5)
    costs = sizes**1.5 * np.exp(rng.normal(scale=0.1, size=5))
    expected = stats.linregress(np.log(sizes[1:]), np.log(costs[1:]))
    fit = fit_exponent(list(zip(sizes.tolist(), costs.tolist(), strict=True)))
    assert fit["points"] == 4
    assert fit["exponent"] == pytest.approx(expected.slope)
    assert fit["margin"] == pytest.approx(stats.t.ppf(0.975, 2) * expected.stderr)


@pytest.mark.parametrize(
    "margin, exponents, first_words",
    [
        (0.1, (0.5, 0.9, 1.5, 2.1, 2.5), ["slower", "as", "as", "as", "faster"]),
        (0.5, (0.2, 0.9, 2.5, 2.7), ["slower", "unknown", "unknown", "faster"]),
    ],
)
def test_a_verdict_compares_with_the_range_that_theory_gives(margin, exponents, first_words):
    verdicts = [verdict(SERIES["step-width"], {"exponent": p, "margin": margin}) for p in exponents]
    assert [words.split()[0].strip(",") for words in verdicts] == first_words


def test_every_series_has_enough_sizes_for_a_fit_in_ascending_order():
    assert doubling(3, 13) == (3, 6, 12)
    for series in SERIES.values():
        for sizes in (series.sizes, series.quick):
            assert len(sizes) >= FEWEST and list(sizes) == sorted(set(sizes))
        assert series.low <= series.high


# Limits and peaks.


class ClockedEngine:
    """An engine whose products take the time that `clock` counts: half a second for each."""

    clock = 0.0

    def random(self, *shape):
        return np.zeros(shape, np.float32)

    def multiply(self, a, b, out):
        self.clock += 0.5


def test_the_limits_are_work_over_the_shortest_time(monkeypatch):
    engine = ClockedEngine()
    monkeypatch.setattr(time, "perf_counter", lambda: engine.clock)
    found = timing.machine_limits(engine, squares=(10, 20), shape=(3, 5))
    assert found == {"flops": 2 * 20**3 / 0.5, "bandwidth": 4 * 15 / 0.5}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is measured on Linux")
def test_the_peak_of_a_call_is_the_same_when_it_is_repeated():
    def hold(mebibytes):
        np.ones(mebibytes * 2**17)  # float64: every page is written

    for _ in range(2):
        hold(64)
        found = timing.peak_above(lambda: hold(64))
        assert 60 * 2**20 < found < 80 * 2**20
    assert timing.peak_above(lambda: hold(8)) < 30 * 2**20


# Sizes.


def test_the_sizes_have_the_parameters_of_the_models_they_are_named_after():
    parameters = {name: model_without_values(size.config).n_parameters() for name, size in SIZES.items()}
    assert 9e6 < parameters["llama"] < 11e6
    assert parameters["baby"] == pytest.approx(10.7e6, rel=0.02)
    assert (parameters["gpt2"], parameters["smollm2"]) == (124_439_808, 134_515_008)
    for size in SIZES.values():
        assert size.length <= size.config.context
        assert 0 < size.decoded <= size.config.context
        assert (size.prompt or 0) < size.config.context


# The profile by component.


def test_a_profile_has_each_file_forward_and_backward_under_its_caller(rng):
    engine = NumPyEngine(GPT)
    ids, targets = rng.integers(0, GPT.vocab_size, (2, B, T))
    with ComponentClock() as clock:
        engine.training_step(ids, targets)
    rows = {(row["component"], row["inside"]): row for row in by_component(clock.seconds)}
    for key in [("linear", "multi_head_attention"), ("linear", "feed_forward"), ("layer_norm", "block")]:
        assert rows[key]["forward"] > 0 and rows[key]["backward"] > 0 and rows[key]["update"] == 0
    assert rows["attention", "multi_head_attention"]["backward"] > 0
    assert rows["optim", "step"]["update"] > 0 and rows["optim", "step"]["backward"] == 0
    assert ("linear", "linear") not in rows and ("linear", "module") not in rows
    assert rows["module", ""]["backward"] > 0
    totals = list(map(total, rows.values()))
    assert totals == sorted(totals, reverse=True)


def test_the_times_of_a_profile_are_exclusive_and_sum_to_the_whole(monkeypatch, rng):
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    q = rng.normal(size=(1, 2, 4, 3))
    with ComponentClock() as clock:
        attention(q, q, q, mask=causal_mask(4, 4))[1](q)
    assert sum(clock.seconds.values()) == next(ticks) - 1
    assert all(seconds > 0 for seconds in clock.seconds.values())
