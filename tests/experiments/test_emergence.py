"""Emergence: the tasks and their held-out questions, the family, a run and its branches, jumps, and the report."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitransformer import Transformer, analyze_emergent_capabilities, cli
from minitransformer.experiments.emergence import (
    CAPABILITIES,
    alphabet as a,
    capabilities,
    draw_emergence,
    family,
    jumps,
    plan,
)
from minitransformer.experiments.emergence.analysis import make_report
from minitransformer.experiments.emergence.plan import Plan, trained
from minitransformer.text import IGNORE_INDEX
from minitransformer.training import loop

seeds = st.integers(0, 2**32 - 1)
PAIRS = dict(zip(a.OPENING, a.CLOSING, strict=True))


# The tasks: each answer by a rule that looks at the row alone.


def closing(prompt):
    """Return the brackets that close the open ones of a prompt."""
    stack = []
    for bracket in prompt:
        if bracket in PAIRS:
            stack.append(PAIRS[bracket])
        else:
            assert stack.pop() == bracket
    return stack[::-1]


ANSWERS = {  # the task, the lengths of prompt and answer, and the answer to a prompt
    "copy": (a.COPY, 6, 6, list),
    "reverse": (a.REVERSE, 6, 6, lambda prompt: prompt[::-1]),
    "addition": (a.ADD, 2, 1, lambda prompt: [38 + (sum(prompt) - 2 * 38) % 17]),
    "brackets": (a.BRACKETS, 12, 4, closing),
}


def rows_of(name, seed):
    capability = CAPABILITIES[name]
    batch, test = capability.training_batch(np.random.default_rng(seed), 5), capability.test()
    for inputs, targets in (batch, [rows[:40] for rows in test]):
        assert inputs.shape == targets.shape and inputs.shape[1] == a.CONTEXT
        yield from zip(inputs.tolist(), targets.tolist(), strict=True)


@given(name=st.sampled_from(list(ANSWERS)), seed=seeds)
def test_the_answers_of_a_capability_follow_its_rule(name, seed):
    task, width, n, rule = ANSWERS[name]
    for x, t in rows_of(name, seed):
        prompt = x[1 : 1 + width]
        answer, sign = rule(prompt), 1 + width
        assert (x[0], x[sign], len(answer)) == (task, a.ANSWER, n)
        assert [i for i in t if i != IGNORE_INDEX] == t[sign : sign + n] == answer
        assert x[sign + 1 :] == answer[:-1] + (a.CONTEXT - sign - n) * [a.PAD]


@given(seed=seeds)
def test_in_induction_every_repeated_letter_is_followed_as_before(seed):
    for x, t in rows_of("induction", seed):
        assert x[0] == a.INDUCTION
        for i, (token, target) in enumerate(zip(x, t, strict=True)):
            earlier = [j for j in range(i) if x[j] == token and token != a.PAD]
            assert target == (x[earlier[-1] + 1] if earlier else IGNORE_INDEX)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_no_question_of_the_test_is_ever_trained_on(name):
    """By the rows themselves: not one that was drawn for training is one of the test."""
    capability = CAPABILITIES[name]
    asked = {tuple(row) for row in capability.test()[0].tolist()}
    trained = {tuple(row) for row in capability.training_batch(np.random.default_rng(1), 5_000)[0].tolist()}
    assert asked.isdisjoint(trained)
    if name == "addition":  # the order of the two numbers does not matter
        pairs = [{frozenset(row[1:3]) for row in rows} for rows in (asked, trained)]
        assert pairs[0].isdisjoint(pairs[1]) and len(pairs[0] | pairs[1]) == 17 * 18 // 2
    assert len(asked) == len(capability.test()[0]) == (200 if name != "addition" else 45)


def test_every_order_of_brackets_is_equally_likely():
    words = capabilities.brackets(np.random.default_rng(0), 27_500) >= a.CLOSING[0]
    counts = np.unique(words, axis=0, return_counts=True)[1]
    assert len(counts) == 275
    chi_squared = ((counts - 100) ** 2 / 100).sum()  # 274 degrees of freedom: 274 ± 23
    assert 180 < chi_squared < 370


# The scores.


def rigged(capability, wrong=()):
    """Return a model that gives a probability of 0.7 to each right token, and is wrong in some rows of the test."""
    (inputs, targets), (_, seen) = capabilities.fixed_exercises(capability)

    def predict(ids):
        logits = np.full((*ids.shape, a.VOCAB_SIZE), np.log(0.3 / (a.VOCAB_SIZE - 1)))
        right = np.maximum(targets if ids is inputs else seen, 0)[..., None]
        np.put_along_axis(logits, right, np.log(0.7), axis=-1)
        logits[list(wrong) if ids is inputs else [], :, 50] = 10.0
        return logits

    return SimpleNamespace(predict=predict)


def test_the_sharp_score_counts_whole_answers_and_the_smooth_one_each_token():
    capability = CAPABILITIES["reverse"]
    scores = capability.scores(rigged(capability))
    assert scores == {"exact": 1.0, "loglik": pytest.approx(np.log(0.7)), "seen": 1.0}
    scores = capability.scores(rigged(capability, wrong=[3, 5]))
    assert scores["exact"] == 198 / 200 and scores["seen"] == 1.0
    log_p_of_wrong = np.log(0.7) - np.log(1 - 0.3 / 63 + np.exp(10))  # of the six right tokens in such a row
    assert scores["loglik"] == pytest.approx(0.99 * np.log(0.7) + 0.01 * log_p_of_wrong)


# The family.


@given(parameters=st.integers(400, 5_000_000), layers=st.integers(1, 3))
def test_an_integer_makes_the_nearest_width(parameters, layers):
    found = family.of_size(parameters, layers)
    widths = [*range(2, 16, 2), *range(16, 1000, 4)]
    best = min(widths, key=lambda width: abs(np.log(family.count(width, layers) / parameters)))
    assert (found.d_model, found.n_layers, found.n_heads) == (best, layers, 2 if best < 16 else 4)
    assert best > 100 or Transformer(found).n_parameters() == family.count(best, layers)


# A run.

TINY = family.of_width(4, 1)
ALL = tuple(CAPABILITIES.values())


def numbers(run):
    """Return the part of a run that must not depend on the machine."""
    return {key: value for key, value in run.items() if key not in ("seconds", "environment")}


def test_the_same_plan_gives_the_same_numbers_and_another_seed_others():
    one, again, other = (Plan(TINY, seed, 8, ALL).run() for seed in (0, 0, 1))
    assert numbers(one) == numbers(again) and one["key"] == again["key"]
    assert one["lengths"][-1]["loss"] != other["lengths"][-1]["loss"]
    assert json.loads(json.dumps(one)) == one
    assert one["lengths"][-1]["scores"]["copy"] == CAPABILITIES["copy"].scores(trained(Plan(TINY, 0, 8, ALL)))
    inputs, _ = plan.batch(np.random.default_rng(0), ALL)
    assert set(inputs[:14].ravel()) <= {a.SPACE, *a.LETTERS}
    assert np.bincount(inputs[14:, 0]).tolist() == [0, 0, 10, 10, 10, 10, 10]
    read = [(length["steps"], length["characters"]) for length in one["lengths"]]
    assert read == [(steps, steps * 14 * a.CONTEXT) for steps in (1, 2, 4, 8)]  # 14 windows of text in each step


def test_the_learning_rate_stays_and_then_falls_to_nothing_in_each_branch(monkeypatch):
    rates = []

    def look(model, optimizer, losses, clip):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return 0.0, 0.0

    monkeypatch.setattr(loop, "descend", look)
    Plan(family.of_width(20, 1), 0, 80, ALL).run()
    assert all(len(set(groups)) == 1 for groups in rates)
    rates = np.array(rates)[:, 0] / 0.0125
    warmup = [1 / 4, 2 / 4, 3 / 4]
    branches = [np.arange(n, 0, -1) / n for n in (2, 4, 8, 16)]
    trunk = [*warmup, *np.ones(61)]
    places = [0, 8, 16, 32, 64]
    expected = [[*trunk[i:j], *branch] for i, j, branch in zip(places, places[1:], branches, strict=False)]
    np.testing.assert_allclose(rates, np.concatenate(expected))


def test_a_new_model_has_outputs_of_a_size_that_does_not_depend_on_the_width():
    for width in (16, 128):
        model = plan.Trainee(Plan(family.of_width(width, 2), 0, 8, ALL)).model
        assert model.embedding.weight.data.std() == pytest.approx(width**-0.5, rel=0.1)
        assert model.blocks[1].attention.w_q.weight.data.std() == pytest.approx(width**-0.5, rel=0.1)
        down = model.blocks[0].feed_forward.down.weight.data  # smaller by 1/√(2L), as in GPT-2
        assert down.std() == pytest.approx((4 * width) ** -0.5 / 2, rel=0.1)
        assert all(parameter.data.dtype == np.float32 for parameter in model.parameters())
        logits = model.predict(CAPABILITIES["copy"].test()[0])
        assert logits.std() == pytest.approx(1, rel=0.2)


def test_the_key_depends_on_all_that_determines_the_numbers(monkeypatch):
    base, other_rows = Plan(TINY, 0, 8, ALL), dataclasses.replace(ALL[0], rows=capabilities.reverse_rows)
    changes = [{}, {"seed": 1}, {"steps": 9}, {"config": dataclasses.replace(TINY, norm="rms_norm")}]
    changes += [{"capabilities": these} for these in (ALL[:4], ALL[::-1], (other_rows, *ALL[1:]))]
    keys = [dataclasses.replace(base, **change).key() for change in changes]
    monkeypatch.setitem(plan.RECIPE, "clip", 2.0)
    assert len({*keys, base.key()}) == len(changes) + 1


# Jumps.

SIZES = np.array([1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000])


def jumps_of(exact, loglik, noise=0.0, runs=3, chance=0.0):
    """Return the jumps of scores with the same noise on each size's runs."""
    rng = np.random.default_rng(0)
    shift = noise * np.linspace(-1, 1, runs) if runs > 1 else np.zeros(1)
    groups = [np.array([[e + d, value + d] for d in shift]) for e, value in zip(exact, loglik, strict=True)]
    means, resamples = jumps.resampled_means(groups, rng)
    exact, loglik = ((means[:, i], resamples[:, :, i]) for i in (0, 1))
    return jumps.find_jumps(SIZES, exact, loglik, [runs] * len(SIZES), chance)


def test_a_leap_of_the_power_of_a_smooth_rise_is_the_metrics_alone():
    p = np.array([0.5, 0.55, 0.6, 0.75, 0.9, 0.97])
    found = jumps_of(p**6, np.log(p))
    assert found and not any(jump.smooth_jumps for jump in found)


def test_neighbouring_sizes_are_one_jump_at_the_largest_rise_and_others_are_several():
    (jump,) = jumps_of([0, 0, 0, 0.5, 0.9, 1.0], np.log([0.1] * 6))
    assert (jump.parameters, jump.flagged) == (100_000, (30_000, 100_000))
    found = jumps_of([0, 0.2, 0.3, 0.35, 0.9, 1.0], np.log([0.1] * 6))
    assert [jump.flagged for jump in found] == [(10_000,), (100_000,)]


def test_guessing_noise_and_a_single_run_make_no_jump():
    exact, loglik = [0, 0, 0, 0, 0.3, 0.3], np.log([0.1] * 6)
    assert jumps_of(exact, loglik) and not jumps_of(exact, loglik, chance=1 / 12)
    assert not jumps_of(exact, loglik, noise=0.3) and not jumps_of(exact, loglik, runs=1)


def test_the_excess_is_over_twice_the_score_at_a_tenth_of_the_size_interpolated_in_its_logarithm():
    (jump, *_) = jumps_of([0, 0.2, 0.3, 0.9, 0.9, 1.0], np.log([0.1] * 6))
    assert (jump.before, jump.after, jump.excess) == (pytest.approx(0.2), 0.9, pytest.approx((0.5, 0.5)))


# The report.


def made_up_run(config, seed, p):
    """Return a run whose models answer each token with probability p."""
    n = family.n_parameters(config)
    rng = np.random.default_rng((n, seed))
    lengths = []
    for steps in (1, 2, 4, 8):
        D = steps * 252
        loss = 1.5 + 20 / n**0.4 + 30 / D**0.5 + 0.002 * rng.normal()
        scores = {name: {"exact": p**6, "loglik": float(np.log(p)), "seen": p**5} for name in CAPABILITIES}
        lengths.append({"steps": steps, "characters": D, "loss": loss, "scores": scores})
    plan = Plan(config, seed, 8, ALL)
    return {
        "key": plan.key(), "name": plan.name, "plan": plan.description(), "parameters": n, "lengths": lengths,
        "seconds": 1.0, "environment": {"processor": "made up"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """The report of a made-up sweep in which tokens are right ever more often."""
    sizes = [family.of_size(n) for n in (1_000, 4_000, 16_000, 64_000, 256_000)]
    shapes = [family.of_size(16_000, layers) for layers in (4, 1)]
    by_size = [[made_up_run(c, s, p) for s in (0, 1)] for c, p in zip(sizes, (0.5, 0.6, 0.7, 0.8, 0.9), strict=True)]
    by_shape = [[made_up_run(c, s, 0.7) for s in (0, 1)] for c in shapes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minitransformer.experiments.emergence.scaling_law.REFITS", 20)
        return make_report(by_size, by_shape, ALL, {"2x4, seed 7": "it diverged"})


def test_a_report_says_whose_jump_it_is_what_failed_and_what_it_does_not_show(found):
    text = str(found)
    assert "it does not jump, so the metric may be the reason" in text
    assert "Limits\n" in text
    assert "1 run failed\n  2x4, seed 7: it diverged" in text
    data = json.loads(json.dumps(found.to_dict()))
    assert data["parameters"] == list(found.parameters) and "runs" not in data
    assert data["law"]["law"]["alpha"] == found.law.law.alpha
    assert "error of this as a prediction" in text
    assert [shape.n_layers for shape in found.shapes] == [1, 4]
    assert max(len(line) for line in text.splitlines()) < 150


@pytest.mark.slow
def test_a_report_has_its_pictures(found, tmp_path):
    pytest.importorskip("matplotlib")
    paths = draw_emergence(found, tmp_path)
    assert {path.name for path in paths} == {
        "capabilities.png", "scaling-law.png", "compute-optimal.png", "shapes.png",
    }  # fmt: skip
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
    without = dataclasses.replace(found, law=None, no_law="too few", shapes=())
    assert [path.name for path in draw_emergence(without, tmp_path)] == ["capabilities.png"]
    assert "Scaling law: none; too few" in str(without)


# Refusals before the training.


@pytest.mark.parametrize(
    "words, arguments",
    [
        ("model_sizes must contain at least one size", {"model_sizes": []}),
        ("not 'small'", {"model_sizes": ["small"]}),
        ("model_sizes: each must be at least 316, not 10", {"model_sizes": [10]}),
        ("unknown test 'chess'", {"capability_tests": ["chess"]}),
        ("each only once", {"capability_tests": ["copy", "copy"]}),
        ("steps must be at least 8, not 7", {"steps": 7}),
        ("at least one seed, each only once", {"seeds": []}),
        ("seeds: each must be at least 0, not -1", {"seeds": [-1]}),
        ("shapes: the ratio .* at most 1.15", {"shapes": [family.of_size(1_000), family.of_size(2_000)]}),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_before_the_training(words, arguments):
    with pytest.raises((ValueError, TypeError), match=words):
        analyze_emergent_capabilities(**({"model_sizes": [1_000]} | arguments))


@pytest.mark.parametrize("failures", [{}, {"900 parameters, seed 0": "out of memory"}])
def test_the_status_of_the_command_is_1_after_failed_runs(failures, tmp_path, monkeypatch, capsys):
    class Report(SimpleNamespace):
        def __str__(self):
            return "the report"

    monkeypatch.setattr("minitransformer.commands.scale.can_draw", lambda: False)
    monkeypatch.setattr(
        "minitransformer.experiments.emergence.analyze_emergent_capabilities",
        lambda *given, **options: Report(failures=failures),
    )
    arguments = ["scale", "--sizes", "900", "--seeds", "1", "--steps", "8", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == (1 if failures else 0)
    assert "the report" in capsys.readouterr().out
