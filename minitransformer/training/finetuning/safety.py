"""Fine-tuning on pairs of responses: make the safe response more likely than the unsafe one."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransformer.language_model import LanguageModel
from minitransformer.system.files import write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.text import DEFAULT_CORPUS, default_corpus
from minitransformer.training.finetuning.preference_run import PreferenceData, PreferenceRun
from minitransformer.training.finetuning.preferences import encode, read_preferences, split_held_out
from minitransformer.training.finetuning.report import REPORT_FILE, FineTuningReport, verdict_of
from minitransformer.training.finetuning.settings import PreferenceSettings
from minitransformer.training.finetuning.trainable import in_words, training_only
from minitransformer.training.observer import Observer

PROMPTS_SHOWN = 3
DEFAULT_GENERAL_PART = 0.1  # the end of the default corpus, which is the validation split of `train`


def fine_tune_for_safety(
    lm: LanguageModel,
    dataset: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    *,
    held_out: float | str | os.PathLike[str] | Sequence[Mapping[str, Any]] | None = None,
    general_text: str | None = None,
    prompts: Sequence[str] | None = None,
    merge: bool = True,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    plot: bool = False,
    observer: Observer | None = None,
    about: dict[str, Any] | None = None,
    **settings: Any,
) -> FineTuningReport:
    """Train the model of `lm`, in place, to prefer the safe response of each row.

    dataset       a file of JSON lines, "politeness", or a list of dictionaries (see preferences.py)
    held_out      the rows for evaluation only: None (the rows marked so, or a fifth if none is marked), a fraction
                  between 0 and 1, or another dataset
    general_text  text to measure forgetting by its perplexity (default: the last tenth of the default corpus)
    prompts       prompts to complete before and after (default: the first three held-out ones)
    merge         merge low-rank adapters into the weights at the end. With False they stay in the model, and
                  LanguageModel.load cannot read its file until merge_adapters (layers/lora.py) has merged them
    out           folder for model.npz (with merged adapters), metrics.jsonl, report.json, and with `plot`
                  finetuning.png
    settings      fields of PreferenceSettings: objective="dpo", beta=0.1, trainable=2, steps=200, lr=None,
                  batch_size=8, seed=0, ...

    resume, plot, observer and about are as in pretrain. A run that is interrupted and resumed ends with weights that
    are bit-identical to those of an uninterrupted run. It may be resumed with another `lm`, whose weights are replaced.

    Frozen parameters stay bit-identical, and requires_grad of all parameters is restored at the end. A run that
    diverges is stopped, with `diverged` and `verdict` in the report.

    Returns a FineTuningReport. Raises ValueError or TypeError for an invalid row, with its location; ValueError for
    settings out of range, or texts that the tokenizer cannot encode; OSError if a file cannot be read or written, or if
    another run uses `out`; and TrainingInterrupted at Ctrl-C, after the current step has been saved.
    """
    asked = PreferenceSettings(**settings)
    data = preference_data(lm, dataset, held_out, general_text, prompts, asked)
    with at_work_in(out):
        with training_only(lm.model, asked.trainable, seed=asked.seed, merge=merge) as names:
            run = PreferenceRun(lm, data, asked)
            if not resume:
                run.remember_start()
            records = run.carry_out(out=out, resume=resume, plot=plot, observer=observer, about=about)
            report = report_of(run, names, records)
        if out is not None:
            text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
            write_atomically(Path(out) / REPORT_FILE, lambda file: file.write(text.encode()))
    return report


def preference_data(lm, dataset, held_out, general_text, prompts, settings: PreferenceSettings) -> PreferenceData:
    """Prepare the data of a run, before anything is changed."""
    train_rows, held_out_rows = split_held_out(read_preferences(dataset), held_out, settings.seed)
    context = lm.model.config.context
    pairs, held_out_pairs = (encode(rows, lm.tokenizer, context) for rows in (train_rows, held_out_rows))
    if prompts is None:
        prompts = list(dict.fromkeys(row.prompt for row in held_out_rows))[:PROMPTS_SHOWN]
    for prompt in prompts:
        lm.encode(prompt)
    name = str(dataset) if isinstance(dataset, (str, os.PathLike)) else "the given rows"
    return PreferenceData(name, pairs, held_out_pairs, general_ids(lm, general_text, settings), tuple(prompts))


def general_ids(lm, text: str | None, settings: PreferenceSettings):
    name = "the general text"
    if text is None:
        text = default_corpus()
        text = text[int(len(text) * (1 - DEFAULT_GENERAL_PART)) :]
        name = f"the general text, by default {DEFAULT_CORPUS}"
    try:
        ids = lm.tokenizer.encode(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"{name}: perplexity needs at least 2 tokens, but it has {len(ids)}")
    return ids if settings.eval_tokens is None else ids[: settings.eval_tokens + 1]


def report_of(run: PreferenceRun, names, records) -> FineTuningReport:
    parameters = dict(run.lm.model.named_parameters())
    after = run.evaluation_with_completions()
    return FineTuningReport(
        objective=run.settings.objective,
        trained=in_words(run.settings.trainable),
        trained_numbers=sum(parameters[name].data.size for name in names),
        model_numbers=run.lm.model.n_parameters(),
        rows=len(run.data.pairs),
        held_out_rows=len(run.data.held_out),
        steps=run.step,
        before=run.before,
        after=after,
        records=records,
        diverged=run.diverged is not None,
        verdict=verdict_of(run.diverged, run.before, after, run.settings.perplexity_limit),
    )
