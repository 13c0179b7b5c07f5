"""The run of fine-tuning on pairs. Each step minimises an objective on random pairs.

The log-likelihoods of the starting model are needed during the whole run, as the reference of direct preference
optimisation and for the report. Since the starting model does not change, they are computed once before the first step
and stored in checkpoints, so no second model is needed in memory.

The run stops if it has diverged: if an evaluation finds that the perplexity on general text has grown beyond the limit,
or if a step finds a loss or gradient that is not finite. `diverged` then contains a description.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from minitransformer.language_model import LanguageModel
from minitransformer.system.values import dictionary, text, whole
from minitransformer.training.finetuning.evaluation import Evaluation, complete, evaluate, log_likelihoods
from minitransformer.training.finetuning.objectives import OBJECTIVES, PairedLoss, direct_preference
from minitransformer.training.finetuning.picture import FINE_TUNING_FILE, draw_fine_tuning
from minitransformer.training.finetuning.preferences import Pair, batch_of
from minitransformer.training.finetuning.report import REPORT_FILE
from minitransformer.training.finetuning.settings import PreferenceSettings
from minitransformer.training.run import Run
from minitransformer.training.step import TrainingDiverged, descend

COMPLETION_TOKENS = 40


@dataclass(frozen=True)
class PreferenceData:
    """Training pairs and held-out pairs, the ids of a general text, and prompts to complete."""

    name: str
    pairs: list[Pair]
    held_out: list[Pair]
    general_ids: np.ndarray
    prompts: tuple[str, ...]


class PreferenceRun(Run):
    """The fine-tuning of a LanguageModel on pairs. Call `remember_start` before the first step."""

    picture, report = FINE_TUNING_FILE, REPORT_FILE

    def __init__(self, lm: LanguageModel, data: PreferenceData, settings: PreferenceSettings):
        self.data = data
        super().__init__(lm, settings)
        self.loss = PairedLoss(lm.model, OBJECTIVES[settings.objective])
        self.before = None  # the Evaluation of the starting model
        self.reference = None  # its log-likelihoods (N,) of the safe and the unsafe training responses
        self.diverged = None  # or a description of the divergence
        self.tokens_trained = 0

    def remember_start(self) -> None:
        """Measure the starting model."""
        self.before = self.evaluation_with_completions()
        self.reference = log_likelihoods(self.lm.model, self.data.pairs, self.settings.batch_size)

    @property
    def finished(self) -> bool:
        return super().finished or self.diverged is not None

    @property
    def tokens(self) -> int:
        return self.tokens_trained

    def advance(self) -> dict:
        """Take one step, on batches of different pairs.

        Returns loss, learning rate and norm of the gradient. If the loss or the gradient is not finite, no step is
        taken, and `diverged` describes the reason.
        """
        lr = self.set_learning_rate()
        count, size = self.settings.accumulate, min(self.settings.batch_size, len(self.data.pairs))
        batches = [self.batch_rng.choice(len(self.data.pairs), size, replace=False) for _ in range(count)]
        losses = ((1 / count, self.loss_of(chosen)) for chosen in batches)
        try:
            loss, norm = descend(self.lm.model, self.optimizer, losses, clip=self.settings.clip)
        except TrainingDiverged as error:
            self.optimizer.zero_grad()
            self.diverged = f"at step {self.step + 1} {error}"
            return {}
        self.step += 1
        return {"loss": loss, "lr": lr, "grad_norm": norm}

    def loss_of(self, chosen):
        """Return (loss, backward) for the training pairs with these indices."""
        pairs = [self.data.pairs[i] for i in chosen]
        self.tokens_trained += sum(len(pair.safe) + len(pair.unsafe) for pair in pairs)
        inputs, targets = batch_of(
            [(pair.prompt, pair.safe) for pair in pairs] + [(pair.prompt, pair.unsafe) for pair in pairs]
        )
        options = {}
        if self.loss.objective is direct_preference:
            safe, unsafe = (values[chosen] for values in self.reference)
            options = {"reference_safe": safe, "reference_unsafe": unsafe, "beta": self.settings.beta}
        return self.loss(inputs, targets, rng=self.dropout_rng, **options)

    def evaluation(self) -> Evaluation:
        return evaluate(self.lm, self.data.held_out, self.data.general_ids, self.settings.batch_size)

    def evaluation_with_completions(self) -> Evaluation:
        """Return the current Evaluation with completions, if the model's loss is finite."""
        measured = self.evaluation()
        if not math.isfinite(measured.general_loss):
            return measured
        completions = complete(self.lm, self.data.prompts, COMPLETION_TOKENS, self.settings.seed)
        return Evaluation(**(vars(measured) | {"completions": completions}))

    def evaluate(self) -> dict:
        """Return an Evaluation as metrics, and set `diverged` if the limit is exceeded."""
        now = self.evaluation()
        growth = math.exp(min(now.general_loss - self.before.general_loss, 700))
        if self.diverged is None and not growth <= self.settings.perplexity_limit:  # also True for NaN
            self.diverged = (
                f"after step {self.step} the perplexity on general text is {now.perplexity:.4g}, {growth:.3g} times "
                f"the {self.before.perplexity:.4g} before, beyond the limit of {self.settings.perplexity_limit:g} times"
            )
        kept = ("safe", "unsafe", "margin", "preferred", "general_loss")
        return {key: value for key, value in now.to_dict().items() if key in kept}

    def first_ids(self):
        """Return the first prompt to complete, or the first held-out one."""
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
        safe, unsafe = self.reference
        state = {"before": self.before.to_dict(), "diverged": self.diverged, "tokens": self.tokens_trained}
        return {"reference_safe": safe, "reference_unsafe": unsafe}, state

    def restore_own_state(self, arrays: dict, state: dict) -> None:
        reference = arrays["reference_safe"], arrays["reference_unsafe"]
        for likelihoods in reference:
            if likelihoods.dtype != np.float64 or likelihoods.shape != (len(self.data.pairs),):
                raise ValueError(
                    f"reference has shape {likelihoods.shape} and dtype {likelihoods.dtype}; "
                    f"expected ({len(self.data.pairs)},) and float64"
                )
        before = Evaluation.from_dict(dictionary("before", state["before"]))
        tokens = whole("tokens", state["tokens"], least=0)
        diverged = None if state["diverged"] is None else text("diverged", state["diverged"])
        self.reference, self.before, self.diverged, self.tokens_trained = reference, before, diverged, tokens

    def draw_picture(self, records, path) -> None:
        title = f"fine-tuning on {self.data.name}, {self.settings.objective}"
        draw_fine_tuning(records, path, title, limit=self.settings.perplexity_limit)
