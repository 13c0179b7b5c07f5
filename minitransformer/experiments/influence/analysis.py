"""Find out whether prompts were likely seen in training, and which passages taught the model's answers.

report = analyze_training_influence(lm, "To be, or ", training=seen, held_out=unseen)
print(report)
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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
from minitransformer.experiments.influence.report import PromptInfluence, TrainingInfluence
from minitransformer.experiments.influence.retraining import check_retraining, retrain_without
from minitransformer.experiments.influence.tracin import influences
from minitransformer.generation import stream
from minitransformer.language_model import LanguageModel
from minitransformer.system.validation import check_int, number, positive


def analyze_training_influence(
    lm: LanguageModel,
    prompts: str | Sequence[str],
    *,
    training: str | Sequence[str] | None = None,
    held_out: str | Sequence[str] | None = None,
    checkpoints: Iterable[tuple[LanguageModel | str | PathLike[str], float]] | None = None,
    answer_tokens: int = 8,
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
    number("false_alarm_rate", false_alarm_rate, above=0, below=1)
    check_int("remove", remove, minimum=1)
    if training is None and (checkpoints is not None or train is not None):
        option = "checkpoints" if train is None else "train"
        raise ValueError(f"{option} requires training passages, but training is None")
    seen = [] if training is None else as_passages(lm, training, "training")
    unseen = [] if held_out is None else as_passages(lm, held_out, "held_out")
    if train is not None:
        check_retraining(len(seen), remove, seeds)

    asked = checked_prompts(lm, [prompts] if isinstance(prompts, str) else list(prompts), answer_tokens)
    answers = [greedy_answer(lm, prompt, answer_tokens) for prompt in asked]
    exercises = [answer_after(prompt.ids, answer) for prompt, answer in zip(asked, answers, strict=True)]
    familiarity = familiarity_flags(lm, [prompt.ids for prompt in asked], seen, unseen, false_alarm_rate)
    rated = checked_checkpoints(lm, checkpoints) if seen else []
    influence, cosine = influences_of(seen, lm, rated, exercises, progress) if seen else 2 * [[None] * len(asked)]
    results = []
    for i, prompt in enumerate(asked):
        result = PromptInfluence(
            prompt=prompt.text,
            tokens=len(prompt.ids),
            perplexity=math.exp(-token_log_probabilities(lm.model, prompt.ids).mean()),
            answer="".join(token_strings(lm.tokenizer, answers[i])),
            answer_ids=answers[i].tolist(),
            confidence=math.exp(-answer_loss(lm.model, exercises[i])),
            **familiarity[i],
            influence=influence[i],
            cosine=cosine[i],
            retraining=None,
        )
        if train is not None:
            retraining = retrain_without(train, seen, result.ranking[:remove], exercises[i], seeds)
            result = replace(result, retraining=retraining)
        results.append(result)
    texts, rates = [passage.text for passage in seen], [float(rate) for _, rate in rated]
    return TrainingInfluence(prompts=tuple(results), passages=texts, held_out=len(unseen), learning_rates=rates)


def greedy_answer(lm, prompt: Passage, tokens: int):
    """Return the ids of the model's most likely continuation of a prompt, of at most `tokens` tokens."""
    options = {"temperature": 0, "vocab_size": lm.tokenizer.vocab_size, "stop": lm.tokenizer.end_ids}
    return np.array(list(stream(lm.model, prompt.ids, tokens, **options)), np.int64)


def influences_of(seen: list[Passage], lm, rated, exercises, progress):
    """Compute the influence and the cosine of each passage on each answer. Both are arrays (answers, passages)."""
    total, done = len(rated) * len(seen), count(1)

    def passage_done():
        if progress is not None:
            progress(next(done), total)

    return influences(loaded(lm, rated), exercises, [next_tokens(passage) for passage in seen], passage_done)


def checked_prompts(lm, prompts, answer_tokens: int) -> list[Passage]:
    """Convert the prompts to Passages. Raises ValueError if one leaves no room for an answer in the context."""
    if not prompts:
        raise ValueError("prompts must contain at least one prompt, but it is empty")
    passages = [as_passage(lm, prompt, f"prompt {i}") for i, prompt in enumerate(prompts)]
    longest = lm.model.config.context + 1 - answer_tokens
    for i, passage in enumerate(passages):
        check_int(f"number of tokens of prompt {i}", len(passage.ids), minimum=2, maximum=longest)
    return passages


def checked_checkpoints(lm, checkpoints) -> list[tuple]:
    """Validate pairs (checkpoint, learning rate). The default is the model itself with a learning rate of 1."""
    rated = [(lm, 1.0)] if checkpoints is None else list(checkpoints)
    if not rated:
        raise ValueError("checkpoints must not be empty; use None for the model alone")
    for i, (_, rate) in enumerate(rated):
        positive(f"checkpoints: the learning rate of checkpoint {i}", rate)
    return rated


def loaded(lm, rated):
    """Yield the model and the learning rate of each checkpoint. A checkpoint is loaded only when it is needed."""
    for i, (checkpoint, rate) in enumerate(rated):
        other = LanguageModel.load(checkpoint) if isinstance(checkpoint, (str, PathLike)) else checkpoint
        if other.tokenizer.to_dict() != lm.tokenizer.to_dict():
            raise ValueError(f"checkpoints: checkpoint {i} must have the model's tokenizer")
        context = other.model.config.context
        check_int(f"checkpoints: the context of checkpoint {i}", context, minimum=lm.model.config.context)
        yield other.model, rate
