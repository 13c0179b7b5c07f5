"""The experiments on misconceptions: their form, running and keeping them, and the report."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from minitransformer.cli import main
from minitransformer.experiments import misconceptions
from minitransformer.experiments.misconceptions import NAMES, experiment, experiments
from minitransformer.experiments.misconceptions.form import Experiment, Interval, Outcome, interval
from minitransformer.experiments.misconceptions.measuring import Measurement, measure_all
from minitransformer.experiments.misconceptions.report import Result, recorded
from minitransformer.experiments.sweep import keep, path_of

EXPERIMENTS = experiments()


def by_name(one):
    return one.name


# The interval over the seeds.


def test_the_interval_is_students():
    from scipy import stats  # takes half a second to import

    values = np.random.default_rng(0).normal(3, 2, 7)
    found = interval(values)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-12)


@pytest.mark.parametrize(
    "ends, shown",
    [
        ((0.896, 0.887, 0.9061), "0.896 [0.887, 0.906]"),
        ((-0.86, -1.14, -0.588), "-0.86 [-1.14, -0.59]"),
        ((643.2, 598.7, 687.7), "643 [599, 688]"),
        ((0.00486, -0.0564, 0.0661), "0.005 [-0.056, 0.066]"),
        ((0.0, 0.0, 0.0), "0.00 [0.00, 0.00]"),
    ],
)
def test_an_interval_is_shown_with_as_many_decimals_as_its_largest_end_needs(ends, shown):
    assert str(Interval(*ends)) == shown


PAGE = """# A belief: stated.

A paragraph on
the method.

Another one.

## Predict

The number is …

- above -inf, *small*: A.
- above 0, *middling*: B: the second
  line.
- above 1, *large*: C.

## Numbers

- `number`: the deciding
  number
- `other`: the other: not deciding

## Not shown

Anything
else.

## Sources

- Nobody (1900), A title,
  arXiv:1
- Nobody (1901)
"""


def example(page=PAGE):
    """Return an experiment of three outcomes."""
    return Experiment(lambda seed: {}, [], seconds=1, page=page)


def test_an_experiment_reads_all_its_parts_from_its_page():
    one = example()
    assert (one.belief, one.method) == ("A belief: stated.", ["A paragraph on the method.", "Another one."])
    assert (one.question, one.decides) == ("The number is", "number")
    assert one.outcomes == (
        Outcome(-math.inf, "small", "A."),
        Outcome(0.0, "middling", "B: the second line."),
        Outcome(1.0, "large", "C."),
    )
    assert one.numbers == {"number": "the deciding number", "other": "the other: not deciding"}
    assert one.does_not_show == "Anything else."
    assert one.sources == ("Nobody (1900), A title, arXiv:1", "Nobody (1901)")


@pytest.mark.parametrize(
    "low, high, expected", [(-3, 0, "small"), (0, 1, None), (0.1, 1, "middling"), (-1, 2, None), (1.5, 9, "large")]
)
def test_an_outcome_came_out_where_the_whole_interval_lies_in_its_range(low, high, expected):
    outcome = example().outcome(Interval((low + high) / 2, low, high))
    assert (outcome and outcome.expected) == expected


@pytest.mark.parametrize(
    "predicted, low, high, words",
    [
        (None, 0.2, 0.3, ""),
        (1, 0.2, 0.3, "middling (confirmed)"),
        (0, 0.2, 0.3, "small (not confirmed)"),
        (0, -1, 0.3, "small (undecided)"),
    ],
)
def test_what_was_expected_is_set_beside_what_came_out(predicted, low, high, words):
    one = example()
    result = Result(one, {"number": Interval(0.25, low, high), "other": Interval(0, 0, 0)}, "seeds", predicted)
    assert result.expected == words
    undecided = " is 0.25 [-1.00, 0.30]. It contains "
    assert (undecided in " ".join(str(result).split())) == ("undecided" in words)
    assert Result.from_dict(one, json.loads(json.dumps(result.to_dict()))) == result


def test_a_result_without_a_number_or_with_another_outcome_is_refused():
    one = example()
    numbers = {name: [0.4, 0.3, 0.5] for name in ("number", "other")}
    kept = {"seeds": "seeds 0 to 4", "predicted": None, "numbers": numbers}
    assert list(Result.from_dict(one, kept).intervals) == ["number", "other"]
    for change in ({"numbers": {"other": [0, 0, 0]}}, {"predicted": 3}):
        with pytest.raises(ValueError, match="must be the result of an experiment"):
            Result.from_dict(one, kept | change)


# The form of each.


@pytest.mark.parametrize("one", EXPERIMENTS, ids=by_name)
def test_each_experiment_says_first_what_each_outcome_would_mean(one):
    assert one.name in NAMES
    assert one.belief.endswith(".")
    assert one.method
    above = [outcome.above for outcome in one.outcomes]
    assert len(above) >= 2
    assert above[0] == -math.inf
    assert np.all(np.diff(above) > 0)
    assert len({outcome.expected for outcome in one.outcomes}) == len(above)
    assert all(outcome.means.endswith(".") and not outcome.expected.endswith(".") for outcome in one.outcomes)
    assert one.question[-1] not in ".?…"
    assert one.does_not_show.endswith(".")
    assert all(re.search(r"\d{4}", source) for source in one.sources)
    assert one.seeds >= 3
    assert one.seconds <= 120


# Running, and keeping.


def made_up(one, seed):
    """Made-up results of an experiment."""
    return dict.fromkeys(one.numbers, seed + 0.5)


def put(folder, name, seed, measured):
    """Keep a measurement as a run does, and return its file."""
    task = Measurement(name, seed)
    (folder / "measured").mkdir(exist_ok=True)
    keep(folder / "measured", task, task.key(), measured)
    return path_of(folder / "measured", task, task.key())


def test_a_measurement_in_the_folder_is_not_repeated(tmp_path):
    one = EXPERIMENTS[0]
    for seed in range(3):
        put(tmp_path, one.name, seed, made_up(one, seed))
    told = []
    measured = measure_all([one], {one.name: range(3)}, tmp_path, progress=lambda *done: told.append(done))
    assert measured == {one.name: [made_up(one, seed) for seed in range(3)]}
    assert told == [(done, 3, one.name) for done in (1, 2, 3)]


@pytest.mark.parametrize("text", ["[]", "{}", "\xff", 100_000 * "[", json.dumps(made_up(EXPERIMENTS[0], math.nan))])
def test_a_file_that_is_no_measurement_is_refused_by_name(tmp_path, text):
    one = EXPERIMENTS[0]
    path = put(tmp_path, one.name, 3, {})
    path.write_text(text, "latin-1")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*delete the file"):
        measure_all([one], {one.name: [3]}, tmp_path)


def test_a_measurement_that_fails_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"^weight-decay, seed -1: .*non-negative"):
        measure_all([experiment("weight-decay")], {"weight-decay": [-1]}, tmp_path, workers=1)


# The authors' results.


def test_what_the_authors_measured_is_there_for_each():
    found = {result.experiment.name: result for result in recorded()}
    assert list(found) == list(NAMES)
    assert all(set(result.intervals) == set(result.experiment.numbers) for result in found.values())
    kept = json.loads((Path(misconceptions.__file__).parent / "outcomes.json").read_text("utf-8"))
    assert all(result.to_dict() == kept[name] for name, result in found.items())
    assert all(result.predicted is None for result in found.values())


def test_the_list_of_beliefs_shows_the_deciding_number_of_each_in_their_order():
    page = (Path(misconceptions.__file__).parent / "BELIEFS.md").read_text("utf-8")
    shown = re.findall(r"\*\*(-?[\d.]+ \[[-\d., ]+\])\*\*", " ".join(page.split()))
    assert re.findall(r"^\d+\. .*`([\w-]+)`\]\(", page, re.MULTILINE) == list(NAMES)
    assert shown == [str(result.decisive) for result in recorded()]


# The command.


def test_without_a_name_the_beliefs_are_listed(capsys):
    assert main(["misconceptions"]) == 0
    said = capsys.readouterr().out
    assert all(one.name in said and one.belief in said for one in EXPERIMENTS)


@pytest.mark.parametrize(
    "command, words",
    [
        ("weight", "unknown experiment"),
        ("weight-decay --all", "--all and weight-decay"),
        ("--all --predict 1", "--predict can only be used together with NAME"),
        ("weight-decay --predict 4", "--predict must be at most 3"),
    ],
)
def test_options_that_exclude_each_other_are_refused_in_a_line(command, words, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["misconceptions", *command.split(), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"minitransformer: error: {words}") and said.count("\n") == 1
    assert not out.exists()


@pytest.fixture
def out(tmp_path):
    """A folder in which weight-decay has been measured, with numbers that are made up."""
    pytest.importorskip("matplotlib")
    for seed, rng in enumerate(np.random.default_rng(0).spawn(5)):
        parts = {name: rng.normal(size=10).tolist() for name in ("adamw_tenths", "l2_tenths")}
        put(tmp_path, "weight-decay", seed, parts | {"difference": -1 - 0.1 * seed, "l2": 0.0, "adamw": 1.0})
    return tmp_path


def test_what_came_out_is_printed_drawn_and_written_to_a_page(out, capsys):
    assert main(["misconceptions", "weight-decay", "--seeds", "5", "--predict", "3", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    said = " ".join(captured.out.split())
    assert "You expected: more than with weight decay (not confirmed)." in said
    assert "L2 minus AdamW -1.20 [-1.40, -1.00]" in said
    assert said.endswith(f"{out}/index.html")
    assert "Which outcome do you expect" not in said
    assert "1 less than with weight decay" in " ".join(captured.err.split())
    page = (out / "index.html").read_text("utf-8")
    assert "You expected: more than with weight decay (not confirmed)." in page
    assert '<img src="weight-decay.png"' in page
    assert (out / "weight-decay.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((out / "outcomes.json").read_text("utf-8"))["weight-decay"]["numbers"]
    assert numbers["difference"][0] == pytest.approx(-1.2)


def test_a_reader_at_a_terminal_is_asked_first_and_again_after_an_answer_that_is_none(out, capsys, monkeypatch):
    answers = iter(["7", "yes", " 1 "])
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: (asked.append(prompt), next(answers))[1])
    assert main(["misconceptions", "weight-decay", "--seeds", "5", "--out", str(out)]) == 0
    assert asked == ["Which outcome do you expect? 1, 2 or 3 (Enter: no prediction) "] * 3
    assert "You expected: less than with weight decay (confirmed)." in " ".join(capsys.readouterr().out.split())


NOT_A_NUMBER = '{"weight-decay": {"seeds": "", "predicted": null, "numbers": {"difference": [0, NaN, 0]}}}'


@pytest.mark.parametrize("text", ["[]", "nonsense", '{"weight-decay": {}}', NOT_A_NUMBER])
def test_outcomes_of_something_else_are_refused_before_anything_is_measured(out, text, capsys):
    (out / "outcomes.json").write_text(text)
    assert main(["misconceptions", "weight-decay", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"minitransformer: error: {out / 'outcomes.json'}: must be a file of this command")
    assert (out / "outcomes.json").read_text() == text
