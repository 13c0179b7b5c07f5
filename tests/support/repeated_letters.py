"""A small language model that has learned to repeat any sequence of letters: something to look into.

`python tests/support/repeated_letters.py` trains it again, in five seconds, and stores it beside this file.
"""

from pathlib import Path

import numpy as np

from minitransformer import AdamW, CharTokenizer, Config, LanguageModel, Transformer, cosine_schedule, decay_groups
from minitransformer.experiments.patterns.starting_attention import start_attention
from minitransformer.text import IGNORE_INDEX
from minitransformer.training import training_step

LETTERS = "abcdefghijklmnopqrstuvwxyz"
STORED = Path(__file__).with_suffix(".npz")
STEPS, ROWS, LR = 400, 32, 5e-3
SHORTEST, FIRST_LONGEST, LONGEST = 3, 6, 12


def trained_to_repeat(seed=0):
    """Return a LanguageModel over letters, 2 blocks of 2 heads, that continues a sequence it has seen once."""
    config = Config(vocab_size=len(LETTERS), context=32, d_model=32, n_heads=2, n_layers=2, positions="rotary")
    model = Transformer(config, seed)
    start_attention(model)
    optimizer = AdamW(decay_groups(model, 0.1), betas=(0.9, 0.98))
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = cosine_schedule(step, lr=LR, min_lr=LR / 10, warmup=STEPS // 14, steps=STEPS)
        longest = int(min(LONGEST, FIRST_LONGEST + (LONGEST - FIRST_LONGEST) * 2 * step / STEPS))
        training_step(model, optimizer, [repeated_rows(rng, longest)], clip=1.0)
    return LanguageModel(model, CharTokenizer.train(LETTERS))


def repeated_rows(rng, longest):
    """Return (inputs, targets), each (ROWS, 2 longest): different letters in random order, again and again."""
    length = rng.integers(SHORTEST, longest + 1, (ROWS, 1))
    letters = rng.permuted(np.tile(np.arange(len(LETTERS)), (ROWS, 1)), axis=1)
    positions = np.arange(2 * longest + 1)
    row = np.take_along_axis(letters, positions % length, axis=1)
    targets = np.where(positions >= length + 1, row, IGNORE_INDEX)  # the first letter that comes back tells the length
    return row[:, :-1], targets[:, 1:]


if __name__ == "__main__":
    trained_to_repeat().save(STORED)
