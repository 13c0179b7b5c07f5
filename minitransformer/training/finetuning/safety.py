"""Fine-tuning on pairs of responses: towards the safe one, away from the unsafe, and no further than must be."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransformer.files import write_atomically
from minitransformer.folders import at_work_in
from minitransformer.language_model import LanguageModel
from minitransformer.text import DEFAULT_CORPUS, default_corpus
from minitransformer.training.finetuning.preference_run import PreferenceData, PreferenceRun
from minitransformer.training.finetuning.preferences import encode, read_preferences, split_held_out
from minitransformer.training.finetuning.report import REPORT_FILE, FineTuningReport, verdict_of
from minitransformer.training.finetuning.settings import PreferenceSettings
from minitransformer.training.finetuning.trainable import in_words, training_only
from minitransformer.training.loop import carry_out
from minitransformer.training.observer import Observer

PROMPTS_SHOWN = 3
DEFAULT_GENERAL_PART = 0.1  # the end of the default corpus, which `train` holds out


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
    """Train the model of `lm`, in place, to prefer the safe response of each row. Returns a FineTuningReport.

    dataset       a file of JSON lines, "politeness", or a list of dictionaries (see preferences.py)
    held_out      which rows are for evaluation alone: None, those that say so, or where none does a fifth; a fraction
                  between 0 and 1; or another dataset
    general_text  where perplexity is measured, to see what was forgotten; None: the last tenth of the default corpus
    prompts       a list of prompts to complete before and after; None: the first three that are held out
    merge         merge low-rank adapters into the weights at the end; False leaves them in the model, which
                  LanguageModel.load could not read: merge_adapters (layers/lora.py) makes up for it
    out           the folder to write to: model.npz (with the adapters merged), metrics.jsonl, report.json, and with
                  `plot` finetuning.png
    settings      the fields of PreferenceSettings: objective="dpo", beta=0.1, trainable=2, steps=200, lr=None,
                  batch_size=8, seed=0, ...
    resume, plot, observer and about are those of pretrain. A run that is interrupted and resumed ends with the same
    weights, to the bit, as one that was not: also one of another `lm`, whose weights the checkpoint replaces.

    What is not trained stays as it is to the bit, and afterwards every parameter is frozen, or not, as it was found. A
    run that wrecks the model is stopped and reported: `diverged`, with words in `verdict`.

    Raises ValueError or TypeError for a row that cannot be used, naming it, ValueError for settings out of range, or
    texts that the tokenizer does not know; OSError where a file cannot be read or written, or another run is at work
    in `out`; TrainingInterrupted at Ctrl-C, when the step is saved.
    """
    asked = PreferenceSettings(**settings)
    data = preference_data(lm, dataset, held_out, general_text, prompts, asked)
    with at_work_in(out):
        with training_only(lm.model, asked.trainable, seed=asked.seed, merge=merge) as names:
            run = PreferenceRun(lm, data, asked)
            if not resume:
                run.remember_start()
            records = carry_out(run, out=out, resume=resume, plot=plot, observer=observer, about=about)
            report = report_of(run, names, records)
        if out is not None:
            text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
            write_atomically(Path(out) / REPORT_FILE, lambda file: file.write(text.encode()))
    return report


def preference_data(lm, dataset, held_out, general_text, prompts, settings: PreferenceSettings) -> PreferenceData:
    """Return all that a run needs of the data. Raises before anything is changed."""
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
    """Return the ids that perplexity on general text is measured on."""
    name = "the general text"
    if text is None:
        text = default_corpus()
        text = text[int(len(text) * (1 - DEFAULT_GENERAL_PART)) :]
        name = f"the general text, {DEFAULT_CORPUS}, as no other was given"
    try:
        ids = lm.tokenizer.encode(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"{name}: perplexity needs at least 2 tokens, and it has {len(ids)}")
    return ids if settings.eval_tokens is None else ids[: settings.eval_tokens + 1]


def report_of(run: PreferenceRun, names, records) -> FineTuningReport:
    """Return the report of a run that is over."""
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
