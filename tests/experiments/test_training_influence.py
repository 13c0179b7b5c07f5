"""Training influence: familiarity and its threshold, the inner products of gradients, and training again without."""

import json
import math
import re
from dataclasses import replace

import little_facts
import numpy as np
import pytest
from hypothesis import given, strategies as st
from little_facts import PLANTED, RARE, TOKENIZER, TRAINING, seen_and_held_out, untrained
from strategies import random_ids, random_model

from minitransformer import ByteTokenizer, CharTokenizer, Config, LanguageModel, Transformer, analyze_training_influence
from minitransformer.experiments.influence import answer_after, as_passages, retrain_without, separation
from minitransformer.experiments.influence.calibration import beginnings, p_value, threshold
from minitransformer.experiments.influence.passages import next_tokens, token_log_probabilities
from minitransformer.experiments.influence.tracin import influences, loss_gradient
from minitransformer.text import IGNORE_INDEX

SEEN, HELD_OUT = seen_and_held_out()


@pytest.fixture(scope="module")
def checkpoints():
    """Ten moments of a model that learns the facts by heart, each with its learning rate; the last is the end."""
    return TRAINING.checkpoints(as_passages(untrained(), SEEN, "seen"), 0, 10)


@pytest.fixture(scope="module")
def lm(checkpoints):
    return checkpoints[-1][0]


@pytest.fixture
def small(rng):
    """A float64 model with random parameters, all of which matter, and three examples of unequal length for it."""
    config = Config(vocab_size=7, context=6, d_model=8, n_heads=2, n_layers=2, dtype="float64")
    model = random_model(config, rng)
    exercises = [(random_ids(config, rng, n)[None], random_ids(config, rng, n)[None]) for n in (4, 6, 3)]
    exercises[0][1][0, :2] = IGNORE_INDEX
    return model, exercises


# Gradients


def flat_gradient(model, exercise):
    """The oracle: one long row of all gradients, collected by hand."""
    for parameter in model.parameters():
        parameter.grad = None
    model.loss(*exercise)[1]()
    return np.concatenate([parameter.grad.ravel() for parameter in model.parameters()])


def test_influence_and_cosine_are_products_of_the_flattened_gradients_added_by_learning_rate(small, rng):
    model, (answer, *examples) = small
    other = random_model(model.config, rng)
    for parameter in model.parameters():
        parameter.grad = np.ones_like(parameter.data)  # of whoever was here before
    influence, cosine = influences([(model, 0.3), (other, 0.1)], [answer, examples[0]], examples, lambda: None)
    for a, of in enumerate([answer, examples[0]]):
        for z, example in enumerate(examples):
            pairs = [(flat_gradient(m, of), flat_gradient(m, example)) for m in (model, other)]
            products = np.array([g @ h for g, h in pairs])
            cosines = products / [np.linalg.norm(g) * np.linalg.norm(h) for g, h in pairs]
            assert influence[a, z] == pytest.approx([0.3, 0.1] @ products, rel=1e-12)
            assert cosine[a, z] == pytest.approx([0.75, 0.25] @ cosines, rel=1e-12)


def test_a_frozen_parameter_has_no_part(small):
    model, (answer, example, _) = small
    whole, _ = influences([(model, 1.0)], [answer], [example], lambda: None)
    first = np.vdot(*(loss_gradient(model, exercise)[0] for exercise in (answer, example)))
    model.parameters()[0].requires_grad = False
    without, _ = influences([(model, 1.0)], [answer], [example], lambda: None)
    assert without[0, 0] == pytest.approx(whole[0, 0] - first, rel=1e-10)
    for parameter in model.parameters():
        parameter.requires_grad = False
    with pytest.raises(ValueError, match="must have at least one trainable parameter, but all are frozen"):
        influences([(model, 1.0)], [answer], [example], lambda: None)


def test_parameters_gradients_and_freezing_are_left_as_they_were(lm):
    parameters = lm.model.parameters()
    for i, parameter in enumerate(parameters):
        parameter.grad = None if i % 2 else np.full_like(parameter.data, i)
    parameters[3].requires_grad = False
    before = [(p.data, p.data.copy(), p.grad, p.requires_grad) for p in parameters]
    try:
        analyze_training_influence(lm, "balu eats ", training=SEEN[:4], answer_tokens=4)
        with pytest.raises(ValueError):  # halfway through
            loss_gradient(lm.model, (np.array([[0, 99]]), np.array([[0, 0]])))
        for parameter, (data, copy, grad, requires_grad) in zip(parameters, before, strict=True):
            assert parameter.data is data and parameter.grad is grad and parameter.requires_grad == requires_grad
            np.testing.assert_array_equal(data, copy)
    finally:
        for parameter in parameters:
            parameter.grad, parameter.requires_grad = None, True


# Familiarity, separation, calibration


def test_perplexity_answer_and_confidence_are_those_of_the_model(lm):
    found = analyze_training_influence(lm, [f"{PLANTED} eats "], answer_tokens=4).prompts[0]
    assert found.perplexity == pytest.approx(lm.perplexity(found.prompt), rel=1e-5)
    assert found.answer == RARE
    assert found.prompt + found.answer == lm.generate(found.prompt, 4, temperature=0)
    exercise = answer_after(lm.encode(found.prompt), found.answer_ids)
    assert found.confidence == pytest.approx(np.exp(-lm.model.loss(*exercise)[0]), rel=1e-4)
    assert found.tokens == 10 and found.influence is None and found.calibration is None

    class Ending(CharTokenizer):
        end_ids = (TOKENIZER.encode(".")[0],)

    ending = LanguageModel(lm.model, Ending(TOKENIZER.characters))
    assert analyze_training_influence(ending, f"{PLANTED} eats ", answer_tokens=12).prompts[0].answer == f"{RARE}."


def test_the_beginnings_of_passages_score_as_if_they_ended_there(lm):
    passages = as_passages(lm, SEEN[:6], "seen")
    scored = [(passage.ids, token_log_probabilities(lm.model, passage.ids)) for passage in passages]
    means, _ = beginnings(lm, scored, 18)
    long = [passage for passage in passages if len(passage.ids) >= 18]
    expected = [-math.log(lm.perplexity(passage.text[:18])) for passage in long]
    assert 0 < len(long) < 6 and means == pytest.approx(expected, rel=1e-4)


@given(st.integers(2, 40), st.integers(2, 40), st.floats(-1.5, 1.5), st.integers(0, 10**6))
def test_the_interval_excludes_half_exactly_where_mann_and_whitneys_test_rejects(m, n, shift, seed):
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(seed)
    first, second = rng.normal(shift, size=m), rng.normal(size=n)
    test = mannwhitneyu(first, second, method="asymptotic", use_continuity=False)
    found = separation(first, second)
    assert found.area == pytest.approx(test.statistic / (m * n))
    mirrored, ties = separation(second, first), separation(np.round(first), np.round(second))
    np.testing.assert_allclose([mirrored.low, mirrored.high], [1 - found.high, 1 - found.low], atol=1e-8)
    pairs = [(x > y) + 0.5 * (x == y) for x in np.round(first) for y in np.round(second)]
    assert ties.area == pytest.approx(np.mean(pairs))
    assert found.is_chance == (test.pvalue >= 0.05)
    assert found.better_than_chance == (test.pvalue < 0.05 and found.area > 0.5)


@pytest.mark.parametrize("alpha, n", [(0.05, 19), (0.05, 47), (0.1, 29), (0.25, 3)])
def test_a_text_that_was_not_seen_is_flagged_with_the_probability_asked_for(rng, alpha, n):
    flagged = 0
    for _ in range(4000):
        held_out, score = rng.normal(size=n), rng.normal()
        is_above = score > threshold(held_out, alpha)
        assert is_above == (p_value(score, held_out) <= alpha + 1e-12)
        flagged += is_above
    expected = math.floor(alpha * (n + 1) + 1e-9) / (n + 1)
    assert expected <= alpha + 1e-12
    assert flagged / 4000 == pytest.approx(expected, abs=4 * (expected / 4000) ** 0.5)


def test_a_model_that_knows_its_training_by_heart_tells_it_from_what_was_held_out(lm):
    found = analyze_training_influence(lm, [SEEN[10], HELD_OUT[3]], training=SEEN, held_out=HELD_OUT, answer_tokens=2)
    known, unknown = found.prompts
    assert (known.likely_seen_similar, unknown.likely_seen_similar) == (True, False)
    assert known.p_value <= 0.05 < unknown.p_value
    for prompt in found.prompts:
        calibration = prompt.calibration
        assert calibration.tokens == prompt.tokens and calibration.is_trustworthy
        assert calibration.separation.low > 0.9 and calibration.found > 0.9
        assert calibration.false_alarms <= 0.05
        assert calibration.n_seen == sum(len(text) >= prompt.tokens for text in SEEN)
    assert "likely seen similar: yes (p = " in str(found) and "likely seen similar: no (p = " in str(found)
    assert "not reliable" not in str(found)


def test_passages_of_another_kind_are_noticed_without_the_model(lm):
    other = ["".join(np.random.default_rng(i).choice(list("abcdefghij"), 20)) for i in range(40)]
    found = analyze_training_influence(lm, "aa aa aa aa aa aa", training=["aa aa aa aa aa aa aa"] * 20, held_out=other)
    calibration = found.prompts[0].calibration
    assert calibration.blind.better_than_chance
    assert calibration.separation.better_than_chance and not calibration.is_trustworthy
    assert "the compressed length alone separates the two (area 1.00" in str(found)
    untaught = analyze_training_influence(untrained(), "balu eats ", training=SEEN, held_out=HELD_OUT)
    assert untaught.prompts[0].calibration.separation.is_chance
    assert "not reliable: familiarity does not separate seen from held-out passages better than chance" in str(untaught)


@pytest.mark.parametrize(
    "given_passages, missing",
    [({}, "training and held-out"), ({"training": SEEN[:3]}, "held-out"), ({"held_out": HELD_OUT[:3]}, "training")],
)
def test_without_passages_of_both_kinds_nothing_is_said_of_having_been_seen(lm, given_passages, missing):
    found = analyze_training_influence(lm, "balu eats ", **given_passages)
    assert found.prompts[0].likely_seen_similar is None and found.prompts[0].p_value is None
    assert f"unknown; the calibration requires {missing} passages" in str(found)


# Who taught it


def test_the_passages_that_taught_a_rare_fact_are_the_strongest_proponents_of_its_answer(lm, checkpoints):
    how = {"training": SEEN, "checkpoints": checkpoints, "answer_tokens": 4}
    found = analyze_training_influence(lm, f"{PLANTED} eats ", **how).prompts[0]
    assert found.answer == RARE and found.confidence > 0.9
    assert set(found.ranking[:2]) <= {0, 1, 2} and found.cosine.argmax() == 0
    assert (np.diff(found.influence[found.ranking]) <= 0).all()


@pytest.mark.slow
def test_training_again_without_the_proponents_forgets_the_answer_and_without_others_does_not(lm, checkpoints):
    found = analyze_training_influence(
        lm,
        f"{PLANTED} eats ",
        training=SEEN,
        checkpoints=checkpoints,
        answer_tokens=4,
        train=replace(TRAINING, steps=250),
        remove=3,
        seeds=(0, 1),
    )
    retrained = found.prompts[0].retraining
    assert sorted(retrained.removed) == [0, 1, 2] == sorted(found.prompts[0].ranking[:3])
    assert retrained.all_passages.max() < 1
    assert (retrained.without > retrained.without_random + 3).all() and retrained.difference > 5
    assert retrained.standard_error < retrained.difference / 3
    assert "without the 3 most influential" in str(found) and "the first is higher for 2 of 2 seeds" in str(found)


def test_what_is_removed_is_not_trained_on_and_as_many_others_are_not(lm):
    passages = as_passages(lm, SEEN[:10], "seen")
    seen = []

    def train(kept, seed):
        seen.append((seed, [passages.index(passage) for passage in kept]))
        return lm

    answer = next_tokens(passages[0])
    found = retrain_without(train, passages, [1, 4], answer, seeds=(5, 6))
    assert [seed for seed, _ in seen] == [5] * 3 + [6] * 3
    for everything, without, at_random in (seen[:3], seen[3:]):
        assert everything[1] == list(range(10)) and without[1] == [0, 2, 3, 5, 6, 7, 8, 9]
        assert len(at_random[1]) == 8 and {1, 4} <= set(at_random[1])
    assert seen[2][1] != seen[5][1]
    loss = float(lm.model.loss(*answer)[0])
    np.testing.assert_allclose([found.all_passages, found.without, found.without_random], loss, rtol=1e-5)
    assert found.difference == 0 and json.loads(json.dumps(found.to_dict()))["removed"] == [1, 4]


def test_the_same_seed_trains_the_same_model_and_checkpoints_are_moments_of_it(lm):
    quick = replace(TRAINING, steps=6)
    passages = as_passages(lm, SEEN[:10], "seen")
    whole, again, other = (quick(passages, seed).model.embedding.weight.data for seed in (1, 1, 2))
    np.testing.assert_array_equal(whole, again)
    assert not np.array_equal(whole, other)
    moments = quick.checkpoints(passages, 1, 3)
    np.testing.assert_array_equal(moments[-1][0].model.embedding.weight.data, whole)
    assert len(moments) == 3 and not np.array_equal(moments[0][0].model.embedding.weight.data, whole)
    assert [rate for _, rate in moments] == sorted((rate for _, rate in moments), reverse=True)
    with pytest.raises(ValueError, match="number must be at most 6, not 7"):
        quick.checkpoints(passages, 1, 7)


def test_a_checkpoint_may_be_a_file_and_progress_is_told(lm, tmp_path):
    lm.save(tmp_path / "model.npz")
    told = []
    how = {"training": SEEN[:4], "answer_tokens": 4}
    found = analyze_training_influence(
        lm, "balu eats ", **how, checkpoints=[(tmp_path, 0.5), (lm, 1.5)], progress=lambda *counts: told.append(counts)
    )
    once = analyze_training_influence(lm, "balu eats ", **how)
    np.testing.assert_allclose(found.prompts[0].influence, 2 * once.prompts[0].influence, rtol=1e-5)
    assert told == [(i, 8) for i in range(1, 9)]
    assert found.learning_rates == [0.5, 1.5] and once.learning_rates == [1.0]


# Passages, reports, mistakes


def test_a_text_is_cut_into_passages_that_the_model_can_be_asked_for_at_once():
    lm, text = untrained(), "".join(SEEN)[:101]
    passages = as_passages(lm, text, "training")
    assert [len(passage.ids) for passage in passages] == [25] * 4  # and one letter, which leaves nothing to predict
    assert "".join(passage.text for passage in passages) == text[:100]
    assert all(lm.encode(passage.text).tolist() == passage.ids.tolist() for passage in passages)
    assert len(as_passages(lm, text + "a", "training")) == 5

    class Beginning(ByteTokenizer):
        bos_id = 7

    config = Config(vocab_size=256, context=12, d_model=8, n_heads=2, n_layers=1)
    beginning = LanguageModel(random_model(config, np.random.default_rng(0)), Beginning())
    pieces = as_passages(beginning, "aé" * 20, "training")
    assert {int(piece.ids[0]) for piece in pieces} == {7} and {len(piece.ids) for piece in pieces[:-1]} == {13}
    assert as_passages(lm, passages[:2], "training") == passages[:2]


def test_the_report_is_json_and_tells_what_is_not_shown(lm):
    found = analyze_training_influence(lm, ["balu eats ", "we saw "], training=SEEN, held_out=HELD_OUT)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["passages"] == SEEN and data["held_out"] == len(HELD_OUT)
    for prompt, written in zip(found.prompts, data["prompts"], strict=True):
        np.testing.assert_array_equal(written["influence"], prompt.influence)
        assert written["calibration"]["separation"]["area"] == prompt.calibration.separation.area
        assert written["likely_seen_similar"] == prompt.likely_seen_similar and written["retraining"] is None
    text = str(found)
    assert "A ranking is a hypothesis" in text and "not tested by training without" in text
    best = int(found.prompts[0].ranking[0])
    assert re.search(rf"^ +{best} +{re.escape(f'{found.prompts[0].influence[best]:+.3g}')} ", text, re.MULTILINE)
    alone = json.loads(json.dumps(analyze_training_influence(lm, "balu eats ").to_dict()))
    assert alone["prompts"][0]["influence"] is None and alone["passages"] == []


@pytest.mark.parametrize(
    "prompts, options, words",
    [
        ([], {}, "prompts must contain at least one prompt"),
        ("b" * 20, {}, "tokens of prompt 0 must be at most 17, not 20"),
        ("BALU", {}, "prompt 0: unknown character 'B'"),
        ("balu", {"answer_tokens": 0}, "answer_tokens must be at least 1, not 0"),
        ("balu", {"training": []}, "training must contain at least one passage"),
        ("balu", {"false_alarm_rate": 0}, "false_alarm_rate must be .*, not 0"),
        ("balu", {"training": ["ab", "a"]}, "training: number of tokens of passage 1 must be at least 2, not 1"),
        ("balu", {"held_out": ["a" * 26]}, "held_out: number of tokens of passage 0 must be at most 25, not 26"),
        ("balu", {"checkpoints": []}, "checkpoints requires .*, but training is None"),
        ("balu", {"training": SEEN, "checkpoints": []}, "checkpoints must not be empty"),
        ("balu", {"training": SEEN, "checkpoints": [(untrained(), 0)]}, "learning rate of checkpoint 0 .*, not 0"),
        ("balu", {"training": SEEN, "held_out": HELD_OUT[:18]}, "held_out: .* must be at least 19, not 18"),
        ("balu", {"training": SEEN[:4], "train": TRAINING, "remove": 2}, "must be at least 5, not 4"),
        ("balu", {"training": SEEN, "train": TRAINING, "seeds": ()}, "number of seeds must be at least 1, not 0"),
        ("balu", {"training": ["ab", 3]}, "training: passage 1 must be a str, not int"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named_in_one_line(prompts, options, words):
    with pytest.raises((ValueError, TypeError), match=words) as error:
        analyze_training_influence(untrained(), prompts, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, tokenizer, words",
    [
        ({"context": 12}, TOKENIZER, "the context of checkpoint 0 must be at least 24, not 12"),
        ({"vocab_size": 256}, ByteTokenizer(), "checkpoint 0 must have the model's tokenizer"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_model_is_refused(change, tokenizer, words):
    other = LanguageModel(Transformer(replace(little_facts.CONFIG, **change)), tokenizer)
    with pytest.raises(ValueError, match=words):
        analyze_training_influence(untrained(), "balu", training=SEEN, checkpoints=[(other, 1)])
