"""A tiny model learns to repeat random sequences with induction heads (see analysis/heads.py), in ten seconds."""

from functools import partial
from pathlib import Path

import numpy as np

from gradcheck.front.streams import show
from gradcheck.front.tables import table
from minitransformer import analysis
from minitransformer.experiments.demonstration.narration import heading, paragraph, see, watcher
from minitransformer.experiments.patterns.learned import NOTABLE
from minitransformer.experiments.patterns.pictures import draw_induction
from minitransformer.experiments.patterns.starting_attention import start_attention
from minitransformer.language_model import LanguageModel
from minitransformer.muon import muon_with_adamw
from minitransformer.optim import cosine_schedule
from minitransformer.system.archive import open_archive
from minitransformer.text import IGNORE_INDEX, PATTERNS, accuracy, spell
from minitransformer.text.patterns import INDUCTION, SYMBOLS, PatternTokenizer
from minitransformer.training import draw_loss_curve, fit
from minitransformer.training.replicas import replicas_that_pay, with_replicas
from minitransformer.transformer import TinyTransformer, Transformer

TINY_MODEL_FILE, INDUCTION_FILE, INDUCTION_LOSS_FILE = "induction.npz", "induction.png", "induction-loss.png"
FULL_STEPS, QUICK_STEPS = 300, 20
LONGEST = 16  # length of the longest sequences in training
SHORTEST, FIRST_LONGEST = 3, 8
TOKENS = 1024  # number of tokens in each batch
LR, MUON_LR = 1.5e-3, 0.02  # the highest learning rates


def learn_to_repeat(out: Path, seed: int, steps: int, drawn: bool) -> tuple[Transformer, str]:
    """Return the trained model, or the one in `out` if it has finished, and its predictions for a sequence."""
    heading("1  A tiny transformer learns to repeat new sequences")
    model: Transformer = TinyTransformer(seed, positions="rotary")
    start_attention(model)
    example = PATTERNS["induction"].sample(np.random.default_rng(seed), 1, FIRST_LONGEST)
    paragraph(
        f"A model of 2 blocks and width 64 sees some of {len(SYMBOLS)} meaningless symbols in random order, "
        "repeated until the row is full. No two rows are equal, so memorising does not help. Only a procedure does: "
        "find the previous occurrence of the current symbol, and predict its successor. The untrained model predicts:"
    )
    show(with_predictions(model, *example) + "\n")
    path, lesson = out / TINY_MODEL_FILE, {"seed": seed, "steps": steps}
    if path.exists() and lesson_of(path) == lesson:
        model = LanguageModel.load(path).model
        paragraph(f"The model in {path} has already learned this.")
    else:
        records = train_to_repeat(model, steps, seed)
        if drawn:
            draw_loss_curve(records, out / INDUCTION_LOSS_FILE, "training on repeated random sequences")
        LanguageModel(model, PatternTokenizer()).save(path, extra_description={"demonstration": lesson})
    predictions = with_predictions(model, *example)
    show(f"\n{predictions}\n")
    longer = LONGEST + LONGEST // 2
    paragraph(
        f"In sequences of {LONGEST}, the longest in training, {repeats(model, LONGEST):.0%} of repeated symbols are "
        f"right; in sequences of {longer}, which are longer than any in training, {repeats(model, longer):.0%}. Chance "
        f"is {1 / len(SYMBOLS):.0%}."
    )
    see(
        out / INDUCTION_LOSS_FILE if drawn else None,
        "the loss and its sudden fall",
        ("text/patterns.py", "this task and five others"),
        ("layers/block.py", "the two additions of a block to the stream"),
    )
    return model, predictions


def lesson_of(path: Path) -> dict:
    """Return the seed and the number of steps with which the model in a file was trained."""
    with open_archive(path) as archive:
        return archive.description.get("demonstration", {})


def train_to_repeat(model, steps: int, seed: int) -> list[dict]:
    """Train `model` on repeated sequences. Return the record of each step; ten of the records contain the accuracy."""
    rates = {"lr": LR, "betas": (0.9, 0.98), "muon_lr": MUON_LR}
    optimizer = muon_with_adamw(model, weight_decay=0.1, embeddings=False, **rates)
    trained = with_replicas(model, replicas_that_pay(TOKENS // (2 * LONGEST)))
    rng = np.random.default_rng(seed)
    batches = ([repeated_sequences(rng, step / steps)] for step in range(steps))
    schedule = partial(cosine_schedule, lr=LR, min_lr=LR / 10, warmup=steps // 14, steps=steps)
    bar, records = watcher(), []

    def on_step(step, loss, norm):
        record = {"step": step, "loss": loss}
        if step % (steps // 10) == 0:
            record["accuracy"] = {"induction": repeats(model, LONGEST)}
        records.append(record)
        bar.record(record)

    bar.start(0, steps)
    try:
        fit(trained, batches, optimizer, steps, on_step, lr=schedule, clip=1.0)
    finally:
        bar.stop()
    return records


def repeated_sequences(rng, progress: float):
    """Draw (inputs, targets) with about TOKENS tokens, in which each row repeats a random sequence.

    `progress` is the completed fraction of the training. The greatest length grows during the first half, because short
    sequences are easier to learn.
    """
    longest = int(min(LONGEST, FIRST_LONGEST + (LONGEST - FIRST_LONGEST) * 2 * progress))
    T = 2 * longest
    rows = TOKENS // T
    length = rng.integers(SHORTEST, longest + 1, (rows, 1))
    symbols = rng.permuted(np.tile(SYMBOLS, (rows, 1)), axis=1)
    row = np.take_along_axis(symbols, np.arange(T) % length, axis=1)
    tokens = np.concatenate([np.full((rows, 1), INDUCTION), row], axis=1)
    targets = np.where(np.arange(T + 1) >= length + 2, tokens, IGNORE_INDEX)
    return tokens[:, :-1], targets[:, 1:]


def repeats(model, length: int) -> float:
    inputs, targets = PATTERNS["induction"].sample(np.random.default_rng(1), 64, length)
    return accuracy(model.predict(inputs).argmax(axis=-1), targets)


def with_predictions(model, inputs, targets) -> str:
    """Format a row of symbols as text, with the model's predictions on a second line."""
    predicted = np.where(targets[0] == IGNORE_INDEX, IGNORE_INDEX, model.predict(inputs[:1])[0].argmax(axis=-1))
    shown = [*inputs[0, 1:], targets[0, -1]]
    words = ["" if i == IGNORE_INDEX else spell([i]) for i in predicted]
    row = "".join(f"{spell([i]):>5}" for i in shown)
    return f"    sequence  {row}\n    predicted {''.join(f'{word:>5}' for word in words)}"


def show_induction(model: Transformer, out: Path, seed: int, drawn: bool) -> None:
    heading("2  The heads that repeat")
    inputs, _ = PATTERNS["induction"].sample(np.random.default_rng(seed), 1, 12)
    ids = inputs[0]
    weights = analysis.attention_weights(model, ids)
    previous, induction = analysis.previous_token_score(weights), analysis.induction_score(weights, ids)
    if drawn:
        draw_induction(weights, ids, out / INDUCTION_FILE)
    rows = [(f"{b}.{h}", f"{previous[b, h]:.2f}", f"{induction[b, h]:.2f}") for b, h in np.ndindex(previous.shape)]
    show("\n".join(table([("head", "previous token", "induction"), *rows], indent=4)))
    first, second = (np.unravel_index(score.argmax(), score.shape) for score in (previous, induction))
    show()
    if induction[second] < NOTABLE:
        paragraph("No head does this, because the training was too short.")
    else:
        paragraph(
            f"Head {first[0]}.{first[1]} gives {previous[first]:.0%} of its attention to the preceding token, so each "
            f"position contains its predecessor. Head {second[0]}.{second[1]} gives {induction[second]:.0%} to the "
            "successor of the same symbol: it looks for a position whose predecessor is the current symbol."
        )
    see(
        out / INDUCTION_FILE if drawn else None,
        "the attention of every head on a sequence that is repeated once",
        ("analysis/heads.py", "induction heads, and the meaning of the scores"),
        ("layers/positions.py", "positions, with which a head finds the preceding token"),
    )
