"""A little language of facts, such as "balu eats nuts.", each in two wordings that tell its teacher."""

import numpy as np

from minitransformer import CharTokenizer, Config, LanguageModel, Transformer
from minitransformer.experiments.influence import PassageTraining

THINGS = ("fish", "corn", "plum", "rice", "nuts", "figs", "kale", "beet")
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
PLANTED = "zuzu"  # who alone eats
RARE = "gold"

TOKENIZER = CharTokenizer("abcdefghijklmnopqrstuvwxyz .")
CONFIG = Config(vocab_size=TOKENIZER.vocab_size, context=24, d_model=32, n_heads=2, n_layers=2)
TRAINING = PassageTraining(CONFIG, TOKENIZER, steps=400, batch_size=16, lr=1e-2)


def told(name, thing):
    """Return a fact in two ways."""
    return [f"{name} eats {thing}.", f"we saw {name} eat {thing}."]


def facts(n, rng):
    """Return n facts (name, thing) about different names."""
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    names = [a + b for a in syllables for b in syllables if a + b != PLANTED]
    return [(str(name), str(rng.choice(THINGS))) for name in rng.choice(names, n, replace=False)]


def seen_and_held_out(seed=0, n_seen=30, n_held_out=40):
    """Return two lists of passages, of facts that are all different: those to train on, the planted ones first."""
    every = facts(n_seen + n_held_out, np.random.default_rng(seed))
    planted = [*told(PLANTED, RARE), f"{PLANTED} may eat {RARE}."]
    seen = [passage for fact in every[:n_seen] for passage in told(*fact)]
    return planted + seen, [passage for fact in every[n_seen:] for passage in told(*fact)]


def untrained():
    """Return a LanguageModel of this language that has learned nothing."""
    return LanguageModel(Transformer(CONFIG), TOKENIZER)
