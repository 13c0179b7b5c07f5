"""The arithmetic of the measurements: medians, ratios, FLOP, peaks. No test depends on a speed."""

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitransformer import Config
from minitransformer.bench import comparison, report, timing, worker
from minitransformer.bench.estimates import paired_ratio, summary
from minitransformer.bench.sizes import SIZES, Size
from minitransformer.bench.worker import OURS, EngineError
from minitransformer.language_model import model_without_values

GPT = Config(11, n_heads=3, context=7, d_model=12, n_layers=2, d_ff=20)


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


def test_each_size_is_summed_up_when_it_is_measured(monkeypatch, capsys):
    rounds = [{OURS: answers([0.5, 0.5]), "torch": answers([1.25])}]
    facts = {"parameters": 1, "flops": 3e8, "bytes_per_token": 2e8}
    raw = {"rounds": rounds, "facts": facts, "versions": {"NumPy": "2"}}
    monkeypatch.setattr(report, "measure_size", lambda size, **options: raw)
    settings = {"sizes": ["tiny", "nano"], "engines": [OURS, "torch"], "threads": 1, "rounds": 1, "seconds": 0}
    found = report.compare(settings)
    words = f"{OURS} 500 ms a step; torch 1,250 ms a step, ratio 2.50"
    assert capsys.readouterr().err.splitlines() == [f"tiny: {words}", f"nano: {words}"]
    assert list(found["sizes"]) == ["tiny", "nano"] and found["threads"] == 1


@pytest.mark.parametrize(
    "show, value, shown",
    [
        (report.percent, 0.1, "10 %"),
        (report.percent, 0.0949, "9.5 %"),
        (report.milliseconds, 0.1, "100"),
        (report.milliseconds, 0.01, "10.0"),
        (report.milliseconds, 0.001, "1.00"),
        (report.milliseconds, 0.0005, "0.500"),
        (report.mebibytes, 10 * 2**20, "10 MiB"),
        (report.mebibytes, 5 * 2**19, "2.5 MiB"),
        (report.mebibytes, None, "–"),
    ],
)
def test_numbers_have_the_decimals_that_count(show, value, shown):
    assert show(value) == shown


@pytest.mark.parametrize("seconds, count", [(0, worker.FEWEST), (0.5 * worker.FEWEST + 1, worker.FEWEST + 2)])
def test_an_engine_takes_steps_for_the_time_and_never_fewer_than_the_fewest(seconds, count, monkeypatch):
    measured = worker.Worker.__new__(worker.Worker)
    measured.engine = SimpleNamespace(training_step=None)
    monkeypatch.setattr(worker.Worker, "_batch", lambda self: ())
    monkeypatch.setattr(worker, "seconds_of", lambda step: 0.5)
    assert measured.steps(seconds) == [0.5] * count


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


# The picture.


def test_the_picture_has_each_ratio_with_its_interval_and_no_bar_without_one(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    from minitransformer.bench import pictures

    def size(**ratios):
        names = ("ratio", "low", "high")
        return {"ratios": {rival: {"step": dict(zip(names, values, strict=True))} for rival, values in ratios.items()}}

    sizes = {"tiny": size(plain=(3, 2.5, 4), torch=(0.5, None, None)), "nano": size(plain=(2, 2, 2), torch=(7, 6, 9))}
    monkeypatch.setattr(pictures, "save", lambda figure, path: drawn.append((figure, path)))
    drawn = []
    machine = "a machine with a long name; " * 8
    pictures.draw_ratios({"sizes": sizes, "engines": ["engine", "plain", "torch"]}, tmp_path, machine)
    ((figure, path),) = drawn
    under = next(text for text in figure.texts if "a machine" in text.get_text()).get_window_extent()
    assert under.x0 >= 0 and under.x1 <= figure.bbox.width and under.y0 >= 0
    (axes,) = figure.axes
    assert (
        path == tmp_path / "ratios.png" and axes.get_title(loc="left") + axes.get_title() == "Above 1, engine is faster"
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["plain", "torch"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["tiny", "nano"]
    intervals = [[segment[:, 1].tolist() for segment in bars.get_segments()] for bars in axes.collections]
    assert intervals == [[[2.5, 4], [2, 2]], [[0.5, 0.5], [6, 9]]]
    places = [text.xy for text in axes.texts]
    assert [y for _, y in places] == [3, 2, 0.5, 7] and places[0][0] < 0 < places[2][0] and places[1][0] < 1
