"""Find out whether prompts were likely seen in training, and which passages taught the model's answers.

report = analyze_training_influence(lm, "To be, or ", training=seen, held_out=unseen)
print(report)
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from os import PathLike

import numpy as np

from minitransformer.analysis.tokens import token_strings
from minitransformer.experiments.influence.calibration import familiarity_flags
from minitransformer.experiments.influence.passages import (
    Passage,
    answer_after,
    answer_loss,
    as_passage,
    as_passages,
    next_tokens,
    token_log_probabilities,
)
from minitransformer.experiments.influence.report import RANKINGS, PromptInfluence, TrainingInfluence
from minitransformer.experiments.influence.retraining import check_retraining, retrain_without
from minitransformer.experiments.influence.tracin import influences
from minitransformer.generation import stream
from minitransformer.language_model import LanguageModel
from minitransformer.system.values import check_int, number, one_of, positive


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
    """Analyse the familiarity of prompts, and the passages that taught the answers.

    training          passages of the training set: a list of str, or one text, which is divided (see passages.py)
    held_out          passages of the same kind that were not in the training set. The test whether a prompt was
                      likely seen requires both `training` and `held_out`
    checkpoints       pairs (LanguageModel or its path, learning rate), whose influences are added (default: only `lm`,
                      with a learning rate of 1)
    answer_tokens     maximum number of tokens of the answer, which is the model's greedy continuation
    rank_by           "influence", the inner product of gradients, or "cosine", the normalized product (see tracin.py)
    false_alarm_rate  upper bound of the probability that an unseen text is flagged
    train             function train(passages, seed) that returns a new LanguageModel, for example a PassageTraining. If
                      given, the ranking is tested: models are trained without the `remove` strongest proponents, for
                      each of `seeds`
    progress          called as progress(done, total) with numbers of passages, while gradients are computed

    The cost is a forward pass per passage, a forward and a backward pass per training passage and checkpoint, and, with
    `train`, three trainings per prompt and seed. For each prompt, an array of the size of all parameters is kept in
    memory. The model's parameters and their gradients do not change.

    Raises ValueError or TypeError for an invalid argument, and OSError if a checkpoint cannot be read.
    """
    check_int("answer_tokens", answer_tokens, minimum=1)
    one_of("rank_by", rank_by, known=RANKINGS)
    number("false_alarm_rate", false_alarm_rate, above=0, below=1)
    check_int("remove", remove, minimum=1)
    if training is None and (checkpoints is not None or train is not None):
        option = "checkpoints" if train is None else "train"
        raise ValueError(f"{option} requires training passages, but training is None")
    seen = [] if training is None else as_passages(lm, training, "training")
    unseen = [] if held_out is None else as_passages(lm, held_out, "held_out")
    if train is not None:
        check_retraining(len(seen), remove, seeds)

    questions = asked(lm, [prompts] if isinstance(prompts, str) else list(prompts), answer_tokens)
    flags = familiarity_flags(lm, [question.prompt.ids for question in questions], seen, unseen, false_alarm_rate)
    rated = checked_checkpoints(lm, checkpoints) if seen else []
    measured = influences_on(questions, lm, rated, seen, progress) if seen else [(None, None)] * len(questions)
    found = []
    for question, flag, (influence, cosine) in zip(questions, flags, measured, strict=True):
        one = PromptInfluence(
            **description(lm, question), **flag, influence=influence, cosine=cosine, ranked_by=rank_by, retraining=None
        )
        if train is not None:
            again = retrain_without(train, seen, one.ranking[:remove], question.exercise, seeds)
            one = replace(one, retraining=again)
        found.append(one)
    texts, rates = [passage.text for passage in seen], [float(rate) for _, rate in rated]
    return TrainingInfluence(prompts=tuple(found), passages=texts, held_out=len(unseen), learning_rates=rates)


@dataclass(frozen=True, eq=False)
class Question:
    """A prompt, the ids of the model's greedy continuation, and the exercise of predicting it."""

    prompt: Passage
    answer: np.ndarray
    exercise: tuple


def asked(lm, prompts: list[str], answer_tokens: int) -> list[Question]:
    """Let the model answer each prompt, if all prompts leave room for an answer in its context."""
    if not prompts:
        raise ValueError("prompts must contain at least one prompt, but it is empty")
    passages = [as_passage(lm, prompt, f"prompt {i}") for i, prompt in enumerate(prompts)]
    longest = lm.model.config.context + 1 - answer_tokens
    for i, passage in enumerate(passages):
        check_int(f"number of tokens of prompt {i}", len(passage.ids), minimum=2, maximum=longest)
    greedy = {"temperature": 0, "vocab_size": lm.tokenizer.vocab_size, "stop": lm.tokenizer.end_ids}
    questions = []
    for passage in passages:
        answer = np.array(list(stream(lm.model, passage.ids, answer_tokens, **greedy)), np.int64)
        questions.append(Question(passage, answer, answer_after(passage.ids, answer)))
    return questions


def description(lm, question: Question) -> dict:
    """Return the fields of PromptInfluence that do not depend on any passage."""
    prompt, answer = question.prompt, question.answer
    return {
        "prompt": prompt.text,
        "tokens": len(prompt.ids),
        "perplexity": math.exp(-token_log_probabilities(lm.model, prompt.ids).mean()),
        "answer": "".join(token_strings(lm.tokenizer, answer)),
        "answer_ids": answer.tolist(),
        "confidence": math.exp(-answer_loss(lm.model, question.exercise)),
    }


def checked_checkpoints(lm, checkpoints) -> list[tuple]:
    """Return the pairs (checkpoint, learning rate), by default that of the model itself."""
    rated = [(lm, 1.0)] if checkpoints is None else list(checkpoints)
    if not rated:
        raise ValueError("checkpoints must not be empty; use None for the model alone")
    for i, (_, rate) in enumerate(rated):
        positive(f"checkpoints: the learning rate of checkpoint {i}", rate)
    return rated


def influences_on(questions, lm, rated, seen: list[Passage], progress) -> list[tuple]:
    """Return a pair (influences, cosines) of the passages `seen`, each (N,), for each question."""
    done, total = count(1), len(rated) * len(seen)

    def passage_done():
        if progress is not None:
            progress(next(done), total)

    answers = [question.exercise for question in questions]
    exercises = [next_tokens(passage) for passage in seen]
    return list(zip(*influences(loaded(lm, rated), answers, exercises, passage_done), strict=True))


def loaded(lm, rated):
    """Load each checkpoint when it is required, and yield (model, learning rate)."""
    for i, (checkpoint, rate) in enumerate(rated):
        other = LanguageModel.load(checkpoint) if isinstance(checkpoint, (str, PathLike)) else checkpoint
        if other.tokenizer.to_dict() != lm.tokenizer.to_dict():
            raise ValueError(f"checkpoints: checkpoint {i} must have the model's tokenizer")
        context = other.model.config.context
        check_int(f"checkpoints: the context of checkpoint {i}", context, minimum=lm.model.config.context)
        yield other.model, rate
