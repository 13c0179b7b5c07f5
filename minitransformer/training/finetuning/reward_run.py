"""Fine-tuning on a reward: the model writes responses, and the better ones of each group become more likely.

The responses of a step serve for `updates` steps. The objective's second term keeps the model near the starting model,
whose trained parameters are kept, also in checkpoints. No second model is in memory.
"""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minitransformer.language_model import LanguageModel
from minitransformer.system.files import write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.validation import dictionary, looked_up, text
from minitransformer.text import IGNORE_INDEX
from minitransformer.training.finetuning.objectives import RewardedLoss
from minitransformer.training.finetuning.picture import FINE_TUNING_FILE, draw_rewards
from minitransformer.training.finetuning.preferences import DEFAULT_HELD_OUT
from minitransformer.training.finetuning.report import REPORT_FILE
from minitransformer.training.finetuning.responses import Responses, log_probabilities, respond
from minitransformer.training.finetuning.reward_report import RewardEvaluation, RewardReport
from minitransformer.training.finetuning.rewards import REWARDS, Reward
from minitransformer.training.finetuning.settings import RewardSettings
from minitransformer.training.finetuning.trainable import in_words, training_only
from minitransformer.training.observer import Observer
from minitransformer.training.run import Run
from minitransformer.training.step import token_shares

PROMPTS_EVALUATED, PROMPTS_SHOWN = 32, 3
START, BATCH = "start.", "batch."  # beginnings of the names of arrays in a checkpoint


def fine_tune_for_reward(
    lm: LanguageModel,
    reward: str | Reward,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
    **settings: Any,
) -> RewardReport:
    """Train the model of `lm`, in place, to write responses with a larger reward.

    reward      a name in REWARDS, or a Reward (see rewards.py)
    out         folder for model.npz, metrics.jsonl, report.json, and with `plot` finetuning.png
    settings    fields of RewardSettings, such as responses=8, beta=0.04, trainable=2, steps=200

    A fifth of the prompts is used only for evaluation. resume, plot, observer, about and their exceptions are as in
    pretrain. Frozen parameters stay bit-identical, and requires_grad of all parameters is restored at the end.

    Returns a RewardReport. Raises ValueError or TypeError if a setting is invalid, the tokenizer cannot encode a
    prompt, or a prompt and its response are longer than the context.
    """
    asked = RewardSettings(**settings)
    judge = reward if isinstance(reward, Reward) else looked_up(text("reward", reward), REWARDS, "reward")
    check_prompts(lm, judge)
    with at_work_in(out):
        with training_only(lm.model, asked.trainable, seed=asked.seed):
            run = RewardRun(lm, judge, asked)
            if not resume:
                run.before = run.evaluation()
            records = run.carry_out(out=out, resume=resume, plot=plot, observer=observer, about=about)
            report = run.report_of(records)
        if out is not None:
            write_json(Path(out) / REPORT_FILE, report.to_dict())
    return report


def check_prompts(lm: LanguageModel, reward: Reward) -> None:
    if len(reward.prompts) < 2:
        raise ValueError(f"the reward {reward.name} must have at least 2 prompts, not {len(reward.prompts)}")
    context = lm.model.config.context
    for prompt in reward.prompts:
        try:
            length = len(lm.encode(prompt)) + reward.tokens
        except ValueError as error:
            raise ValueError(f"the prompt {prompt!r} of the reward {reward.name}: {error}") from None
        if length > context:
            raise ValueError(
                f"the prompt {prompt!r} and a response of {reward.tokens} tokens must fit in the context of {context} "
                f"tokens, but have {length}"
            )


class RewardRun(Run):
    """The fine-tuning of a LanguageModel on a reward. Set `before`, an evaluation, before the first step."""

    picture, report = FINE_TUNING_FILE, REPORT_FILE

    def __init__(self, lm: LanguageModel, reward: Reward, settings: RewardSettings):
        self.reward = reward
        shuffled = np.random.default_rng(settings.seed).permutation(len(reward.prompts))
        first = max(round(DEFAULT_HELD_OUT * len(shuffled)), 1)
        held_out, trained = shuffled[:first], shuffled[first:]
        self.held_out, self.prompts = ([reward.prompts[i] for i in chosen] for chosen in (held_out, trained))
        super().__init__(lm, settings)
        self.loss = RewardedLoss(lm.model)
        self.start = {name: p.data.copy() for name, p in lm.model.named_parameters() if p.requires_grad}
        self.batch: dict[str, np.ndarray] = {}  # the present responses, as arguments of `loss`
        self.before: RewardEvaluation | None = None

    def draw(self):
        s = self.settings
        if self.step % s.updates == 0:
            chosen = self.batch_rng.integers(len(self.prompts), size=s.batch_size * s.accumulate)
            responses = respond(self.lm, [self.prompts[i] for i in chosen], self.reward, s.responses, self.batch_rng)
            self.batch = self.batch_of(responses)
        rows = np.array_split(np.arange(len(self.batch["inputs"])), s.accumulate)
        batches = [{name: array[part] for name, array in self.batch.items()} for part in rows]
        return batches, int((self.batch["targets"] != IGNORE_INDEX).sum())

    def batch_of(self, responses: Responses) -> dict:
        """Return the arrays that `loss` needs, of which two are log-probabilities: now, and at the start."""
        inputs, targets = responses.inputs, responses.targets
        arrays = {"inputs": inputs, "targets": targets, "advantages": responses.advantages}
        arrays["old"] = log_probabilities(self.lm.model, inputs, targets)
        with self.starting_model():
            return arrays | {"reference": log_probabilities(self.lm.model, inputs, targets)}

    @contextmanager
    def starting_model(self):
        """Return a context manager in which the parameters have their values before training."""
        parameters = dict(self.lm.model.named_parameters())
        now = {name: parameters[name].data for name in self.start}
        try:
            for name, data in self.start.items():
                parameters[name].data = data
            yield
        finally:
            for name, data in now.items():
                parameters[name].data = data

    def losses(self, model, batches, rng):
        options = {"clip": self.settings.ratio_range, "beta": self.settings.beta}
        shares = token_shares([batch["targets"] for batch in batches])
        return ((share, self.loss(**batch, **options)) for share, batch in zip(shares, batches, strict=True))

    def evaluation(self) -> RewardEvaluation:
        """Evaluate the model on responses to held-out prompts, which equal seeds draw alike."""
        prompts, rng = self.held_out[:PROMPTS_EVALUATED], np.random.default_rng(self.settings.seed)
        responses = respond(self.lm, prompts, self.reward, self.settings.responses, rng)
        batch = self.batch_of(responses)
        log_rho = (batch["reference"] - batch["old"]).astype(np.float64)  # as in grpo.py
        kl = np.exp(log_rho) - log_rho - 1
        tokens = int(np.count_nonzero(batch["targets"] != IGNORE_INDEX))
        firsts = [group[0] for group in responses.texts]
        return RewardEvaluation(
            reward=float(responses.rewards.mean()),
            divergence=float(kl.sum() / tokens),
            length=tokens / len(batch["targets"]),
            responses=tuple(zip(prompts, firsts, strict=True))[:PROMPTS_SHOWN],
        )

    def evaluate(self) -> dict:
        return self.evaluation().numbers

    def first_ids(self):
        return self.lm.encode(self.held_out[0])

    def describe_data(self) -> dict:
        digest = hashlib.sha256("\n".join([self.reward.name, *self.reward.prompts]).encode())
        counts = {"prompts": len(self.prompts), "held_out": len(self.held_out)}
        return {"name": f"the reward {self.reward.name}", **counts, "sha256": digest.hexdigest()}

    def own_state(self) -> tuple[dict, dict]:
        arrays = {START + name: array for name, array in self.start.items()}
        if self.step % self.settings.updates:  # the next step needs the present responses
            arrays |= {BATCH + name: array for name, array in self.batch.items()}
        return arrays, {"before": self.before.to_dict()}

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        start = {name: arrays[START + name] for name in self.start}
        for name, array in start.items():
            if (array.dtype, array.shape) != (self.start[name].dtype, self.start[name].shape):
                raise ValueError(f"{START}{name} must have the dtype and the shape of the parameter")
        before = RewardEvaluation.from_dict(dictionary("before", state["before"]))
        batch = {name.removeprefix(BATCH): array for name, array in arrays.items() if name.startswith(BATCH)}
        self.start, self.before, self.batch = start, before, batch

    def draw_picture(self, records, path):
        draw_rewards(records, path, f"GRPO on the reward {self.reward.name}")

    def report_of(self, records) -> RewardReport:
        return RewardReport(
            reward=self.reward.name,
            trained=in_words(self.settings.trainable),
            prompts=len(self.prompts),
            held_out_prompts=len(self.held_out),
            steps=self.step,
            before=self.before,
            after=self.evaluation(),
            records=records,
        )
