"""Analyse a model's abilities on the simple patterns: accuracy, generalization to longer tasks, and the heads involved.

    learned = analyze_learned_patterns(model)
    print(learned)

Intervals of accuracies are Wilson's (1927). Because the tokens of one row are not independent, the interval for tokens
counts each row as one trial. An induction head has an induction score of at least NOTABLE. The *feeder* of an induction
head is the head in an earlier block whose ablation lowers this score most. It is usually a previous-token head in a
model with rotary positions, and possibly a duplicate-token head in a model with positions in the stream. The accuracy
without all induction heads is compared with the accuracy without the same number of other heads.

New rows are not always unseen: `count` has fewer than a hundred rows of each length, and `add` fewer than ten thousand
sums of two numbers, so both can be memorised. Scores do not show which patterns depend on a head. Ablations do.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis.ablation import mean_head_outputs, without_heads
from minitransformer.analysis.circuits import Circuit, head_name, ov_circuit, pointer_circuit, qk_circuit
from minitransformer.analysis.heads import HeadScores, head_scores, random_sequences_twice
from minitransformer.experiments.patterns.training import check_fits, greatest_length
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int, one_of
from minitransformer.text import PATTERNS, accuracy, right_rows
from minitransformer.text.patterns import SYMBOLS
from minitransformer.transformer import Transformer

NOTABLE = 0.5  # a head is named after a score that is at least this high
ABLATION_ROWS = 64
SCORE_ROWS = 8  # rows of each length


@dataclass(frozen=True)
class PatternAccuracy:
    pattern: str
    length: int
    trained: bool  # True if training had tasks of this length
    rows: int
    answers: float  # fraction of whole answers that are right
    answers_interval: tuple[float, float]  # at 95 %
    tokens: float  # fraction of the answers' tokens that are right
    tokens_interval: tuple[float, float]


@dataclass(frozen=True)
class InductionCircuit(Data):
    """The heads that perform induction, and the results without them (NaN if there is no head to remove)."""

    head: tuple[int, int]  # (block, head) with the highest induction score
    heads: tuple[tuple[int, int], ...]  # all heads with a score of at least NOTABLE
    feeder: tuple[int, int] | None  # the head of an earlier block whose ablation lowers the score most
    score: float  # induction score of `head`
    score_without_feeder: float
    whole: float  # accuracy per token on the pattern "induction" with every head; the next fields omit heads
    without_head: float
    without_heads: float
    without_feeder: float
    others: int  # number of other heads, without the feeder, that are removed for comparison
    without_others: float  # the mean over choices of this number of other heads
    ov: Circuit  # of `head`, over the symbols
    qk: Circuit | None  # through the feeder, over the symbols
    pointer: Circuit | None  # through the feeder, over positions; None without positional embeddings


@dataclass(frozen=True)
class LearnedPatterns(Data):
    """The results of analyze_learned_patterns."""

    accuracies: tuple[PatternAccuracy, ...]  # at the greatest trained length, and at a longer one
    scores: HeadScores  # on repeated random sequences
    ablations: dict[str, np.ndarray]  # {name of a pattern: accuracy per token (L, H) without each head}
    whole: dict[str, float]  # {name of a pattern: accuracy per token with all heads, on the same rows}
    induction: InductionCircuit | None  # None if no score reaches NOTABLE

    def __str__(self):
        return "\n".join([*self.accuracy_lines(), "", *self.head_lines(), "", *self.induction_lines()])

    def accuracy_lines(self):
        rows = [("pattern", "length", "answers right (95 %)", "tokens right (95 %)", "")]
        for entry in self.accuracies:
            measured = (entry.answers, entry.answers_interval), (entry.tokens, entry.tokens_interval)
            shown = (f"{fraction:.1%} ({low:.1%} to {high:.1%})" for fraction, (low, high) in measured)
            rows.append((entry.pattern, entry.length, *shown, "" if entry.trained else "longer than any in training"))
        return table(rows, "<>>><", indent=0)

    def head_lines(self):
        yield "Attention of each head to the previous token, a duplicate, its successor; tokens right without the head"
        rows = [("head", "previous", "duplicate", "induction", "", *self.ablations)]
        scores = self.scores.previous_token, self.scores.duplicate_token, self.scores.induction
        for head in np.ndindex(scores[0].shape):
            left = (f"{without[head]:.0%}" for without in self.ablations.values())
            rows.append((head_name(head), *(f"{score[head]:.2f}" for score in scores), "", *left))
        rows.append(("none", "", "", "", "", *(f"{whole:.0%}" for whole in self.whole.values())))
        yield from table(rows, indent=0)

    def induction_lines(self):
        induction = self.induction
        if induction is None:
            best = self.scores.induction.max()
            yield f"No head performs induction: the highest score is {best:.2f}, below {NOTABLE}."
            return
        head, feeder = head_name(induction.head), induction.feeder and head_name(induction.feeder)
        yield f"Head {head} performs induction. Tokens of the pattern that are right"
        rows = {"with every head": induction.whole, f"without {head}": induction.without_head}
        if len(induction.heads) > 1:
            rows[f"without {', '.join(map(head_name, induction.heads))}"] = induction.without_heads
        rows[f"without {feeder}, its feeder"] = induction.without_feeder
        rows[f"without {induction.others} of the others, mean"] = induction.without_others
        yield from table((what, f"{right:.0%}") for what, right in rows.items() if not math.isnan(right))
        if feeder:
            scores = f"from {induction.score:.2f} to {induction.score_without_feeder:.2f}"
            yield f"Without {feeder}, the induction score of {head} falls {scores}."
        yield "Its weights, by circuit: share of tokens mapped to themselves, and contrast of the diagonal"
        circuits = {
            "OV": induction.ov,
            "QK, by the previous token": induction.qk,
            "QK, by a pointer": induction.pointer,
        }
        yield from table(
            (name, f"{c.on_diagonal:.0%}", f"{c.contrast:+.2g}", f"eigenvalues {c.eigenvalue_score:+.2f}")
            for name, c in circuits.items()
            if c is not None
        )


def analyze_learned_patterns(
    model: Transformer,
    patterns: Iterable[str] | None = None,
    *,
    longest: int = 16,
    rows: int = 200,
    seed: int = 0,
) -> LearnedPatterns:
    """Measure a Transformer's accuracy on the simple patterns, and analyse its heads.

    patterns   names in PATTERNS (default: all)
    longest    the greatest length that occurred in training
    rows       number of tasks per pattern and length
    seed       seed of the tasks; they differ from the tasks of a training with the same seed

    Raises ValueError for an unknown pattern, or a model whose vocabulary or context is too small.
    """
    names = tuple(PATTERNS) if patterns is None else tuple(patterns)
    for name in names:
        one_of("pattern", name, known=PATTERNS)
    check_fits(model, names, longest)
    check_int("rows", rows, minimum=1)
    rng = np.random.default_rng([seed, *b"analysis"])
    accuracies = []
    for name in names:
        trained = greatest_length(name, longest)
        longer = min(trained + (trained + 1) // 2, PATTERNS[name].longest_within(model.config.context))
        accuracies += [measured(model, rng, name, length, longest, rows) for length in sorted({trained, longer})]
    exercises = {
        name: PATTERNS[name].sample(rng, ABLATION_ROWS, greatest_length(name, longest))
        for name in dict.fromkeys((*names, "induction"))
    }
    ablations = {name: without_each(model, *exercises[name]) for name in names}
    accurate = {name: tokens_right(model, *exercises[name]) for name in names}
    repeated = random_sequences_twice(rng, longest, SCORE_ROWS)
    scores = head_scores(model, repeated)
    induction = None
    if scores.induction.max() >= NOTABLE:
        induction = induction_circuit(model, scores, repeated, *exercises["induction"], longest)
    return LearnedPatterns(tuple(accuracies), scores, ablations, accurate, induction)


def measured(model, rng, name: str, length: int, longest: int, rows: int) -> PatternAccuracy:
    inputs, targets = PATTERNS[name].sample(rng, rows, length)
    predicted = model.predict(inputs).argmax(axis=-1)
    answers, tokens = float(right_rows(predicted, targets).mean()), accuracy(predicted, targets)
    intervals = wilson_interval(answers, rows), wilson_interval(tokens, rows)
    return PatternAccuracy(name, length, length <= longest, rows, answers, intervals[0], tokens, intervals[1])


def wilson_interval(fraction: float, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    low, high = binomtest(round(fraction * n), n).proportion_ci(method="wilson")
    return float(low), float(high)


def tokens_right(model, inputs, targets) -> float:
    return accuracy(model.predict(inputs).argmax(axis=-1), targets)


def without_each(model, inputs, targets):
    outputs = mean_head_outputs(model, inputs)
    left = np.empty(outputs.shape[:2])
    for head in np.ndindex(left.shape):
        with without_heads(model, [head], outputs):
            left[head] = tokens_right(model, inputs, targets)
    return left


def induction_circuit(model, scores: HeadScores, repeated, inputs, targets, longest: int) -> InductionCircuit:
    outputs = mean_head_outputs(model, inputs)

    def without(*heads):
        with without_heads(model, heads, outputs):
            return tokens_right(model, inputs, targets)

    def score_without(other):
        with without_heads(model, [other], outputs):
            return float(head_scores(model, repeated).induction[head])

    every = list(np.ndindex(scores.induction.shape))
    head = max(every, key=lambda one: scores.induction[one])
    heads = tuple(one for one in every if scores.induction[one] >= NOTABLE)
    left = {other: score_without(other) for other in every if other[0] < head[0]}
    feeder = min(left, key=left.get, default=None)
    others = [one for one in every if one not in (*heads, feeder)]
    count = min(len(heads), len(others))
    controls = [without(*others[i : i + count]) for i in range(len(others) - count + 1)] if count else []
    has_pointer = feeder is not None and model.positional_embedding is not None
    return InductionCircuit(
        head=head,
        heads=heads,
        feeder=feeder,
        score=float(scores.induction[head]),
        score_without_feeder=left.get(feeder, math.nan),
        whole=tokens_right(model, inputs, targets),
        without_head=without(head),
        without_heads=without(*heads),
        without_feeder=without(feeder) if feeder else math.nan,
        others=count,
        without_others=float(np.mean(controls)) if controls else math.nan,
        ov=ov_circuit(model, *head, SYMBOLS),
        qk=qk_circuit(model, head, feeder, SYMBOLS, range(1, longest)) if feeder else None,
        pointer=pointer_circuit(model, head, feeder, longest + 1) if has_pointer else None,
    )


def moment_of_induction(records) -> int | None:
    """Return the first evaluated step at which an induction score reaches NOTABLE, or None."""
    for record in records:
        if "heads" in record and np.max(record["heads"]["induction"]) >= NOTABLE:
            return record["step"]
    return None
