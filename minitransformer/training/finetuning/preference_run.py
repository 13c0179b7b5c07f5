"""Fine-tuning on pairs of responses: make the safe response more likely than the unsafe one.

Direct preference optimisation compares the model with the starting model. The log-likelihoods of the starting model are
computed once and stored in checkpoints, so no second model is in memory. A run has diverged, and stops, if the
perplexity on general text has grown beyond the limit, or if a loss or gradient is not finite. `diverged` is then a
sentence that gives the reason.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minitransformer.language_model import LanguageModel
from minitransformer.system.files import write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.validation import dictionary, text
from minitransformer.text import DEFAULT_CORPUS, default_corpus
from minitransformer.training.finetuning.evaluation import Evaluation, complete, evaluate, log_likelihoods
from minitransformer.training.finetuning.objectives import OBJECTIVES, PairedLoss, direct_preference
from minitransformer.training.finetuning.picture import FINE_TUNING_FILE, draw_fine_tuning
from minitransformer.training.finetuning.preferences import (
    Pair,
    batch_of,
    encodable,
    encode,
    read_preferences,
    split_held_out,
    without_unknown_characters,
)
from minitransformer.training.finetuning.report import REPORT_FILE, FineTuningReport, verdict_of
from minitransformer.training.finetuning.settings import PreferenceSettings
from minitransformer.training.finetuning.trainable import in_words, training_only
from minitransformer.training.metrics import NUMBERS_OR_NONE
from minitransformer.training.observer import Observer
from minitransformer.training.run import Run

COMPLETION_TOKENS = 40
PROMPTS_SHOWN = 3
DEFAULT_GENERAL_PART = 0.1  # the end of the default corpus, which is the validation split of `train`
REFERENCE = "reference_safe", "reference_unsafe"  # names of arrays in a checkpoint


def fine_tune_for_safety(
    lm: LanguageModel,
    dataset: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    held_out: float | str | os.PathLike[str] | Sequence[Mapping[str, Any]] | None = None,
    general_text: str | None = None,
    prompts: Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
    **settings: Any,
) -> FineTuningReport:
    """Train the model of `lm`, in place, to prefer the safe response of each row.

    dataset       the path of a file of JSON lines, "politeness", or a list of dictionaries (see preferences.py)
    held_out      rows that are used only for evaluation: a fraction, or another dataset (default: the rows that are
                  marked as held out, or a fifth of the prompts if no row is marked)
    general_text  text whose perplexity measures forgetting (default: the last tenth of the default corpus)
    prompts       prompts to complete before and after training (default: the first three held-out prompts)
    out           folder for model.npz, metrics.jsonl, report.json, and with `plot` finetuning.png
    settings      fields of PreferenceSettings, such as objective="dpo", beta=0.1, trainable=2, steps=200

    resume, plot, observer, about and their exceptions are as in pretrain. Frozen parameters stay bit-identical, and
    requires_grad of all parameters is restored at the end. If the run diverges, it is stopped, `diverged` is True in
    the report, and `verdict` gives the reason.

    Returns a FineTuningReport. Raises ValueError or TypeError, with the location, if a row is invalid, and ValueError
    if a setting is out of range or the tokenizer cannot encode a text.
    """
    asked = PreferenceSettings(**settings)
    data = preference_data(lm, dataset, held_out, general_text, prompts, asked)
    with at_work_in(out):
        with training_only(lm.model, asked.trainable, seed=asked.seed) as names:
            run = PreferenceRun(lm, data, asked)
            if not resume:
                run.remember_start()
            records = run.carry_out(out=out, resume=resume, plot=plot, observer=observer, about=about)
            report = run.report_of(names, records)
        if out is not None:
            write_json(Path(out) / REPORT_FILE, report.to_dict())
    return report


@dataclass(frozen=True)
class PreferenceData:
    name: str
    pairs: list[Pair]
    held_out: list[Pair]
    general_ids: np.ndarray
    prompts: tuple[str, ...]


def preference_data(lm, dataset, held_out, general_text, prompts, settings: PreferenceSettings) -> PreferenceData:
    rows, context = read_preferences(dataset), lm.model.config.context
    if dataset == "politeness":
        rows = encodable(rows, lm.tokenizer, context)
    train_rows, held_out_rows = split_held_out(rows, held_out, settings.seed)
    pairs, held_out_pairs = (encode(rows, lm.tokenizer, context) for rows in (train_rows, held_out_rows))
    if prompts is None:
        prompts = list(dict.fromkeys(row.prompt for row in held_out_rows))[:PROMPTS_SHOWN]
    for prompt in prompts:
        lm.encode(prompt)
    where = "the general text"
    if general_text is None:
        general_text = default_corpus()
        general_text = general_text[int(len(general_text) * (1 - DEFAULT_GENERAL_PART)) :]
        where = f"the general text, by default {DEFAULT_CORPUS}"
        general_text = without_unknown_characters(general_text, lm.tokenizer)
    try:
        ids = lm.tokenizer.encode(general_text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"{where} must have at least 2 tokens, not {len(ids)}")
    if settings.eval_tokens is not None:
        ids = ids[: settings.eval_tokens + 1]
    name = str(dataset) if isinstance(dataset, (str, os.PathLike)) else "the given rows"
    return PreferenceData(name, pairs, held_out_pairs, ids, tuple(prompts))


class PreferenceRun(Run):
    """The fine-tuning of a LanguageModel on pairs. Call `remember_start` before the first step."""

    picture, report = FINE_TUNING_FILE, REPORT_FILE

    def __init__(self, lm: LanguageModel, data: PreferenceData, settings: PreferenceSettings):
        self.data = data
        super().__init__(lm, settings)
        self.loss = PairedLoss(lm.model, OBJECTIVES[settings.objective])
        self.before = None  # the Evaluation of the starting model
        self.reference = None  # under that model, the log-likelihoods (N,) of safe and of unsafe responses
        self.diverged = None  # or a description of the divergence

    def remember_start(self) -> None:
        self.before = self.evaluation(prompts=self.data.prompts)
        self.reference = log_likelihoods(self.lm.model, self.data.pairs, self.settings.batch_size)

    @property
    def finished(self) -> bool:
        return super().finished or self.diverged is not None

    def on_divergence(self, error):
        self.optimizer.zero_grad()
        self.diverged = f"at {error}"

    def draw(self):
        count, size = self.settings.accumulate, min(self.settings.batch_size, len(self.data.pairs))
        batches = [self.batch_rng.choice(len(self.data.pairs), size, replace=False) for _ in range(count)]
        pairs = [self.data.pairs[i] for chosen in batches for i in chosen]
        return batches, sum(len(pair.safe) + len(pair.unsafe) for pair in pairs)

    def losses(self, model, batches, rng):
        return ((1 / len(batches), self.loss_of(chosen, rng)) for chosen in batches)

    def loss_of(self, chosen, rng):
        pairs = [self.data.pairs[i] for i in chosen]
        inputs, targets = batch_of(
            [(pair.prompt, pair.safe) for pair in pairs] + [(pair.prompt, pair.unsafe) for pair in pairs]
        )
        options = {}
        if self.loss.objective is direct_preference:
            safe, unsafe = (values[chosen] for values in self.reference)
            options = {"reference_safe": safe, "reference_unsafe": unsafe, "beta": self.settings.beta}
        return self.loss(inputs, targets, rng=rng, **options)

    def evaluation(self, *, prompts=()) -> Evaluation:
        """Evaluate the model. The prompts are completed only if the loss on general text is finite."""
        now = evaluate(self.lm, self.data.held_out, self.data.general_ids, self.settings.batch_size)
        if not math.isfinite(now.general_loss):
            return now
        return replace(now, completions=complete(self.lm, prompts, COMPLETION_TOKENS, self.settings.seed))

    def evaluate(self) -> dict:
        now = self.evaluation()
        growth = math.exp(min(now.general_loss - self.before.general_loss, 700))
        if self.diverged is None and not growth <= self.settings.perplexity_limit:  # also True for NaN
            self.diverged = (
                f"after step {self.step} the perplexity on general text is {now.perplexity:.4g}, {growth:.3g} times "
                f"the initial {self.before.perplexity:.4g}, which exceeds the limit of "
                f"{self.settings.perplexity_limit:g} times"
            )
        return {key: value for key, value in now.to_dict().items() if key in NUMBERS_OR_NONE}

    def first_ids(self):
        return self.lm.encode(self.data.prompts[0]) if self.data.prompts else self.data.held_out[0].prompt

    def describe_data(self) -> dict:
        digest = hashlib.sha256()
        for pairs in (self.data.pairs, self.data.held_out):
            digest.update(f"{len(pairs)} ".encode())
            for pair in pairs:
                for ids in vars(pair).values():
                    digest.update(f"{len(ids)} ".encode() + ids.tobytes())
        digest.update(self.data.general_ids.tobytes())
        counts = {"rows": len(self.data.pairs), "held_out": len(self.data.held_out)}
        return {"name": self.data.name, **counts, "sha256": digest.hexdigest()}

    def own_state(self) -> tuple[dict, dict]:
        arrays = dict(zip(REFERENCE, self.reference, strict=True))
        return arrays, {"before": self.before.to_dict(), "diverged": self.diverged}

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        reference = tuple(arrays[name] for name in REFERENCE)
        expected = np.dtype(np.float64), (len(self.data.pairs),)
        for found in ((array.dtype, array.shape) for array in reference):
            if found != expected:
                raise ValueError(f"reference must have dtype {expected[0]} and shape {expected[1]}, not {found}")
        before = Evaluation.from_dict(dictionary("before", state["before"]))
        diverged = None if state["diverged"] is None else text("diverged", state["diverged"])
        self.reference, self.before, self.diverged = reference, before, diverged

    def report_of(self, names, records) -> FineTuningReport:
        parameters = dict(self.lm.model.named_parameters())
        after = self.evaluation(prompts=self.data.prompts)
        return FineTuningReport(
            objective=self.settings.objective,
            trained=in_words(self.settings.trainable),
            trained_numbers=sum(parameters[name].data.size for name in names),
            model_numbers=self.lm.model.n_parameters(),
            rows=len(self.data.pairs),
            held_out_rows=len(self.data.held_out),
            steps=self.step,
            before=self.before,
            after=after,
            records=records,
            diverged=self.diverged is not None,
            verdict=verdict_of(self.diverged, self.before, after, self.settings.perplexity_limit),
        )

    def draw_picture(self, records, path) -> None:
        title = f"fine-tuning on {self.data.name}, {self.settings.objective}"
        draw_fine_tuning(records, path, title, limit=self.settings.perplexity_limit)
