"""Analyse prompts: a model's answers, whether it has likely seen similar texts, and which passages taught it.

    report = analyze_training_influence(lm, "To be, or ", training=seen, held_out=unseen)
    print(report)

Three questions, in order of cost. How familiar is the prompt, compared with passages that were seen in training and
others that were not (calibration.py)? Which of the seen passages pushed the model most towards its answer, by their
gradients (tracin.py)? And is this true, by training again without them (retraining.py)?
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from os import PathLike

import numpy as np

from minitransformer.analysis.tokens import token_strings
from minitransformer.experiments.influence.calibration import ScoredPassages, calibrate, p_value, require_enough
from minitransformer.experiments.influence.familiarity import answer_loss, own_answer, token_log_probabilities
from minitransformer.experiments.influence.passages import Example, answer_after, as_passages, next_tokens
from minitransformer.experiments.influence.report import RANKINGS, PromptInfluence, TrainingInfluence
from minitransformer.experiments.influence.retraining import check_retraining, retrain_without
from minitransformer.experiments.influence.tracin import influences
from minitransformer.language_model import LanguageModel
from minitransformer.system.values import number, one_of, positive, whole


def analyze_training_influence(
    lm: LanguageModel,
    prompts: str | Sequence[str],
    *,
    training: str | Sequence[str] | None = None,
    held_out: str | Sequence[str] | None = None,
    checkpoints: Iterable[tuple[LanguageModel | str | PathLike[str], float]] | None = None,
    answer_tokens: int = 8,
    rank_by: str = "influence",
    false_alarm_rate: float = 0.05,
    train: Callable[[list[str], int], LanguageModel] | None = None,
    remove: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    progress: Callable[[int, int], object] | None = None,
) -> TrainingInfluence:
    """Analyse each prompt's familiarity, and the influence of training passages on the model's answer.

    training          passages of the training set: a list of str, or one text, which is cut (passages.py)
    held_out          passages of the same kind outside of it; both are needed for likely_seen_similar
    checkpoints       pairs (LanguageModel or its path, learning rate), whose influences are added; by default the model
                      alone, with a learning rate of 1
    answer_tokens     of the model's greedy continuation, which may end earlier
    rank_by           "influence", the inner product of gradients, or "cosine", without their lengths (tracin.py)
    false_alarm_rate  upper bound of the probability that an unseen text is flagged
    train             train(passages, seed) trains again and returns a LanguageModel, for example a PassageTraining. It
                      tests the ranking by training without the `remove` strongest proponents, for each of `seeds`
    progress          called as progress(done, total), in passages, while gradients are computed

    The cost is a forward pass per passage of either kind, a forward and a backward pass per training passage and
    checkpoint, and with `train` three trainings per prompt and seed; the memory is a copy of the parameters per prompt.
    The model's parameters and their gradients do not change.

    Raises ValueError for no prompts, a prompt of fewer than two tokens or too long for an answer, passages that are
    missing, too short, too long or too few to calibrate with, settings out of range, and checkpoints of another
    tokenizer; TypeError for prompts that are not text; OSError for a checkpoint that cannot be read.
    """
    check_settings(answer_tokens, rank_by, false_alarm_rate, remove)
    if training is None and (checkpoints is not None or train is not None):
        option = "checkpoints is" if train is None else "train is"
        raise ValueError(f"{option} for the influence of training passages, and training is None")
    seen = [] if training is None else as_passages(lm, training, "training")
    unseen = [] if held_out is None else as_passages(lm, held_out, "held_out")
    if train is not None:
        check_retraining(len(seen), remove, seeds)
    questions = [question_of(lm, i, prompt, answer_tokens) for i, prompt in enumerate(listed(prompts))]
    flags = familiarity_flags(lm, questions, seen, unseen, false_alarm_rate)
    pairs = [] if not seen else [(lm, 1.0)] if checkpoints is None else checked_pairs(checkpoints)
    rows = passage_influences(lm, questions, seen, pairs, progress)
    analysed = [
        PromptInfluence(**prompt_facts(lm, asked), **flag, **row, ranked_by=rank_by, retraining=None)
        for asked, flag, row in zip(questions, flags, rows, strict=True)
    ]
    if train is not None:
        analysed = [
            replace(prompt, retraining=retrain_without(train, seen, prompt.ranking[:remove], asked.exercise, seeds))
            for prompt, asked in zip(analysed, questions, strict=True)
        ]
    return TrainingInfluence(
        prompts=tuple(analysed),
        passages=[passage.text for passage in seen],
        held_out=len(unseen),
        learning_rates=[rate for _, rate in pairs],
    )


@dataclass(frozen=True, eq=False)
class Question:
    """A prompt, its ids (n,), the ids of the model's answer, and the exercise of giving it."""

    prompt: str
    ids: np.ndarray
    answer_ids: np.ndarray
    exercise: Example


def check_settings(answer_tokens, rank_by, false_alarm_rate, remove) -> None:
    whole("answer_tokens", answer_tokens, least=1)
    one_of("rank_by", rank_by, known=RANKINGS)
    number("false_alarm_rate", false_alarm_rate, above=0, below=1)
    whole("remove", remove, least=1)


def listed(prompts) -> list[str]:
    """Return the prompts as a list. Raises ValueError if it is empty, TypeError for one that is not a str."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise ValueError("there are no prompts")
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise TypeError(f"prompt {i} must be a str, not {type(prompt).__name__}")
    return prompts


def question_of(lm, i: int, prompt: str, answer_tokens: int) -> Question:
    """Return prompt i with the model's answer. Raises ValueError if it is too short, or too long to answer."""
    try:
        ids = lm.encode(prompt)
    except ValueError as error:
        raise ValueError(f"prompt {i}: {error}") from None
    if len(ids) < 2:
        raise ValueError(f"prompt {i} has {len(ids)} token, and perplexity needs at least 2")
    context = lm.model.config.context
    most = context + 1 - answer_tokens
    if most < 2:
        raise ValueError(
            f"prompt {i} has {len(ids)} tokens, and with an answer of {answer_tokens} the model's context of {context} "
            "is too short for any prompt"
        )
    if len(ids) > most:
        raise ValueError(
            f"prompt {i} has {len(ids)} tokens, and with an answer of {answer_tokens} it may have {most} at most: "
            f"the model's context is {context}"
        )
    answer_ids = own_answer(lm, ids, answer_tokens)
    return Question(prompt, ids, answer_ids, answer_after(ids, answer_ids))


def prompt_facts(lm, asked: Question) -> dict:
    """Return the fields of PromptInfluence that need no passages."""
    return {
        "prompt": asked.prompt,
        "tokens": len(asked.ids),
        "perplexity": math.exp(-token_log_probabilities(lm.model, asked.ids).mean()),
        "answer": "".join(token_strings(lm.tokenizer, asked.answer_ids)),
        "answer_ids": asked.answer_ids.tolist(),
        "confidence": math.exp(-answer_loss(lm.model, asked.exercise)),
    }


def familiarity_flags(lm, questions, seen, unseen, alpha: float) -> list[dict]:
    """Return for each question whether it was likely seen, the p-value and the calibration."""
    if not seen or not unseen:
        return [{"likely_seen_similar": None, "p_value": None, "calibration": None} for _ in questions]
    for asked in questions:  # before the passages are scored, which may take long
        require_enough(seen, unseen, len(asked.ids), alpha)
    scored = [
        ScoredPassages(lm.tokenizer, group, [token_log_probabilities(lm.model, passage.ids) for passage in group])
        for group in (seen, unseen)
    ]
    flags = []
    for asked in questions:
        calibration, held_out = calibrate(*scored, len(asked.ids), alpha)
        score = float(token_log_probabilities(lm.model, asked.ids).mean())
        flags.append(
            {
                "likely_seen_similar": score > calibration.threshold,
                "p_value": p_value(score, held_out),
                "calibration": calibration,
            }
        )
    return flags


def checked_pairs(checkpoints) -> list:
    """Return the pairs (model or path, learning rate) as a list. Raises ValueError without any, or for a bad rate."""
    pairs = [
        (checkpoint, positive(f"checkpoints: the learning rate of checkpoint {i}", rate))
        for i, (checkpoint, rate) in enumerate(checkpoints)
    ]
    if not pairs:
        raise ValueError("checkpoints: the list is empty; None stands for the model alone")
    return pairs


def passage_influences(lm, questions, seen, pairs, progress) -> list[dict]:
    """Return for each question the influence and cosine (N,) of the seen passages; None without any."""
    if not seen:
        return [{"influence": None, "cosine": None} for _ in questions]
    done, total = count(1), len(pairs) * len(seen)

    def passage_done():
        if progress is not None:
            progress(next(done), total)

    examples = [next_tokens(passage) for passage in seen]
    measures = influences(models(lm, pairs), [asked.exercise for asked in questions], examples, passage_done)
    return [{"influence": influence, "cosine": cosine} for influence, cosine in zip(*measures, strict=True)]


def models(lm, pairs):
    """Yield (model, learning rate) for each checkpoint, loaded on demand.

    Raises ValueError for one with another tokenizer, or a shorter context, than `lm`.
    """
    for i, (checkpoint, rate) in enumerate(pairs):
        loaded = LanguageModel.load(checkpoint) if isinstance(checkpoint, (str, PathLike)) else checkpoint
        if loaded.tokenizer.to_dict() != lm.tokenizer.to_dict():
            raise ValueError(f"checkpoints: the tokenizer of checkpoint {i} is not the model's")
        if loaded.model.config.context < lm.model.config.context:
            raise ValueError(
                f"checkpoints: the context of checkpoint {i} is {loaded.model.config.context}, less than the model's, "
                f"{lm.model.config.context}"
            )
        yield loaded.model, rate
