"""Fine-tuning on a reward: the responses, their advantages, the reference, and a reward that rises."""

import json
import re
from itertools import chain

import numpy as np
import pytest
from small_runs import TEXT, assert_same_weights, small_lm, weights, without_seconds

from minitransformer.layers.softmax import log_softmax
from minitransformer.text import IGNORE_INDEX
from minitransformer.training import RewardSettings, fine_tune_for_reward, read_metrics
from minitransformer.training.finetuning import REWARDS, Reward
from minitransformer.training.finetuning.responses import Responses, log_probabilities, respond
from minitransformer.training.finetuning.reward_run import RewardRun

LETTER = Reward("a", ("the cat", "a rat", "oat", "that", "on"), lambda prompt, text: text.count("a") / 6, tokens=6)
QUICK = {"steps": 6, "batch_size": 2, "responses": 4, "eval_every": 3, "checkpoint_every": 2, "trainable": 1}


def untrained(**fields):
    """Return a small_lm with unequal logits, which the last block can move."""
    lm = small_lm(f"{TEXT}\n", context=20, d_model=16, n_layers=2, dropout=0.0, tie_embeddings=False, **fields)
    lm.model.lm_head.weight.data *= 20
    return lm


def test_responses_of_prompts_together_are_judged_and_end_at_the_line():
    lm = untrained()
    lm.model.lm_head.weight.data[lm.encode("\n")] *= 3  # the end of a line is sometimes likely
    reward = Reward("length", (), lambda prompt, text: float(len(prompt) * len(text)), tokens=5)
    found = respond(lm, ("the", "oat", "a"), reward, 50, np.random.default_rng(0))
    assert found.rewards.shape == (3, 50) and found.inputs.shape == (150, 7)
    prompts = [prompt for prompt in ("the", "oat", "a") for _ in range(50)]
    lengths = set()
    for prompt, text, value, inputs, targets in zip(
        prompts, chain(*found.texts), found.rewards.ravel(), found.inputs, found.targets, strict=True
    ):
        ids = targets[targets != IGNORE_INDEX]
        whole = lm.tokenizer.decode([*inputs[: len(prompt)], *ids])
        ended = len(text) < 5
        assert whole == prompt + text + "\n" * ended and value == len(prompt) * len(text)
        np.testing.assert_array_equal(inputs[len(prompt) : len(prompt) + len(ids) - 1], ids[:-1])
        lengths.add(len(text))
    assert len(lengths) > 2


def test_an_advantage_is_a_reward_in_deviations_from_the_mean_of_its_prompt():
    rewards = np.array([[0.0, 1.0, 1.0, 0.0], [5.0, 9.0, 5.0, 9.0], [0.1, 0.1, 0.1, 0.1]])
    found = Responses([], rewards, *np.zeros((2, 12, 1), int)).advantages
    np.testing.assert_allclose(found, [-1, 1, 1, -1, -1, 1, -1, 1, 0, 0, 0, 0], atol=3e-4)


def test_log_probabilities_are_those_of_the_targets_and_zero_elsewhere():
    lm = untrained(dtype="float64")
    inputs, targets = np.array([[1, 2, 3]]), np.array([[IGNORE_INDEX, 3, 4]])
    expected = log_softmax(lm.model.predict(inputs))[0][0, [1, 2], [3, 4]]
    np.testing.assert_allclose(log_probabilities(lm.model, inputs, targets), [[0, *expected]], rtol=1e-12)


def test_the_first_step_is_that_of_reinforce():
    # Every ratio is 1 and the model is its own reference, so the loss is minus the mean advantage of a token.
    lm = untrained(dtype="float64")
    for name, p in lm.model.named_parameters():
        p.requires_grad = name.startswith("blocks.1.")
    run = RewardRun(lm, LETTER, RewardSettings(**QUICK))
    batches, tokens = run.draw()
    ((share, (loss, _)),) = run.losses(lm.model, batches, None)
    batch = batches[0]
    mask = batch["targets"] != IGNORE_INDEX
    assert (share, tokens) == (1, mask.sum())
    assert loss == pytest.approx(-(batch["advantages"][:, None] * mask).sum() / mask.sum(), abs=1e-14)
    np.testing.assert_array_equal(batch["old"], batch["reference"])


def test_responses_serve_for_several_steps_and_the_reference_is_the_starting_model():
    lm = untrained()
    used = []

    class Watched(RewardRun):
        def draw(self):
            drawn = super().draw()
            used.append(self.batch)
            return drawn

    start = weights(lm)
    run = Watched(lm, LETTER, RewardSettings(**QUICK | {"responses": 20}, updates=3, lr=3e-2, warmup=0))
    run.before = run.evaluation()
    run.carry_out()
    assert [one is used[0] for one in used] == [True] * 3 + [False] * 3
    now = weights(lm)
    assert not np.array_equal(now["blocks.1.feed_forward.up.weight"], start["blocks.1.feed_forward.up.weight"])
    for name, p in lm.model.named_parameters():
        p.data = start[name]
    batch = used[-1]
    np.testing.assert_allclose(
        batch["reference"], log_probabilities(lm.model, batch["inputs"], batch["targets"]), atol=1e-6
    )
    assert not np.allclose(batch["old"], batch["reference"], atol=1e-4)


def test_the_reward_rises_and_frozen_weights_keep_their_bits(tmp_path):
    lm = untrained()
    before = weights(lm)
    report = fine_tune_for_reward(lm, LETTER, out=tmp_path, **QUICK | {"steps": 20, "lr": 5e-2, "responses": 8})
    assert report.after.reward > report.before.reward + 0.3
    assert report.before.divergence == 0 < report.after.divergence
    assert report.verdict == (
        f"The held-out reward rose, from {report.before.reward:.3f} to {report.after.reward:.3f}."
    )
    frozen = [name for name in before if not name.startswith("blocks.1.")]
    assert_same_weights({name: before[name] for name in frozen}, {name: weights(lm)[name] for name in frozen})
    assert without_seconds(tmp_path / "metrics.jsonl") == without_seconds(report.records)
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == report.verdict
    evaluated = [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl") if "reward" in record]
    assert evaluated == [*range(0, 20, 3), 20]
    for prompt, response in report.after.responses:
        assert prompt in LETTER.prompts and f"{prompt!r}" in str(report) and f"{response!r}" in str(report)


def test_equal_rewards_change_nothing_and_the_report_says_so():
    lm = untrained()
    before = weights(lm)
    report = fine_tune_for_reward(lm, Reward("none", LETTER.prompts, lambda *texts: 0.1, 6), **QUICK)
    assert_same_weights(lm, before)
    assert report.verdict.startswith("All responses to each prompt had equal rewards")


def test_parts_of_a_step_have_the_gradient_of_the_whole():
    gradients = []
    for parts in (1, 2):
        lm = untrained(dtype="float64")
        run = RewardRun(lm, LETTER, RewardSettings(**QUICK | {"batch_size": 4 // parts, "accumulate": parts}))
        for share, (_, backward) in run.losses(lm.model, run.draw()[0], None):
            backward(share)
        gradients.append({name: p.grad for name, p in lm.model.named_parameters()})
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, rtol=1e-9, atol=1e-14, err_msg=name)


@pytest.mark.parametrize(
    "prompt, response, value",
    [
        ("3+5=", "8", 1),
        ("3+5=", " 8", 1),
        ("9+9=", "18", 1),
        ("3+5=", "7", 1 / 2),
        ("3+5=", "11", 1 / 4),
        ("3+5=", "8,", 0),
        ("3+5=", "eight", 0),
        ("3+5=", "", 0),
    ],
)
def test_the_reward_of_a_sum(prompt, response, value):
    assert prompt in REWARDS["sums"].prompts
    assert REWARDS["sums"].score(prompt, response) == value


@pytest.mark.parametrize(
    "response, value",
    [(" No.", 0), (" Please do.", 0.5), (" please, please", 0.5), (" Thanks, you may.", 1), (" maybe, thankless", 0)],
)
def test_the_reward_of_politeness_counts_different_words(response, value):
    assert REWARDS["politeness"].score("Good morning.", response) == value


@pytest.mark.parametrize(
    "reward, settings, words",
    [
        ("sum", {}, "there is no reward 'sum'; did you mean sums?"),
        ("sums", {}, "the prompt '0+0=' of the reward sums: "),
        (Reward("one", ("a",), LETTER.score, 6), {}, "the reward one must have at least 2 prompts, not 1"),
        (Reward("long", ("a", "oat"), LETTER.score, 18), {}, "fit in the context of 20 tokens, but have 21"),
        (LETTER, {"responses": 1}, "responses must be at least 2, not 1"),
        (LETTER, {"objective": "dpo"}, "unknown objective 'dpo'; choose from grpo"),
        (LETTER, {"replicas": 2}, "replicas must be 1 for fine-tuning on a reward, not 2"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(reward, settings, words):
    lm = untrained()
    before = weights(lm)
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        fine_tune_for_reward(lm, reward, **QUICK | settings)
    assert "\n" not in str(raised.value)
    assert_same_weights(lm, before)
