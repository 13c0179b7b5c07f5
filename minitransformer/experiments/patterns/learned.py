"""What a model has learned of the simple patterns, how far that carries, and which heads do it.

    learned = analyze_learned_patterns(model)
    print(learned)

**How well.** The accuracy on new rows of each pattern, at the greatest length that was trained and at half as much
again, which no training has shown. Whole answers and single tokens are counted. Intervals are Wilson's of 1927, at
95 %. The tokens of one row stand and fall together, so those of n rows count as n and no more: too wide rather than too
narrow.

**Which heads.** For every head its scores (heads.py), and for every head and pattern the accuracy without it
(ablation.py), which is the test of the scores. An induction head is one with a score of at least NOTABLE. Its *feeder*
is the head of an earlier block without which its score falls most: a previous-token head, as a rule, of a model with
rotary positions; where positions are in the stream, it may be a duplicate-token head. Then follow its circuits
(circuits.py), and what is left without all induction heads, beside what is left without as many heads that neither are
one nor feed one.

**When.** `moment_of_induction` finds, in the records of training, the first evaluation at which a head's score reaches
NOTABLE.

What this does not show. New rows are not all rows: `count` has fewer than a hundred of each length, so all were in
training, and of `add` two numbers have fewer than ten thousand sums; both can be remembered. Nor does a high accuracy
say by which procedure: a model of one layer does better than chance at several, by looking a usual distance back or at
what it has seen already. The scores are taken on random sequences that come twice, of many lengths (see heads.py); what
the heads do in the other patterns is shown by the ablations alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.ablation import mean_head_outputs, without_heads
from minitransformer.analysis.circuits import Circuit, head_name, ov_circuit, pointer_circuit, qk_circuit
from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.heads import HeadScores, head_scores, random_sequences_twice
from minitransformer.system.tables import table
from minitransformer.text import PATTERNS, accuracy, right_rows
from minitransformer.text.patterns import SYMBOLS, VOCAB_SIZE
from minitransformer.transformer import Transformer
from minitransformer.values import one_of, whole

NOTABLE = 0.5  # a head is called what gets at least half of its attention
ABLATION_ROWS = 64
SCORE_ROWS = 8  # of each length
NORMAL_95 = 1.959964  # of a normal distribution, 95 % is within as many deviations


@dataclass(frozen=True)
class PatternAccuracy:
    """How much of one pattern is right, at one length.

    trained            whether training had tasks of this length
    rows               how many were asked
    answers            the fraction of them that are right from the first token to the last
    tokens             the fraction of the answers' tokens that are right
    answers_interval, tokens_interval   (low, high), at 95 %
    """

    pattern: str
    length: int
    trained: bool
    rows: int
    answers: float
    answers_interval: tuple[float, float]
    tokens: float
    tokens_interval: tuple[float, float]


@dataclass(frozen=True)
class InductionCircuit:
    """The heads by which a model does induction, and what is left without them.

    head             (block, head) with the highest induction score
    heads            all with a score of at least NOTABLE
    feeder           (block, head) of an earlier block without which the score of `head` falls most; None if there is
                     no earlier block
    score, score_without_feeder   the induction score of `head`; NaN without a feeder
    whole            accuracy per token on the pattern "induction", with every head
    without_head, without_heads, without_feeder   the same without them; NaN without a feeder
    others           how many heads a set for comparison has: as many as `heads`, or all that are neither among them
                     nor the feeder
    without_others   the mean over such sets; NaN if there are no others
    ov               its circuit over the symbols
    qk, pointer      the two circuits through the feeder, over symbols and over positions; None without a feeder, and
                     the second also without positions in the stream
    """

    head: tuple[int, int]
    heads: tuple[tuple[int, int], ...]
    feeder: tuple[int, int] | None
    score: float
    score_without_feeder: float
    whole: float
    without_head: float
    without_heads: float
    without_feeder: float
    others: int
    without_others: float
    ov: Circuit
    qk: Circuit | None
    pointer: Circuit | None

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it, of the circuits their scores."""
        return fields_as_data(self)


@dataclass(frozen=True)
class LearnedPatterns:
    """What analyze_learned_patterns found.

    accuracies    for each pattern, at the greatest length trained, and at a longer one where the pattern has any
    scores        of every head, on random sequences that come twice
    ablations     by the pattern's name, the accuracy per token (L, H) without each head, of which `whole` is with all
    whole         by the pattern's name, the accuracy per token with every head, on the same rows
    induction     the heads by which it does induction; None if no head's score reaches NOTABLE
    """

    accuracies: tuple[PatternAccuracy, ...]
    scores: HeadScores
    ablations: dict[str, np.ndarray]
    whole: dict[str, float]
    induction: InductionCircuit | None

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        return fields_as_data(self)

    def __str__(self):
        return "\n".join([*self.accuracy_lines(), "", *self.head_lines(), "", *self.induction_lines()])

    def accuracy_lines(self):
        """Return the table of accuracies."""
        rows = [("pattern", "length", "answers right (95 %)", "tokens right (95 %)", "")]
        for entry in self.accuracies:
            answers = percent_and_interval(entry.answers, entry.answers_interval)
            tokens = percent_and_interval(entry.tokens, entry.tokens_interval)
            longer = "" if entry.trained else "longer than any in training"
            rows.append((entry.pattern, entry.length, answers, tokens, longer))
        return table(rows, "<>>><", indent=0)

    def head_lines(self):
        """Yield the table of heads: scores, and the tokens that are right without each."""
        yield "Attention of each head to the previous token, a duplicate, what followed one; tokens right without it"
        rows = [("head", "previous", "duplicate", "induction", "", *self.ablations)]
        scores = self.scores.previous_token, self.scores.duplicate_token, self.scores.induction
        for head in np.ndindex(scores[0].shape):
            left = (f"{without[head]:.0%}" for without in self.ablations.values())
            rows.append((head_name(head), *(f"{score[head]:.2f}" for score in scores), "", *left))
        rows.append(("none", "", "", "", "", *(f"{whole:.0%}" for whole in self.whole.values())))
        yield from table(rows, indent=0)

    def induction_lines(self):
        """Yield what does induction."""
        induction = self.induction
        if induction is None:
            best = self.scores.induction.max()
            yield f"No head does induction: the highest score is {best:.2f}, and {NOTABLE} would be one."
            return
        yield f"Head {head_name(induction.head)} does induction. Tokens of that pattern that are right"
        rows = [("with every head", induction.whole), (f"without {head_name(induction.head)}", induction.without_head)]
        if len(induction.heads) > 1:
            rows.append((f"without {', '.join(map(head_name, induction.heads))}", induction.without_heads))
        if induction.feeder is not None:
            rows.append((f"without {head_name(induction.feeder)}, which feeds it", induction.without_feeder))
        if not math.isnan(induction.without_others):
            rows.append((f"without {induction.others} of the others, mean", induction.without_others))
        yield from table((what, f"{right:.0%}") for what, right in rows)
        if induction.feeder is not None:
            head, feeder = head_name(induction.head), head_name(induction.feeder)
            scores = f"from {induction.score:.2f} to {induction.score_without_feeder:.2f}"
            yield f"Without {feeder}, the induction score of {head} falls {scores}."
        yield "What its weights say, circuit by circuit: how many are taken to themselves, how far that stands out"
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
    """Return LearnedPatterns of a Transformer: how well it does on the simple patterns, and by which heads.

    patterns   names of PATTERNS; None: all
    longest    the greatest length that it was trained on
    rows       how many tasks to ask of each pattern and length, drawn from `seed`; training draws from other generators

    Raises ValueError for an unknown pattern, or a model whose vocabulary or context is too small.
    """
    names = tuple(PATTERNS) if patterns is None else tuple(patterns)
    check_analysable(model, names, longest, rows)
    rng = np.random.default_rng([seed, *b"analysis"])
    accuracies = [measured(model, rng, name, length, longest, rows) for name, length in lengths(model, names, longest)]
    exercises = {
        name: longest_exercises(rng, name, longest, ABLATION_ROWS) for name in dict.fromkeys((*names, "induction"))
    }
    ablations = {name: without_each(model, *exercises[name]) for name in names}
    whole = {name: tokens_right(model, *exercises[name]) for name in names}
    repeated = random_sequences_twice(rng, longest, SCORE_ROWS)
    scores = head_scores(model, repeated)
    induction = None
    if scores.induction.max() >= NOTABLE:
        induction = induction_circuit(model, scores, repeated, *exercises["induction"], longest)
    return LearnedPatterns(tuple(accuracies), scores, ablations, whole, induction)


def check_analysable(model, names, longest, rows) -> None:
    """Raise ValueError for what cannot be analysed."""
    for name in names:
        one_of("pattern", name, known=PATTERNS)
    if model.config.vocab_size < VOCAB_SIZE:
        raise ValueError(f"the patterns need a vocabulary of at least {VOCAB_SIZE}, not {model.config.vocab_size}")
    for name in (*names, "induction"):
        within = PATTERNS[name].longest_within(model.config.context)
        if not PATTERNS[name].shortest <= greatest_length(name, longest) <= within:
            limits = f"from {PATTERNS[name].shortest} to {within} for a context of {model.config.context}"
            raise ValueError(f"{name}: longest must be {limits}, not {longest}")
    whole("rows", rows, least=1)


def greatest_length(name: str, longest: int) -> int:
    """Return the greatest length of a pattern that is no greater than `longest`."""
    limit = PATTERNS[name].longest
    return longest if limit is None else min(longest, limit)


def lengths(model, names, longest: int):
    """Yield (name, length): the greatest that was trained, and half as much again where pattern and context allow."""
    for name in names:
        trained = greatest_length(name, longest)
        longer = min(trained + (trained + 1) // 2, PATTERNS[name].longest_within(model.config.context))
        yield name, trained
        if longer > trained:
            yield name, longer


def longest_exercises(rng, name: str, longest: int, rows: int):
    """Return (inputs, targets) of a pattern at the greatest length."""
    return PATTERNS[name].sample(rng, rows, greatest_length(name, longest))


def measured(model, rng, name: str, length: int, longest: int, rows: int) -> PatternAccuracy:
    """Return the accuracy on new rows of a pattern."""
    inputs, targets = PATTERNS[name].sample(rng, rows, length)
    predicted = model.predict(inputs).argmax(axis=-1)
    answers, tokens = float(right_rows(predicted, targets).mean()), accuracy(predicted, targets)
    intervals = wilson_interval(answers, rows), wilson_interval(tokens, rows)
    return PatternAccuracy(name, length, length <= longest, rows, answers, intervals[0], tokens, intervals[1])


def wilson_interval(fraction: float, n: int) -> tuple[float, float]:
    """Return (low, high), within which a probability is at 95 % confidence, if this fraction of n trials came true."""
    z = NORMAL_95
    centre = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def tokens_right(model, inputs, targets) -> float:
    """Return the fraction of the answers' tokens that are right."""
    return accuracy(model.predict(inputs).argmax(axis=-1), targets)


def without_each(model, inputs, targets):
    """Return the accuracy per token (L, H) without each head."""
    outputs = mean_head_outputs(model, inputs)
    left = np.empty(outputs.shape[:2])
    for head in np.ndindex(left.shape):
        with without_heads(model, [head], outputs):
            left[head] = tokens_right(model, inputs, targets)
    return left


def induction_circuit(model, scores: HeadScores, repeated, inputs, targets, longest: int) -> InductionCircuit:
    """Return the heads by which a model does induction, given that there are any."""
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
    """Return the first evaluated step at which a head's induction score reached NOTABLE; None if it never did."""
    for record in records:
        if "heads" in record and np.max(record["heads"]["induction"]) >= NOTABLE:
            return record["step"]
    return None


def percent_and_interval(fraction: float, interval: tuple[float, float]) -> str:
    """Return a fraction and its interval in per cent."""
    return f"{fraction:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"
